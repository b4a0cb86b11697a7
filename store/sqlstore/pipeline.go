package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A round trip to PostgreSQL costs more than most statements do. So those whose
// answer nobody waits for (savepoints, claims that nearly always succeed) are
// queued and travel with the next one in one pipeline. If one of a pipeline
// fails the server skips the rest of it.

// queued is a statement that waits for company; n gets the number of its rows.
type queued struct {
	sql  string
	args []any
	n    *int64
}

func (k *conn) openPipeline(ctx context.Context) error {
	if k.pg != nil {
		return nil
	}
	c, err := pgx.ConnectConfig(ctx, k.eng.postgres.Copy())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	k.pg, k.queue = c, nil
	if err := durable(ctx, c); err != nil {
		k.drop()
		return err
	}
	return nil
}

// drop forgets a connection whose state nobody knows.
func (k *conn) drop() {
	if k.pg == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	k.pg.Close(ctx)
	k.pg, k.queue = nil, nil
}

// lost reports whether the connection is gone.
func (k *conn) lost() bool {
	return k.eng.postgres != nil && (k.pg == nil || k.pg.IsClosed())
}

// send sends the queue and one more statement, and reads the answers up to it.
func (k *conn) send(ctx context.Context, q string, vs []any) (pgx.BatchResults, error) {
	waiting := k.queue
	k.queue = nil
	b := &pgx.Batch{}
	for _, w := range waiting {
		b.Queue(w.sql, w.args...)
	}
	if q != "" {
		b.Queue(q, vs...)
	}
	r := k.pg.SendBatch(ctx, b)
	for _, w := range waiting {
		tag, err := r.Exec()
		if err != nil {
			r.Close()
			return nil, err
		}
		*w.n = tag.RowsAffected()
	}
	return r, nil
}

// flush sends what is queued.
func (k *conn) flush(ctx context.Context) error {
	if len(k.queue) == 0 {
		return nil
	}
	r, err := k.send(ctx, "", nil)
	if err != nil {
		return err
	}
	return r.Close()
}

func (k *conn) execPipeline(ctx context.Context, q string, vs []any) (int64, error) {
	if len(k.queue) == 0 {
		tag, err := k.pg.Exec(ctx, q, vs...)
		return tag.RowsAffected(), err
	}
	r, err := k.send(ctx, q, vs)
	if err != nil {
		return 0, err
	}
	tag, err := r.Exec()
	if end := r.Close(); err == nil {
		err = end
	}
	return tag.RowsAffected(), err
}

func (k *conn) queryPipeline(ctx context.Context, q string, vs []any) (rows, error) {
	if len(k.queue) == 0 {
		r, err := k.pg.Query(ctx, q, vs...)
		if err != nil {
			return nil, err
		}
		return &pipelineRows{Rows: r}, nil
	}
	b, err := k.send(ctx, q, vs)
	if err != nil {
		return nil, err
	}
	r, err := b.Query()
	if err != nil {
		b.Close()
		return nil, err
	}
	return &pipelineRows{Rows: r, batch: b}, nil
}

// pipelineRows ends the pipeline with the rows.
type pipelineRows struct {
	pgx.Rows
	batch pgx.BatchResults // nil if there was none
}

func (r *pipelineRows) Close() error {
	r.Rows.Close()
	err := r.Rows.Err()
	if r.batch != nil {
		if end := r.batch.Close(); err == nil {
			err = end
		}
		r.batch = nil
	}
	return err
}
