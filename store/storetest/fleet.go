package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

var enrolCases = []testCase{
	{"an enrolment token is read by the hash of its secret while it is usable", func(w *world) {
		secret := sum("s")
		e := store.EnrolmentToken{ID: ident.New(ident.Enrolment), SecretHash: secret, Kind: store.KindGateway, Name: "gw-1", Address: "gw-1:7234",
			Labels: map[string]string{"pool": "a"}, Egress: []string{"192.0.2.1", "192.0.2.2"}, AltNames: []string{"a"}, HostNames: true, TLSAddress: "gw-1:443", UsesLeft: 2, ExpiresAt: w.now.Add(time.Hour), CreatedAt: w.now}
		w.ok(w.s.CreateEnrolmentToken(w.ctx, e, w.meta("token")))
		w.equal(must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, w.now)), e)
		must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, e.ExpiresAt.Add(-time.Microsecond)))
		_, err := w.s.EnrolmentToken(w.ctx, secret, e.ExpiresAt)
		w.want(store.ErrUsed, err)
		_, err = w.s.EnrolmentToken(w.ctx, sum("other"), w.now)
		w.want(store.ErrNotFound, err)
		w.want(store.ErrExists, w.s.CreateEnrolmentToken(w.ctx, e, w.quiet()))
	}},
	{"a deleted enrolment token lets nobody in", func(w *world) {
		secret := w.token(store.KindGateway, "", 1)
		e := must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, w.now))
		w.ok(w.s.DeleteEnrolmentToken(w.ctx, e.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.DeleteEnrolmentToken(w.ctx, e.ID, w.quiet()))
		_, err := w.s.EnrolGateway(w.ctx, secret, w.newGateway("gw-1"), w.credential(), w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"an enrolment token for an unknown project is ErrNotFound", func(w *world) {
		err := w.s.CreateEnrolmentToken(w.ctx, store.EnrolmentToken{ID: ident.New(ident.Enrolment), SecretHash: sum("s"), Kind: store.KindServer,
			Project: "prj_none", UsesLeft: 1, ExpiresAt: w.now.Add(time.Hour)}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"EnrolServer takes one use of the token and makes the server and its credential", func(w *world) {
		p := w.project("web", "none")
		secret := w.token(store.KindServer, p.ID, 2)
		in, c := w.newServer(p, "web-1"), w.credential()
		w.raises(p.ID, func() {
			s := must[store.Server](w)(w.s.EnrolServer(w.ctx, secret, in, c, w.meta("server.enrol")))
			in.EventsNext, in.LastSeen = 1, w.now
			w.equal(s, in)
		})
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, in.ID)), in)
		w.equal(must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, w.now)).UsesLeft, 1)
		v := must[store.Subject](w)(w.s.Authenticate(w.ctx, c.TokenHash))
		w.equal(v, store.Subject{Kind: store.KindServer, Thumbprint: c.Thumbprint, Server: in})
		must[store.Server](w)(w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-2"), w.credential(), w.quiet()))
		_, err := w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-3"), w.credential(), w.quiet())
		w.want(store.ErrUsed, err)
		_, err = w.s.EnrolmentToken(w.ctx, secret, w.now)
		w.want(store.ErrUsed, err)
	}},
	{"EnrolServer is ErrUsed for a token that is over, of another kind or of another project", func(w *world) {
		p, other := w.project("web", "none"), w.project("db", "none")
		secret := w.token(store.KindServer, p.ID, 1)
		_, err := w.s.EnrolServer(w.ctx, secret, w.newServer(other, "db-1"), w.credential(), w.quiet())
		w.want(store.ErrUsed, err)
		_, err = w.s.EnrolGateway(w.ctx, secret, w.newGateway("gw-1"), w.credential(), w.quiet())
		w.want(store.ErrUsed, err)
		_, err = w.s.EnrolServer(w.ctx, w.token(store.KindGateway, "", 1), w.newServer(p, "web-1"), w.credential(), w.quiet())
		w.want(store.ErrUsed, err)
		late := w.quiet()
		late.Now = w.now.Add(time.Hour)
		_, err = w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-1"), w.credential(), late)
		w.want(store.ErrUsed, err)
	}},
	{"ErrExists for a taken name or a thumbprint that has a credential takes no use", func(w *world) {
		p := w.project("web", "none")
		secret := w.token(store.KindServer, p.ID, 2)
		c := w.credential()
		must[store.Server](w)(w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-1"), c, w.quiet()))
		_, err := w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-1"), w.credential(), w.quiet())
		w.want(store.ErrExists, err)
		again := w.credential()
		again.Thumbprint = c.Thumbprint
		_, err = w.s.EnrolServer(w.ctx, secret, w.newServer(p, "web-2"), again, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.EnrolGateway(w.ctx, w.token(store.KindGateway, "", 1), w.newGateway("gw-1"), again, w.quiet())
		w.want(store.ErrExists, err)
		w.equal(must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, w.now)).UsesLeft, 1)
	}},
	{"EnrolGateway makes the gateway and its credential", func(w *world) {
		p := w.project("web", "required")
		in, c := w.newGateway("gw-1"), w.credential()
		w.raises(p.ID, func() {
			in.EgressRevision = must[store.Gateway](w)(w.s.EnrolGateway(w.ctx, w.token(store.KindGateway, "", 1), in, c, w.meta("gateway.enrol"))).EgressRevision
		})
		w.equal(must[store.Gateway](w)(w.s.Gateway(w.ctx, in.ID)), in)
		w.equal(must[store.Gateway](w)(w.s.GatewayByName(w.ctx, "gw-1")), in)
		w.equal(in.EgressRevision, must[store.Team](w)(w.s.Team(w.ctx)).Revision)
		v := must[store.Subject](w)(w.s.Authenticate(w.ctx, c.TokenHash))
		w.equal(v, store.Subject{Kind: store.KindGateway, Thumbprint: c.Thumbprint, Gateway: in})
		_, err := w.s.EnrolGateway(w.ctx, w.token(store.KindGateway, "", 1), w.newGateway("gw-1"), w.credential(), w.quiet())
		w.want(store.ErrExists, err)
	}},
}

