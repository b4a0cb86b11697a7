package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/disktest"
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
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
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
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
	release := hold(t, s)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.AppendAudit(ctx, store.Meta{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseLetsWaitingCommandsFinish(t *testing.T) {
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
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
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
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
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	err := s.do(t.Context(), store.Meta{Now: now}, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO projects (id, name, certificate_seconds, gateway, gateway_selector, port_forwarding, agent_forwarding, revision, created_at) VALUES ('prj_a', 'a', 60, 'none', '', false, false, 1, 0)`); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO servers (id, project_id, name, address, labels, host_labels, state, host_key, confirmed_epoch, confirmed_counter, problems,
			agent_version, events_next, last_seen, created_at) VALUES ('srv_a', 'prj_a', 'a', '', '', '', 'active', '', 0, 0, '', '', 1, ?, 0)`, now)
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
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
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

// A batch goes quickly first, with its answers counted at the end. What fails in
// it must fail alone and for its own reason, and leave nothing.
func TestABatchThatIsSpoiledIsDoneAgainWithCare(t *testing.T) {
	spoiledBatches(t, mustOpen(t, file(t, disktest.Forgetful(t)), "a"))
}

// put inserts a row.
func put(t *tx, name string) error {
	_, err := t.exec(`INSERT INTO attempts (name, tries, ends_at) VALUES (?, 1, 0)`, name)
	return err
}

func spoiledBatches(t *testing.T, s *Store) {
	now := time.Now()
	proof := func(jti string) *store.Proof {
		return &store.Proof{Thumbprint: "t", JTI: jti, Expires: now.Add(time.Hour)}
	}
	own := errors.New("a fault of the command's own")
	put := func(name string) func(*tx) error { return func(t *tx) error { return put(t, name) } }
	if err := s.do(t.Context(), store.Meta{Now: now, Proof: proof("claimed")}, put("taken")); err != nil {
		t.Fatal(err)
	}
	for i, bad := range []struct {
		name  string
		proof string
		run   func(*tx) error
		want  error
	}{
		{"a proof that was claimed before", "claimed", put("bad"), store.ErrReplayed},
		{"a proof that was claimed in the same batch", "first", put("bad"), store.ErrReplayed},
		{"no row is changed", "", func(t *tx) error {
			return errors.Join(put("bad")(t), t.mustLater(store.ErrDenied, `UPDATE attempts SET tries = 2 WHERE name = ?`, "none"))
		}, store.ErrDenied},
		{"no row is changed, with a proof that is claimed for it", "bad", func(t *tx) error {
			return errors.Join(put("bad")(t), t.mustLater(store.ErrDenied, `UPDATE attempts SET tries = 2 WHERE name = ?`, "none"))
		}, store.ErrDenied},
		{"a name that is taken", "", func(t *tx) error {
			return t.mustLater(store.ErrDenied, `INSERT INTO attempts (name, tries, ends_at) VALUES (?, 1, 0)`, "taken")
		}, store.ErrExists},
		{"a fault of its own", "", func(t *tx) error { return errors.Join(put("bad")(t), own) }, own},
	} {
		t.Run(bad.name, func(t *testing.T) {
			p := func(jti string) *store.Proof {
				if jti == "" || jti == "claimed" {
					return map[string]*store.Proof{"claimed": proof(jti)}[jti]
				}
				return proof(fmt.Sprint(jti, i))
			}
			first, last := fmt.Sprint("first-", i), fmt.Sprint("last-", i)
			before := logged(t, s)
			errs := together(t, s, []*command{
				{meta: store.Meta{Now: now, Proof: p("first"), Audit: [][]byte{[]byte(first)}}, run: put(first)},
				{meta: store.Meta{Now: now, Proof: p(bad.proof), Audit: [][]byte{[]byte("bad")}}, run: bad.run},
				{meta: store.Meta{Now: now, Audit: [][]byte{[]byte(last)}}, run: func(t *tx) error {
					return errors.Join(put(last)(t), t.mustLater(store.ErrDenied, `UPDATE attempts SET tries = 2 WHERE name = ?`, last))
				}},
			})
			if errs[0] != nil || !errors.Is(errs[1], bad.want) || errs[2] != nil {
				t.Errorf("got %v, want nothing but %v for the second", errs, bad.want)
			}
			names, err := texts(s.reader(t.Context()), `SELECT name FROM attempts WHERE name IN ('bad', ?, ?) ORDER BY name`, first, last)
			if got := strings.Join(names, " "); err != nil || got != first+" "+last {
				t.Errorf("there is %q, %v", got, err)
			}
			if got, want := strings.TrimPrefix(logged(t, s), before), " "+first+" "+last; got != want {
				t.Errorf("the log has%s, want%s", got, want)
			}
			for range carefulBatches + 1 { // it trusts again
				if err := s.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	s.Close()
	if s.write.careful != 0 {
		t.Errorf("careful for %d more batches", s.write.careful)
	}
}

// together runs commands in one batch, in this order.
func together(t *testing.T, s *Store, commands []*command) []error {
	t.Helper()
	release := hold(t, s)
	errs := make([]error, len(commands))
	var wait sync.WaitGroup
	for i, c := range commands {
		c.ctx = context.Background()
		wait.Go(func() { errs[i] = s.write.submit(c) })
		for len(s.write.queue) != i+1 {
			time.Sleep(time.Millisecond)
		}
	}
	release()
	wait.Wait()
	return errs
}

func logged(t *testing.T, s *Store) (text string) {
	t.Helper()
	rows, err := s.AuditRows(t.Context(), 0, maxPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		text += " " + string(r.Payload)
	}
	return text
}
