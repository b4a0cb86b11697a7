package control

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/fleet"
	"github.com/cardea-ssh/cardea/control/issue"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
)

// graph is a random team, as the test itself remembers it. It knows nothing of
// policies: entitled says in one sentence who may go where.
type graph struct {
	*stack
	rnd      *rand.Rand
	users    []store.User
	callers  map[string]caller.Caller
	groups   []store.Group
	projects []store.Project
	servers  []store.Server
	members  map[[2]string]time.Time // group, user: end
	grants   map[string]store.Grant
	gateway  store.Gateway // records the sessions of the last project
	sealing  *hello.SealingKey
}

// entitled returns when the last of the user's ways to the server ends.
func (g *graph) entitled(u store.User, s store.Server) (until time.Time, ok bool) {
	now := g.now()
	for _, grant := range g.grants {
		end, member := g.members[[2]string{grant.Group, u.ID}]
		if grant.Project != s.Project || !member || !open(end, now) || !open(grant.Until, now) || !selects(grant.Selector, s.Labels) {
			continue
		}
		way := first(end, grant.Until)
		if !ok || way.IsZero() || !until.IsZero() && way.After(until) {
			until = way
		}
		ok = true
	}
	return until, ok && u.Status == store.Active && s.State == store.Active
}

func open(end, now time.Time) bool { return end.IsZero() || end.After(now) }

func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func selects(selector string, labels map[string]string) bool {
	if selector == "" {
		return true
	}
	if key, value, not := strings.Cut(selector, "!="); not {
		return labels[key] != value
	}
	key, value, _ := strings.Cut(selector, "=")
	return labels[key] == value
}

func newGraph(t *testing.T, rnd *rand.Rand) *graph {
	g := &graph{stack: newStack(t), rnd: rnd, callers: map[string]caller.Caller{}, members: map[[2]string]time.Time{}, grants: map[string]store.Grant{}}
	ctx, m := t.Context(), store.Meta{Now: g.now()}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		d := g.signIn(fmt.Sprintf("user%d", i))
		u := g.user(d.session.UserName)
		session, err := g.store.Session(ctx, d.session.ID)
		check(err)
		dev, err := g.store.Device(ctx, d.session.Device)
		check(err)
		g.users = append(g.users, u)
		g.callers[u.ID] = caller.Caller{Subject: store.Subject{Kind: store.KindUser, User: u, Session: session, Device: dev}}
		group, err := g.store.CreateGroup(ctx, store.Group{ID: ident.New(ident.UserGroup), Name: fmt.Sprintf("group%d", i)}, m)
		check(err)
		g.groups = append(g.groups, group)
	}
	g.addGateway()
	for i := range 3 {
		p := store.Project{
			ID: ident.New(ident.Project), Name: fmt.Sprintf("p%d", i), CertificateSeconds: 60 + rnd.IntN(541), Gateway: "none",
			PortForwarding: rnd.IntN(2) == 0, AgentForwarding: rnd.IntN(2) == 0,
		}
		if i == 2 {
			p.Gateway, p.RecordRules = "required", store.RecordRules{Recording: store.RecordingRequired, Recipients: []string{"age1x"}, X11Forwarding: rnd.IntN(2) == 0}
		}
		r, err := ca.Create(ctx, g.options.Keeper, ca.Ref{ID: ident.New(ident.Key), Scope: p.ID, Purpose: ca.UserCA})
		check(err)
		p, err = g.store.CreateProject(ctx, p, store.Key{ID: r.ID, Scope: r.Scope, Purpose: string(r.Purpose), State: store.Active, Public: r.Public, Fingerprint: r.Fingerprint, Sealed: r.Sealed}, m)
		check(err)
		g.projects = append(g.projects, p)
		for j := range 3 {
			token := store.EnrolmentToken{ID: ident.New(ident.Enrolment), SecretHash: []byte(fmt.Sprint("t", i, j)), Kind: store.KindServer, Project: p.ID, UsesLeft: 1, ExpiresAt: g.now().Add(time.Hour)}
			check(g.store.CreateEnrolmentToken(ctx, token, m))
			s, err := g.store.EnrolServer(ctx, token.SecretHash, store.Server{
				ID: ident.New(ident.Server), Project: p.ID, Name: fmt.Sprintf("s%d", j), Address: "10.0.0.1:22", State: store.Active, Labels: g.labels(),
			}, store.Credential{TokenHash: []byte(fmt.Sprint("c", i, j)), Thumbprint: fmt.Sprint("k", i, j)}, m)
			check(err)
			_, err = g.store.ReportServer(ctx, s.ID, store.ServerReport{ConfirmedEpoch: 1, ConfirmedCounter: 1 << 40}, m)
			check(err)
			g.servers = append(g.servers, s)
		}
	}
	return g
}

