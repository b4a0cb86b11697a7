// Package sqlstore keeps the control plane's records in SQLite or PostgreSQL.
//
// One set of statements serves both engines: they are written with ? and a few
// marks for what differs (dialect.go). Every command runs in one writer
// goroutine per instance, which commits whatever is waiting in one transaction
// (writer.go): a durable commit costs a wait for the disk, and under load one
// wait pays for many commands. Each fails or succeeds alone (if one of a batch
// fails, the batch is done again with a savepoint before each), and gets its
// answer only after the commit.
//
// SQLite has one writer in all, so commands cannot race. In PostgreSQL every
// instance has a writer; there a command locks the rows that its conditions
// rest on (/*share*/ and /*lock*/ in the statements) until it commits. Changes
// of directory and fleet take the team's row first and so come one by one.
package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

var (
	// ErrBusy: more commands wait than the store takes; try again later.
	ErrBusy = store.ErrBusy
	// ErrFenced: another process was started under this instance's name.
	ErrFenced = errors.New("another process runs under this instance name; stop it, or give each instance a name of its own")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// maxInstance bounds an instance's name: it is in each row of the audit log.
const maxInstance = 64

// Options say where the records are.
type Options struct {
	// URL is the path of an SQLite file (also as file:PATH), or a postgres:// URL.
	URL string
	// Instance names this process in the audit log. Two that run at once need
	// two names; the one that started first is fenced off else. Default "control".
	Instance string
	// Logger gets what an operator should know; nil drops it.
	Logger *slog.Logger
}

// Store is a store.Store. Close it.
type Store struct {
	log    *slog.Logger
	eng    *engine
	write  *writer
	hub    *hub
	listen *listener // nil with SQLite

	seen   seenServers
	closed sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the store, makes or updates its tables and takes the next epoch of
// the instance's audit chain. A second process on the same SQLite file is refused.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Instance == "" {
		o.Instance = "control"
	}
	if len(o.Instance) > maxInstance {
		return nil, fmt.Errorf("open store: the instance name is longer than %d bytes", maxInstance)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	eng, err := openEngine(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{log: o.Logger, eng: eng, hub: newHub()}
	if err := s.start(ctx, o); err != nil {
		eng.close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func (s *Store) start(ctx context.Context, o Options) error {
	if err := migrate(ctx, s.eng, o.Logger); err != nil {
		return err
	}
	w, err := newWriter(ctx, s.eng, s.hub, o)
	if err != nil {
		return err
	}
	if s.eng.postgres != nil {
		s.eng.writes.SetMaxIdleConns(0) // the writer has its own
		if s.listen, err = listen(ctx, s.eng.postgres, s.hub, w.sender, o.Logger); err != nil {
			w.conn.close()
			return err
		}
	}
	s.write = w
	go w.run()
	return nil
}

// Close lets the commands that wait finish, then ends everything.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.write.close()
		if s.listen != nil {
			s.listen.close()
		}
		s.hub.closeAll()
		s.eng.close()
	})
	return nil
}

// Ready writes (every commit updates the head of the instance's chain) and
// waits for the commit.
func (s *Store) Ready(ctx context.Context) error {
	return s.do(ctx, store.Meta{}, func(*tx) error { return nil })
}

// do runs a command that has no result. A directory command, one that may raise
// the team's revision, goes through doDirectory instead.
func (s *Store) do(ctx context.Context, m store.Meta, run func(*tx) error) error {
	return s.write.submit(&command{ctx: ctx, meta: m, run: run})
}

func (s *Store) doDirectory(ctx context.Context, m store.Meta, run func(*tx) error) error {
	return s.write.submit(&command{ctx: ctx, meta: m, run: run, directory: true})
}

// get runs a command with a result. The result leaves only with a nil error or
// one that the command kept: the writer may still be at it when ctx is done.
func get[T any](ctx context.Context, s *Store, m store.Meta, directory bool, run func(*tx) (T, error)) (T, error) {
	var out, none T
	err := s.write.submit(&command{ctx: ctx, meta: m, directory: directory, run: func(t *tx) (err error) {
		out, err = run(t)
		return err
	}})
	if err != nil {
		return none, err
	}
	return out, nil
}

// micros is how times are stored: microseconds since 1970, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
