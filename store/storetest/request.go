package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// asking is a project whose servers bob may ask for, and carol answers.
type asking struct {
	path
	bob, carol         store.User
	oncall, devs, lead store.Group // what is asked for, who may ask, who answers
	rule               store.RequestRule
}

func (w *world) asking() asking {
	w.Helper()
	a := asking{path: w.path(), bob: w.user("bob"), carol: w.user("carol"), oncall: w.group("oncall"), devs: w.group("devs"), lead: w.group("lead")}
	w.grant(a.project, a.oncall, time.Time{})
	w.member(a.devs, a.bob, time.Time{})
	w.member(a.lead, a.carol, time.Time{})
	a.rule = must[store.RequestRule](w)(w.s.CreateRequestRule(w.ctx, w.newRequestRule(a), w.meta("request-rule.create")))
	return a
}

func (w *world) newRequestRule(a asking) store.RequestRule {
	return store.RequestRule{ID: ident.New(ident.RequestRule), Project: a.project.ID, Group: a.oncall.ID, Askers: a.devs.ID, Approvers: a.lead.ID,
		Longest: 4 * time.Hour, CreatedBy: w.admin.ID}
}

func newRequest(a asking) store.AccessRequest {
	return store.AccessRequest{ID: ident.New(ident.AccessRequest), Rule: a.rule.ID, User: a.bob.ID, Server: a.server.ID, For: 2 * time.Hour, Reason: "the disk is full"}
}

// asked is bob's request.
func (w *world) asked(a asking) store.AccessRequest {
	w.Helper()
	return must[store.AccessRequest](w)(w.s.CreateRequest(w.ctx, newRequest(a), w.meta("request.create")))
}

// yes is carol's answer.
func yes(a asking, r store.AccessRequest) store.RequestAnswer { return yesBy(a.carol, r) }

func yesBy(by store.User, r store.AccessRequest) store.RequestAnswer {
	return store.RequestAnswer{Request: r.ID, By: by.ID, Approve: true, Text: "go"}
}

func (w *world) answer(v store.RequestAnswer) error {
	w.Helper()
	_, err := w.s.AnswerRequest(w.ctx, v, w.quiet())
	return err
}

// memberUntil is when bob's membership in what he asked for ends; false if he has none.
func (w *world) memberUntil(a asking) (time.Time, bool) {
	w.Helper()
	rows, _, err := w.s.Members(w.ctx, a.oncall.ID, store.Page{Limit: 100})
	w.ok(err)
	for _, m := range rows {
		if m.User == a.bob.ID {
			return m.Until, true
		}
	}
	return time.Time{}, false
}

// outside fails if bob became a member.
func (w *world) outside(a asking) {
	w.Helper()
	if until, in := w.memberUntil(a); in {
		w.Fatalf("he is a member until %s", until)
	}
}

