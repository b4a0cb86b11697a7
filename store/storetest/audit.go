package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

var auditCases = []testCase{
	{"AppendAudit stores the rows alone, in order", func(w *world) {
		before := len(w.audit())
		w.ok(w.s.AppendAudit(w.ctx, w.meta("a", "b", "c")))
		rows := w.audit()[before:]
		for i, want := range []string{"a", "b", "c"} {
			w.equal(string(rows[i].Payload), want)
			w.equal(rows[i].At, w.now)
			w.equal(rows[i].Instance, "one")
			w.equal(rows[i].Seq, int64(before+i+1))
		}
	}},
	{"AuditRows are those above an id, up to a limit, in order", func(w *world) {
		w.ok(w.s.AppendAudit(w.ctx, w.meta("a", "b", "c")))
		all := w.audit()
		page := must[[]store.AuditRow](w)(w.s.AuditRows(w.ctx, all[0].ID, 2))
		w.equal(page, all[1:3])
		w.equal(len(must[[]store.AuditRow](w)(w.s.AuditRows(w.ctx, all[len(all)-1].ID, 10))), 0)
	}},
	{"LastAuditRows are the newest below an id, up to a limit, in order", func(w *world) {
		w.ok(w.s.AppendAudit(w.ctx, w.meta("a", "b", "c")))
		all := w.audit()
		n := len(all)
		last := func(before int64, limit int) []store.AuditRow {
			return must[[]store.AuditRow](w)(w.s.LastAuditRows(w.ctx, before, limit))
		}
		w.equal(last(0, 2), all[n-2:])
		w.equal(last(all[n-2].ID, 2), all[n-4:n-2])
		w.equal(last(0, n), all)
		w.equal(last(0, n+1), all)
		w.equal(len(last(all[0].ID, 10)), 0)
	}},
	{"the epoch rises at each start, and numbers begin anew", func(w *world) {
		first := w.audit()
		w.ok(w.s.Close())
		w.s = w.db.Open(w.TB, "one")
		w.ok(w.s.AppendAudit(w.ctx, w.meta("second life")))
		rows := w.audit()
		last := rows[len(rows)-1]
		w.equal(last.Epoch, first[0].Epoch+1)
		w.equal(last.Seq, int64(1))
	}},
	{"a chain goes on under another instance's name beside it", func(w *world) {
		w.ok(w.s.Close())
		w.s = w.db.Open(w.TB, "two")
		w.ok(w.s.AppendAudit(w.ctx, w.meta("of two")))
		w.ok(w.s.Close())
		w.s = w.db.Open(w.TB, "one")
		w.ok(w.s.AppendAudit(w.ctx, w.meta("of one")))
	}},
	{"an instance is fenced off when another starts under its name", func(w *world) {
		w.several()
		second := w.db.Open(w.TB, "one")
		defer second.Close()
		if err := w.s.AppendAudit(w.ctx, w.meta("late")); err == nil {
			w.Fatal("the older instance still writes")
		}
		if err := w.s.Ready(w.ctx); err == nil {
			w.Fatal("the older instance says that it is ready")
		}
		_, err := w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "late"}, w.quiet())
		if err == nil {
			w.Fatal("the older instance still changes things")
		}
		w.ok(second.AppendAudit(w.ctx, w.meta("newer")))
		w.unlogged("late")
	}},
	{"ids rise in the order of commits over all instances", func(w *world) {
		stores := w.instances(3)
		done := make(chan struct{})
		var seen []int64
		go func() {
			// A reader that follows the log must never see an id appear below one
			// that it has seen.
			defer close(done)
			var after int64
			for n := 0; n < 300; {
				rows, err := w.s.AuditRows(w.ctx, after, 100)
				if err != nil {
					w.Error(err)
					return
				}
				for _, r := range rows {
					after = r.ID
					seen = append(seen, r.ID)
					if string(r.Payload) == "many" {
						n++
					}
				}
			}
		}()
		errs := parallel(30, func(i int) error {
			for range 10 {
				if err := stores[i%len(stores)].AppendAudit(w.ctx, store.Meta{Now: w.now, Audit: [][]byte{[]byte("many")}}); err != nil {
					return err
				}
			}
			return nil
		})
		w.equal(count(errs, nil), 30)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			w.Fatal("the reader missed rows")
		}
		w.equal(len(seen), len(w.audit()))
	}},
}

