// Package storetest is the conformance suite of package store: each sentence of
// the contract is a subtest, and every engine passes the same ones. After each
// subtest the audit log is read and its chain verified.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Database is an empty database of one engine.
type Database struct {
	// Open opens it as an instance; the caller closes the store. Opening it
	// again after Close finds what was written.
	Open func(t testing.TB, instance string) store.Store
	// Several says that more than one instance may have it open at once.
	Several bool
}

// Run runs the suite; fresh makes an empty database for each subtest.
func Run(t *testing.T, fresh func(t testing.TB) Database) {
	for _, area := range []struct {
		name  string
		cases []testCase
	}{
		{"Store", commandCases},
		{"Teams", teamCases},
		{"Users", userCases},
		{"Groups", groupCases},
		{"Projects", projectCases},
		{"Entitlements", entitlementCases},
		{"Enrolment", enrolCases},
		{"Instances", instanceCases},
		{"Servers", serverCases},
		{"Clones", cloneCases},
		{"Gateways", gatewayCases},
		{"SignIn", signInCases},
		{"Sessions", sessionCases},
		{"Rotation", rotationCases},
		{"Touch", touchCases},
		{"Devices", deviceCases},
		{"DeviceGrants", deviceGrantCases},
		{"Dashboards", dashboardCases},
		{"Providers", providerCases},
		{"Federations", federationCases},
		{"Provisioning", provisioningCases},
		{"Adoption", adoptionCases},
		{"Factors", factorCases},
		{"ServiceUsers", serviceCases},
		{"ServiceKeys", serviceKeyCases},
		{"Workloads", workloadCases},
		{"Programs", programCases},
		{"Invitations", invitationCases},
		{"Issuance", issuanceCases},
		{"GatewaySessions", claimCases},
		{"Recordings", recordingCases},
		{"LiveControl", liveCases},
		{"Trust", trustCases},
		{"Audit", auditCases},
		{"Watch", watchCases},
		{"Sweep", sweepCases},
		{"Life", lifeCases},
		{"BreakGlass", glassCases},
		{"Requests", requestCases},
		{"RequestRules", requestRuleCases},
		{"Pages", pageCases},
		{"Races", raceCases},
	} {
		t.Run(area.name, func(t *testing.T) {
			for _, c := range area.cases {
				t.Run(c.name, func(t *testing.T) {
					w := newWorld(t, fresh(t))
					c.run(w)
					w.verifyAudit()
				})
			}
		})
	}
}

type testCase struct {
	name string
	run  func(w *world)
}

// world is a database with a team in it, and what a case does to it.
type world struct {
	testing.TB
	ctx   context.Context
	db    Database
	s     store.Store
	now   time.Time
	admin store.User
	rows  atomic.Int64 // audit rows that were acknowledged
	n     atomic.Int64 // numbers things
}

// start is when every world begins.
var start = time.Date(2026, 11, 20, 12, 0, 0, 123456000, time.UTC)

func newWorld(t testing.TB, db Database) *world {
	w := &world{TB: t, ctx: t.Context(), db: db, now: start}
	w.s = db.Open(t, "one")
	t.Cleanup(func() { w.s.Close() })
	admin, err := w.s.CreateTeam(w.ctx, store.Team{ID: ident.New(ident.Team), Name: "demo"},
		[]store.Key{w.key("team", "host-ca"), w.key("team", "policy")},
		w.person("admin", true), "hash of admin", w.meta("team.create"))
	w.ok(err)
	w.admin = admin
	return w
}

// meta makes a Meta with one audit row for each text.
func (w *world) meta(rows ...string) store.Meta {
	m := store.Meta{Now: w.now}
	for _, r := range rows {
		m.Audit = append(m.Audit, []byte(r))
	}
	w.rows.Add(int64(len(rows)))
	return m
}

// quiet is a Meta without audit rows.
func (w *world) quiet() store.Meta { return store.Meta{Now: w.now} }

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// want fails unless err is the sentinel (nil: no error).
func (w *world) want(sentinel, err error) {
	w.Helper()
	if !errors.Is(err, sentinel) || sentinel == nil && err != nil {
		w.Fatalf("got error %v, want %v", err, sentinel)
	}
}

func (w *world) equal(got, want any) {
	w.Helper()
	if d := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
		w.Fatalf("differs (-want +got):\n%s", d)
	}
}

func must[T any](w *world) func(T, error) T {
	return func(v T, err error) T {
		w.Helper()
		w.ok(err)
		return v
	}
}

func (w *world) number() int { return int(w.n.Add(1)) }

