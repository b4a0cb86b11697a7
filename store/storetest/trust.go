package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// Names of CAs, as package ca has them.
const (
	userCA = "user-ca"
	hostCA = "host-ca"
	team   = "team"
)

// states are the states of a CA's keys that are not retired, by id.
func (w *world) states(scope, purpose string) map[string]string {
	w.Helper()
	out := map[string]string{}
	for _, k := range must[[]store.Key](w)(w.s.Keys(w.ctx, scope, purpose)) {
		out[k.ID] = k.State
	}
	return out
}

// confirm has the server report that it does what it was told last.
func (w *world) confirm(server store.Server, hostCA string) {
	w.Helper()
	t := must[store.Team](w)(w.s.Team(w.ctx))
	must[store.Pulse](w)(w.s.ReportServer(w.ctx, server.ID, store.ServerReport{ConfirmedEpoch: t.Epoch, ConfirmedCounter: t.Revision, HostCA: hostCA}, w.quiet()))
}

// published begins a rotation.
func (w *world) published(scope, purpose string) (old, next store.Key) {
	w.Helper()
	old = must[[]store.Key](w)(w.s.Keys(w.ctx, scope, purpose))[0]
	w.ok(w.s.PublishCA(w.ctx, w.key(scope, purpose), w.meta("ca.rotate")))
	v := must[store.Rotation](w)(w.s.Rotation(w.ctx, scope, purpose, w.now))
	w.equal(v.Active.ID, old.ID)
	return old, v.Next
}

// later moves the clock.
func (w *world) later(d time.Duration) { w.now = w.now.Add(d) }

func names(all []store.Laggard) (out []string) {
	for _, l := range all {
		out = append(out, l.Name)
	}
	return out
}

