package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// ahead is carol's yes in advance, for a week.
func (w *world) ahead(a asking) store.Preauthorization {
	w.Helper()
	return must[store.Preauthorization](w)(w.s.CreatePreauthorization(w.ctx, newAhead(w, a), w.meta("preauthorization.create")))
}

func newAhead(w *world, a asking) store.Preauthorization {
	return store.Preauthorization{ID: ident.New(ident.Preauthorization), Rule: a.rule.ID, User: a.bob.ID, By: a.carol.ID, Longest: 2 * time.Hour, Until: w.now.Add(7 * 24 * time.Hour)}
}

// Who may ask and who may answer, and what was said in advance.
var requestRuleCases = []testCase{
	{"a request rule is read back with the names of what it names", func(w *world) {
		a := w.asking()
		want := w.newRequestRule(a)
		want.ID, want.CreatedAt = a.rule.ID, w.now
		want.ProjectName, want.GroupName, want.AskersName, want.ApproversName = "web", "oncall", "devs", "lead"
		w.equal(a.rule, want)
		w.equal(must[store.RequestRule](w)(w.s.RequestRule(w.ctx, a.rule.ID)), want)
		rows, _, err := w.s.RequestRules(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.RequestRule{want})
	}},
	{"a rule of what is not there, or by which who is let in lets others in, is none", func(w *world) {
		a := w.asking()
		for _, change := range []func(*store.RequestRule){
			func(r *store.RequestRule) { r.Project = "prj_none" }, func(r *store.RequestRule) { r.Group = "grp_none" },
			func(r *store.RequestRule) { r.Group = "" }, func(r *store.RequestRule) { r.Askers = "grp_none" },
			func(r *store.RequestRule) { r.Approvers = "grp_none" }, func(r *store.RequestRule) { r.Approvers = "" },
		} {
			r := w.newRequestRule(a)
			change(&r)
			_, err := w.s.CreateRequestRule(w.ctx, r, w.quiet())
			w.want(store.ErrNotFound, err)
		}
		r := w.newRequestRule(a)
		r.Approvers = r.Group
		_, err := w.s.CreateRequestRule(w.ctx, r, w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"the rules for somebody are those by which he may ask now", func(w *world) {
		a := w.asking()
		all := w.newRequestRule(a)
		all.Askers = ""
		all = must[store.RequestRule](w)(w.s.CreateRequestRule(w.ctx, all, w.quiet()))
		w.member(a.devs, a.user, w.now.Add(time.Hour))
		rules := func(u store.User, at time.Time) []string {
			var ids []string
			for _, r := range must[[]store.RequestRule](w)(w.s.RequestRulesFor(w.ctx, u.ID, at)) {
				ids = append(ids, r.ID)
			}
			return ids
		}
		w.equal(len(rules(a.bob, w.now)), 2)
		w.equal(len(rules(a.user, w.now.Add(time.Hour-time.Microsecond))), 2)
		w.equal(rules(a.user, w.now.Add(time.Hour)), []string{all.ID})
		w.equal(rules(a.carol, w.now), []string{all.ID})
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.bob.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		w.equal(len(rules(a.bob, w.now)), 0)
	}},
	{"by a preauthorization a request is approved in the same instant, and the log tells by whose", func(w *world) {
		a := w.asking()
		p := w.ahead(a)
		w.equal([]string{p.UserName, p.ByName, p.ProjectName, p.GroupName}, []string{"bob", "carol", "web", "oncall"})
		w.equal(must[store.Preauthorization](w)(w.s.Preauthorization(w.ctx, p.ID)), p)
		r := w.asked(a)
		w.rows.Add(1)
		w.told(audit.RequestApprove)
		rows := w.audit()
		e, err := audit.Decode(rows[len(rows)-1].Payload)
		w.ok(err)
		w.equal([]string{e.Actor, e.User, e.Detail["approver_name"], e.Detail["user_name"], e.Detail["preauthorization"]}, []string{"", a.bob.ID, "carol", "bob", p.ID})
		w.equal([]any{r.State, r.AnsweredBy, r.Preauthorization, r.Given}, []any{store.RequestApproved, a.carol.ID, p.ID, 2 * time.Hour})
		until, in := w.memberUntil(a)
		w.equal([]any{until, in}, []any{w.now.Add(2 * time.Hour), true})
	}},
	{"a preauthorization that does not cover it, or whose giver could not say yes now, approves nothing", func(w *world) {
		a := w.asking()
		p := w.ahead(a)
		waits := func() {
			w.Helper()
			r := w.asked(a)
			w.equal(r.State, store.RequestPending)
			w.outside(a)
			must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet()))
		}
		long := newRequest(a)
		long.For = p.Longest + time.Second
		r := must[store.AccessRequest](w)(w.s.CreateRequest(w.ctx, long, w.quiet()))
		w.equal(r.State, store.RequestPending)
		must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, r.ID, a.bob.ID, w.quiet()))

		w.ok(w.s.RemoveMember(w.ctx, a.lead.ID, a.carol.ID, w.quiet()))
		waits()
		w.member(a.lead, a.carol, time.Time{})
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.carol.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		waits()
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.carol.ID, store.UserChange{Status: ptr(store.Active), Email: ptr("bob@example.com")}, w.quiet()))
		waits()
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.carol.ID, store.UserChange{Email: ptr("carol@example.com")}, w.quiet()))
		w.now = p.Until // and no sweep has come
		waits()
	}},
	{"preauthorizations are given and taken by approvers alone, for others alone, one for each", func(w *world) {
		a := w.asking()
		give := func(change func(*store.Preauthorization)) error {
			p := newAhead(w, a)
			change(&p)
			_, err := w.s.CreatePreauthorization(w.ctx, p, w.quiet())
			return err
		}
		w.want(store.ErrDenied, give(func(p *store.Preauthorization) { p.By = a.user.ID }))
		w.want(store.ErrSamePerson, give(func(p *store.Preauthorization) { p.User = a.carol.ID }))
		w.want(store.ErrDenied, give(func(p *store.Preauthorization) { p.By = a.bob.ID }))
		w.want(store.ErrNotFound, give(func(p *store.Preauthorization) { p.User = "usr_none" }))
		w.want(store.ErrNotFound, give(func(p *store.Preauthorization) { p.Rule = "rqr_none" }))
		w.want(store.ErrDenied, give(func(p *store.Preauthorization) { p.Longest = a.rule.Longest + time.Second }))
		w.want(store.ErrDenied, give(func(p *store.Preauthorization) { p.Until = w.now }))
		p := w.ahead(a)
		w.want(store.ErrExists, give(func(*store.Preauthorization) {}))
		listed := func(f store.RequestFilter) int {
			f.At = w.now
			rows, _, err := w.s.Preauthorizations(w.ctx, f, store.Page{Limit: 10})
			w.ok(err)
			return len(rows)
		}
		w.equal([]int{listed(store.RequestFilter{User: a.bob.ID}), listed(store.RequestFilter{Approver: a.carol.ID}), listed(store.RequestFilter{Approver: w.admin.ID}),
			listed(store.RequestFilter{User: a.user.ID}), listed(store.RequestFilter{Approver: a.bob.ID})}, []int{1, 1, 1, 0, 0})
		w.want(store.ErrDenied, w.s.DeletePreauthorization(w.ctx, p.ID, a.bob.ID, w.quiet()))
		w.ok(w.s.DeletePreauthorization(w.ctx, p.ID, w.admin.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.DeletePreauthorization(w.ctx, p.ID, w.admin.ID, w.quiet()))
		p = w.ahead(a)
		w.now = p.Until
		w.ok(w.s.Sweep(w.ctx, w.now))
		_, err := w.s.Preauthorization(w.ctx, p.ID)
		w.want(store.ErrNotFound, err)
		w.ahead(a)
	}},
	{"with its rule, its group, its approvers or its project a request is over, and so is what was said in advance", func(w *world) {
		a := w.asking()
		for _, remove := range []func() error{
			func() error { return w.s.DeleteRequestRule(w.ctx, a.rule.ID, w.admin.ID, w.quiet()) },
			func() error { return w.s.DeleteGroup(w.ctx, a.lead.ID, w.quiet()) },
			func() error { return w.s.DeleteGroup(w.ctx, a.devs.ID, w.quiet()) },
			func() error { return w.s.DeleteGroup(w.ctx, a.oncall.ID, w.quiet()) },
			func() error {
				w.ok(w.s.DeleteServer(w.ctx, a.server.ID, w.quiet()))
				return w.s.DeleteProject(w.ctx, a.project.ID, w.quiet())
			},
		} {
			long := newRequest(a)
			long.For = a.rule.Longest
			r := must[store.AccessRequest](w)(w.s.CreateRequest(w.ctx, long, w.quiet()))
			p := w.ahead(a)
			woken := w.s.Watch(w.ctx, store.RequestTopic(r.ID))
			w.ok(remove())
			w.awake(woken)
			w.equal(must[store.AccessRequest](w)(w.s.AccessRequest(w.ctx, r.ID)).State, store.RequestCancelled)
			w.want(store.ErrUsed, w.answer(yes(a, r)))
			_, err := w.s.Preauthorization(w.ctx, p.ID)
			w.want(store.ErrNotFound, err)
			w.want(store.ErrNotFound, w.s.DeleteRequestRule(w.ctx, a.rule.ID, w.admin.ID, w.quiet()))
			_, err = w.s.CreateRequest(w.ctx, newRequest(a), w.quiet())
			w.want(store.ErrNotFound, err)
			// The next of these has a rule of its own.
			for _, g := range []*store.Group{&a.lead, &a.devs, &a.oncall} {
				if _, err := w.s.Group(w.ctx, g.ID); err != nil {
					*g = w.group(g.Name)
				}
			}
			w.member(a.lead, a.carol, time.Time{})
			w.member(a.devs, a.bob, time.Time{})
			if _, err := w.s.Project(w.ctx, a.project.ID); err == nil {
				a.rule = must[store.RequestRule](w)(w.s.CreateRequestRule(w.ctx, w.newRequestRule(a), w.quiet()))
			}
		}
	}},
	{"nobody is let into a group whose members a provider keeps", func(w *world) {
		a := w.asking()
		okta := w.provider("okta")
		r := w.newRequestRule(a)
		r.Group = w.keptGroup(okta, "kept").ID
		_, err := w.s.CreateRequestRule(w.ctx, r, w.quiet())
		w.want(store.ErrDenied, err)
		waits := w.asked(a)
		keep := func(source string) {
			must[store.Group](w)(w.s.UpdateGroup(w.ctx, a.oncall.ID, store.GroupChange{Source: &source, External: ptr("SRE")}, w.quiet()))
		}
		keep(okta.ID)
		w.want(store.ErrDenied, w.answer(yes(a, waits)))
		w.equal(len(must[[]store.RequestRule](w)(w.s.RequestRulesFor(w.ctx, a.bob.ID, w.now))), 0)
		must[store.AccessRequest](w)(w.s.CancelRequest(w.ctx, waits.ID, a.bob.ID, w.quiet()))
		_, err = w.s.CreateRequest(w.ctx, newRequest(a), w.quiet())
		w.want(store.ErrDenied, err)
		w.outside(a)
	}},
	{"rules, and what is said in advance by one of them, have a bound", func(w *world) {
		a := w.asking()
		errs := parallel(store.MaxRequestRules, func(int) error { // and the one that there is
			_, err := w.s.CreateRequestRule(w.ctx, w.newRequestRule(a), w.quiet())
			return err
		})
		w.equal([]int{count(errs, nil), count(errs, store.ErrTooMany)}, []int{store.MaxRequestRules - 1, 1})
		errs = parallel(store.MaxPreauthorizations+1, func(i int) error {
			p := newAhead(w, a)
			u, err := w.s.CreateUser(w.ctx, w.person(fmt.Sprint("user", i), false), "", w.quiet())
			if err != nil {
				return err
			}
			p.User = u.ID
			_, err = w.s.CreatePreauthorization(w.ctx, p, w.quiet())
			return err
		})
		w.equal([]int{count(errs, nil), count(errs, store.ErrTooMany)}, []int{store.MaxPreauthorizations, 1})
	}},
}
