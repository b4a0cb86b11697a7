package storetest

import (
	"time"

	"github.com/cardea-ssh/cardea/store"
)

var liveCases = []testCase{
	{"ClaimHello is ErrDenied once the grant that it rests on is out of force", func(w *world) {
		for _, c := range []struct {
			name string
			end  func(p path)
		}{
			{"membership", func(p path) { w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet())) }},
			{"membership over", func(p path) { w.member(p.group, p.user, w.now) }},
			{"grant", func(p path) { w.ok(w.s.DeleteGrant(w.ctx, p.project.ID, p.grant.ID, w.quiet())) }},
			{"suspended", func(p path) { w.glass(p.project, p.group) }},
		} {
			p := w.pathOf(c.name)
			v := w.issue(p)
			w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
			first, second := w.claim(p, v), w.claim(p, v)
			w.ok(w.s.ClaimHello(w.ctx, first, w.quiet()))
			c.end(p)
			w.want(store.ErrDenied, w.s.ClaimHello(w.ctx, second, w.quiet()))
		}
	}},
	{"OrderEnd ends what the filter selects, once, and says why and by whom", func(w *world) {
		p, q := w.path(), w.pathOf("db")
		a, b, c := w.session(p), w.session(p), w.session(q)
		woken := w.s.Watch(w.ctx, store.GatewayTopic(p.gateway.ID))
		n, err := w.s.OrderEnd(w.ctx, store.SessionFilter{ID: a.ID}, w.admin.ID, "because", w.meta("order"))
		w.ok(err)
		w.equal(n, 1)
		w.awake(woken)
		orders, highest, err := w.s.EndOrders(w.ctx, p.gateway.ID, 0)
		w.ok(err)
		w.equal(orders, []store.EndOrder{{Session: a.ID, Reason: "because"}})
		a.EndBy, a.EndReason = w.admin.ID, "because"
		w.equal(must[store.GatewaySession](w)(w.s.GatewaySession(w.ctx, a.ID)), a)
		n, err = w.s.OrderEnd(w.ctx, store.SessionFilter{ID: a.ID}, "", "again", w.meta("never"))
		w.ok(err)
		w.rows.Add(-1)
		w.equal(n, 0)
		n, err = w.s.OrderEnd(w.ctx, store.SessionFilter{User: p.user.ID, Server: p.server.ID, Project: p.project.ID}, w.admin.ID, "all", w.meta("order"))
		w.ok(err)
		w.equal(n, 1)
		ids, _, err := w.orders(p.gateway.ID, highest)
		w.ok(err)
		w.equal(ids, []string{b.ID})
		ids, _, err = w.orders(q.gateway.ID, 0)
		w.ok(err)
		w.equal(len(ids), 0)
		w.equal(must[store.GatewaySession](w)(w.s.GatewaySession(w.ctx, c.ID)), c)
	}},
	{"sessions are listed by user, server and project, and by whether they live", func(w *world) {
		p, q := w.path(), w.pathOf("db")
		a, b := w.session(p), w.session(q)
		list := func(f store.SessionFilter) []store.GatewaySession {
			rows, _, err := w.s.GatewaySessions(w.ctx, f, store.Page{Limit: 10})
			w.ok(err)
			return rows
		}
		w.equal(list(store.SessionFilter{Server: p.server.ID}), []store.GatewaySession{a})
		w.equal(list(store.SessionFilter{Project: q.project.ID, Live: true}), []store.GatewaySession{b})
		w.equal(list(store.SessionFilter{User: p.user.ID, Server: q.server.ID}), []store.GatewaySession(nil))
		w.equal(list(store.SessionFilter{ID: a.ID}), []store.GatewaySession{a})
		a.EndedAt, a.Cause = w.now, "client"
		w.ok(w.s.EndGatewaySession(w.ctx, a, w.quiet()))
		w.equal(len(list(store.SessionFilter{User: p.user.ID, Live: true})), 0)
		w.equal(len(list(store.SessionFilter{})), 2)
	}},
	{"a server out of use has its sessions ordered to end: disabled, deleted", func(w *world) {
		p, q := w.path(), w.pathOf("db")
		a, b := w.session(p), w.session(q)
		must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{State: ptr(store.Active)}, w.quiet()))
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(len(ids), 0)
		must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{State: ptr(store.Disabled)}, w.quiet()))
		ids, _, err = w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{a.ID})
		w.ok(w.s.DeleteServer(w.ctx, q.server.ID, w.quiet()))
		ids, _, err = w.orders(q.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{b.ID})
	}},
	{"LiveProjects are those with a session that no order ends", func(w *world) {
		p := w.path()
		w.pathOf("db")
		w.equal(must[[]store.LiveProject](w)(w.s.LiveProjects(w.ctx)), []store.LiveProject(nil))
		a := w.session(p)
		revision := must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision
		w.equal(must[[]store.LiveProject](w)(w.s.LiveProjects(w.ctx)), []store.LiveProject{{ID: p.project.ID, Revision: revision}})
		w.now = w.now.Add(time.Second)
		_, err := w.s.OrderEnd(w.ctx, store.SessionFilter{ID: a.ID}, "", "because", w.quiet())
		w.ok(err)
		w.equal(must[[]store.LiveProject](w)(w.s.LiveProjects(w.ctx)), []store.LiveProject(nil))
	}},
}
