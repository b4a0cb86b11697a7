package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Races over every instance that the engine allows: three of PostgreSQL.
var raceCases = []testCase{
	{"fifty uses of one enrolment token at once are exactly one", func(w *world) {
		p := w.project("web", "none")
		secret := w.token(store.KindServer, p.ID, 1)
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			_, err := stores[i%len(stores)].EnrolServer(w.ctx, secret, w.newServer(p, fmt.Sprint("web-", i)), w.credential(), w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrUsed), 49)
		servers, _, err := w.s.Servers(w.ctx, p.ID, store.Page{Limit: 100})
		w.ok(err)
		w.equal(len(servers), 1)
	}},
	{"fifty claims of one proof at once are exactly one", func(w *world) {
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			m := w.quiet()
			m.Proof = &store.Proof{Thumbprint: "t", JTI: "j", Expires: w.now.Add(time.Minute)}
			return stores[i%len(stores)].AppendAudit(w.ctx, m)
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrReplayed), 49)
	}},
	{"fifty claims of one hello at once are exactly one", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		c := w.claim(p, v)
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			c := c
			c.Session.ID = ident.New(ident.GatewaySession)
			return stores[i%len(stores)].ClaimHello(w.ctx, c, w.quiet())
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrReplayed), 49)
		w.equal(w.live(p), 1)
	}},
	{"fifty redemptions of one code at once are at most one, and end with no session", func(w *world) {
		r := w.approved(w.user("alice"), "key")
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			r := r
			r.Session.ID, r.Session.TokenHash = ident.New(ident.Session), sum(fmt.Sprint("race", i))
			_, err := stores[i%len(stores)].Redeem(w.ctx, r, w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrUsed), 49)
		sessions, _, err := w.s.Sessions(w.ctx, "", store.Page{Limit: 100})
		w.ok(err)
		w.equal(len(sessions), 1)
		w.equal(sessions[0].RevokedAt, w.now)
	}},
	{"fifty calls under one idempotency key at once are one, and the others are told what it made", func(w *world) {
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			g := store.Group{ID: ident.New(ident.UserGroup), Name: fmt.Sprint("group", i)}
			m := w.quiet()
			m.Idempotency = &store.Idempotency{Scope: "ses", Key: "k", Hash: []byte("h"), Ref: g.ID}
			_, err := stores[i%len(stores)].CreateGroup(w.ctx, g, m)
			return err
		})
		w.equal(count(errs, nil), 1)
		groups, _, err := w.s.Groups(w.ctx, store.Page{Limit: 100})
		w.ok(err)
		w.equal(len(groups), 1)
		for _, err := range errs {
			var again *store.Repeated
			if err != nil && (!errors.As(err, &again) || again.Ref != groups[0].ID) {
				w.Fatal(err)
			}
		}
	}},
	{"of administrators who are all removed at once one stays", func(w *world) {
		stores := w.instances(3)
		for round := range 6 {
			out := store.UserChange{Admin: ptr(false)}
			if round%2 == 1 {
				out = store.UserChange{Status: ptr(store.Disabled)}
			}
			// The one that was left, and eight more.
			admins := []string{w.admin.ID}
			for i := range 8 {
				u := must[store.User](w)(w.s.CreateUser(w.ctx, w.person(fmt.Sprint("admin", round, "x", i), true), "", w.quiet()))
				admins = append(admins, u.ID)
			}
			errs := parallel(len(admins), func(i int) error {
				_, err := stores[i%len(stores)].UpdateUser(w.ctx, admins[i], out, w.quiet())
				return err
			})
			w.equal(count(errs, nil), len(admins)-1)
			w.equal(count(errs, store.ErrLastAdmin), 1)
			for i, err := range errs {
				if err != nil {
					w.admin.ID = admins[i]
				}
			}
		}
	}},
	{"after a user is disabled nothing is issued to it, and each of its sessions is ordered to end", func(w *world) {
		p := w.path()
		stores := w.instances(3)
		const workers = 12
		disabled := make(chan struct{})
		errs := parallel(workers+1, func(i int) error {
			if i == workers {
				time.Sleep(30 * time.Millisecond)
				_, err := stores[len(stores)-1].UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, store.Meta{Now: w.now, Audit: [][]byte{[]byte("disabled")}})
				close(disabled)
				return err
			}
			return w.issueUntil(stores[i%len(stores)], p, disabled)
		})
		for _, err := range errs {
			w.ok(err)
		}
		w.nothingAfter("disabled", "issued")
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(len(ids), w.live(p))
	}},
	{"names, logins and uids stay unique when all instances create at once", func(w *world) {
		stores := w.instances(3)
		errs := parallel(60, func(i int) error {
			_, err := stores[i%len(stores)].CreateUser(w.ctx, w.person(fmt.Sprint("user", i%20), false), "", w.quiet())
			return err
		})
		w.equal(count(errs, nil), 20)
		w.equal(count(errs, store.ErrExists), 40)
		users, _, err := w.s.Users(w.ctx, store.Page{Limit: 100})
		w.ok(err)
		uids := map[int]bool{}
		for _, u := range users {
			uids[u.UID] = true
		}
		w.equal(len(uids), 21)
	}},
	{"changes of every kind at once neither fail nor lose a revision", func(w *world) {
		stores := w.instances(3)
		var paths []path
		for i := range 6 {
			paths = append(paths, w.pathOf(fmt.Sprint("team", i)))
		}
		errs := parallel(24, func(i int) error {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 8 {
				if err := w.anyChange(r, stores[i%len(stores)], paths); err != nil {
					return err
				}
			}
			return nil
		})
		for _, err := range errs {
			w.ok(err)
		}
		team := must[store.Team](w)(w.s.Team(w.ctx))
		for _, p := range paths {
			if v := must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)); v.Revision > team.Revision {
				w.Fatalf("project %s is at %d, the team at %d", v.Name, v.Revision, team.Revision)
			}
		}
	}},
}