// addGateway adds one that is always there, and records.
func (g *graph) addGateway() {
	g.t.Helper()
	ctx, m := g.t.Context(), store.Meta{Now: g.now()}
	token := store.EnrolmentToken{ID: ident.New(ident.Enrolment), SecretHash: []byte("gw"), Kind: store.KindGateway, UsesLeft: 1, ExpiresAt: g.now().Add(time.Hour)}
	err := g.store.CreateEnrolmentToken(ctx, token, m)
	if err == nil {
		g.gateway, err = g.store.EnrolGateway(ctx, token.SecretHash, store.Gateway{
			ID: ident.New(ident.Gateway), Name: "gw-1", Address: "192.0.2.1:7234", Egress: []string{"198.51.100.1"}, State: store.Active,
		}, store.Credential{TokenHash: []byte("gwc"), Thumbprint: "gwk"}, m)
	}
	if err == nil {
		g.sealing, err = hello.NewSealingKey()
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// gatewayReports keeps it fresh as time passes.
func (g *graph) gatewayReports() error {
	id := g.sealing.ID()
	return g.store.ReportGateway(g.t.Context(), g.gateway.ID, store.GatewayReport{
		Healthy: true, Records: true, SealingKeys: []store.SealingKey{{ID: id[:], Public: g.sealing.Public()}},
	}, store.Meta{Now: g.now()})
}

// claim has the gateway ask for what the connection was given for.
func (g *graph) claim(service *issue.Service, f fresh, c *api.Connection) (*api.Claimed, error) {
	g.t.Helper()
	message, _, err := hello.Seal(f.private, c.Ticket, []hello.Recipient{{Gateway: g.gateway.ID, PublicKey: g.sealing.Public()}}, g.now())
	if err != nil {
		g.t.Fatal(err)
	}
	m := machine{sealing: g.sealing}
	by := caller.Caller{Subject: store.Subject{Kind: store.KindGateway, Gateway: g.gateway}}
	return service.Claim(g.t.Context(), by, api.Claim{Hello: m.open(g.t, message).Claim, HostKey: newFresh(g.t).line(), TargetKey: newFresh(g.t).line()})
}

// checkOrder sees that what a gateway got is for this user and server, from its own address,
// for two minutes, and no longer than the entitlement.
func (g *graph) checkOrder(o *api.RecordOrder, u store.User, s store.Server, until time.Time) {
	g.t.Helper()
	p := g.projects[slices.IndexFunc(g.projects, func(p store.Project) bool { return p.ID == s.Project })]
	keys, err := g.store.Keys(g.t.Context(), p.ID, string(ca.UserCA))
	if err != nil {
		g.t.Fatal(err)
	}
	cert := certificate(g.t, o.TargetCertificate)
	err = sshcert.VerifyUser(cert, sshcert.ExpectUser{
		CAs: authority(g.t, string(keys[0].Public)), Login: u.Login, ServerID: s.ID, ProjectID: p.ID, Now: g.now(), Gateway: g.gateway.ID,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	_, x11 := cert.Extensions["permit-X11-forwarding"]
	if cert.CriticalOptions["source-address"] != "198.51.100.1/32" || x11 != p.X11Forwarding || o.X11Forwarding != p.X11Forwarding || o.PortForwarding != p.PortForwarding {
		g.t.Fatalf("certificate %+v, order %+v for %+v", sshcert.Describe(cert), o, p)
	}
	if end := time.Unix(int64(cert.ValidBefore), 0); !until.IsZero() && end.After(until) {
		g.t.Fatalf("valid until %s, the entitlement ends %s", end, until)
	}
	if err := sshcert.VerifyHost(certificate(g.t, o.HostCertificate), sshcert.ExpectHost{CAs: authority(g.t, o.UserCAs...), ServerID: s.ID, Gateways: []string{g.gateway.ID}, Now: g.now()}); err != nil {
		g.t.Fatal(err)
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (g *graph) labels() map[string]string {
	return map[string]string{"env": pick(g.rnd, []string{"prod", "dev"}), "tier": pick(g.rnd, []string{"web", "db"})}
}

// end is never, or within a few minutes.
func (g *graph) end() time.Time {
	if g.rnd.IntN(2) == 0 {
		return time.Time{}
	}
	return g.now().Add(time.Duration(30+g.rnd.IntN(600)) * time.Second)
}

// change does one random thing to the team, in the store and in the memory.
func (g *graph) change() error {
	ctx, m := g.t.Context(), store.Meta{Now: g.now()}
	group, user := pick(g.rnd, g.groups), g.rnd.IntN(len(g.users))
	switch g.rnd.IntN(8) {
	case 0, 1, 2:
		end := g.end()
		g.members[[2]string{group.ID, g.users[user].ID}] = end
		return g.store.PutMember(ctx, store.Member{Group: group.ID, User: g.users[user].ID, Until: end}, m)
	case 3:
		for pair := range g.members {
			delete(g.members, pair)
			err := g.store.RemoveMember(ctx, pair[0], pair[1], m)
			return err
		}
	case 4, 5:
		grant := store.Grant{
			ID: ident.New(ident.Grant), Project: pick(g.rnd, g.projects).ID, Group: group.ID, Role: pick(g.rnd, []string{"user", "admin"}),
			Selector: pick(g.rnd, []string{"", "env=prod", "env!=prod", "tier=db", "missing=x", "missing!=x"}), Until: g.end(),
		}
		g.grants[grant.ID] = grant
		_, err := g.store.CreateGrant(ctx, grant, m)
		return err
	case 6:
		for id, grant := range g.grants {
			delete(g.grants, id)
			return g.store.DeleteGrant(ctx, grant.Project, id, m)
		}
	case 7:
		i := g.rnd.IntN(len(g.servers))
		g.servers[i].Labels, g.servers[i].State = g.labels(), pick(g.rnd, []string{store.Active, store.Active, store.Disabled})
		_, err := g.store.UpdateServer(ctx, g.servers[i].ID, store.ServerChange{Labels: &g.servers[i].Labels, State: &g.servers[i].State}, m)
		return err
	}
	return nil
}

// Whatever the team looks like, a certificate is issued exactly where somebody
// is entitled to it, and never allows more than that.
func TestACertificateIsNeverMoreThanTheEntitlement(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := newGraph(t, rand.New(rand.NewPCG(seed, 1)))
	machines := &fleet.Service{Store: g.store, Keys: g.keys, Now: g.now}
	service := &issue.Service{Store: g.store, Keys: g.keys, Router: machines, Now: g.now, ConfirmWait: time.Nanosecond}
	f := newFresh(t)
	issued, refused, recorded, stopped := 0, 0, 0, 0
	// Some teams stay poor for long: they get more time, so that each run proves something.
	for round := 0; round < 20 || round < 400 && (issued < 10 || refused < 10); round++ {
		for range 1 + g.rnd.IntN(4) {
			if err := g.change(); err != nil {
				t.Fatal(err)
			}
		}
		g.wait(time.Duration(g.rnd.IntN(60)) * time.Second)
		if err := g.gatewayReports(); err != nil {
			t.Fatal(err)
		}
		for _, u := range g.users {
			for _, s := range g.servers {
				until, entitled := g.entitled(u, s)
				c, err := service.Connect(t.Context(), g.callers[u.ID], f.connect(s.ID, pick(g.rnd, []string{"", u.Login})))
				if entitled && !until.IsZero() && until.Sub(g.now()) < time.Second {
					continue // in its last second it may be either
				}
				if entitled != (err == nil) {
					t.Fatalf("%s on %s: entitled %v until %s, got %v", u.Login, s.ID, entitled, until, err)
				}
				if err != nil {
					refused++
					continue
				}
				issued++
				g.check(c, u, s, until)
				if !c.Recorded {
					continue
				}
				// Half the time something changes before the gateway comes.
				changed := g.rnd.IntN(2) == 0
				if changed {
					if err := g.change(); err != nil {
						t.Fatal(err)
					}
					if i := slices.IndexFunc(g.servers, func(now store.Server) bool { return now.ID == s.ID }); i >= 0 {
						s = g.servers[i]
					}
					until, entitled = g.entitled(u, s)
				}
				claimed, err := g.claim(service, f, c)
				switch {
				case err == nil && !entitled, err != nil && !changed && (until.IsZero() || until.Sub(g.now()) > time.Second):
					t.Fatalf("%s on %s by the gateway: entitled %v until %s, got %v", u.Login, s.ID, entitled, until, err)
				case err != nil:
					stopped++
				default:
					recorded++
					g.checkOrder(claimed.Record, u, s, until)
				}
			}
		}
	}
	t.Logf("%d issued, %d refused; to the gateway %d, and %d not any more", issued, refused, recorded, stopped)
	if issued < 10 || refused < 10 {
		t.Errorf("%d issued and %d refused: the graphs prove nothing", issued, refused)
	}
}

func (g *graph) check(c *api.Connection, u store.User, s store.Server, until time.Time) {
	g.t.Helper()
	p := g.projects[slices.IndexFunc(g.projects, func(p store.Project) bool { return p.ID == s.Project })]
	scope, purpose := p.ID, ca.UserCA
	if c.Recorded {
		scope, purpose = ca.Team, ca.GatewayCA
	}
	if c.Recorded != p.Records() {
		g.t.Fatalf("recorded %v, for %+v", c.Recorded, p)
	}
	keys, err := g.store.Keys(g.t.Context(), scope, string(purpose))
	if err != nil {
		g.t.Fatal(err)
	}
	cert := certificate(g.t, c.Certificate)
	err = sshcert.VerifyUser(cert, sshcert.ExpectUser{
		CAs: authority(g.t, string(keys[0].Public)), Login: u.Login, ServerID: s.ID, ProjectID: p.ID,
		MaxLifetime: time.Duration(p.CertificateSeconds) * time.Second, Now: g.now(),
	})
	if err != nil {
		g.t.Fatal(err)
	}
	_, port := cert.Extensions["permit-port-forwarding"]
	_, agent := cert.Extensions["permit-agent-forwarding"]
	if port != p.PortForwarding || agent != p.AgentForwarding {
		g.t.Fatalf("extensions %v for %+v", cert.Extensions, p)
	}
	if end := time.Unix(int64(cert.ValidBefore), 0); !until.IsZero() && end.After(until) {
		g.t.Fatalf("valid until %s, the entitlement ends %s", end, until)
	}
}
