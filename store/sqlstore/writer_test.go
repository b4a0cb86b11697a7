package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store"
)

// hold keeps the writer busy until the returned function is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	return holdIn(t, s, func(*tx) error { return nil })
}

// holdIn is hold after a first step.
func holdIn(t *testing.T, s *Store, step func(*tx) error) (release func()) {
	t.Helper()
	started, stop, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var once sync.Once
		s.do(context.Background(), store.Meta{}, func(t *tx) error {
			err := step(t)
			once.Do(func() { close(started) })
			<-stop
			return err
		})
	}()
	<-started
	return func() { close(stop); <-done }
}

func TestQueueIsBounded(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	release := hold(t, s)
	results := make(chan error, maxQueue+1)
	for range maxQueue + 1 {
		go func() { results <- s.AppendAudit(context.Background(), store.Meta{Audit: [][]byte{{}}}) }()
	}
	if err := <-results; !errors.Is(err, ErrBusy) { // the one too many
		t.Fatalf("got %v", err)
	}
	release()
	for range maxQueue {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.AuditRows(t.Context(), 0, 1000)
	if err != nil || len(rows) != 1000 {
		t.Fatalf("%d rows %v", len(rows), err)
	}
}

func TestCallerWhoGivesUpDoesNotWait(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	release := hold(t, s)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.AppendAudit(ctx, store.Meta{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseLetsWaitingCommandsFinish(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	release := hold(t, s)
	result := make(chan error)
	go func() { result <- s.AppendAudit(context.Background(), store.Meta{}) }()
	for len(s.write.queue) == 0 {
		time.Sleep(time.Millisecond)
	}
	go release()
	s.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if err := s.AppendAudit(t.Context(), store.Meta{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestWaitingCommandsShareOneCommit(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	release := hold(t, s)
	before := s.write.head.batch
	var wg sync.WaitGroup
	for range maxBatch {
		wg.Go(func() { s.AppendAudit(context.Background(), store.Meta{Audit: [][]byte{{}}}) })
	}
	for len(s.write.queue) < maxBatch {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	s.Close()
	if n := s.write.head.batch - before; n != 2 { // the one that was held, and all others
		t.Errorf("%d commits", n)
	}
}

// Ten thousand polling agents must not write all the time.
func TestPollsOfServersHardlyWrite(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	err := s.do(t.Context(), store.Meta{Now: now}, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO projects VALUES ('prj_a', 'a', 60, 'none', '', false, false, 1, 0)`); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO servers VALUES ('srv_a', 'prj_a', 'a', '', '', '', 'active', '', 0, 0, '', '', 1, ?, 0)`, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 { // ten minutes, a poll each second
		if err := s.SeenServer(t.Context(), "srv_a", now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if n := s.write.head.batch - 1; n != 9 {
		t.Errorf("600 polls in ten minutes made %d commits", n)
	}
}

func TestFullDiskFailsCommandsAndNothingElse(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	limit := func(pages int) {
		t.Helper()
		var n int
		err := s.do(t.Context(), store.Meta{}, func(t *tx) error {
			return one(t, []any{&n}, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // SQLite takes the present size as the least
	big := store.Meta{Audit: [][]byte{make([]byte, 64<<10)}}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := s.AppendAudit(context.Background(), big); err == nil || !strings.Contains(err.Error(), "full") {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if rows, err := s.AuditRows(t.Context(), 0, 10); err != nil || len(rows) != 0 {
		t.Errorf("%d rows %v", len(rows), err)
	}
	limit(1 << 30)
	if err := s.AppendAudit(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	rows, err := s.AuditRows(t.Context(), 0, 10)
	if err != nil || len(rows) != 1 || rows[0].Seq != 1 {
		t.Errorf("rows after: %v", err)
	}
}

func comesBack(t *testing.T, server *pgtest.Server) {
	url := server.Database(t)
	s := mustOpen(t, url, "a")
	other := mustOpen(t, url, "b")
	m := store.Meta{Audit: [][]byte{[]byte("x")}}
	if err := s.AppendAudit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	woken := s.Watch(t.Context(), "nothing touches this")
	server.Down()
	select {
	case <-woken:
	case <-time.After(time.Second):
		t.Error("a lost connection does not wake the watches")
	}
	for _, f := range []func() error{
		func() error { return s.AppendAudit(t.Context(), m) },
		func() error { return s.Ready(t.Context()) },
		func() error { _, err := s.AuditRows(t.Context(), 0, 1); return err },
	} {
		begin := time.Now()
		if err := f(); err == nil || time.Since(begin) > 5*time.Second {
			t.Errorf("without PostgreSQL: %v after %v", err, time.Since(begin))
		}
	}
	server.Up(t)
	if err := s.AppendAudit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	// The other instance, which has done nothing since, writes at the first try
	// and hears of changes again.
	if err := other.AppendAudit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		heard := other.Watch(t.Context(), store.AuditTopic)
		if err := s.AppendAudit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
			return
		case <-time.After(time.Second):
		}
		if time.Now().After(deadline) {
			t.Fatal("the other instance does not hear any more")
		}
	}
}

// An instance that is stopped (SIGSTOP) inside a transaction must not hold the
// others for ever.
func hangingInstanceIsThrownOut(t *testing.T, url string) {
	s, other := mustOpen(t, url, "a"), mustOpen(t, url, "b")
	release := holdIn(t, s, func(t *tx) error {
		_, err := t.exec(`UPDATE counters SET value = value WHERE name = 'audit'`)
		return err
	})
	defer release()
	if err := other.AppendAudit(t.Context(), store.Meta{Audit: [][]byte{[]byte("x")}}); err != nil {
		t.Errorf("an idle transaction blocks the others: %v", err)
	}
}

func TestPayloadsOfNotifications(t *testing.T) {
	topics := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = store.UserTopic(fmt.Sprintf("usr_%020d", i))
		}
		return out
	}
	for _, c := range []struct{ topics, payloads int }{{0, 0}, {1, 1}, {200, 1}, {500, 3}, {1500, 7}, {5000, 1}} {
		p := payloads("sender", topics(c.topics))
		if len(p) != c.payloads {
			t.Errorf("%d topics became %d payloads", c.topics, len(p))
		}
		for _, text := range p {
			if len(text) > maxPayload {
				t.Errorf("a payload of %d bytes", len(text))
			}
		}
	}
	h := newHub()
	ctx := t.Context()
	mine, theirs, all := h.watch(ctx, []string{"a"}), h.watch(ctx, []string{"b", "a"}), h.watch(ctx, []string{"z"})
	h.heard("me a", "me")
	select {
	case <-mine:
		t.Error("our own notification woke us")
	default:
	}
	h.heard("they a c", "me")
	<-mine
	<-theirs
	h.heard("they *", "me")
	<-all
	if len(h.topics) != 0 {
		t.Errorf("left behind: %v", h.topics)
	}
}