// issueUntil issues and claims until it is denied; it must be denied soon after
// the user was disabled.
func (w *world) issueUntil(s store.Store, p path, disabled <-chan struct{}) error {
	for {
		over := false
		select {
		case <-disabled:
			over = true
		default:
		}
		v := w.issue(p)
		err := s.RecordIssuance(w.ctx, v, store.Meta{Now: w.now, Audit: [][]byte{[]byte("issued")}})
		if err == nil {
			err = s.ClaimHello(w.ctx, w.claim(p, v), store.Meta{Now: w.now, Audit: [][]byte{[]byte("issued")}})
		} else if over && count([]error{err}, store.ErrDenied) == 1 {
			return nil
		}
		if over && err == nil {
			return fmt.Errorf("issued and claimed after the user was disabled")
		}
		if err != nil && count([]error{err}, store.ErrDenied) == 0 {
			return err
		}
	}
}

// nothingAfter fails if an audit row of one text comes after one of another.
func (w *world) nothingAfter(end, text string) {
	w.Helper()
	over := false
	for _, r := range w.audit() {
		switch string(r.Payload) {
		case end:
			over = true
		case text:
			if over {
				w.Fatalf("%q after %q", text, end)
			}
		}
	}
	if !over {
		w.Fatalf("%q is missing", end)
	}
}

// anyChange does one change out of all kinds, of the sort that locks rows in
// different orders.
func (w *world) anyChange(r *rand.Rand, s store.Store, paths []path) error {
	p, q := paths[r.IntN(len(paths))], paths[r.IntN(len(paths))]
	var err error
	switch r.IntN(9) {
	case 0:
		_, err = s.UpdateUser(w.ctx, p.user.ID, store.UserChange{FullName: ptr(ident.New("n"))}, w.meta("u"))
	case 1:
		err = s.PutMember(w.ctx, store.Member{Group: p.group.ID, User: p.user.ID}, w.meta("m"))
	case 2:
		err = s.RecordIssuance(w.ctx, w.issue(p), w.meta("i"))
	case 3:
		v := w.issue(p)
		if err = s.RecordIssuance(w.ctx, v, w.meta("i")); err == nil {
			err = s.ClaimHello(w.ctx, w.claim(p, v), w.meta("c"))
		}
	case 4:
		_, err = s.ReportServer(w.ctx, q.server.ID, store.ServerReport{ConfirmedEpoch: 1, ConfirmedCounter: r.Int64N(100)}, w.meta("r"))
	case 5:
		err = s.ReportGateway(w.ctx, q.gateway.ID, store.GatewayReport{Healthy: true}, w.meta("r"))
	case 6:
		_, err = s.UpdateServer(w.ctx, q.server.ID, store.ServerChange{Address: ptr(ident.New("a") + ":22")}, w.meta("s"))
	case 7:
		_, err = s.UpdateGateway(w.ctx, q.gateway.ID, store.GatewayChange{Egress: &[]string{ident.New("e")}}, w.meta("g"))
	case 8:
		_, err = s.CreateGrant(w.ctx, store.Grant{ID: ident.New(ident.Grant), Project: p.project.ID, Group: q.group.ID, Role: "user"}, w.meta("g"))
	}
	return err
}
