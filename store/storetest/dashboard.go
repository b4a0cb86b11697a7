package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// toDashboard is a request of the browser that leads there.
func (w *world) toDashboard(project string) store.AuthRequest {
	w.Helper()
	r := store.AuthRequest{
		ID: ident.New(ident.AuthRequest), RedirectURI: "/requests", BrowserHash: sum("browser"), Source: "192.0.2.9", Project: project,
		ExpiresAt: w.now.Add(10 * time.Minute), CreatedAt: w.now,
	}
	w.ok(w.s.CreateAuthRequest(w.ctx, r, w.quiet()))
	return r
}

// opening is what a user opens it with who has just signed in to the pages.
func (w *world) opening(u store.User, r store.AuthRequest) store.DashboardOpening {
	w.Helper()
	login := sum(fmt.Sprint("page", w.number()))
	w.page(u, login)
	return store.DashboardOpening{
		Request: r.ID, BrowserHash: r.BrowserHash, LoginHash: login,
		Dashboard: store.Dashboard{ID: ident.New(ident.Dashboard), TokenHash: sum(fmt.Sprint("dashboard", w.number())), Browser: "Firefox", Source: "192.0.2.9", ExpiresAt: w.now.Add(12 * time.Hour)},
	}
}

func (w *world) dashboard(u store.User) store.Dashboard {
	w.Helper()
	return must[store.Dashboard](w)(w.s.OpenDashboard(w.ctx, w.opening(u, w.toDashboard("")), w.meta("dashboard.open")))
}

func (w *world) opened(o store.Dashboard) store.Dashboard {
	w.Helper()
	got, _, _, err := w.s.Dashboard(w.ctx, o.TokenHash)
	w.ok(err)
	return got
}