var trustCases = []testCase{
	{"PublishCA stores a next key, which servers are told of", func(w *world) {
		p := w.path()
		var old, next store.Key
		w.raises(p.project.ID, func() { old, next = w.published(p.project.ID, userCA) })
		w.equal(next.Revision, must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision)
		w.equal(w.states(p.project.ID, userCA), map[string]string{old.ID: store.Active, next.ID: store.KeyNext})
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal([]string{f.UserCAs[0].ID, f.UserCAs[1].ID}, []string{old.ID, next.ID})
		w.logged("ca.rotate")
	}},
	{"PublishCA is ErrExists while a rotation runs and for a known key, ErrNotFound for no CA", func(w *world) {
		p := w.path()
		old, next := w.published(p.project.ID, userCA)
		w.want(store.ErrExists, w.s.PublishCA(w.ctx, w.key(p.project.ID, userCA), w.quiet()))
		w.confirm(p.server, "")
		w.ok(w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.want(store.ErrExists, w.s.PublishCA(w.ctx, w.key(p.project.ID, userCA), w.quiet()))
		w.later(store.KeySettle)
		w.ok(w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		for _, stolen := range []store.Key{old, next} {
			k := w.key(p.project.ID, userCA)
			k.Fingerprint = stolen.Fingerprint
			w.want(store.ErrExists, w.s.PublishCA(w.ctx, k, w.quiet()))
		}
		w.ok(w.s.PublishCA(w.ctx, w.key(p.project.ID, userCA), w.quiet()))
		w.want(store.ErrNotFound, w.s.PublishCA(w.ctx, w.key("prj_none", userCA), w.quiet()))
		w.want(store.ErrNotFound, w.s.PublishCA(w.ctx, w.key(team, "gateway-ca"), w.quiet()))
	}},
	{"a switch waits for every active server, or for those that are not named", func(w *world) {
		p := w.path()
		late, off := w.server(p.project, "web-2"), w.server(p.project, "web-3")
		w.server(w.project("other", "none"), "db-1")
		must[store.Server](w)(w.s.UpdateServer(w.ctx, off.ID, store.ServerChange{State: ptr(store.Disabled)}, w.quiet()))
		old, next := w.published(p.project.ID, userCA)
		w.confirm(p.server, "")
		v := must[store.Rotation](w)(w.s.Rotation(w.ctx, p.project.ID, userCA, w.now))
		w.equal(names(v.Behind), []string{"web-2"})
		w.equal(v.Servers, 2)
		w.want(store.ErrInUse, w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.meta("no switch")))
		w.want(store.ErrInUse, w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{Servers: []string{p.server.ID}}, w.quiet()))
		w.equal(w.states(p.project.ID, userCA)[old.ID], store.Active)
		w.raises(p.project.ID, func() {
			w.ok(w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{Servers: []string{late.ID}}, w.quiet()))
		})
		w.equal(w.states(p.project.ID, userCA), map[string]string{old.ID: store.KeyPrevious, next.ID: store.Active})
		w.want(store.ErrNotFound, w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.unlogged("no switch")
	}},
	{"what was confirmed before a backup was restored counts for nothing", func(w *world) {
		p := w.path()
		w.published(p.project.ID, userCA)
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{ConfirmedEpoch: 0, ConfirmedCounter: 1 << 40}, w.quiet()))
		w.want(store.ErrInUse, w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
	}},
	{"RetireCA destroys the private part, and what was issued ends first", func(w *world) {
		p := w.path()
		old, _ := w.published(p.project.ID, userCA)
		w.confirm(p.server, "")
		w.want(store.ErrNotFound, w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		v := w.issue(p)
		v.CA = old.ID
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		w.ok(w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.want(store.ErrInUse, w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.later(store.KeySettle)
		w.equal(must[store.Rotation](w)(w.s.Rotation(w.ctx, p.project.ID, userCA, w.now)).LiveUntil, v.NotAfter)
		w.want(store.ErrInUse, w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.now = v.NotAfter.Add(-time.Microsecond)
		w.want(store.ErrInUse, w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.now = v.NotAfter
		w.raises(p.project.ID, func() { w.ok(w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.meta("ca.retire"))) })
		gone := must[store.Key](w)(w.s.Key(w.ctx, old.ID))
		w.equal(gone.State, store.KeyRetired)
		w.equal(len(gone.Sealed), 0)
		w.equal(gone.ChangedAt, w.now)
		w.equal(len(w.states(p.project.ID, userCA)), 1)
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(f.Revoked.Keys, []string{old.Fingerprint})
		w.equal(len(f.UserCAs), 1)
		w.logged("ca.retire")
	}},
	{"RetireCA minds neither the servers that are named nor what was issued for them", func(w *world) {
		p := w.path()
		old, _ := w.published(p.project.ID, userCA)
		w.ok(w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{Servers: []string{p.server.ID}}, w.quiet()))
		v := w.issue(p)
		v.CA = old.ID
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		w.later(store.KeySettle)
		w.want(store.ErrInUse, w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.ok(w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{Servers: []string{p.server.ID}}, w.quiet()))
	}},
	{"a step that waits for none waits for the switch to settle all the same", func(w *world) {
		p := w.path()
		old, _ := w.published(p.project.ID, userCA)
		v := w.issue(p)
		v.CA = old.ID
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		w.ok(w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{All: true}, w.quiet()))
		w.want(store.ErrInUse, w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{All: true}, w.quiet()))
		w.later(store.KeySettle)
		w.ok(w.s.RetireCA(w.ctx, p.project.ID, userCA, store.Without{All: true}, w.quiet()))
	}},
	{"a CA of hosts is retired when every active server shows a certificate of the new one", func(w *world) {
		p := w.path()
		other := w.server(w.project("other", "none"), "db-1")
		old, next := w.published(team, hostCA)
		for _, project := range []string{p.project.ID, other.Project} {
			w.equal(must[store.Project](w)(w.s.Project(w.ctx, project)).Revision, next.Revision)
		}
		w.confirm(p.server, old.Fingerprint)
		w.want(store.ErrInUse, w.s.SwitchCA(w.ctx, team, hostCA, store.Without{}, w.quiet()))
		w.confirm(other, old.Fingerprint)
		w.ok(w.s.SwitchCA(w.ctx, team, hostCA, store.Without{}, w.quiet()))
		w.later(store.KeySettle)
		w.confirm(p.server, next.Fingerprint)
		w.confirm(p.server, "") // an agent that does not say leaves what it said before
		v := must[store.Rotation](w)(w.s.Rotation(w.ctx, team, hostCA, w.now))
		w.equal(names(v.OldHost), []string{"db-1"})
		w.want(store.ErrInUse, w.s.RetireCA(w.ctx, team, hostCA, store.Without{}, w.quiet()))
		w.confirm(other, next.Fingerprint)
		w.ok(w.s.RetireCA(w.ctx, team, hostCA, store.Without{}, w.quiet()))
		w.equal(w.states(team, hostCA), map[string]string{next.ID: store.Active})
	}},
	{"AbortCA goes back one step at a time, and destroys a key that was never used", func(w *world) {
		p := w.path()
		old, next := w.published(p.project.ID, userCA)
		w.confirm(p.server, "")
		w.ok(w.s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		v := w.issue(p)
		v.CA = next.ID
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		w.raises(p.project.ID, func() { w.ok(w.s.AbortCA(w.ctx, p.project.ID, userCA, store.Without{}, w.meta("ca.abort"))) })
		w.equal(w.states(p.project.ID, userCA), map[string]string{old.ID: store.Active, next.ID: store.KeyNext})
		w.want(store.ErrInUse, w.s.AbortCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.now = v.NotAfter
		w.ok(w.s.AbortCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.equal(w.states(p.project.ID, userCA), map[string]string{old.ID: store.Active})
		w.equal(len(must[store.Key](w)(w.s.Key(w.ctx, next.ID)).Sealed), 0)
		w.want(store.ErrNotFound, w.s.AbortCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))

		_, next = w.published(p.project.ID, userCA)
		w.ok(w.s.AbortCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet()))
		w.equal(must[store.Key](w)(w.s.Key(w.ctx, next.ID)).State, store.KeyRetired)
	}},
	{"CAs are all keys of CAs, retired ones too, without what is sealed", func(w *world) {
		p := w.project("web", "none")
		_, next := w.published(p.ID, userCA)
		w.ok(w.s.AbortCA(w.ctx, p.ID, userCA, store.Without{}, w.quiet()))
		all := must[[]store.Key](w)(w.s.CAs(w.ctx))
		w.equal(len(all), 3) // the team's of hosts, and two of the project
		found := false
		for _, k := range all {
			w.equal(len(k.Sealed), 0)
			found = found || k.ID == next.ID && k.State == store.KeyRetired
		}
		w.equal(found, true)
	}},
	{"a deleted project's keys have no private part", func(w *world) {
		p := w.project("web", "none")
		k := must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, userCA))[0]
		w.ok(w.s.DeleteProject(w.ctx, p.ID, w.quiet()))
		w.equal(len(must[store.Key](w)(w.s.Key(w.ctx, k.ID)).Sealed), 0)
	}},
	{"what a session, a device or a user had is revoked with it, until its end", func(w *world) {
		for name, revoke := range map[string]func(p path) error{
			"session": func(p path) error { return w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet()) },
			"device": func(p path) error {
				_, err := w.s.SetDeviceState(w.ctx, p.subject.Device.ID, store.Revoked, w.quiet())
				return err
			},
			"user": func(p path) error {
				_, err := w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet())
				return err
			},
			"password": func(p path) error {
				_, err := w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet())
				return err
			},
		} {
			p := path{user: w.user(name), group: w.group("ops-" + name), project: w.project("web-"+name, "none")}
			w.member(p.group, p.user, time.Time{})
			p.grant = w.grant(p.project, p.group, time.Time{})
			p.server, p.subject = w.server(p.project, "web-1"), w.signIn(p.user)
			live, over := w.issue(p), w.issue(p)
			over.NotAfter = w.now
			w.ok(w.s.RecordIssuance(w.ctx, live, w.quiet()))
			w.ok(w.s.RecordIssuance(w.ctx, over, w.quiet()))
			w.raises(p.project.ID, func() { w.ok(revoke(p)) })
			f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
			w.equal(f.Revoked.Serials, []store.RevokedSerial{{Serial: live.Serial, Server: p.server.ID, Until: live.NotAfter}})
			w.ok(w.s.Sweep(w.ctx, live.NotAfter))
			w.equal(len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Revoked.Serials), 1) // a host's clock may be behind
			w.ok(w.s.Sweep(w.ctx, live.NotAfter.Add(10*time.Minute)))
			w.equal(len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Revoked.Serials), 0)
		}
	}},
	{"a session that has issued nothing is revoked without troubling any server", func(w *world) {
		p := w.path()
		before := must[store.Project](w)(w.s.Project(w.ctx, p.project.ID))
		w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet()))
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)), before)
	}},
	{"a key that was revoked by hand is told to the servers of every project", func(w *world) {
		a, b := w.project("web", "none"), w.project("db", "none")
		k := store.RevokedKey{Fingerprint: "SHA256:lost", Reason: "laptop stolen", CreatedAt: w.now}
		for _, p := range []store.Project{a, b} {
			before := must[store.Project](w)(w.s.Project(w.ctx, p.ID)).Revision
			if p.ID == a.ID {
				w.raises(p.ID, func() { w.ok(w.s.RevokeKey(w.ctx, k, w.meta("key.revoke"))) })
			} else if before != must[store.Team](w)(w.s.Team(w.ctx)).Revision {
				w.Fatal("the other project was not told")
			}
			w.equal(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.ID)).Revoked.Keys, []string{k.Fingerprint})
		}
		w.want(store.ErrExists, w.s.RevokeKey(w.ctx, k, w.quiet()))
		listed, next, err := w.s.RevokedKeys(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(next, "")
		w.equal(listed, []store.RevokedKey{k})
		w.raises(b.ID, func() { w.ok(w.s.UnrevokeKey(w.ctx, k.Fingerprint, w.meta("key.unrevoke"))) })
		w.want(store.ErrNotFound, w.s.UnrevokeKey(w.ctx, k.Fingerprint, w.quiet()))
		w.equal(len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, a.ID)).Revoked.Keys), 0)
	}},
	{"RevokeKey is ErrInUse for a CA that is not retired", func(w *world) {
		p := w.project("web", "none")
		_, next := w.published(p.ID, userCA)
		w.want(store.ErrInUse, w.s.RevokeKey(w.ctx, store.RevokedKey{Fingerprint: next.Fingerprint}, w.quiet()))
		w.ok(w.s.AbortCA(w.ctx, p.ID, userCA, store.Without{}, w.quiet()))
		w.ok(w.s.RevokeKey(w.ctx, store.RevokedKey{Fingerprint: next.Fingerprint}, w.quiet()))
	}},
	{"of twenty rotations at once one begins, and of twenty switches one happens", func(w *world) {
		p := w.path()
		stores := w.instances(3)
		errs := parallel(20, func(i int) error {
			return stores[i%len(stores)].PublishCA(w.ctx, w.key(p.project.ID, userCA), w.quiet())
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrExists), 19)
		w.confirm(p.server, "")
		errs = parallel(20, func(i int) error {
			return stores[i%len(stores)].SwitchCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet())
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrNotFound), 19)
	}},
	{"a rotation that is switched and aborted from all sides has one active key at every moment", func(w *world) {
		p := w.path()
		stores := w.instances(3)
		errs := parallel(60, func(i int) error {
			s := stores[i%len(stores)]
			var err error
			switch i % 4 {
			case 0:
				err = s.PublishCA(w.ctx, w.key(p.project.ID, userCA), w.quiet())
			case 1:
				err = s.SwitchCA(w.ctx, p.project.ID, userCA, store.Without{Servers: []string{p.server.ID}}, w.quiet())
			case 2:
				err = s.AbortCA(w.ctx, p.project.ID, userCA, store.Without{}, w.quiet())
			case 3:
				v, err := s.Rotation(w.ctx, p.project.ID, userCA, w.now)
				if err == nil && (v.Active.ID == "" || v.Next.ID != "" && v.Previous.ID != "") {
					err = fmt.Errorf("torn: %+v", v)
				}
				return err
			}
			if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInUse) {
				return nil
			}
			return err
		})
		w.equal(count(errs, nil), 60)
	}},
}