func sum(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

func (w *world) key(scope, purpose string) store.Key {
	n := w.number()
	return store.Key{
		ID: ident.New(ident.Key), Scope: scope, Purpose: purpose, State: "active", Public: fmt.Appendf(nil, "public %d", n),
		Fingerprint: fmt.Sprintf("SHA256:key%d", n), Sealed: []byte("sealed"), CreatedAt: w.now,
	}
}

func (w *world) person(name string, admin bool) store.User {
	id := ident.New(ident.User)
	return store.User{ID: id, Issuer: "local", Subject: id, Name: name, FullName: "Ms " + name, Email: name + "@example.com",
		Login: name, Status: store.Active, Admin: admin, CreatedAt: w.now}
}

func (w *world) user(name string) store.User {
	w.Helper()
	return must[store.User](w)(w.s.CreateUser(w.ctx, w.person(name, false), "hash of "+name, w.meta("user.create")))
}

func (w *world) group(name string) store.Group {
	w.Helper()
	return must[store.Group](w)(w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: name, CreatedAt: w.now}, w.meta("group.create")))
}

func (w *world) member(g store.Group, u store.User, until time.Time) {
	w.Helper()
	w.ok(w.s.PutMember(w.ctx, store.Member{Group: g.ID, User: u.ID, Until: until}, w.meta("member.put")))
}

func (w *world) project(name, gateway string) store.Project {
	w.Helper()
	p := store.Project{ID: ident.New(ident.Project), Name: name, CertificateSeconds: 180, Gateway: gateway, GatewaySelector: "pool=a",
		PortForwarding: true, CreatedAt: w.now}
	return must[store.Project](w)(w.s.CreateProject(w.ctx, p, w.key(p.ID, "user-ca"), w.meta("project.create")))
}

func (w *world) grant(p store.Project, g store.Group, until time.Time) store.Grant {
	w.Helper()
	return must[store.Grant](w)(w.s.CreateGrant(w.ctx, store.Grant{ID: ident.New(ident.Grant), Project: p.ID, Group: g.ID, Role: "user",
		Selector: "env=prod", Until: until, CreatedAt: w.now}, w.meta("grant.create")))
}

// token makes an enrolment token and returns its secret's hash.
func (w *world) token(kind, project string, uses int) []byte {
	w.Helper()
	secret := sum(fmt.Sprint("secret", w.number()))
	w.ok(w.s.CreateEnrolmentToken(w.ctx, store.EnrolmentToken{
		ID: ident.New(ident.Enrolment), SecretHash: secret, Kind: kind, Project: project, UsesLeft: uses,
		ExpiresAt: w.now.Add(time.Hour), CreatedAt: w.now,
	}, w.meta("token.create")))
	return secret
}

func (w *world) credential() store.Credential {
	n := w.number()
	return store.Credential{TokenHash: sum(fmt.Sprint("token", n)), Thumbprint: fmt.Sprint("thumbprint", n)}
}

func (w *world) newServer(p store.Project, name string) store.Server {
	return store.Server{ID: ident.New(ident.Server), Project: p.ID, Name: name, Address: name + ":22", Labels: map[string]string{"env": "prod"},
		HostLabels: map[string]string{"os": "debian"}, State: store.Active, CreatedAt: w.now}
}

func (w *world) server(p store.Project, name string) store.Server {
	w.Helper()
	return must[store.Server](w)(w.s.EnrolServer(w.ctx, w.token(store.KindServer, p.ID, 1), w.newServer(p, name), w.credential(), w.meta("server.enrol")))
}

func (w *world) newGateway(name string) store.Gateway {
	return store.Gateway{ID: ident.New(ident.Gateway), Name: name, Address: name + ":7234", Labels: map[string]string{"pool": "a"},
		Egress: []string{"192.0.2.1"}, State: store.Active, CreatedAt: w.now, TLSAddress: name + ":443"}
}

func (w *world) gateway(name string) store.Gateway {
	w.Helper()
	return must[store.Gateway](w)(w.s.EnrolGateway(w.ctx, w.token(store.KindGateway, "", 1), w.newGateway(name), w.credential(), w.meta("gateway.enrol")))
}

// request is an auth request of a device with this key, open.
func (w *world) request(thumbprint string) store.AuthRequest {
	w.Helper()
	r := store.AuthRequest{
		ID: ident.New(ident.AuthRequest), RedirectURI: "http://127.0.0.1:1/callback", State: "state", Challenge: "challenge", Thumbprint: thumbprint,
		DeviceName: "laptop", BrowserHash: sum("browser"), Source: "192.0.2.9", Replaces: "old", ReplacesKey: "key old", ExpiresAt: w.now.Add(10 * time.Minute), CreatedAt: w.now,
	}
	w.ok(w.s.CreateAuthRequest(w.ctx, r, w.quiet()))
	return r
}

// approval is the yes of a user who has just signed in to the pages.
func (w *world) approval(u store.User, r store.AuthRequest) store.Approval {
	w.Helper()
	login := sum(fmt.Sprint("page", w.number()))
	w.page(u, login)
	return store.Approval{
		Request: r.ID, BrowserHash: r.BrowserHash, User: u.ID, LoginHash: login,
		CodeHash: sum(fmt.Sprint("code", w.number())), CodeExpires: w.now.Add(time.Minute),
	}
}

