package storetest

import (
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

var issuanceCases = []testCase{
	{"Facts is everything that a decision rests on", func(w *world) {
		p := w.path()
		other := w.group("other")
		w.member(other, p.user, w.now.Add(time.Hour))
		second := w.grant(p.project, other, w.now.Add(time.Hour))
		f := must[store.Facts](w)(w.s.Facts(w.ctx, p.subject.Session.ID, p.server.ID))
		w.equal(f.Team, must[store.Team](w)(w.s.Team(w.ctx)))
		w.equal(f.Session, p.subject.Session)
		w.equal(f.Device, p.subject.Device)
		w.equal(f.User, p.user)
		w.equal(f.Server, p.server)
		w.equal(f.Project, must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)))
		w.equal(len(f.Memberships), 2)
		for _, m := range f.Memberships {
			w.equal(m.User == p.user.ID && m.UserName == "alice" && m.Revision > 0, true)
			w.equal(m.Until.Equal(w.now.Add(time.Hour)), m.Group == other.ID)
		}
		w.equal(len(f.Grants), 2)
		for _, g := range f.Grants {
			if g.ID == second.ID {
				w.equal(g, second)
			} else {
				w.equal(g, p.grant)
			}
		}
	}},
	{"Facts without memberships and grants are none", func(w *world) {
		v, s := w.signIn(w.user("bob")), w.server(w.project("web", "none"), "web-1")
		f := must[store.Facts](w)(w.s.Facts(w.ctx, v.Session.ID, s.ID))
		w.equal(len(f.Memberships)+len(f.Grants), 0)
	}},
	{"Facts is ErrNotFound for an unknown session or server", func(w *world) {
		p := w.path()
		_, err := w.s.Facts(w.ctx, "ses_none", p.server.ID)
		w.want(store.ErrNotFound, err)
		_, err = w.s.Facts(w.ctx, p.subject.Session.ID, "srv_none")
		w.want(store.ErrNotFound, err)
	}},
	{"FactsByName reads the same for all servers of a name", func(w *world) {
		p := w.path()
		session, name := p.subject.Session.ID, p.server.Name
		w.server(p.project, "other")
		there := w.server(w.project("else", "none"), name)
		got := must[[]store.Facts](w)(w.s.FactsByName(w.ctx, session, "", name))
		w.equal(len(got), 2)
		w.equal(got[0].Server.ID < got[1].Server.ID, true)
		for _, f := range got {
			w.equal(f.Server.ID == p.server.ID || f.Server.ID == there.ID, true)
			w.equal(f, must[store.Facts](w)(w.s.Facts(w.ctx, session, f.Server.ID)))
		}
		in := must[[]store.Facts](w)(w.s.FactsByName(w.ctx, session, "else", name))
		w.equal(len(in), 1)
		w.equal(in[0].Server, there)
		alias := []string{"also"}
		must[store.Server](w)(w.s.UpdateServer(w.ctx, there.ID, store.ServerChange{AltNames: &alias}, w.quiet()))
		for _, project := range []string{"", "else"} {
			also := must[[]store.Facts](w)(w.s.FactsByName(w.ctx, session, project, "also"))
			w.equal(len(also), 1)
			w.equal(also[0], must[store.Facts](w)(w.s.Facts(w.ctx, session, there.ID)))
		}
		for _, none := range [][3]string{{session, p.project.Name, "also"}, {session, "", "none"}, {session, "none", name}, {"ses_none", "", name}} {
			w.equal(len(must[[]store.Facts](w)(w.s.FactsByName(w.ctx, none[0], none[1], none[2]))), 0)
		}
	}},
	{"CatalogFacts reads what a user's catalog is made of", func(w *world) {
		p := w.path()
		w.server(w.project("secret", "none"), "db-1")
		f := must[store.CatalogFacts](w)(w.s.CatalogFacts(w.ctx, p.user.ID))
		w.equal(f.User, p.user)
		w.equal(len(f.Memberships), 1)
		w.equal(f.Grants, []store.Grant{p.grant})
		w.equal(f.Projects, []store.Project{must[store.Project](w)(w.s.Project(w.ctx, p.project.ID))})
		w.equal(f.Servers, []store.Server{p.server})
		w.equal(len(f.HostCAs), 1)
		_, err := w.s.CatalogFacts(w.ctx, "usr_none")
		w.want(store.ErrNotFound, err)
	}},
	{"CatalogFacts has the gateways' host keys where a project records, and a new one wakes who waits for it", func(w *world) {
		p := w.path()
		gateways := func() []store.Gateway {
			return must[store.CatalogFacts](w)(w.s.CatalogFacts(w.ctx, p.user.ID)).Gateways
		}
		report := func(key string) {
			w.ok(w.s.ReportGateway(w.ctx, p.gateway.ID, store.GatewayReport{HostKey: key}, w.quiet()))
		}
		report("ssh-ed25519 AAAA")
		w.equal(len(gateways()), 0)
		through, recorded, recipients := store.GatewayRequired, store.RecordingRequired, []string{"age1auditor"}
		must[store.Project](w)(w.s.UpdateProject(w.ctx, p.project.ID, store.ProjectChange{
			Gateway: &through, RecordRulesChange: store.RecordRulesChange{Recording: &recorded, Recipients: &recipients},
		}, w.quiet()))
		w.equal(gateways()[0].HostKey, "ssh-ed25519 AAAA")
		waiting := w.s.Watch(w.ctx, store.ProjectTopic(p.project.ID))
		report("ssh-ed25519 AAAA")
		w.asleep(waiting)
		report("ssh-ed25519 BBBB")
		w.awake(waiting)
		w.equal(gateways()[0].HostKey, "ssh-ed25519 BBBB")
		off := store.Disabled
		must[store.Gateway](w)(w.s.UpdateGateway(w.ctx, p.gateway.ID, store.GatewayChange{State: &off}, w.quiet()))
		w.equal(len(gateways()), 0)
	}},
	{"RecordIssuance writes the record, and it is read back", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.meta("connect")))
		v.Labels = nil // compared, and not kept
		w.equal(must[store.Issued](w)(w.s.Issued(w.ctx, v.Serial)), v)
		w.logged("connect")
		_, err := w.s.Issued(w.ctx, 1)
		w.want(store.ErrNotFound, err)
	}},
	{"RecordIssuance is ErrExists for a serial in use", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		w.want(store.ErrExists, w.s.RecordIssuance(w.ctx, v, w.quiet()))
	}},
	{"RecordIssuance takes serials of 63 bits and no others", func(w *world) {
		p := w.path()
		for serial, good := range map[uint64]bool{0: false, 1: true, 1<<63 - 1: true, 1 << 63: false} {
			v := w.issue(p)
			v.Serial = serial
			if err := w.s.RecordIssuance(w.ctx, v, w.quiet()); (err == nil) != good {
				w.Fatalf("serial %d: %v", serial, err)
			}
		}
	}},
	{"RecordIssuance is ErrDenied when a fact does not hold", func(w *world) {
		p := w.path()
		other := w.project("other", "none")
		foreign := w.server(other, "db-1")
		foreignGrant := w.grant(other, p.group, time.Time{})
		strangers := w.grant(p.project, w.group("strangers"), time.Time{})
		mallory := w.signIn(w.user("mallory"))
		for name, change := range map[string]func(*store.Issued){
			"another user":           func(v *store.Issued) { v.User = mallory.User.ID },
			"another user's session": func(v *store.Issued) { v.Session = mallory.Session.ID },
			"another user's device":  func(v *store.Issued) { v.Device = mallory.Device.ID },
			"a user without membership": func(v *store.Issued) {
				v.User, v.Session, v.Device = mallory.User.ID, mallory.Session.ID, mallory.Device.ID
			},
			"a server of another project":      func(v *store.Issued) { v.Server = foreign.ID },
			"a server under another project":   func(v *store.Issued) { v.Project = other.ID },
			"a grant of another project":       func(v *store.Issued) { v.Grant = foreignGrant.ID },
			"a grant for a group of strangers": func(v *store.Issued) { v.Grant = strangers.ID },
			"an unknown grant":                 func(v *store.Issued) { v.Grant = "grt_none" },
			"no grant":                         func(v *store.Issued) { v.Grant = "" },
			"somebody else's login":            func(v *store.Issued) { v.Login = mallory.User.Login },
			"no labels where there are some":   func(v *store.Issued) { v.Labels = nil },
			"an unknown kind":                  func(v *store.Issued) { v.Kind = "root" },
		} {
			v := w.issue(p)
			change(&v)
			if err := w.s.RecordIssuance(w.ctx, v, w.meta("denied")); err == nil {
				w.Fatalf("%s: recorded", name)
			} else {
				w.want(store.ErrDenied, err)
			}
		}
		w.unlogged("denied")
	}},
	{"RecordIssuance is ErrDenied as soon as a fact is taken away", func(w *world) {
		for name, take := range map[string]func(p path){
			"user disabled": func(p path) {
				must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
			},
			"session revoked": func(p path) { w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet())) },
			"device revoked": func(p path) {
				must[store.Device](w)(w.s.SetDeviceState(w.ctx, p.subject.Device.ID, store.Revoked, w.quiet()))
			},
			"device pending": func(p path) {
				must[store.Device](w)(w.s.SetDeviceState(w.ctx, p.subject.Device.ID, store.Pending, w.quiet()))
			},
			"server disabled": func(p path) {
				must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{State: ptr(store.Disabled)}, w.quiet()))
			},
			// A grant for env=test decided, and the server became one of env=prod
			// before the record was written.
			"label changed": func(p path) {
				must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{Labels: &map[string]string{"env": "other"}}, w.quiet()))
			},
			"labels removed": func(p path) {
				must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{Labels: &map[string]string{}}, w.quiet()))
			},
			"server deleted":     func(p path) { w.ok(w.s.DeleteServer(w.ctx, p.server.ID, w.quiet())) },
			"grant deleted":      func(p path) { w.ok(w.s.DeleteGrant(w.ctx, p.project.ID, p.grant.ID, w.quiet())) },
			"membership removed": func(p path) { w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet())) },
			"membership over":    func(p path) { w.member(p.group, p.user, w.now) },
			"group deleted":      func(p path) { w.ok(w.s.DeleteGroup(w.ctx, p.group.ID, w.quiet())) },
		} {
			// A path of its own for each, in one database: other names.
			p := w.pathOf(ident.New("u")[:8])
			w.ok(w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()))
			take(p)
			if err := w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()); err == nil {
				w.Fatalf("%s: recorded", name)
			} else {
				w.want(store.ErrDenied, err)
			}
		}
	}},
	{"sessions, memberships and grants end at their time and not before", func(w *world) {
		p := w.path()
		p.subject.Session.ExpiresAt = w.now.Add(12 * time.Hour)
		end := w.now.Add(time.Hour)
		w.member(p.group, p.user, end)
		at := func(now time.Time) error {
			m := w.quiet()
			m.Now = now
			return w.s.RecordIssuance(w.ctx, w.issue(p), m)
		}
		w.ok(at(end.Add(-time.Microsecond)))
		w.want(store.ErrDenied, at(end))
		w.member(p.group, p.user, time.Time{})
		p.grant = w.grant(p.project, p.group, end)
		w.ok(at(end.Add(-time.Microsecond)))
		w.want(store.ErrDenied, at(end))
		p.grant = w.grant(p.project, p.group, time.Time{})
		w.ok(at(p.subject.Session.ExpiresAt.Add(-time.Microsecond)))
		w.want(store.ErrDenied, at(p.subject.Session.ExpiresAt))
	}},
	{"for a host or a canary only the server must be active", func(w *world) {
		p := w.path()
		for _, kind := range []string{store.IssueHost, store.IssueCanary} {
			v := store.Issued{Serial: uint64(w.number()) + 5, Kind: kind, CA: "ca", Principal: "p", Server: p.server.ID, Project: p.project.ID,
				NotBefore: w.now, NotAfter: w.now.Add(time.Hour), CreatedAt: w.now}
			w.ok(w.s.RecordIssuance(w.ctx, v, w.meta("issue")))
			v.Serial, v.Server = v.Serial+100, "srv_none"
			w.want(store.ErrDenied, w.s.RecordIssuance(w.ctx, v, w.quiet()))
		}
		must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{State: ptr(store.Disabled)}, w.quiet()))
		w.want(store.ErrDenied, w.s.RecordIssuance(w.ctx, store.Issued{Serial: 99, Kind: store.IssueHost, Server: p.server.ID}, w.quiet()))
	}},
	{"a record outlives the server", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		w.ok(w.s.DeleteServer(w.ctx, p.server.ID, w.quiet()))
		v.Labels = nil
		w.equal(must[store.Issued](w)(w.s.Issued(w.ctx, v.Serial)), v)
	}},
}

