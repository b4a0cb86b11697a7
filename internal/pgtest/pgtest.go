// Package pgtest is a real PostgreSQL for the length of a test.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cardea-ssh/cardea/internal/disktest"
	"github.com/cardea-ssh/cardea/internal/postgres"
)

// Server is a running PostgreSQL.
type Server struct {
	server *postgres.Server
	names  atomic.Int64
}

// settings are those of a test: room for all its instances, and no more memory
// than it needs.
var settings = [...]string{"max_connections = 200", "shared_buffers = 64MB"}

// Start starts a server for the length of the test, or skips the test where
// PostgreSQL is not installed. Without durable it never waits for the disk,
// which makes tests several times faster.
func Start(t testing.TB, durable bool) *Server {
	t.Helper()
	lines, parent := settings[:], ""
	if !durable {
		// Each database is a thousand files that are soon gone again.
		parent = disktest.Memory()
		lines = append(lines[:len(lines):len(lines)], "fsync = off", "full_page_writes = off")
	}
	s, err := postgres.StartBelow(context.WithoutCancel(t.Context()), parent, lines...)
	if errors.Is(err, postgres.ErrNone) || errors.Is(err, postgres.ErrNobody) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Server{server: s}
}

// Up starts the server again, and waits until it answers.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	if err := s.server.Up(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// Down stops the server at once: connections break, nothing committed is lost.
func (s *Server) Down() { s.server.Down() }

// Kill kills the server with kill -9.
func (s *Server) Kill() { s.server.Kill() }

// Database makes an empty database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.names.Add(1))
	s.SQL(t, "postgres", "CREATE DATABASE "+name)
	return s.URL(name)
}

// Copies makes a database, has fill put something into it, and returns what makes copies of
// it: to make tables anew takes many times as long. Each is returned as its URL.
func (s *Server) Copies(t testing.TB, fill func(url string) error) func(testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.names.Add(1))
	s.SQL(t, "postgres", "CREATE DATABASE "+name)
	if err := fill(s.URL(name)); err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) string {
		t.Helper()
		of := fmt.Sprintf("test%d", s.names.Add(1))
		s.SQL(t, "postgres", "CREATE DATABASE "+of+" TEMPLATE "+name)
		return s.URL(of)
	}
}

// URL is how clients reach a database, by the socket.
func (s *Server) URL(database string) string { return s.server.URL(database) }

// SQL runs statements as the owner of everything and returns what psql prints.
func (s *Server) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	out, err := s.TrySQL(database, statements)
	if err != nil {
		t.Fatalf("%s: %v\n%s", statements, err, out)
	}
	return out
}

// TrySQL is SQL for statements that may be refused.
func (s *Server) TrySQL(database, statements string) (string, error) {
	return s.server.SQL(database, statements)
}