// approved is a request with a code, and what redeems it.
func (w *world) approved(u store.User, thumbprint string) store.Redemption {
	w.Helper()
	r := w.request(thumbprint)
	a := w.approval(u, r)
	_, err := w.s.ApproveAuthRequest(w.ctx, a, w.meta("signin.approve"))
	w.ok(err)
	return store.Redemption{
		CodeHash: a.CodeHash, RedirectURI: r.RedirectURI, Challenge: r.Challenge, Thumbprint: thumbprint,
		Session: store.Session{ID: ident.New(ident.Session), TokenHash: sum(fmt.Sprint("session", w.number())), AuthenticatedAt: w.now,
			CreatedAt: w.now, ExpiresAt: w.now.Add(12 * time.Hour)},
		Device: store.Device{ID: ident.New(ident.Device), Name: "laptop", State: store.Active},
	}
}

func (w *world) signIn(u store.User) store.Subject {
	w.Helper()
	r := w.approved(u, fmt.Sprint("key", w.number()))
	return must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.meta("signin")))
}

// path is everything that a connection needs.
type path struct {
	user    store.User
	group   store.Group
	project store.Project
	grant   store.Grant
	server  store.Server
	gateway store.Gateway
	subject store.Subject
}

func (w *world) path() path {
	w.Helper()
	p := path{user: w.user("alice"), group: w.group("ops"), project: w.project("web", "required")}
	w.member(p.group, p.user, time.Time{})
	p.grant = w.grant(p.project, p.group, time.Time{})
	p.server, p.gateway = w.server(p.project, "web-1"), w.gateway("gw-1")
	p.subject = w.signIn(p.user)
	return p
}

// issue is a record that the path allows, with a new serial and ticket.
func (w *world) issue(p path) store.Issued {
	n := w.number()
	return store.Issued{
		Serial: uint64(n) + 1<<62, Kind: store.IssueUser, CA: "ca_x", Principal: "alice@" + p.server.ID, KeyID: "cardea:user=" + p.user.ID,
		PublicKey: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum(fmt.Sprint("fresh", n))), User: p.user.ID, Session: p.subject.Session.ID,
		Device: p.subject.Device.ID, Server: p.server.ID, Project: p.project.ID, Login: p.user.Login, Grant: p.grant.ID, Ticket: fmt.Sprint("tkt_", n),
		NotBefore: w.now.Add(-time.Minute), NotAfter: w.now.Add(3 * time.Minute), CreatedAt: w.now,
		Labels: p.server.Labels,
	}
}

// claim is the claim of a hello under an issuance.
func (w *world) claim(p path, v store.Issued) store.Claim {
	print, err := base64.RawStdEncoding.DecodeString(v.PublicKey[len("SHA256:"):])
	w.ok(err)
	return store.Claim{
		Nonce: sum(fmt.Sprint("nonce", w.number())), Ticket: v.Ticket, Fingerprint: print, UserSession: v.Session, ExpiresAt: w.now.Add(time.Minute),
		Session: store.GatewaySession{ID: ident.New(ident.GatewaySession), Gateway: p.gateway.ID, User: v.User, Server: v.Server, Project: v.Project,
			Login: v.Login, UserSession: v.Session, Source: "192.0.2.9", StartedAt: w.now},
	}
}

// session starts a gateway session.
func (w *world) session(p path) store.GatewaySession {
	w.Helper()
	v := w.issue(p)
	w.ok(w.s.RecordIssuance(w.ctx, v, w.meta("connect")))
	c := w.claim(p, v)
	w.ok(w.s.ClaimHello(w.ctx, c, w.meta("gateway.claim")))
	return c.Session
}

// audit reads the whole log.
func (w *world) audit() []store.AuditRow {
	w.Helper()
	var rows []store.AuditRow
	var after int64
	for {
		page, err := w.s.AuditRows(w.ctx, after, 100)
		w.ok(err)
		if len(page) == 0 {
			return rows
		}
		rows = append(rows, page...)
		after = page[len(page)-1].ID
	}
}

func (w *world) verifyAudit() {
	w.Helper()
	var v audit.Verifier
	var last int64
	for _, r := range w.audit() {
		if r.ID <= last {
			w.Fatalf("audit row %d comes after %d", r.ID, last)
		}
		last = r.ID
		w.ok(v.Add(audit.Row{Instance: r.Instance, Epoch: r.Epoch, Seq: r.Seq, Payload: r.Payload, Hash: r.Hash}))
	}
}

// unlogged fails if do leaves an audit row of this text.
func (w *world) unlogged(text string) {
	w.Helper()
	for _, r := range w.audit() {
		if bytes.Equal(r.Payload, []byte(text)) {
			w.Fatalf("audit row %q was written", text)
		}
	}
}

func (w *world) logged(text string) {
	w.Helper()
	for _, r := range w.audit() {
		if bytes.Equal(r.Payload, []byte(text)) {
			return
		}
	}
	w.Fatalf("audit row %q is missing", text)
}

func ptr[T any](v T) *T { return &v }