var dashboardCases = []testCase{
	{"OpenDashboard makes one, once, and it is read back", func(w *world) {
		u := w.user("alice")
		v := w.opening(u, w.toDashboard(""))
		got := must[store.Dashboard](w)(w.s.OpenDashboard(w.ctx, v, w.meta("dashboard.open")))
		want := v.Dashboard
		want.User, want.BrowserHash, want.AuthenticatedAt, want.CreatedAt = u.ID, sum("browser"), w.now, w.now
		w.equal(got, want)
		w.equal(w.opened(got), want)
		w.equal(must[store.Dashboard](w)(w.s.DashboardByID(w.ctx, got.ID)), want)
		_, who, _, err := w.s.Dashboard(w.ctx, got.TokenHash)
		w.ok(err)
		w.equal(who, u)
		_, err = w.s.OpenDashboard(w.ctx, v, w.quiet())
		w.want(store.ErrUsed, err)
		_, _, _, err = w.s.Dashboard(w.ctx, sum("none"))
		w.want(store.ErrNotFound, err)
		_, err = w.s.DashboardByID(w.ctx, "dsh_none")
		w.want(store.ErrNotFound, err)
	}},
	{"OpenDashboard refuses another browser, a device's request, and one that is over", func(w *world) {
		u := w.user("alice")
		v := w.opening(u, w.toDashboard(""))
		v.BrowserHash = sum("another browser")
		_, err := w.s.OpenDashboard(w.ctx, v, w.meta())
		w.want(store.ErrDenied, err)
		v = w.opening(u, w.request("key"))
		_, err = w.s.OpenDashboard(w.ctx, v, w.meta())
		w.want(store.ErrDenied, err)
		v = w.opening(u, w.toDashboard(""))
		late := w.quiet()
		late.Now = w.now.Add(10 * time.Minute)
		_, err = w.s.OpenDashboard(w.ctx, v, late)
		w.want(store.ErrUsed, err)
	}},
	{"no code comes of a request that leads to the dashboard", func(w *world) {
		u, r := w.user("alice"), w.toDashboard("")
		_, err := w.s.ApproveAuthRequest(w.ctx, w.approval(u, r), w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"OpenDashboard needs a whole browser session of an active user, and a young one for a project", func(w *world) {
		u := w.user("alice")
		v := w.opening(u, w.toDashboard(""))
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet()))
		_, err := w.s.OpenDashboard(w.ctx, v, w.quiet())
		w.want(store.ErrDenied, err)
		v = w.opening(u, w.toDashboard(""))
		w.now = w.now.Add(time.Minute)
		r := w.toDashboard("web")
		v.Request = r.ID
		_, err = w.s.OpenDashboard(w.ctx, v, w.quiet())
		w.want(store.ErrDenied, err)
		must[store.Dashboard](w)(w.s.OpenDashboard(w.ctx, w.opening(u, r), w.quiet()))
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{SecondFactor: ptr(store.FactorAll)}, w.quiet()))
		_, err = w.s.OpenDashboard(w.ctx, w.opening(u, w.toDashboard("")), w.quiet())
		w.want(store.ErrDenied, err) // he has yet to enrol one
	}},
	{"a new dashboard ends the one that it replaces, and no other", func(w *world) {
		u := w.user("alice")
		first, other := w.dashboard(u), w.dashboard(u)
		v := w.opening(u, w.toDashboard(""))
		v.Replaces = first.TokenHash
		w.now = w.now.Add(time.Second)
		must[store.Dashboard](w)(w.s.OpenDashboard(w.ctx, v, w.quiet()))
		w.equal(w.opened(first).RevokedAt, w.now)
		w.equal(w.opened(other).RevokedAt.IsZero(), true)
	}},
	{"dashboards end with all that ends a user's sessions", func(w *world) {
		for name, end := range map[string]func(store.User, store.Dashboard) error{
			"revoked": func(_ store.User, o store.Dashboard) error {
				return w.s.RevokeDashboard(w.ctx, o.ID, w.meta("session.revoke"))
			},
			"disabled": func(u store.User, _ store.Dashboard) error {
				_, err := w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet())
				return err
			},
			"deleted": func(u store.User, _ store.Dashboard) error {
				_, err := w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet())
				return err
			},
			"password": func(u store.User, _ store.Dashboard) error {
				_, err := w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet())
				return err
			},
			"factors": func(u store.User, _ store.Dashboard) error {
				_, err := w.s.ResetFactors(w.ctx, u.ID, w.quiet())
				return err
			},
		} {
			u := w.user(name)
			o, other := w.dashboard(u), w.dashboard(w.user("not-"+name))
			w.now = w.now.Add(time.Second)
			w.ok(end(u, o))
			if got := w.opened(o).RevokedAt; !got.Equal(w.now) {
				w.Fatalf("%s: revoked at %s", name, got)
			}
			w.equal(w.opened(other).RevokedAt.IsZero(), true)
			at := w.now
			w.now = w.now.Add(time.Second)
			w.ok(w.s.RevokeDashboard(w.ctx, o.ID, w.meta("session.revoke")))
			w.equal(w.opened(o).RevokedAt, at)
		}
		w.want(store.ErrNotFound, w.s.RevokeDashboard(w.ctx, "dsh_none", w.meta()))
	}},
	{"the last use of a dashboard is never taken back", func(w *world) {
		o := w.dashboard(w.user("alice"))
		m := w.quiet()
		m.Now = w.now.Add(time.Hour)
		w.ok(w.s.SeeDashboard(w.ctx, o.ID, m))
		w.ok(w.s.SeeDashboard(w.ctx, o.ID, w.quiet()))
		w.equal(w.opened(o).SeenAt, m.Now)
	}},
	{"dashboards are listed, and dropped when nothing needs them any more", func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		var want []store.Dashboard
		for range 3 {
			want = append(want, w.dashboard(alice))
			w.dashboard(bob)
			w.now = w.now.Add(time.Second)
		}
		first, next, err := w.s.Dashboards(w.ctx, alice.ID, store.Page{Limit: 2})
		w.ok(err)
		rest, end, err := w.s.Dashboards(w.ctx, alice.ID, store.Page{Limit: 2, Cursor: next})
		w.ok(err)
		w.equal(append(first, rest...), want)
		w.equal(end, "")
		all, _, err := w.s.Dashboards(w.ctx, "", store.Page{Limit: 100})
		w.ok(err)
		w.equal(len(all), 6)
		w.ok(w.s.Sweep(w.ctx, want[0].ExpiresAt.Add(90*24*time.Hour)))
		all, _, err = w.s.Dashboards(w.ctx, alice.ID, store.Page{Limit: 100})
		w.ok(err)
		w.equal(len(all), 2)
	}},
	// Mallory asks on her laptop, and says yes by her second account in the same browser.
	{"who shares a browser with the one who asks does not answer him in the dashboard", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		w.dashboard(a.carol)
		w.signIn(a.bob)
		w.want(store.ErrSamePerson, w.answer(yes(a, r)))
		w.outside(a)
	}},
	{"who shares a dashboard's browser with the one who asks does not answer him", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		w.dashboard(a.bob)
		w.dashboard(a.carol)
		w.want(store.ErrSamePerson, w.answer(yes(a, r)))
		w.outside(a)
		w.ok(w.answer(yesBy(w.admin, r)))
	}},
}
