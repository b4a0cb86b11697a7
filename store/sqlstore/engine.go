package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bounds of one engine's connections and statements.
const (
	// maxReaders bounds connections for reads: two cores gain nothing by more.
	maxReaders = 8
	// statementTime ends a statement, waiting for a lock included.
	statementTime = 10 * time.Second
)

// engine is an open database: a pool for reads, and one for the writer (of
// SQLite; for PostgreSQL it only serves to make the tables).
type engine struct {
	*dialect
	reads  *sql.DB
	writes *sql.DB
	// prepare: database/sql prepares statements (pgx does so by itself).
	prepare  bool
	postgres *pgx.ConnConfig // nil with SQLite
	classify func(error) failure
	lock     io.Closer // of the SQLite file

	// snapshots holds a token for each snapshot that is open where statements are
	// prepared: that takes a connection besides the snapshot's own, so there must be
	// one left, or all snapshots would wait for each other for ever.
	snapshots chan struct{}

	mu       sync.Mutex
	prepared map[string]*sql.Stmt // guarded by mu; on reads
}

// failure is what an engine's error means to the writer.
type failure int

const (
	failed   failure = iota // this statement cannot succeed
	exists                  // a unique value is taken
	conflict                // a race with another instance: run the command again
	lost                    // the connection is gone
)

func openEngine(ctx context.Context, o Options) (*engine, error) {
	if strings.HasPrefix(o.URL, "postgres://") || strings.HasPrefix(o.URL, "postgresql://") {
		return openPostgres(ctx, o)
	}
	return openSQLite(ctx, o)
}

func (e *engine) close() error {
	e.mu.Lock()
	for _, st := range e.prepared {
		st.Close()
	}
	e.prepared = nil
	e.mu.Unlock()
	err := errors.Join(e.reads.Close(), e.writes.Close())
	if e.lock != nil {
		err = errors.Join(err, e.lock.Close())
	}
	return err
}

// stmt returns the prepared form of a read.
func (e *engine) stmt(ctx context.Context, q string) (*sql.Stmt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if st, ok := e.prepared[q]; ok {
		return st, nil
	}
	st, err := e.reads.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	if e.prepared == nil {
		e.prepared = make(map[string]*sql.Stmt)
	}
	e.prepared[q] = st
	return st, nil
}

// reader runs reads: single statements, or several in one snapshot (tx set).
type reader struct {
	ctx context.Context
	eng *engine
	tx  *sql.Tx
}

func (s *Store) reader(ctx context.Context) reader { return reader{ctx: ctx, eng: s.eng} }

func (r reader) query(q string, vs ...any) (rows, error) {
	found, err := r.run(r.eng.sql(q), args(vs))
	if err != nil {
		return nil, orContext(r.ctx, err)
	}
	return found, nil
}

// uncancelled is the context of a statement that SQLite runs in this process: it
// is over before anybody could end it, and a context that can end costs two
// goroutines and their locks for each statement.
func (e *engine) uncancelled(ctx context.Context) (context.Context, error) {
	if e.postgres != nil {
		return ctx, nil
	}
	return context.WithoutCancel(ctx), ctx.Err()
}

func (r reader) run(q string, vs []any) (*sql.Rows, error) {
	ctx, err := r.eng.uncancelled(r.ctx)
	if err != nil {
		return nil, err
	}
	if !r.eng.prepare {
		if r.tx != nil {
			return r.tx.QueryContext(ctx, q, vs...)
		}
		return r.eng.reads.QueryContext(ctx, q, vs...)
	}
	st, err := r.eng.stmt(ctx, q)
	if err != nil {
		return nil, err
	}
	if r.tx != nil {
		st = r.tx.StmtContext(ctx, st)
	}
	return st.QueryContext(ctx, vs...)
}

// snapshot runs several reads that all see one instant.
func (s *Store) snapshot(ctx context.Context, read func(reader) error) error {
	whole, err := s.eng.uncancelled(ctx)
	if err != nil {
		return err
	}
	if s.eng.prepare {
		select {
		case s.eng.snapshots <- struct{}{}:
			defer func() { <-s.eng.snapshots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	tx, err := s.eng.reads.BeginTx(whole, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return orContext(ctx, fmt.Errorf("begin read: %w", err))
	}
	defer tx.Rollback()
	return orContext(ctx, read(reader{ctx: ctx, eng: s.eng, tx: tx}))
}

// orContext prefers the context's own error over what it made of the driver.
func orContext(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
