package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// rows is what both drivers give.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// conn is the writer's connection: one of database/sql with the statements
// prepared on it (SQLite), or one of pgx, which prepares by itself and can send
// several statements in one round trip (PostgreSQL, pipeline.go).
type conn struct {
	eng *engine

	c    *sql.Conn // nil until used
	stmt map[string]*sql.Stmt

	pg    *pgx.Conn // nil until used, and after drop
	queue []queued  // goes with the next statement
}

// open makes sure that there is a connection.
func (k *conn) open(ctx context.Context) error {
	if k.eng.postgres != nil {
		return k.openPipeline(ctx)
	}
	if k.c != nil {
		return nil
	}
	c, err := k.eng.writes.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	k.c, k.stmt = c, make(map[string]*sql.Stmt)
	return nil
}

func (k *conn) close() {
	if k.pg != nil {
		k.drop()
	}
	if k.c == nil {
		return
	}
	for _, st := range k.stmt {
		st.Close()
	}
	k.c.Close()
	k.c, k.stmt = nil, nil
}

// exec returns how many rows the statement changed.
func (k *conn) exec(ctx context.Context, q string, vs ...any) (int64, error) {
	if k.eng.postgres != nil {
		return k.execPipeline(ctx, k.eng.sql(q), args(vs))
	}
	st, err := k.prepared(ctx, k.eng.sql(q))
	if err != nil {
		return 0, err
	}
	r, err := st.ExecContext(ctx, args(vs)...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (k *conn) query(ctx context.Context, q string, vs ...any) (rows, error) {
	if k.eng.postgres != nil {
		return k.queryPipeline(ctx, k.eng.sql(q), args(vs))
	}
	st, err := k.prepared(ctx, k.eng.sql(q))
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args(vs)...)
}

// later is exec for a statement whose answer can wait: it may go only with the
// next one, and the number of rows is right only after that or after flush. If
// it fails, the next statement fails with its error.
func (k *conn) later(ctx context.Context, q string, vs ...any) (*int64, error) {
	n := new(int64)
	if k.eng.postgres != nil {
		k.queue = append(k.queue, queued{sql: k.eng.sql(q), args: args(vs), n: n})
		return n, nil
	}
	var err error
	*n, err = k.exec(ctx, q, vs...)
	return n, err
}

func (k *conn) prepared(ctx context.Context, q string) (*sql.Stmt, error) {
	if st, ok := k.stmt[q]; ok {
		return st, nil
	}
	st, err := k.c.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	k.stmt[q] = st
	return st, nil
}