// pathOf is a path with names of its own.
func (w *world) pathOf(name string) path {
	w.Helper()
	p := path{user: w.user(name), group: w.group(name), project: w.project(name, "required")}
	w.member(p.group, p.user, time.Time{})
	p.grant = w.grant(p.project, p.group, time.Time{})
	p.server, p.gateway = w.server(p.project, name), w.gateway(name)
	p.subject = w.signIn(p.user)
	return p
}

var claimCases = []testCase{
	{"ClaimHello claims the nonce and starts the session's record", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		c := w.claim(p, v)
		w.ok(w.s.ClaimHello(w.ctx, c, w.meta("gateway.claim")))
		live, _, err := w.s.GatewaySessions(w.ctx, store.SessionFilter{Live: true}, store.Page{Limit: 10})
		w.ok(err)
		w.equal(live, []store.GatewaySession{c.Session})
	}},
	{"ClaimHello is ErrReplayed for a nonce that was claimed, also at another gateway", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		c := w.claim(p, v)
		w.ok(w.s.ClaimHello(w.ctx, c, w.quiet()))
		c.Session.ID = ident.New(ident.GatewaySession)
		w.want(store.ErrReplayed, w.s.ClaimHello(w.ctx, c, w.quiet()))
		c.Session.Gateway = w.gateway("gw-2").ID
		w.want(store.ErrReplayed, w.s.ClaimHello(w.ctx, c, w.quiet()))
		// The same ticket with a fresh nonce is another attempt of the same client.
		again := w.claim(p, v)
		w.ok(w.s.ClaimHello(w.ctx, again, w.quiet()))
	}},
	{"a claim that is denied leaves the nonce free", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		c := w.claim(p, v)
		late := w.quiet()
		late.Now = c.ExpiresAt
		w.want(store.ErrDenied, w.s.ClaimHello(w.ctx, c, late))
		w.ok(w.s.ClaimHello(w.ctx, c, w.quiet()))
	}},
	{"ClaimHello is ErrDenied when a fact does not hold", func(w *world) {
		p := w.path()
		v := w.issue(p)
		w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
		second := w.server(p.project, "web-2")
		mallory := w.signIn(w.user("mallory"))
		for name, change := range map[string]func(*store.Claim){
			"another ticket":       func(c *store.Claim) { c.Ticket += "x" },
			"no ticket":            func(c *store.Claim) { c.Ticket = "" },
			"another key":          func(c *store.Claim) { c.Fingerprint = sum("mallory") },
			"another user":         func(c *store.Claim) { c.Session.User = mallory.User.ID },
			"another user session": func(c *store.Claim) { c.UserSession = mallory.Session.ID },
			"another server":       func(c *store.Claim) { c.Session.Server = second.ID },
			"another login":        func(c *store.Claim) { c.Session.Login = "root" },
			"an unknown gateway":   func(c *store.Claim) { c.Session.Gateway = "gw_none" },
			"at the ticket's end":  func(c *store.Claim) { c.ExpiresAt = w.now },
		} {
			c := w.claim(p, v)
			change(&c)
			if err := w.s.ClaimHello(w.ctx, c, w.meta("denied")); err == nil {
				w.Fatalf("%s: claimed", name)
			} else {
				w.want(store.ErrDenied, err)
			}
		}
		w.unlogged("denied")
	}},
	{"ClaimHello is ErrDenied as soon as a fact is taken away", func(w *world) {
		for name, take := range map[string]func(p path){
			"user disabled": func(p path) {
				must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
			},
			"session revoked": func(p path) { w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet())) },
			"session over":    func(p path) { w.now = p.subject.Session.ExpiresAt },
			"device revoked": func(p path) {
				must[store.Device](w)(w.s.SetDeviceState(w.ctx, p.subject.Device.ID, store.Revoked, w.quiet()))
			},
			"server disabled": func(p path) {
				must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{State: ptr(store.Disabled)}, w.quiet()))
			},
			"gateway disabled": func(p path) {
				must[store.Gateway](w)(w.s.UpdateGateway(w.ctx, p.gateway.ID, store.GatewayChange{State: ptr(store.Disabled)}, w.quiet()))
			},
		} {
			p := w.pathOf(ident.New("u")[:8])
			v := w.issue(p)
			w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
			w.ok(w.s.ClaimHello(w.ctx, w.claim(p, v), w.quiet()))
			take(p)
			if err := w.s.ClaimHello(w.ctx, w.claim(p, v), w.quiet()); err == nil {
				w.Fatalf("%s: claimed", name)
			} else {
				w.want(store.ErrDenied, err)
			}
		}
	}},
	{"a gateway session ends once, and a second end is nil and leaves no audit row", func(w *world) {
		p := w.path()
		h := w.session(p)
		h.EndedAt, h.Cause, h.Up, h.Down = w.now.Add(time.Minute), "client", 5, 7
		w.ok(w.s.EndGatewaySession(w.ctx, h, w.meta("end")))
		again := h
		again.Cause, again.Up = "server", 99
		w.ok(w.s.EndGatewaySession(w.ctx, again, w.meta("second end")))
		w.logged("end")
		w.unlogged("second end")
		rows, _, err := w.s.GatewaySessions(w.ctx, store.SessionFilter{User: p.user.ID}, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.GatewaySession{h})
		alone, err := w.s.GatewaySession(w.ctx, h.ID)
		w.ok(err)
		w.equal(alone, h)
		_, err = w.s.GatewaySession(w.ctx, ident.New(ident.GatewaySession))
		w.want(store.ErrNotFound, err)
		live, _, err := w.s.GatewaySessions(w.ctx, store.SessionFilter{User: p.user.ID, Live: true}, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(live), 0)
	}},
	{"a gateway ends only its own sessions", func(w *world) {
		p := w.path()
		h := w.session(p)
		h.Gateway = w.gateway("gw-2").ID
		w.want(store.ErrNotFound, w.s.EndGatewaySession(w.ctx, h, w.quiet()))
		w.equal(w.live(p), 1)
	}},
	{"EndOrders are those above a number, of sessions that still live", func(w *world) {
		p := w.path()
		a := w.session(p)
		b := p
		b.subject = w.signIn(p.user)
		hb := w.session(b)
		w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet()))
		ids, first, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{a.ID})
		w.ok(w.s.RevokeSession(w.ctx, b.subject.Session.ID, w.quiet()))
		ids, second, err := w.orders(p.gateway.ID, first)
		w.ok(err)
		w.equal(ids, []string{hb.ID})
		w.equal(second > first, true)
		ids, last, err := w.orders(p.gateway.ID, second)
		w.ok(err)
		w.equal(len(ids), 0)
		w.equal(last, second)
		w.ok(w.s.EndGatewaySession(w.ctx, a, w.quiet()))
		ids, _, err = w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{hb.ID})
		_, _, err = w.orders("gw_none", 0)
		w.want(store.ErrNotFound, err)
	}},
}

// orders are the ids of the sessions that must end.
func (w *world) orders(gateway string, after int64) (ids []string, highest int64, err error) {
	w.Helper()
	orders, highest, err := w.s.EndOrders(w.ctx, gateway, after)
	for _, o := range orders {
		if o.Reason == "" {
			w.Fatalf("nobody can say why session %s ends", o.Session)
		}
		ids = append(ids, o.Session)
	}
	return ids, highest, err
}

func (w *world) live(p path) int {
	w.Helper()
	rows, _, err := w.s.GatewaySessions(w.ctx, store.SessionFilter{User: p.user.ID, Live: true}, store.Page{Limit: 1000})
	w.ok(err)
	return len(rows)
}