var serverCases = []testCase{
	{"a name is unique in its project and found in all projects", func(w *world) {
		a, b := w.project("a", "none"), w.project("b", "none")
		w.server(a, "db-1")
		w.server(b, "db-1")
		w.equal(len(must[[]store.Server](w)(w.s.ServersByName(w.ctx, "db-1"))), 2)
		w.equal(len(must[[]store.Server](w)(w.s.ServersByName(w.ctx, "none"))), 0)
	}},
	{"all names of a server find it, and none of them is given twice in a project", func(w *world) {
		a, b := w.project("a", "none"), w.project("b", "none")
		in := w.newServer(a, "db-1")
		in.AltNames = []string{"db", "db.example.com"}
		one := must[store.Server](w)(w.s.EnrolServer(w.ctx, w.token(store.KindServer, a.ID, 1), in, w.credential(), w.quiet()))
		w.equal(one.AltNames, in.AltNames)
		two, far := w.server(a, "db-2"), w.server(b, "db")
		find := func(name string) (ids []string) {
			for _, s := range must[[]store.Server](w)(w.s.ServersByName(w.ctx, name)) {
				ids = append(ids, s.ID)
			}
			slices.Sort(ids)
			return ids
		}
		both := []string{one.ID, far.ID}
		slices.Sort(both)
		w.equal(find("db"), both)
		w.equal(find("db.example.com"), []string{one.ID})
		w.equal(find("db-1"), []string{one.ID})
		// Neither an own name nor another may be somebody else's own name or other name.
		secret := w.token(store.KindServer, a.ID, 9)
		for _, names := range [][]string{{"db"}, {"new", "db"}, {"new", "db-1"}, {"new", "new"}} {
			in := w.newServer(a, names[0])
			in.AltNames = names[1:]
			_, err := w.s.EnrolServer(w.ctx, secret, in, w.credential(), w.quiet())
			w.want(store.ErrExists, err)
		}
		w.equal(must[store.EnrolmentToken](w)(w.s.EnrolmentToken(w.ctx, secret, w.now)).UsesLeft, 9)
		change := func(id string, c store.ServerChange) error {
			_, err := w.s.UpdateServer(w.ctx, id, c, w.quiet())
			return err
		}
		taken, own := "db", "db-1"
		w.want(store.ErrExists, change(two.ID, store.ServerChange{Name: &taken}))
		w.want(store.ErrExists, change(two.ID, store.ServerChange{AltNames: &[]string{"x", own}}))
		w.equal(find("x"), []string(nil))
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, two.ID)).AltNames, []string(nil))
		// A server may make its other name its own, and what it gives up is free.
		w.raises(a.ID, func() {
			w.ok(change(one.ID, store.ServerChange{Name: &taken, AltNames: &[]string{"db-1"}}))
		})
		w.equal(find("db.example.com"), []string(nil))
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, one.ID)).AltNames, []string{"db-1"})
		w.ok(change(two.ID, store.ServerChange{AltNames: &[]string{"db.example.com"}}))
		w.ok(w.s.DeleteServer(w.ctx, two.ID, w.quiet()))
		w.equal(find("db.example.com"), []string(nil))
		w.server(a, "db-2")
	}},
	{"a bastion is another server that there is, and is not deleted while it is one", func(w *world) {
		a, b := w.project("a", "none"), w.project("b", "none")
		through, s := w.server(b, "door"), w.server(a, "web-1")
		set := func(id string) error {
			_, err := w.s.UpdateServer(w.ctx, s.ID, store.ServerChange{Bastion: &id}, w.quiet())
			return err
		}
		w.want(store.ErrNotFound, set("srv_none"))
		w.want(store.ErrDenied, set(s.ID))
		w.raises(a.ID, func() { w.ok(set(through.ID)) })
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, s.ID)).Bastion, through.ID)
		w.want(store.ErrInUse, w.s.DeleteServer(w.ctx, through.ID, w.quiet()))
		w.ok(set(""))
		w.ok(w.s.DeleteServer(w.ctx, through.ID, w.quiet()))
	}},
	{"what a host proposes is kept and changes nothing", func(w *world) {
		p := w.path()
		before := must[store.Team](w)(w.s.Team(w.ctx)).Revision
		proposed := store.Proposal{Name: "db-1", Address: "10.9.9.9:22", AltNames: []string{"a", "b"}, Bastion: "web/door"}
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{Proposed: &proposed}, w.quiet()))
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{}, w.quiet()))
		want := p.server
		want.Proposed = proposed
		got := must[store.Server](w)(w.s.Server(w.ctx, p.server.ID))
		got.LastSeen, got.Problems, got.HostKey = want.LastSeen, want.Problems, want.HostKey
		w.equal(got, want)
		w.equal(len(must[[]store.Server](w)(w.s.ServersByName(w.ctx, "db-1"))), 0)
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{Proposed: &store.Proposal{}}, w.quiet()))
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).Proposed, store.Proposal{})
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)).Revision, before)
	}},
	{"Servers lists those of a project, or all", func(w *world) {
		a, b := w.project("a", "none"), w.project("b", "none")
		w.server(a, "web-2")
		w.server(a, "web-1")
		w.server(b, "db-1")
		for project, want := range map[string][]string{a.ID: {"web-1", "web-2"}, b.ID: {"db-1"}, "": {"db-1", "web-1", "web-2"}, "prj_none": nil} {
			servers, next, err := w.s.Servers(w.ctx, project, store.Page{Limit: 10})
			w.ok(err)
			var names []string
			for _, s := range servers {
				names = append(names, s.Name)
			}
			w.equal(names, want)
			w.equal(next, "")
		}
	}},
	{"UpdateServer changes what is not nil and raises the project's revision", func(w *world) {
		p := w.path()
		w.server(p.project, "web-2")
		woken := w.s.Watch(w.ctx, store.ServerTopic(p.server.ID))
		w.raises(p.project.ID, func() {
			got := must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{Address: ptr("10.0.0.1:22"), State: ptr(store.Disabled),
				Labels: &map[string]string{"env": "test"}}, w.quiet()))
			p.server.Address, p.server.State, p.server.Labels = "10.0.0.1:22", store.Disabled, map[string]string{"env": "test"}
			w.equal(got, p.server)
		})
		w.awake(woken)
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)), p.server)
		_, err := w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{Name: ptr("web-2")}, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.UpdateServer(w.ctx, "srv_none", store.ServerChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"DeleteServer revokes its credential with it", func(w *world) {
		p := w.project("web", "none")
		c := w.credential()
		s := must[store.Server](w)(w.s.EnrolServer(w.ctx, w.token(store.KindServer, p.ID, 1), w.newServer(p, "web-1"), c, w.quiet()))
		w.raises(p.ID, func() { w.ok(w.s.DeleteServer(w.ctx, s.ID, w.quiet())) })
		_, err := w.s.Authenticate(w.ctx, c.TokenHash)
		w.want(store.ErrNotFound, err)
		_, err = w.s.Server(w.ctx, s.ID)
		w.want(store.ErrNotFound, err)
		w.want(store.ErrNotFound, w.s.DeleteServer(w.ctx, s.ID, w.quiet()))
		// The key may enrol again.
		must[store.Server](w)(w.s.EnrolServer(w.ctx, w.token(store.KindServer, p.ID, 1), w.newServer(p, "web-1"), c, w.quiet()))
	}},
	{"a report is stored, its confirmed version never goes back, an empty host key leaves the one before, and another one wakes catalogs", func(w *world) {
		p := w.path()
		woken, catalogs := w.s.Watch(w.ctx, store.ServerTopic(p.server.ID)), w.s.Watch(w.ctx, store.ProjectTopic(p.server.Project))
		before := must[store.Team](w)(w.s.Team(w.ctx)).Revision
		report := func(epoch, counter int64) store.Server {
			m := w.quiet()
			m.Now = w.now.Add(time.Minute)
			must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{ConfirmedEpoch: epoch, ConfirmedCounter: counter, Problems: []string{"a", "b"},
				HostKey: "ssh-ed25519 AAAA", AgentVersion: "1.0"}, m))
			return must[store.Server](w)(w.s.Server(w.ctx, p.server.ID))
		}
		s := report(1, 5)
		want := p.server
		want.ConfirmedEpoch, want.ConfirmedCounter, want.Problems, want.HostKey, want.AgentVersion = 1, 5, []string{"a", "b"}, "ssh-ed25519 AAAA", "1.0"
		want.LastSeen = w.now.Add(time.Minute)
		w.equal(s, want)
		w.awake(woken)
		w.awake(catalogs)
		catalogs = w.s.Watch(w.ctx, store.ProjectTopic(p.server.Project))
		must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{ConfirmedEpoch: 1, ConfirmedCounter: 5}, w.quiet()))
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).HostKey, "ssh-ed25519 AAAA")
		w.equal(report(1, 4).ConfirmedCounter, int64(5))
		w.equal(report(2, 1).ConfirmedCounter, int64(1))
		w.equal(report(1, 9).ConfirmedEpoch, int64(2))
		w.asleep(catalogs)
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)).Revision, before)
		_, err := w.s.ReportServer(w.ctx, "srv_none", store.ServerReport{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"a report's host labels stand in place of those before, and none leave them; nobody else is woken", func(w *world) {
		p := w.path()
		before := must[store.Team](w)(w.s.Team(w.ctx)).Revision
		say := func(labels *map[string]string) <-chan struct{} {
			woken := w.s.Watch(w.ctx, store.ProjectTopic(p.project.ID))
			must[store.Pulse](w)(w.s.ReportServer(w.ctx, p.server.ID, store.ServerReport{HostLabels: labels}, w.quiet()))
			return woken
		}
		w.asleep(say(&map[string]string{"role": "db"}))
		s := must[store.Server](w)(w.s.Server(w.ctx, p.server.ID))
		w.equal(s.HostLabels, map[string]string{"role": "db"})
		w.equal(s.Labels, p.server.Labels)
		w.asleep(say(&map[string]string{"role": "db"}))
		w.asleep(say(nil))
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).HostLabels, s.HostLabels)
		w.asleep(say(&map[string]string{}))
		w.equal(len(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).HostLabels), 0)
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)).Revision, before)
	}},
	{"SeenServer notes at most once a minute that a server polls", func(w *world) {
		p := w.path()
		for _, c := range []struct{ after, seen time.Duration }{
			{time.Minute - time.Microsecond, 0}, {time.Minute, time.Minute}, {2*time.Minute - time.Microsecond, time.Minute}, {3 * time.Minute, 3 * time.Minute},
		} {
			w.ok(w.s.SeenServer(w.ctx, p.server.ID, w.now.Add(c.after)))
			w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).LastSeen, w.now.Add(c.seen))
		}
	}},
	{"AppendServerEvents drops what it has, refuses a gap, and tells the next number", func(w *world) {
		p := w.path()
		post := func(first int64, rows ...string) (int64, error) {
			return w.s.AppendServerEvents(w.ctx, p.server.ID, first, w.meta(rows...))
		}
		w.equal(must[int64](w)(post(1, "event 1", "event 2")), int64(3))
		w.equal(must[int64](w)(post(1, "event 1 again", "event 2 again", "event 3")), int64(4))
		w.equal(must[int64](w)(post(1, "event 1 yet again")), int64(4))
		w.equal(must[int64](w)(post(4)), int64(4))
		_, err := post(5, "event 5")
		w.want(store.ErrDenied, err)
		_, err = post(0, "event 0")
		w.want(store.ErrDenied, err)
		for _, text := range []string{"event 1", "event 2", "event 3"} {
			w.logged(text)
		}
		for _, text := range []string{"event 1 again", "event 2 again", "event 1 yet again", "event 5", "event 0"} {
			w.unlogged(text)
		}
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).EventsNext, int64(4))
		_, err = w.s.AppendServerEvents(w.ctx, "srv_none", 1, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"a thousand events of a host are one command", func(w *world) {
		p := w.path()
		var rows []string
		for i := range 1000 {
			rows = append(rows, fmt.Sprint("login ", i))
		}
		w.equal(must[int64](w)(w.s.AppendServerEvents(w.ctx, p.server.ID, 1, w.meta(rows...))), int64(1001))
		w.logged("login 999")
	}},
}