var watchCases = []testCase{
	{"a watch is woken by the first commit that touches one of its topics", func(w *world) {
		ch := w.s.Watch(w.ctx, store.UserTopic("usr_none"), store.AuditTopic)
		w.asleep(ch)
		w.ok(w.s.AppendAudit(w.ctx, w.meta("a")))
		w.awake(ch)
	}},
	{"every append touches the audit topic", func(w *world) {
		ch := w.s.Watch(w.ctx, store.AuditTopic)
		w.user("alice")
		w.awake(ch)
	}},
	{"a command that fails wakes nobody", func(w *world) {
		w.user("alice")
		ch := w.s.Watch(w.ctx, store.AuditTopic)
		_, err := w.s.CreateUser(w.ctx, w.person("alice", false), "", w.meta("a"))
		w.want(store.ErrExists, err)
		w.asleep(ch)
	}},
	{"cancelling the context releases the watch", func(w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		ch := w.s.Watch(ctx, store.AuditTopic)
		cancel()
		time.Sleep(10 * time.Millisecond)
		w.ok(w.s.AppendAudit(w.ctx, w.meta("a")))
		w.asleep(ch)
	}},
	{"what a watch was woken for is read at once", func(w *world) {
		p := w.project("web", "none")
		stores := w.instances(2)
		other := stores[len(stores)-1]
		for i := range 20 {
			ch := other.Watch(w.ctx, store.ProjectTopic(p.ID))
			must[store.Project](w)(w.s.UpdateProject(w.ctx, p.ID, store.ProjectChange{CertificateSeconds: ptr(60 + i)}, w.quiet()))
			w.awake(ch)
			w.equal(must[store.Project](w)(other.Project(w.ctx, p.ID)).CertificateSeconds, 60+i)
		}
	}},
	{"a watch is woken by a commit on another instance", func(w *world) {
		stores := w.instances(2)
		if len(stores) == 1 {
			w.Skip("one instance at a time")
		}
		ch := stores[1].Watch(w.ctx, store.AuditTopic)
		w.ok(w.s.AppendAudit(w.ctx, w.meta("a")))
		w.awake(ch)
	}},
	{"many topics at once wake their watches everywhere", func(w *world) {
		p, g := w.project("web", "none"), w.group("ops")
		var last store.User
		for i := range 40 {
			last = w.user(fmt.Sprintf("user%d", i))
			w.member(g, last, time.Time{})
		}
		stores := w.instances(2)
		ch := stores[len(stores)-1].Watch(w.ctx, store.UserTopic(last.ID))
		w.grant(p, g, time.Time{})
		w.awake(ch)
	}},
	{"Close wakes everybody", func(w *world) {
		ch := w.s.Watch(w.ctx, store.AuditTopic)
		w.ok(w.s.Close())
		w.awake(ch)
		w.awake(w.s.Watch(w.ctx, store.AuditTopic))
		if err := w.s.AppendAudit(w.ctx, w.quiet()); err == nil {
			w.Fatal("a closed store writes")
		}
		w.s = w.db.Open(w.TB, "one")
	}},
}

// asleep fails if the channel closes within a moment.
func (w *world) asleep(ch <-chan struct{}) {
	w.Helper()
	select {
	case <-ch:
		w.Fatal("woken without a reason")
	case <-time.After(50 * time.Millisecond):
	}
}

// instances opens more instances of the database, the world's own the first;
// just that one where the engine takes no more.
func (w *world) instances(n int) []store.Store {
	w.Helper()
	stores := []store.Store{w.s}
	for i := 1; i < n && w.db.Several; i++ {
		s := w.db.Open(w.TB, fmt.Sprint("instance", i+1))
		w.Cleanup(func() { s.Close() })
		stores = append(stores, s)
	}
	return stores
}

func (w *world) several() {
	if !w.db.Several {
		w.Skip("one instance at a time")
	}
}

