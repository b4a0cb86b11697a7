package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func (w *world) newRule(p store.Project) store.EnrolmentRule {
	return store.EnrolmentRule{ID: ident.New(ident.EnrolmentRule), Cloud: "aws", Account: "123456789012", Regions: []string{"eu-*"}, Identities: []string{"web"},
		Within: time.Hour, Project: p.ID, ServerName: "{instance_id}", Labels: map[string]string{"env": "prod"}, CreatedAt: w.now}
}

func (w *world) rule(p store.Project) store.EnrolmentRule {
	w.Helper()
	r := w.newRule(p)
	w.ok(w.s.CreateEnrolmentRule(w.ctx, r, w.meta("rule.create")))
	return r
}

func (w *world) instance(r store.EnrolmentRule, id string) store.InstanceEnrolment {
	return store.InstanceEnrolment{Rule: r.ID, Instance: "aws/123456789012/" + id, Challenge: sum(fmt.Sprint("challenge", w.number())), ChallengeEnds: w.now.Add(time.Minute)}
}

var instanceCases = []testCase{
	{"enrolment rules are kept whole, found by account, and go with their project", func(w *world) {
		p, other := w.project("web", "none"), w.project("db", "none")
		r := w.rule(p)
		bare := store.EnrolmentRule{ID: ident.New(ident.EnrolmentRule), Cloud: "gcp", Account: "acme", Project: other.ID, CreatedAt: w.now.Add(time.Second)}
		w.ok(w.s.CreateEnrolmentRule(w.ctx, bare, w.quiet()))
		all, next, err := w.s.EnrolmentRules(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(all, []store.EnrolmentRule{r, bare})
		w.equal(next, "")
		w.equal(must[[]store.EnrolmentRule](w)(w.s.EnrolmentRulesOf(w.ctx, "aws", "123456789012")), []store.EnrolmentRule{r})
		w.equal(len(must[[]store.EnrolmentRule](w)(w.s.EnrolmentRulesOf(w.ctx, "gcp", "123456789012"))), 0)
		w.want(store.ErrNotFound, w.s.CreateEnrolmentRule(w.ctx, w.newRule(store.Project{ID: "prj_none"}), w.quiet()))
		w.ok(w.s.DeleteProject(w.ctx, other.ID, w.quiet()))
		w.ok(w.s.DeleteEnrolmentRule(w.ctx, r.ID, w.meta("rule.delete")))
		w.want(store.ErrNotFound, w.s.DeleteEnrolmentRule(w.ctx, r.ID, w.quiet()))
		all, _, err = w.s.EnrolmentRules(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(all), 0)
	}},
	{"EnrolInstance makes the server of an instance once for ever", func(w *world) {
		p := w.project("web", "none")
		r := w.rule(p)
		in, c := w.newServer(p, "i-1"), w.credential()
		w.raises(p.ID, func() {
			got := must[store.Server](w)(w.s.EnrolInstance(w.ctx, w.instance(r, "i-1"), in, c, w.meta("server.enrol")))
			in.EventsNext, in.LastSeen = 1, w.now
			w.equal(got, in)
		})
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, c.TokenHash)).Server, in)
		_, err := w.s.EnrolInstance(w.ctx, w.instance(r, "i-1"), w.newServer(p, "i-2"), w.credential(), w.quiet())
		w.want(store.ErrUsed, err)
		w.ok(w.s.DeleteServer(w.ctx, in.ID, w.quiet()))
		_, err = w.s.EnrolInstance(w.ctx, w.instance(r, "i-1"), w.newServer(p, "i-1"), w.credential(), w.quiet())
		w.want(store.ErrUsed, err)
	}},
	{"EnrolInstance takes a challenge once, and nothing where it fails", func(w *world) {
		p, other := w.project("web", "none"), w.project("db", "none")
		r := w.rule(p)
		one := w.instance(r, "i-1")
		must[store.Server](w)(w.s.EnrolInstance(w.ctx, one, w.newServer(p, "i-1"), w.credential(), w.quiet()))
		two := w.instance(r, "i-2")
		two.Challenge = one.Challenge
		_, err := w.s.EnrolInstance(w.ctx, two, w.newServer(p, "i-2"), w.credential(), w.quiet())
		w.want(store.ErrReplayed, err)
		two = w.instance(r, "i-2")
		_, err = w.s.EnrolInstance(w.ctx, two, w.newServer(p, "i-1"), w.credential(), w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.EnrolInstance(w.ctx, two, w.newServer(other, "i-2"), w.credential(), w.quiet())
		w.want(store.ErrDenied, err)
		must[store.Server](w)(w.s.EnrolInstance(w.ctx, two, w.newServer(p, "i-2"), w.credential(), w.quiet()))
		w.ok(w.s.DeleteEnrolmentRule(w.ctx, r.ID, w.quiet()))
		_, err = w.s.EnrolInstance(w.ctx, w.instance(r, "i-3"), w.newServer(p, "i-3"), w.credential(), w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"fifty enrolments of one instance at once are exactly one", func(w *world) {
		p := w.project("web", "none")
		r := w.rule(p)
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			_, err := stores[i%len(stores)].EnrolInstance(w.ctx, w.instance(r, "i-1"), w.newServer(p, fmt.Sprint("web-", i)), w.credential(), w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrUsed), 49)
	}},
	{"fifty uses of a token of seven at once are exactly seven", func(w *world) {
		p := w.project("web", "none")
		secret := w.token(store.KindServer, p.ID, 7)
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			_, err := stores[i%len(stores)].EnrolServer(w.ctx, secret, w.newServer(p, fmt.Sprint("web-", i)), w.credential(), w.quiet())
			return err
		})
		w.equal(count(errs, nil), 7)
		w.equal(count(errs, store.ErrUsed), 43)
	}},
	{"EnrolAgain gives the same key the same server, and a new credential for the old", func(w *world) {
		p := w.project("web", "none")
		secret := w.token(store.KindServer, p.ID, 1)
		way := must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, w.now)).ID
		first := w.credential()
		made := must[store.Server](w)(w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-1"), first, w.quiet()))
		second := w.credential()
		second.Thumbprint = first.Thumbprint
		w.equal(must[store.Server](w)(w.s.EnrolAgain(w.ctx, way, second, w.meta("server.enrol"))).ID, made.ID)
		_, err := w.s.Authenticate(w.ctx, first.TokenHash)
		w.want(store.ErrNotFound, err)
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, second.TokenHash)).Server.ID, made.ID)
		_, err = w.s.EnrolAgain(w.ctx, way, w.credential(), w.quiet()) // another key
		w.want(store.ErrNotFound, err)
		_, err = w.s.EnrolAgain(w.ctx, "enr_other", second, w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.EnrolAgain(w.ctx, "", second, w.quiet())
		w.want(store.ErrNotFound, err)
		late := w.quiet()
		late.Now = w.now.Add(store.AgainWithin)
		_, err = w.s.EnrolAgain(w.ctx, way, second, late)
		w.want(store.ErrNotFound, err)
		w.ok(w.s.DeleteServer(w.ctx, made.ID, w.quiet()))
		_, err = w.s.EnrolAgain(w.ctx, way, second, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
}

var cloneCases = []testCase{
	{"a copied credential holds the server, tells of it, and takes nothing of the report", func(w *world) {
		p := w.path()
		report := func(run, last string, number int64) store.Pulse {
			w.Helper()
			return must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{ConfirmedEpoch: 1, ConfirmedCounter: number, Beat: &store.Beat{
				Run: run, Number: number, Last: last, Next: fmt.Sprint("word", w.number()), Where: "192.0.2." + run}}, w.meta("report")))
		}
		one := report("1", "", 1)
		two := report("1", one.Word, 2)
		w.equal(two.Word != "" && two.Word != one.Word, true)
		w.equal(report("1", one.Word, 3).Word, two.Word) // the answer was lost
		w.equal(report("2", two.Word, 4).Held, "")       // a restart, for all we know
		w.equal(report("1", two.Word, 5), store.Pulse{Soon: true})
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).ConfirmedCounter, int64(4))
		woken := w.s.Watch(w.ctx, store.ServerTopic(p.server.ID))
		w.raises(p.project.ID, func() {
			held := report("1", two.Word, 6).Held
			w.equal(held, "two hosts use its credential, one at 192.0.2.2 and one at 192.0.2.1")
		})
		w.awake(woken)
		w.told(audit.ServerClone)
		v := must[store.Server](w)(w.s.Server(w.ctx, p.server.ID))
		w.equal(v.State, store.Held)
		w.equal(v.ConfirmedCounter, int64(4))
		_, err := w.s.UpdateServer(w.ctx, v.ID, store.ServerChange{State: ptr(store.Active)}, w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrDenied, w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()))
		w.raises(p.project.ID, func() {
			v = must[store.Server](w)(w.s.ReleaseServer(w.ctx, v.ID, w.meta("server.release")))
		})
		w.equal(v.State+v.Held, store.Active)
		_, err = w.s.ReleaseServer(w.ctx, v.ID, w.quiet())
		w.want(store.ErrDenied, err)
		w.equal(report("1", "anything", 7).Held, "")
	}},
	{"a held server may be disabled, and is then no longer held", func(w *world) {
		p := w.path()
		beat := store.Beat{Run: "1", Number: 1, Machine: "a", Next: "w"}
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{Beat: &beat}, w.quiet()))
		beat.Machine, beat.Number, beat.Last = "b", 2, "w"
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{Beat: &beat}, w.quiet()))
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).State, store.Held)
		v := must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{State: ptr(store.Disabled)}, w.quiet()))
		w.equal(v.State+v.Held, store.Disabled)
	}},
}
