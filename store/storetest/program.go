package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// programsKept is how long a session of a program stays after its end.
const programsKept = 24 * time.Hour

// after moves the clock to so long after the end of a session and sweeps.
func (w *world) after(s store.Session, d time.Duration) {
	w.Helper()
	w.now = s.ExpiresAt.Add(d)
	w.ok(w.s.Sweep(w.ctx, w.now))
}

// there tells whether a row that was asked for is there.
func there[T any](w *world) func(T, error) bool {
	return func(_ T, err error) bool {
		w.Helper()
		if err != nil {
			w.want(store.ErrNotFound, err)
		}
		return err == nil
	}
}

func (w *world) hasSession(id string) bool {
	return there[store.Session](w)(w.s.Session(w.ctx, id))
}

func (w *world) hasDevice(id string) bool { return there[store.Device](w)(w.s.Device(w.ctx, id)) }

var programCases = []testCase{
	{"a job leaves nothing a day after its session, and a person's session stays", func(w *world) {
		alice := w.signIn(w.user("alice"))
		r := w.workloadRule(w.workloadIssuer("github"), w.service("deploy"))
		v := must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "token", "a"), w.quiet()))
		w.ok(w.s.OfferToken(w.ctx, offer(v, "next"), w.quiet()))
		w.after(v.Session, programsKept-time.Microsecond)
		w.equal([]bool{w.hasSession(v.Session.ID), w.hasDevice(v.Device.ID)}, []bool{true, true})
		w.after(v.Session, programsKept)
		w.equal([]bool{w.hasSession(v.Session.ID), w.hasDevice(v.Device.ID)}, []bool{false, false})
		w.now = alice.Session.ExpiresAt.Add(2 * programsKept)
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal([]bool{w.hasSession(alice.Session.ID), w.hasDevice(alice.Device.ID)}, []bool{true, true})
	}},
	{"the device of a key stays when its sessions go, and so does one that was revoked or has a session left", func(w *world) {
		u := w.service("deploy")
		r := w.workloadRule(w.workloadIssuer("github"), u)
		w.serviceKey(u, "k")
		byKey := must[store.Subject](w)(w.s.SignInService(w.ctx, w.byKey(u, "k"), w.quiet()))
		revoked := must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "1", "a"), w.quiet()))
		must[store.Device](w)(w.s.SetDeviceState(w.ctx, revoked.Device.ID, store.Revoked, w.quiet()))
		twice := must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "2", "b"), w.quiet()))
		w.now = w.now.Add(time.Minute)
		again := must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "3", "b"), w.quiet()))
		w.after(twice.Session, programsKept)
		w.equal([]bool{w.hasSession(byKey.Session.ID), w.hasSession(revoked.Session.ID), w.hasSession(twice.Session.ID), w.hasSession(again.Session.ID)},
			[]bool{false, false, false, true})
		w.equal([]bool{w.hasDevice(byKey.Device.ID), w.hasDevice(revoked.Device.ID), w.hasDevice(twice.Device.ID)}, []bool{true, true, true})
		w.after(again.Session, programsKept)
		w.equal(w.hasDevice(again.Device.ID), false)
		_, err := w.s.SignInWorkload(w.ctx, w.job(r, "4", "a"), w.quiet())
		w.want(store.ErrDenied, err)
		must[store.Subject](w)(w.s.SignInService(w.ctx, w.byKey(u, "k"), w.quiet()))
	}},
	{"the device of a key that was retired goes with its last session", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		v := must[store.Subject](w)(w.s.SignInService(w.ctx, w.byKey(u, "a"), w.quiet()))
		must[store.ServiceKey](w)(w.next(u, "a", "b"))
		must[store.RetiredServiceKey](w)(w.s.RetireServiceKey(w.ctx, u.ID, "b", w.quiet()))
		w.after(v.Session, programsKept)
		w.equal(w.hasDevice(v.Device.ID), false)
		_, err := w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "a"), w.quiet())
		w.want(store.ErrDenied, err)
	}},
	// By the session the connection is found when an administrator takes the rule away.
	{"the session of a job whose connection still lives stays until that has ended", func(w *world) {
		p := w.path()
		u := w.service("deploy")
		w.member(p.group, u, time.Time{})
		r := w.workloadRule(w.workloadIssuer("github"), u)
		p.user, p.subject = u, must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "token", "a"), w.quiet()))
		live := w.session(p)
		w.after(p.subject.Session, programsKept)
		w.equal(w.hasSession(p.subject.Session.ID), true)
		live.EndedAt, live.Cause = w.now, "client"
		w.ok(w.s.EndGatewaySession(w.ctx, live, w.quiet()))
		w.after(p.subject.Session, programsKept)
		w.equal(w.hasSession(p.subject.Session.ID), false)
	}},
	{"instances that sweep at once leave nothing, and fail at nothing", func(w *world) {
		r := w.workloadRule(w.workloadIssuer("github"), w.service("deploy"))
		var ids []string
		for range 20 {
			v := w.job(r, fmt.Sprint("token", w.number()), fmt.Sprint("key", w.number()))
			ids = append(ids, must[store.Subject](w)(w.s.SignInWorkload(w.ctx, v, w.quiet())).Session.ID)
		}
		stores := w.instances(3)
		at := w.now.Add(time.Hour + programsKept)
		for _, err := range parallel(9, func(i int) error { return stores[i%len(stores)].Sweep(w.ctx, at) }) {
			w.ok(err)
		}
		for _, id := range ids {
			w.equal(w.hasSession(id), false)
		}
	}},
}
