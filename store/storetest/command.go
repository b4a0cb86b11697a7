package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// What holds for every command.
var commandCases = []testCase{
	{"a command that fails leaves nothing behind, audit rows included", func(w *world) {
		w.user("alice")
		u := w.person("alice", false)
		m := w.meta("second alice")
		m.Proof = &store.Proof{Thumbprint: "t", JTI: "j", Expires: w.now.Add(time.Minute)}
		_, err := w.s.CreateUser(w.ctx, u, "", m)
		w.want(store.ErrExists, err)
		w.unlogged("second alice")
		_, err = w.s.User(w.ctx, u.ID)
		w.want(store.ErrNotFound, err)
		w.ok(w.s.AppendAudit(w.ctx, m)) // the proof was not claimed either
	}},
	{"what was acknowledged is there after a reopen", func(w *world) {
		u := w.user("alice")
		rows := w.audit()
		w.ok(w.s.Close())
		w.s = w.db.Open(w.TB, "one")
		w.equal(must[store.User](w)(w.s.User(w.ctx, u.ID)), u)
		w.equal(w.audit(), rows)
	}},
	{"a proof is claimed at most once until it expires", func(w *world) {
		m := w.meta("a")
		m.Proof = &store.Proof{Thumbprint: "t", JTI: "j", Expires: w.now.Add(time.Minute)}
		w.ok(w.s.AppendAudit(w.ctx, m))
		w.want(store.ErrReplayed, w.s.AppendAudit(w.ctx, m))
		m.Now = w.now.Add(time.Minute - time.Microsecond)
		w.want(store.ErrReplayed, w.s.AppendAudit(w.ctx, m))
		m.Now = w.now.Add(time.Minute)
		w.ok(w.s.AppendAudit(w.ctx, m))
	}},
	{"a proof of another key or with another jti is another proof", func(w *world) {
		for _, p := range []store.Proof{{Thumbprint: "ab", JTI: "c"}, {Thumbprint: "a", JTI: "bc"}, {Thumbprint: "ab", JTI: "d"}} {
			p.Expires = w.now.Add(time.Minute)
			m := w.quiet()
			m.Proof = &p
			w.ok(w.s.AppendAudit(w.ctx, m))
		}
	}},
	{"a repeated idempotency key gives what the first call stored, and does nothing", func(w *world) {
		m := w.meta("group.create once")
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("h"), Ref: "grp_1"}
		g := store.Group{ID: ident.New(ident.UserGroup), Name: "ops"}
		must[store.Group](w)(w.s.CreateGroup(w.ctx, g, m))
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("h"), Ref: "grp_2"}
		_, err := w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "other"}, m)
		var again *store.Repeated
		if !errors.As(err, &again) || again.Ref != "grp_1" {
			w.Fatalf("got %v", err)
		}
		_, err = w.s.GroupByName(w.ctx, "other")
		w.want(store.ErrNotFound, err)
	}},
	{"an idempotency key with another request is a mismatch", func(w *world) {
		m := w.quiet()
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("h")}
		w.ok(w.s.AppendAudit(w.ctx, m))
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("i")}
		w.want(store.ErrMismatch, w.s.AppendAudit(w.ctx, m))
		m.Idempotency = &store.Idempotency{Scope: "ses_b", Key: "k", Hash: []byte("i")} // somebody else's
		w.ok(w.s.AppendAudit(w.ctx, m))
	}},
	{"an idempotency key is kept for a day", func(w *world) {
		m := w.quiet()
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("h")}
		w.ok(w.s.AppendAudit(w.ctx, m))
		m.Now = w.now.Add(24*time.Hour - time.Microsecond)
		var again *store.Repeated
		if err := w.s.AppendAudit(w.ctx, m); !errors.As(err, &again) {
			w.Fatalf("got %v", err)
		}
		m.Now = w.now.Add(24 * time.Hour)
		w.ok(w.s.AppendAudit(w.ctx, m))
	}},
	{"a command that fails does not use up its idempotency key", func(w *world) {
		m := w.quiet()
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("h")}
		w.want(store.ErrNotFound, w.s.DeleteGroup(w.ctx, "grp_none", m))
		w.ok(w.s.AppendAudit(w.ctx, m))
	}},
	{"a done context gives the context's error", func(w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		w.want(context.Canceled, w.s.AppendAudit(ctx, w.quiet()))
		_, err := w.s.Team(ctx)
		w.want(context.Canceled, err)
		_, err = w.s.ProjectFacts(ctx, "prj_none")
		w.want(context.Canceled, err)
	}},
	{"times keep their microseconds in UTC, and zero stays none", func(w *world) {
		at := time.Date(2026, 11, 20, 1, 2, 3, 456789999, time.FixedZone("", 7200))
		g := w.group("ops")
		u := w.user("alice")
		w.member(g, u, at)
		members, _, err := w.s.Members(w.ctx, g.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(members[0].Until, time.Date(2026, 11, 19, 23, 2, 3, 456789000, time.UTC))
		w.member(g, u, time.Time{})
		members, _, err = w.s.Members(w.ctx, g.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(members[0].Until.IsZero(), true)
	}},
	{"text that is not UTF-8 is replaced and fails no command", func(w *world) {
		r := w.request("key")
		r.ID, r.DeviceName, r.State = ident.New(ident.AuthRequest), "a\x00b\xffc", "\x00"
		w.ok(w.s.CreateAuthRequest(w.ctx, r, w.quiet()))
		r.DeviceName, r.State = "a\uFFFDb\uFFFDc", "\uFFFD"
		w.equal(must[store.AuthRequest](w)(w.s.AuthRequest(w.ctx, r.ID)), r)
		_, err := w.s.UserByName(w.ctx, "admin\x00")
		w.want(store.ErrNotFound, err)
	}},
	{"Ready is nil while writes succeed", func(w *world) { w.ok(w.s.Ready(w.ctx)) }},
	{"many commands at once each succeed or fail alone", func(w *world) {
		w.user("taken")
		const n = 60
		meta := func(i int) store.Meta {
			return store.Meta{Now: w.now, Audit: [][]byte{[]byte("batch")},
				Proof: &store.Proof{Thumbprint: "t", JTI: fmt.Sprint(i), Expires: w.now.Add(time.Minute)}}
		}
		errs := parallel(n, func(i int) error {
			name := "taken"
			if i%3 != 0 {
				name = ident.New("u")[:10]
			}
			_, err := w.s.CreateUser(w.ctx, w.person(name, false), "", meta(i))
			return err
		})
		for i, err := range errs { // who failed has not used up its proof
			m := meta(i)
			m.Audit = nil
			if again := w.s.AppendAudit(w.ctx, m); (again == nil) != (err != nil) {
				w.Fatalf("command %d: %v, its proof afterwards: %v", i, err, again)
			}
		}
		ids := map[int]bool{}
		users, _, err := w.s.Users(w.ctx, store.Page{Limit: 1000})
		w.ok(err)
		for _, u := range users {
			ids[u.UID] = true
		}
		w.equal(len(users), 2+n-n/3)
		w.equal(len(ids), len(users))
		w.equal(count(errs, nil), n-n/3)
		w.equal(count(errs, store.ErrExists), n/3)
		rows := 0
		for _, r := range w.audit() {
			if string(r.Payload) == "batch" {
				rows++
			}
		}
		w.equal(rows, n-n/3)
	}},
}

// parallel runs n calls at once.
func parallel(n int, call func(i int) error) []error {
	errs := make([]error, n)
	begin := make(chan struct{})
	done := make(chan int)
	for i := range n {
		go func() {
			<-begin
			errs[i] = call(i)
			done <- i
		}()
	}
	close(begin)
	for range n {
		<-done
	}
	return errs
}

func count(errs []error, sentinel error) int {
	n := 0
	for _, err := range errs {
		if sentinel == nil && err == nil || sentinel != nil && errors.Is(err, sentinel) {
			n++
		}
	}
	return n
}