var requestCases = []testCase{
	{"a request waits, is read back by who asked and by who answers, and by nobody else", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		want := newRequest(a)
		want.ID, want.Project, want.Group, want.State = r.ID, a.project.ID, a.oncall.ID, store.RequestPending
		want.CreatedAt, want.ExpiresAt = w.now, w.now.Add(store.RequestLife)
		want.ProjectName, want.GroupName, want.UserName, want.ServerName = "web", "oncall", "bob", "web-1"
		w.equal(r, want)
		w.equal(must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID)), want)
		for name, c := range map[string]struct {
			f    store.RequestFilter
			want int
		}{
			"his own":          {store.RequestFilter{User: a.bob.ID}, 1},
			"another's":        {store.RequestFilter{User: a.user.ID}, 0},
			"the approver's":   {store.RequestFilter{Approver: a.carol.ID, At: w.now, Pending: true}, 1},
			"an admin's":       {store.RequestFilter{Approver: w.admin.ID, At: w.now, Pending: true}, 1},
			"no approver's":    {store.RequestFilter{Approver: a.user.ID, At: w.now}, 0},
			"not his to grant": {store.RequestFilter{Approver: a.bob.ID, At: w.now}, 0},
			"in time":          {store.RequestFilter{Pending: true, At: r.ExpiresAt.Add(-time.Microsecond)}, 1},
			"over":             {store.RequestFilter{Pending: true, At: r.ExpiresAt}, 0},
		} {
			rows, _, err := w.s.AccessRequests(w.ctx, c.f, store.Page{Limit: 10})
			w.ok(err)
			if len(rows) != c.want {
				w.Errorf("%s: %d, want %d", name, len(rows), c.want)
			}
		}
		w.equal(must[bool](w)(w.s.MayAnswer(w.ctx, a.rule.ID, a.carol.ID, w.now)), true)
		w.equal(must[bool](w)(w.s.MayAnswer(w.ctx, a.rule.ID, w.admin.ID, w.now)), true)
		w.equal(must[bool](w)(w.s.MayAnswer(w.ctx, a.rule.ID, a.user.ID, w.now)), false)
		w.equal(must[bool](w)(w.s.MayAnswer(w.ctx, "rqr_none", w.admin.ID, w.now)), false)
		w.outside(a)
	}},
	{"who may not ask, or for so long, has asked for nothing", func(w *world) {
		a := w.asking()
		for name, c := range map[string]struct {
			change func(*store.AccessRequest)
			want   error
		}{
			"an unknown rule":    {func(r *store.AccessRequest) { r.Rule = "rqr_none" }, store.ErrNotFound},
			"an unknown user":    {func(r *store.AccessRequest) { r.User = "usr_none" }, store.ErrNotFound},
			"not among askers":   {func(r *store.AccessRequest) { r.User = a.carol.ID }, store.ErrDenied},
			"longer than it may": {func(r *store.AccessRequest) { r.For = a.rule.Longest + time.Second }, store.ErrDenied},
			"for no time":        {func(r *store.AccessRequest) { r.For = 0 }, store.ErrDenied},
			"for a time before":  {func(r *store.AccessRequest) { r.For = -time.Hour }, store.ErrDenied},
		} {
			r := newRequest(a)
			c.change(&r)
			if _, err := w.s.CreateRequest(w.ctx, r, w.quiet()); count([]error{err}, c.want) != 1 {
				w.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.bob.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.CreateRequest(w.ctx, newRequest(a), w.quiet())
		w.want(store.ErrDenied, err)
		rows, _, err := w.s.AccessRequests(w.ctx, store.RequestFilter{}, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(rows), 0)
	}},
	{"approved, he is a member to the end, with the revision and the wake-ups of that", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		woken := w.s.Watch(w.ctx, store.RequestTopic(r.ID))
		catalog := w.s.Watch(w.ctx, store.UserTopic(a.bob.ID))
		w.now = w.now.Add(time.Minute)
		w.raises(a.project.ID, func() {
			w.ok(func() (err error) {
				r, err = w.s.AnswerRequest(w.ctx, yes(a, r), w.meta("request.approve"))
				return err
			}())
		})
		w.awake(woken)
		w.awake(catalog)
		w.equal([]any{r.State, r.AnsweredBy, r.AnsweredByName, r.Answer, r.AnsweredAt, r.Given, r.Until},
			[]any{store.RequestApproved, a.carol.ID, "carol", "go", w.now, 2 * time.Hour, w.now.Add(2 * time.Hour)})
		until, in := w.memberUntil(a)
		w.equal([]any{until, in}, []any{r.Until, true})
		w.logged("request.approve")
		// It ends as every membership does, with nobody's help.
		w.now = r.Until
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.told(audit.MemberEnd)
		w.outside(a)
	}},
	{"what is given may be shorter than what was asked for, and never longer", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		for _, d := range []time.Duration{r.For + time.Second, -time.Second, time.Second / 2} {
			v := yes(a, r)
			v.For = d
			w.want(store.ErrDenied, w.answer(v))
		}
		w.outside(a)
		v := yes(a, r)
		v.For = 10 * time.Minute
		w.ok(w.answer(v))
		until, _ := w.memberUntil(a)
		w.equal(until, w.now.Add(10*time.Minute))
	}},
	{"an approval never shortens what he has", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		for _, had := range []time.Time{w.now.Add(3 * time.Hour), {}} {
			w.member(a.oncall, a.bob, had)
			got := must[store.AccessRequest](w)(w.s.AnswerRequest(w.ctx, yes(a, r), w.quiet()))
			w.equal(got.Until, had)
			until, _ := w.memberUntil(a)
			w.equal(until, had)
			r = w.asked(a)
		}
		w.member(a.oncall, a.bob, w.now.Add(time.Hour))
		w.ok(w.answer(yes(a, r)))
		until, _ := w.memberUntil(a)
		w.equal(until, w.now.Add(2*time.Hour))
	}},
	{"nobody answers who is no approver at that instant", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		approve := func(by store.User) error { return w.answer(yesBy(by, r)) }
		refuse := func(by store.User) error { return w.answer(store.RequestAnswer{Request: r.ID, By: by.ID}) }
		w.want(store.ErrDenied, approve(a.user))
		w.want(store.ErrDenied, refuse(a.user))
		w.want(store.ErrDenied, approve(a.bob))
		w.want(store.ErrDenied, approve(store.User{ID: "usr_none"}))
		w.member(a.lead, a.user, w.now.Add(time.Hour))
		w.now = w.now.Add(time.Hour) // and no sweep has come
		w.want(store.ErrDenied, approve(a.user))
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.carol.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		w.want(store.ErrDenied, approve(a.carol))
		w.outside(a)
		w.ok(approve(w.admin))
	}},
	{"nobody answers himself, nor by an account of his that shares a device or an address", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		approve := func(by store.User) error { return w.answer(yesBy(by, r)) }
		w.member(a.lead, a.bob, time.Time{})
		w.want(store.ErrSamePerson, approve(a.bob))
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.bob.ID, store.UserChange{Admin: ptr(true)}, w.quiet()))
		w.want(store.ErrSamePerson, approve(a.bob))

		w.signInWith(a.bob, "one laptop")
		second := w.user("bob2")
		w.member(a.lead, second, time.Time{})
		subject := w.signInWith(second, "one laptop")
		w.want(store.ErrSamePerson, approve(second))
		must[store.Device](w)(w.s.SetDeviceState(w.ctx, subject.Device.ID, store.Revoked, w.quiet())) // it was his all the same
		w.want(store.ErrSamePerson, approve(second))

		third := w.person("bob3", true)
		third.Email = "BOB@example.com"
		third = must[store.User](w)(w.s.CreateUser(w.ctx, third, "", w.quiet()))
		w.want(store.ErrSamePerson, approve(third))
		nobody := w.person("nobody", true)
		nobody.Email = ""
		must[store.User](w)(w.s.CreateUser(w.ctx, nobody, "", w.quiet()))
		w.outside(a)
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.bob.ID, store.UserChange{Email: ptr("")}, w.quiet()))
		w.ok(approve(nobody)) // no address is not the same address
	}},
	{"an approval is for who is still active and may still ask", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		w.ok(w.s.RemoveMember(w.ctx, a.devs.ID, a.bob.ID, w.quiet()))
		w.want(store.ErrDenied, w.answer(yes(a, r)))
		w.member(a.devs, a.bob, time.Time{})
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.bob.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		w.want(store.ErrDenied, w.answer(yes(a, r)))
		w.outside(a)
		w.ok(w.answer(store.RequestAnswer{Request: r.ID, By: a.carol.ID}))
	}},
	{"what was given ends early by the word of who asked or who answers, once, with the wake-ups of that", func(w *world) {
		a := w.asking()
		w.removing(a.path)
		given := func() store.AccessRequest {
			return must[store.AccessRequest](w)(w.s.AnswerRequest(w.ctx, yes(a, w.asked(a)), w.quiet()))
		}
		end := func(r store.AccessRequest, by store.User) error {
			_, err := w.s.EndRequest(w.ctx, r.ID, by.ID, w.quiet())
			return err
		}
		for _, by := range []store.User{a.bob, a.carol, w.admin} {
			r := given()
			w.want(store.ErrDenied, end(r, a.user))
			w.now = w.now.Add(time.Minute)
			woken := w.s.Watch(w.ctx, store.RequestTopic(r.ID))
			w.raises(a.project.ID, func() { w.ok(end(r, by)) })
			w.awake(woken)
			got := must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID))
			w.equal([]any{got.State, got.Until, got.AnsweredBy}, []any{store.RequestEnded, w.now, a.carol.ID})
			w.equal(w.leavers(a.path), []store.Leaver{{User: a.bob.ID}})
			w.outside(a)
			w.want(store.ErrUsed, end(r, by))
		}
		w.want(store.ErrNotFound, end(store.AccessRequest{ID: "rqs_none"}, w.admin))
		waiting := w.asked(a)
		w.want(store.ErrUsed, end(waiting, a.bob))
		must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, waiting.ID, a.bob.ID, w.quiet()))
		// What an administrator made of the membership since is not the request's to end.
		r := given()
		for _, until := range []time.Time{{}, r.Until.Add(time.Hour)} {
			w.member(a.oncall, a.bob, until)
			w.want(store.ErrUsed, end(r, a.carol))
			got, in := w.memberUntil(a)
			w.equal([]any{got, in}, []any{until, true})
		}
		w.member(a.oncall, a.bob, r.Until)
		w.now = r.Until
		w.want(store.ErrUsed, end(r, a.carol))
		// And where the rule is gone, who asked and nobody else.
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.rows.Add(1)
		r = given()
		w.ok(w.s.DeleteRequestRule(w.ctx, a.rule.ID, w.admin.ID, w.quiet()))
		w.want(store.ErrDenied, end(r, a.carol))
		w.ok(end(r, a.bob))
		w.outside(a)
	}},
	{"a request is answered once: approved, denied, cancelled and over are for good", func(w *world) {
		a := w.asking()
		no := func(r store.AccessRequest) store.RequestAnswer {
			return store.RequestAnswer{Request: r.ID, By: a.carol.ID, Text: "no"}
		}
		done := func(r store.AccessRequest) {
			w.Helper()
			w.want(store.ErrUsed, w.answer(yes(a, r)))
			w.want(store.ErrUsed, w.answer(no(r)))
			_, err := w.s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet())
			w.want(store.ErrUsed, err)
		}
		r := w.asked(a)
		w.ok(w.answer(no(r)))
		w.equal(must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID)).State, store.RequestDenied)
		done(r)
		r = w.asked(a)
		_, err := w.s.CancelRequest(w.ctx, r.ID, a.carol.ID, w.quiet())
		w.want(store.ErrNotFound, err)
		w.equal(must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet())).State, store.RequestCancelled)
		done(r)
		r = w.asked(a)
		w.now = r.ExpiresAt // and no sweep has come
		done(r)
		w.equal(r.StateAt(w.now), store.RequestExpired)
		w.outside(a)
		r = w.asked(a) // which has the one before written down as over
		w.rows.Add(1)
		w.ok(w.answer(yes(a, r)))
		done(r)
		w.want(store.ErrNotFound, w.answer(store.RequestAnswer{Request: "rqs_none", By: a.carol.ID}))
	}},
	{"the sweep writes down what nobody answered, once, and drops what is old", func(w *world) {
		a := w.asking()
		r := w.asked(a)
		woken := w.s.Watch(w.ctx, store.RequestTopic(r.ID))
		w.now = r.ExpiresAt.Add(-time.Microsecond)
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID)).State, store.RequestPending)
		w.now = r.ExpiresAt
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.awake(woken)
		w.rows.Add(1)
		w.told(audit.RequestExpire)
		w.equal(must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID)).State, store.RequestExpired)
		rows := len(w.audit())
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(len(w.audit()), rows)
		w.ok(w.s.Sweep(w.ctx, r.CreatedAt.Add(90*24*time.Hour)))
		_, err := w.s.AccessRequest(w.ctx, r.ID)
		w.want(store.ErrNotFound, err)
	}},
	{"one waits by each rule, ten of one person, and fifty are made in a day", func(w *world) {
		a := w.asking()
		w.asked(a)
		_, err := w.s.CreateRequest(w.ctx, newRequest(a), w.quiet())
		w.want(store.ErrExists, err)
		for i := range store.MaxPendingRequests {
			r := w.newRequestRule(a)
			rule := must[store.RequestRule](w)(w.s.CreateRequestRule(w.ctx, r, w.quiet()))
			v := newRequest(a)
			v.Rule = rule.ID
			_, err := w.s.CreateRequest(w.ctx, v, w.quiet())
			if i < store.MaxPendingRequests-1 {
				w.ok(err)
			} else {
				w.want(store.ErrTooMany, err)
			}
		}
		w.now = w.now.Add(store.RequestLife)
		for i := range store.MaxRequestsADay + 1 {
			r, err := w.s.CreateRequest(w.ctx, newRequest(a), w.quiet())
			if i == store.MaxRequestsADay {
				w.want(store.ErrTooMany, err)
				break
			}
			w.ok(err)
			must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet()))
		}
	}},
	{"of many who answer at once one does, on any instance", func(w *world) {
		a := w.asking()
		stores := w.instances(3)
		for range 3 {
			r := w.asked(a)
			errs := parallel(12, func(i int) error {
				s := stores[i%len(stores)]
				var err error
				switch i % 4 {
				case 0:
					_, err = s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet())
				case 1:
					_, err = s.AnswerRequest(w.ctx, store.RequestAnswer{Request: r.ID, By: w.admin.ID}, w.quiet())
				default:
					_, err = s.AnswerRequest(w.ctx, yes(a, r), store.Meta{Now: w.now, Audit: [][]byte{fmt.Append(nil, "approved ", r.ID)}})
				}
				return err
			})
			w.equal(count(errs, nil), 1)
			w.equal(count(errs, store.ErrUsed), 11)
			approvals := 0
			for _, row := range w.audit() {
				if string(row.Payload) == "approved "+r.ID {
					approvals++
				}
			}
			_, in := w.memberUntil(a)
			w.equal(must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID)).State == store.RequestApproved, approvals == 1)
			w.equal(in, approvals == 1)
			if in {
				w.ok(w.s.RemoveMember(w.ctx, a.oncall.ID, a.bob.ID, w.quiet()))
			}
		}
	}},
	{"an approver who is removed at the same instant answers before that or not at all", func(w *world) {
		a := w.asking()
		stores := w.instances(2)
		for range 8 {
			r := w.asked(a)
			errs := parallel(2, func(i int) error {
				if i == 0 {
					return stores[0].RemoveMember(w.ctx, a.lead.ID, a.carol.ID, store.Meta{Now: w.now, Audit: [][]byte{fmt.Append(nil, "removed ", r.ID)}})
				}
				_, err := stores[len(stores)-1].AnswerRequest(w.ctx, yes(a, r), store.Meta{Now: w.now, Audit: [][]byte{fmt.Append(nil, "approved ", r.ID)}})
				return err
			})
			w.ok(errs[0])
			if errs[1] == nil {
				w.nothingAfter("removed "+r.ID, "approved "+r.ID)
				w.ok(w.s.RemoveMember(w.ctx, a.oncall.ID, a.bob.ID, w.quiet()))
			} else {
				w.want(store.ErrDenied, errs[1])
				w.outside(a)
				must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet()))
			}
			w.member(a.lead, a.carol, time.Time{})
		}
	}},
	{"whatever people do, who is in was let in by another who might, and for no longer", runRequestModel},
	{"a repeated request under its key is the first one", func(w *world) {
		a := w.asking()
		m := w.quiet()
		v := newRequest(a)
		m.Idempotency = &store.Idempotency{Scope: "ses_a", Key: "k", Hash: []byte("h"), Ref: v.ID}
		must[store.AccessRequest](w)(w.s.CreateRequest(w.ctx, v, m))
		_, err := w.s.CreateRequest(w.ctx, newRequest(a), m)
		if again, ok := err.(*store.Repeated); !ok || again.Ref != v.ID {
			w.Fatalf("got %v", err)
		}
	}},
}

// signInWith is a sign-in on the device with this key.
func (w *world) signInWith(u store.User, thumbprint string) store.Subject {
	w.Helper()
	return must[store.Subject](w)(w.s.Redeem(w.ctx, w.approved(u, thumbprint), w.meta("signin")))
}