// told fails unless the newest audit row is an event of this action.
func (w *world) told(action string) {
	w.Helper()
	rows := w.audit()
	e, err := audit.Decode(rows[len(rows)-1].Payload)
	w.ok(err)
	w.equal(e.Action, action)
}

var sweepCases = []testCase{
	{"Sweep ends memberships that are over with the revisions and wake-ups of a removal", func(w *world) {
		p := w.path()
		bob := w.user("bob")
		w.member(p.group, bob, w.now.Add(time.Hour))
		w.ok(w.s.Sweep(w.ctx, w.now.Add(time.Hour-time.Microsecond)))
		w.equal(len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Members), 2)
		woken := w.s.Watch(w.ctx, store.UserTopic(bob.ID))
		w.raises(p.project.ID, func() { w.ok(w.s.Sweep(w.ctx, w.now.Add(time.Hour))) })
		w.awake(woken)
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(len(f.Members), 1)
		w.equal(f.Members[0].User, p.user.ID)
		w.told(audit.MemberEnd)
	}},
	{"Sweep ends grants that are over with the revisions and wake-ups of a removal", func(w *world) {
		p := w.path()
		w.grant(p.project, p.group, w.now.Add(time.Hour))
		w.raises(p.project.ID, func() { w.ok(w.s.Sweep(w.ctx, w.now.Add(time.Hour))) })
		w.equal(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Grants, []store.Grant{p.grant})
		w.told(audit.GrantEnd)
	}},
	{"Sweep with nothing over changes nothing", func(w *world) {
		w.path()
		before := must[store.Team](w)(w.s.Team(w.ctx))
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)), before)
	}},
	{"Sweep drops what is kept for a time only, and nothing of it comes back to life", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		c := w.claim(p, v)
		w.ok(w.s.ClaimHello(w.ctx, c, w.quiet()))
		r := w.approved(p.user, "key")
		must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet()))
		w.browser(p.user)
		_, _, err := w.s.Attempt(w.ctx, "alice", time.Minute, w.now)
		w.ok(err)
		m := w.quiet()
		m.Proof = &store.Proof{Thumbprint: "t", JTI: "j", Expires: w.now.Add(time.Minute)}
		m.Idempotency = &store.Idempotency{Scope: "s", Key: "k", Hash: []byte("h")}
		w.ok(w.s.AppendAudit(w.ctx, m))
		// While they count nothing goes.
		w.ok(w.s.Sweep(w.ctx, w.now.Add(time.Minute-time.Microsecond)))
		w.want(store.ErrReplayed, w.s.AppendAudit(w.ctx, m))
		w.want(store.ErrReplayed, w.s.ClaimHello(w.ctx, c, w.quiet()))
		// A day later all is gone, and what is over stays over.
		day := w.now.Add(25 * time.Hour)
		w.ok(w.s.Sweep(w.ctx, day))
		w.now = day
		w.want(store.ErrDenied, w.s.ClaimHello(w.ctx, c, w.quiet()))
		_, err = w.s.Redeem(w.ctx, r, w.quiet())
		w.want(store.ErrUsed, err)
		_, _, err = w.s.BrowserSession(w.ctx, sum("page"), w.now)
		w.want(store.ErrNotFound, err)
	}},
	{"Sweep is bounded to a thousand rows of each kind per call", func(w *world) {
		errs := parallel(100, func(i int) error {
			for j := range 11 {
				m := w.quiet()
				m.Proof = &store.Proof{Thumbprint: "t", JTI: fmt.Sprint(i, "/", j), Expires: w.now.Add(time.Minute)}
				if err := w.s.AppendAudit(w.ctx, m); err != nil {
					return err
				}
			}
			return nil
		})
		w.ok(errors.Join(errs...))
		for range 2 {
			w.ok(w.s.Sweep(w.ctx, w.now.Add(time.Minute)))
		}
		// All are gone now: with another time they can be claimed again.
		m := w.quiet()
		m.Proof = &store.Proof{Thumbprint: "t", JTI: "0/0", Expires: w.now.Add(time.Hour)}
		w.ok(w.s.AppendAudit(w.ctx, m))
	}},
}