var gatewayCases = []testCase{
	{"ReportGateway stores a report with the time of the control plane, and raises no revision", func(w *world) {
		p := w.path()
		before := must[store.Team](w)(w.s.Team(w.ctx))
		m := w.quiet()
		m.Now = w.now.Add(time.Minute)
		keys := []store.SealingKey{{ID: []byte{1, 2}, Public: []byte{3}}, {ID: []byte{4}, Public: []byte{5}}}
		w.ok(w.s.ReportGateway(w.ctx, p.gateway.ID, store.GatewayReport{Healthy: true, Draining: true, Health: "well", Sessions: 7, SealingKeys: keys, Version: "1.0", HostKey: "ssh-ed25519 AAAA"}, m))
		want := p.gateway
		want.HostKey = "ssh-ed25519 AAAA"
		want.Healthy, want.Draining, want.Health, want.Sessions, want.SealingKeys, want.Version, want.ReportedAt = true, true, "well", 7, keys, "1.0", m.Now
		w.equal(must[store.Gateway](w)(w.s.Gateway(w.ctx, p.gateway.ID)), want)
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)), before)
		w.want(store.ErrNotFound, w.s.ReportGateway(w.ctx, "gw_none", store.GatewayReport{}, w.quiet()))
	}},
	{"a change of what servers must admit raises the projects behind gateways", func(w *world) {
		p := w.path()
		for _, c := range []store.GatewayChange{{Egress: &[]string{"192.0.2.7"}}, {Labels: &map[string]string{"pool": "b"}}, {State: ptr(store.Disabled)}, {State: ptr(store.Active)}} {
			w.raises(p.project.ID, func() {
				g := must[store.Gateway](w)(w.s.UpdateGateway(w.ctx, p.gateway.ID, c, w.quiet()))
				w.equal(g.EgressRevision, must[store.Team](w)(w.s.Team(w.ctx)).Revision)
			})
		}
		w.raises(p.project.ID, func() { w.ok(w.s.DeleteGateway(w.ctx, p.gateway.ID, w.quiet())) })
	}},
	{"a change of name or address, or that it refuses connections, raises nothing", func(w *world) {
		p := w.path()
		before := must[store.Team](w)(w.s.Team(w.ctx))
		g := must[store.Gateway](w)(w.s.UpdateGateway(w.ctx, p.gateway.ID, store.GatewayChange{Name: ptr("gw-9"), Address: ptr("gw-9:7234"), TLSAddress: ptr(""), RefuseConnections: ptr(true), Egress: &p.gateway.Egress}, w.quiet()))
		p.gateway.Name, p.gateway.Address, p.gateway.TLSAddress, p.gateway.RefuseConnections = "gw-9", "gw-9:7234", "", true
		w.equal(g, p.gateway)
		w.equal(must[store.Gateway](w)(w.s.Gateway(w.ctx, g.ID)), g)
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)), before)
		_, err := w.s.UpdateGateway(w.ctx, "gw_none", store.GatewayChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"disabling a gateway orders the end of its sessions", func(w *world) {
		p := w.path()
		h := w.session(p)
		woken := w.s.Watch(w.ctx, store.GatewayTopic(p.gateway.ID))
		must[store.Gateway](w)(w.s.UpdateGateway(w.ctx, p.gateway.ID, store.GatewayChange{State: ptr(store.Disabled)}, w.quiet()))
		w.awake(woken)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
	}},
	{"DeleteGateway revokes its credential and ends its sessions", func(w *world) {
		p := w.path()
		c := w.credential()
		g := must[store.Gateway](w)(w.s.EnrolGateway(w.ctx, w.token(store.KindGateway, "", 1), w.newGateway("gw-2"), c, w.quiet()))
		p.gateway = g
		w.session(p)
		w.ok(w.s.DeleteGateway(w.ctx, g.ID, w.quiet()))
		_, err := w.s.Authenticate(w.ctx, c.TokenHash)
		w.want(store.ErrNotFound, err)
		live, _, err := w.s.GatewaySessions(w.ctx, store.SessionFilter{Live: true}, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(live), 0)
		w.want(store.ErrNotFound, w.s.DeleteGateway(w.ctx, g.ID, w.quiet()))
	}},
	{"ProjectFacts reads all that a project's desired states are made of", func(w *world) {
		p := w.path()
		w.grant(w.project("other", "none"), w.group("strangers"), time.Time{})
		w.member(must[store.Group](w)(w.s.GroupByName(w.ctx, "strangers")), w.user("mallory"), time.Time{})
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(f.Team, must[store.Team](w)(w.s.Team(w.ctx)))
		w.equal(f.Project, must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)))
		w.equal(f.UserCAs, must[[]store.Key](w)(w.s.Keys(w.ctx, p.project.ID, "user-ca")))
		w.equal(f.HostCAs, must[[]store.Key](w)(w.s.Keys(w.ctx, "team", "host-ca")))
		w.equal(f.Grants, []store.Grant{p.grant})
		w.equal(f.Groups, []store.Group{p.group})
		w.equal(len(f.Members), 1)
		w.equal(f.Members[0].User, p.user.ID)
		w.equal(f.Users, []store.User{p.user})
		w.equal(f.Gateways, []store.Gateway{p.gateway})
		_, err := w.s.ProjectFacts(w.ctx, "prj_none")
		w.want(store.ErrNotFound, err)
	}},
}
