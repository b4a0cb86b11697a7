package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// codeFor is a code that a user's yes gave for a project to the device of v.
func (w *world) codeFor(u store.User, v store.Subject, project string) store.Redemption {
	w.Helper()
	r := store.AuthRequest{
		ID: ident.New(ident.AuthRequest), RedirectURI: "http://127.0.0.1:1/callback", State: "state", Challenge: "challenge", Thumbprint: v.Thumbprint,
		DeviceName: "laptop", BrowserHash: sum("browser"), Project: project, ExpiresAt: w.now.Add(10 * time.Minute), CreatedAt: w.now,
	}
	w.ok(w.s.CreateAuthRequest(w.ctx, r, w.quiet()))
	w.equal(must[store.AuthRequest](w)(w.s.AuthRequest(w.ctx, r.ID)), r)
	a := w.approval(u, r)
	_, err := w.s.ApproveAuthRequest(w.ctx, a, w.quiet())
	w.ok(err)
	return store.Redemption{CodeHash: a.CodeHash, RedirectURI: r.RedirectURI, Challenge: r.Challenge, Thumbprint: v.Thumbprint, Project: project,
		Session: store.Session{ID: v.Session.ID}}
}

var touchCases = []testCase{
	{"a touch is a fact about the device and the project, and about no other", func(w *world) {
		p := w.path()
		other := w.project("db", "none")
		shown := func(v store.Subject) time.Time {
			at := must[store.Facts](w)(w.s.Facts(w.ctx, v.Session.ID, p.server.ID)).ShownAt
			w.equal(must[time.Time](w)(w.s.ShownAt(w.ctx, v.Device.ID, p.project.ID)), at)
			return at
		}
		w.equal(shown(p.subject), time.Time{})
		at := w.now.Add(-time.Minute)
		t := store.Touch{Device: p.subject.Device.ID, Project: p.project.ID, At: at}
		w.equal(must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(p.user, p.subject, "web"), t, w.meta("touch"))), t)
		w.equal(shown(p.subject), at)
		byName, err := w.s.FactsByName(w.ctx, p.subject.Session.ID, "", "web-1")
		w.ok(err)
		w.equal(byName[0].ShownAt, at)
		w.equal(shown(w.signIn(p.user)), time.Time{}) // her other device
		db := t
		db.Project, db.At = other.ID, w.now
		must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(p.user, p.subject, "db"), db, w.quiet()))
		w.equal(shown(p.subject), at)
	}},
	{"a later touch counts, and an earlier one takes nothing back", func(w *world) {
		p := w.path()
		t := store.Touch{Device: p.subject.Device.ID, Project: p.project.ID, At: w.now}
		must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(p.user, p.subject, "web"), t, w.quiet()))
		early := t
		early.At = w.now.Add(-time.Hour)
		w.equal(must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(p.user, p.subject, "web"), early, w.quiet())), t)
		late := t
		late.At = w.now.Add(time.Hour)
		w.equal(must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(p.user, p.subject, "web"), late, w.quiet())), late)
	}},
	{"the code of a touch is good once, for its project, device and user, and for no sign-in", func(w *world) {
		p := w.path()
		bob := w.signIn(w.user("bob"))
		t := store.Touch{Device: p.subject.Device.ID, Project: p.project.ID, At: w.now}
		r := w.codeFor(p.user, p.subject, "web")
		must[store.Touch](w)(w.s.Touch(w.ctx, r, t, w.quiet()))
		_, err := w.s.Touch(w.ctx, r, t, w.meta("again"))
		w.want(store.ErrUsed, err)
		w.unlogged("again")
		for name, change := range map[string]func(*store.Redemption, *store.Touch){
			"another project":   func(r *store.Redemption, _ *store.Touch) { r.Project = "db" },
			"a sign-in":         func(r *store.Redemption, _ *store.Touch) { r.Project = "" },
			"another key":       func(r *store.Redemption, _ *store.Touch) { r.Thumbprint = "x" },
			"another verifier":  func(r *store.Redemption, _ *store.Touch) { r.Challenge = "x" },
			"another's session": func(r *store.Redemption, _ *store.Touch) { r.Session.ID = bob.Session.ID },
			"another's device":  func(_ *store.Redemption, t *store.Touch) { t.Device = bob.Device.ID },
		} {
			r, t := w.codeFor(p.user, p.subject, "web"), t
			good := r
			change(&r, &t)
			_, err := w.s.Touch(w.ctx, r, t, w.meta(name))
			w.want(store.ErrDenied, err)
			w.unlogged(name)
			_, err = w.s.Touch(w.ctx, good, t, w.quiet())
			w.want(store.ErrUsed, err)
		}
		r = w.codeFor(p.user, p.subject, "web")
		r.Project = ""
		r.Session = store.Session{ID: ident.New(ident.Session), TokenHash: sum("x"), ExpiresAt: w.now.Add(time.Hour)}
		_, err = w.s.Redeem(w.ctx, r, w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.Touch(w.ctx, w.approved(p.user, p.subject.Thumbprint), t, w.quiet())
		w.want(store.ErrDenied, err) // the code of a sign-in is no touch, unless it has a project
	}},
	{"a touch is ErrDenied for a session or a device that is revoked; a disabled user's codes are gone", func(w *world) {
		for i, spoil := range []func(v store.Subject){
			func(v store.Subject) { w.ok(w.s.RevokeSession(w.ctx, v.Session.ID, w.quiet())) },
			func(v store.Subject) {
				must[store.Device](w)(w.s.SetDeviceState(w.ctx, v.Device.ID, store.Revoked, w.quiet()))
			},
			func(v store.Subject) {
				must[store.User](w)(w.s.UpdateUser(w.ctx, v.User.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
			},
		} {
			u := w.user(fmt.Sprint("alice", i))
			p := w.project(fmt.Sprint("web", i), "none")
			v := w.signIn(u)
			r := w.codeFor(u, v, p.Name)
			spoil(v)
			_, err := w.s.Touch(w.ctx, r, store.Touch{Device: v.Device.ID, Project: p.ID, At: w.now}, w.quiet())
			if i < 2 {
				w.want(store.ErrDenied, err)
			} else if err == nil {
				w.Fatal("a disabled user may touch")
			}
		}
	}},
	{"a yes for a project needs a browser session that is younger than the request", func(w *world) {
		u := w.user("alice")
		v := w.signIn(u)
		w.page(u, sum("old page"))
		w.now = w.now.Add(time.Second)
		for project, want := range map[string]error{"web": store.ErrDenied, "": nil} {
			r := store.AuthRequest{ID: ident.New(ident.AuthRequest), RedirectURI: "r", State: "s", Challenge: "c", Thumbprint: v.Thumbprint,
				BrowserHash: sum("browser"), Project: project, ExpiresAt: w.now.Add(time.Minute), CreatedAt: w.now}
			w.ok(w.s.CreateAuthRequest(w.ctx, r, w.quiet()))
			_, err := w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: r.ID, BrowserHash: r.BrowserHash, User: u.ID, LoginHash: sum("old page"),
				CodeHash: sum("code" + project), CodeExpires: w.now.Add(time.Minute)}, w.quiet())
			w.want(want, err)
		}
	}},
	{"a new password takes away what was shown, and an empty project goes with its touches", func(w *world) {
		q := w.path()
		p := w.project("db", "none")
		t := store.Touch{Device: q.subject.Device.ID, Project: p.ID, At: w.now}
		must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(q.user, q.subject, "db"), t, w.quiet()))
		w.ok(w.s.DeleteProject(w.ctx, p.ID, w.quiet()))
		t = store.Touch{Device: q.subject.Device.ID, Project: q.project.ID, At: w.now}
		must[store.Touch](w)(w.s.Touch(w.ctx, w.codeFor(q.user, q.subject, "web"), t, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, q.user.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet()))
		w.equal(must[store.Facts](w)(w.s.Facts(w.ctx, q.subject.Session.ID, q.server.ID)).ShownAt, time.Time{})
	}},
	{"a project says after how long it asks again", func(w *world) {
		p := w.project("web", "none")
		w.equal(p.ReauthSeconds, 0)
		w.equal(must[store.Project](w)(w.s.UpdateProject(w.ctx, p.ID, store.ProjectChange{ReauthSeconds: ptr(600)}, w.quiet())).ReauthSeconds, 600)
		rules := []string{"disk-encryption", "screen-lock"}
		w.equal(len(p.DeviceRules), 0)
		w.equal(must[store.Project](w)(w.s.UpdateProject(w.ctx, p.ID, store.ProjectChange{DeviceRules: &rules, DeviceApproval: ptr(true)}, w.quiet())).DeviceRules, rules)
		asks := must[store.Project](w)(w.s.ProjectByName(w.ctx, "web"))
		w.equal(asks.DeviceRules, rules)
		w.equal(asks.DeviceApproval, true)
		w.equal(must[store.Project](w)(w.s.ProjectByName(w.ctx, "web")).ReauthSeconds, 600)
	}},
}
