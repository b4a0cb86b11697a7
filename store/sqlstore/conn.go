package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5/stdlib"
)

// conn is the writer's connection with the statements prepared on it.
type conn struct {
	eng  *engine
	c    *sql.Conn // nil until used, and after drop
	stmt map[string]*sql.Stmt
}

// open makes sure that there is a connection.
func (k *conn) open(ctx context.Context) error {
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

// drop forgets a connection whose state nobody knows; the driver closes it.
func (k *conn) drop() {
	if k.c == nil {
		return
	}
	if k.eng.postgres != nil {
		k.c.Raw(func(c any) error {
			return c.(*stdlib.Conn).Close()
		})
	}
	k.close()
}

func (k *conn) close() {
	if k.c == nil {
		return
	}
	for _, st := range k.stmt {
		st.Close()
	}
	k.c.Close()
	k.c, k.stmt = nil, nil
}

// broken reports whether the driver has given the connection up.
func (k *conn) broken() bool {
	if k.eng.postgres == nil || k.c == nil {
		return k.c == nil
	}
	broken := false
	err := k.c.Raw(func(c any) error {
		broken = c.(*stdlib.Conn).Conn().IsClosed()
		return nil
	})
	return broken || err != nil
}

func (k *conn) exec(ctx context.Context, q string, vs ...any) (int64, error) {
	q = k.eng.sql(q)
	var r sql.Result
	if st, err := k.prepared(ctx, q); err != nil {
		return 0, err
	} else if st != nil {
		r, err = st.ExecContext(ctx, args(vs)...)
		if err != nil {
			return 0, err
		}
	} else if r, err = k.c.ExecContext(ctx, q, args(vs)...); err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (k *conn) query(ctx context.Context, q string, vs ...any) (*sql.Rows, error) {
	q = k.eng.sql(q)
	st, err := k.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	if st != nil {
		return st.QueryContext(ctx, args(vs)...)
	}
	return k.c.QueryContext(ctx, q, args(vs)...)
}

// prepared returns nil where the driver itself prepares.
func (k *conn) prepared(ctx context.Context, q string) (*sql.Stmt, error) {
	if !k.eng.prepare {
		return nil, nil
	}
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
