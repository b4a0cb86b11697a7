package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// auditor is a recipient of recordings.
func auditor(t testing.TB) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

func hybrid(t testing.TB) string {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

// A project is recorded only where somebody does it, and somebody can read it.
func TestSettingsOfRecording(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if s.project.Recording != "off" {
		t.Errorf("a project that says nothing is recorded: %q", s.project.Recording)
	}
	one, two := auditor(t), auditor(t)
	full := func(p api.RecordPatch, gateway string) api.ProjectPatch {
		return api.ProjectPatch{Gateway: &gateway, RecordPatch: p}
	}
	many := make([]string, maxRecipientsForTest+1)
	for i := range many {
		many[i] = auditor(t)
	}
	for name, c := range map[string]struct {
		patch api.ProjectPatch
		says  string
	}{
		"without a required gateway nobody records":    {full(api.RecordPatch{Recording: ptr("required"), Recipients: &[]string{one}}, "allowed"), "--gateway required"},
		"without recipients nobody could read it":      {full(api.RecordPatch{Recording: ptr("best-effort")}, "required"), "--recording-recipient"},
		"another word is none":                         {full(api.RecordPatch{Recording: ptr("always")}, "required"), "best-effort"},
		"text that is no recipient":                    {full(api.RecordPatch{Recipients: &[]string{"ssh-ed25519 AAAA"}}, "required"), "age"},
		"a recipient that is cut short":                {full(api.RecordPatch{Recipients: &[]string{one[:40]}}, "required"), "age"},
		"two recipients in one text":                   {full(api.RecordPatch{Recipients: &[]string{one + "\n" + two}}, "required"), "age"},
		"one recipient twice":                          {full(api.RecordPatch{Recipients: &[]string{one, one}}, "required"), "twice"},
		"kinds of recipients that cannot be mixed":     {full(api.RecordPatch{Recipients: &[]string{one, hybrid(t)}}, "required"), "together"},
		"a recipient more than there may be":           {full(api.RecordPatch{Recipients: &many}, "required"), "16"},
		"the secret key in place of its recipient":     {full(api.RecordPatch{Recipients: &[]string{"AGE-SECRET-KEY-1QQQQ"}}, "required"), "secret key"},
		"the secret key in lower case is not repeated": {full(api.RecordPatch{Recipients: &[]string{"age-secret-key-1qqqq"}}, "required"), "secret key"},
		"an escape sequence is not repeated":           {full(api.RecordPatch{Recipients: &[]string{"\x1b[2J"}}, "required"), "age"},
		"a recipient longer than any":                  {full(api.RecordPatch{Recipients: &[]string{"age1" + strings.Repeat("z", 4096)}}, "required"), "age"},
		"a recipient with a post-quantum key, cut":     {full(api.RecordPatch{Recipients: &[]string{hybrid(t)[:1000]}}, "required"), "age"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := try[api.Project](t, s.admin, "PATCH", "/v1/projects/web", c.patch)
			if api.KindOf(err) != api.Invalid || !strings.Contains(err.Error(), c.says) || strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(strings.ToLower(err.Error()), "qqqq") {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
		})
	}
	on := full(api.RecordPatch{Recording: ptr("required"), Recipients: &[]string{one, two}, RecordInput: ptr(true), X11Forwarding: ptr(true)}, "required")
	p := must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", on)
	want := api.RecordSettings{Recording: "required", Recipients: []string{one, two}, RecordInput: true, X11Forwarding: true}
	if diff := cmp.Diff(want, p.RecordSettings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if e := s.audited(audit.ProjectUpdate); e.Detail["recording"] != "required" || e.Detail["recording_recipients"] != one+","+two || e.Detail["recording_input"] != "true" {
		t.Errorf("audited %+v", e.Detail)
	}
	sixteen := many[:maxRecipientsForTest]
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: api.RecordPatch{Recipients: &sixteen}})
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: api.RecordPatch{Recipients: &[]string{hybrid(t), hybrid(t)}}})
	// Neither the gateway nor the last recipient can be taken away from under it.
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web", api.ProjectPatch{Gateway: ptr("none")})
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: api.RecordPatch{Recipients: &[]string{}}})
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{Gateway: ptr("none"), RecordPatch: api.RecordPatch{Recording: ptr("off")}})

	denied(t, s.admin, api.Invalid, "POST", "/v1/projects", api.NewProject{Name: "pay", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "required", RecordSettings: api.RecordSettings{Recording: "required"}}})
	got := must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "pay", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "required", RecordSettings: want}})
	if diff := cmp.Diff(want, got.RecordSettings); diff != "" {
		t.Errorf("settings of a new project (-want +got):\n%s", diff)
	}
}

// maxRecipientsForTest is what the documentation of the API promises.
const maxRecipientsForTest = 16

// recordedScene is a scene whose sessions are recorded, with a gateway that does it.
func recordedScene(t testing.TB, settings ...func(*api.ProjectSettings)) *scene {
	t.Helper()
	s := newScene(t, append([]func(*api.ProjectSettings){func(p *api.ProjectSettings) {
		p.Gateway, p.PortForwarding = "required", true
		p.RecordSettings = api.RecordSettings{Recording: "required", Recipients: []string{auditor(t)}, RecordInput: true, X11Forwarding: true}
	}}, settings...)...)
	s.records(s.gateway, true)
	return s
}

// newRecordingKey is one that a gateway would sign with.
func newRecordingKey(t testing.TB) (api.RecordingKey, ed25519.PrivateKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return api.RecordingKey{ID: recording.KeyID(pub), Public: pub}, priv
}

// records has a gateway report that it can record, or that it cannot.
func (s *scene) records(m *machine, can bool, keys ...api.RecordingKey) api.GatewayReportAnswer {
	s.t.Helper()
	id := m.sealing.ID()
	return must[api.GatewayReportAnswer](s.t, m.device, "POST", "/v1/gateway/report", api.GatewayReport{
		Healthy: true, SealingKeys: []api.SealingKey{{ID: id[:], Public: m.sealing.Public()}}, Records: can, RecordingKeys: keys,
	})
}

// claimOf is what a gateway claims for a connection, with keys of its own.
func (s *scene) claimOf(m *machine, f fresh, c api.Connection) (api.Claim, gatewayPair) {
	s.t.Helper()
	message, _ := s.hello(f, c)
	pair := gatewayPair{host: newFresh(s.t), target: newFresh(s.t)}
	return api.Claim{Hello: m.open(s.t, message).Claim, Source: "203.0.113.9:50000", HostKey: pair.host.line(), TargetKey: pair.target.line()}, pair
}

type gatewayPair struct{ host, target fresh }

func (s *scene) cas(purpose string) []ssh.PublicKey {
	s.t.Helper()
	keys, err := s.store.Keys(s.t.Context(), "team", purpose)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for _, k := range keys {
		lines = append(lines, string(k.Public))
	}
	return authority(s.t, lines...)
}

// The whole way of a recorded session: the user's certificate is good at gateways alone, and the
// gateway gets what it needs for this one session, on record before it is signed.
func TestAliceIsRecorded(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	if !c.Recorded || c.Notice != "this session is recorded, and so is what you type" || len(c.Routes) != 1 || len(c.Routes[0].Recipients) != 1 || len(c.GatewayCAs) != 1 {
		t.Errorf("got %+v", c)
	}
	leg1 := certificate(t, c.Certificate)
	expect := sshcert.ExpectUser{CAs: s.cas("gateway-ca"), Login: "alice", ServerID: s.server.id, ProjectID: s.project.ID, Now: s.now()}
	if err := sshcert.VerifyUser(leg1, expect); err != nil {
		t.Error(err)
	}
	byProject := expect
	byProject.CAs = authority(t, s.project.UserCA)
	if sshcert.VerifyUser(leg1, byProject) == nil {
		t.Error("servers would take the certificate that is for gateways")
	}

	claim, pair := s.claimOf(s.gateway, f, c)
	claimed := must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", claim)
	o := claimed.Record
	if o == nil || !o.Required || !o.Input || !o.PortForwarding || o.AgentForwarding || !o.X11Forwarding || !slices.Equal(o.Recipients, s.project.Recipients) {
		t.Fatalf("order %+v", o)
	}
	if len(o.UserCAs) != 1 || len(o.HostCAs) != 1 || sshcert.VerifyUser(leg1, sshcert.ExpectUser{CAs: authority(t, o.UserCAs...), Login: "alice", ServerID: s.server.id, ProjectID: s.project.ID, Now: s.now()}) != nil {
		t.Errorf("the CAs of the order are %q and %q", o.UserCAs, o.HostCAs)
	}
	target := certificate(t, o.TargetCertificate)
	leg2 := byProject
	leg2.Gateway = s.gateway.id
	if err := sshcert.VerifyUser(target, leg2); err != nil {
		t.Error(err)
	}
	if !maps.Equal(target.CriticalOptions, map[string]string{"source-address": "198.51.100.1/32"}) || string(target.Key.Marshal()) != string(pair.target.public.Marshal()) {
		t.Errorf("the certificate for the server is %+v", sshcert.Describe(target))
	}
	if end := time.Unix(int64(target.ValidBefore), 0); end.After(s.now().Add(120 * time.Second)) {
		t.Errorf("it is good until %s", end)
	}
	host := certificate(t, o.HostCertificate)
	if err := sshcert.VerifyHost(host, sshcert.ExpectHost{CAs: authority(t, c.GatewayCAs...), ServerID: s.server.id, Gateways: []string{s.gateway.id}, Now: s.now()}); err != nil {
		t.Error(err)
	}

	// Both are on record, tied to the session, and so is the login that they lead to.
	for cert, kind := range map[*ssh.Certificate]string{target: store.IssueTarget, host: store.IssueGatewayHost} {
		v, err := s.store.Issued(t.Context(), cert.Serial)
		if err != nil || v.Kind != kind || v.Gateway != s.gateway.id || v.GatewaySession != claimed.Session || v.KeyID != cert.KeyId {
			t.Errorf("record %+v, %v", v, err)
		}
	}
	e := s.audited(audit.GatewayClaim)
	if e.Outcome != audit.Allowed || e.Detail["serial"] != strconv.FormatUint(target.Serial, 10) || e.Detail["host_serial"] != strconv.FormatUint(host.Serial, 10) || e.Detail["recorded"] != "required" {
		t.Errorf("audited %+v", e)
	}
	must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: []api.AgentEvent{
		{At: s.now(), Kind: "login", Login: "alice", Serial: strconv.FormatUint(target.Serial, 10), KeyID: target.KeyId, Source: "198.51.100.1"},
	}})
	if e := s.audited(audit.HostLogin); e.Detail["verified"] != "true" || e.User != s.alice.session.User || e.Session != s.alice.session.ID || e.Gateway != s.gateway.id || e.Detail["gateway_session"] != claimed.Session {
		t.Errorf("the login is %+v", e)
	}
	live := must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions?live=true", nil)
	if len(live.Items) != 1 || live.Items[0].Recording != api.RecordingRunning {
		t.Errorf("live sessions %+v", live.Items)
	}
	why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil)
	catalog := must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil)
	if !why.Recorded || !why.Input || len(catalog.Servers) != 1 || !catalog.Servers[0].Recorded || !slices.Equal(catalog.GatewayCAs, c.GatewayCAs) {
		t.Errorf("why %+v, catalog %+v", why, catalog)
	}
	// Programs that check no certificates find the gateway by its own key, once it has told it.
	if catalog.GatewayHostKeys != nil {
		t.Errorf("keys of a gateway that has told none: %q", catalog.GatewayHostKeys)
	}
	line := sshcert.Line(pair.host.public)
	id := s.gateway.sealing.ID()
	report := api.GatewayReport{Healthy: true, SealingKeys: []api.SealingKey{{ID: id[:], Public: s.gateway.sealing.Public()}}, Records: true, HostKey: line}
	must[api.GatewayReportAnswer](t, s.gateway.device, "POST", "/v1/gateway/report", report)
	if got := must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil); !slices.Equal(got.GatewayHostKeys[s.project.ID], []string{line}) || got.Version == catalog.Version {
		t.Errorf("catalog %+v", got)
	}
	// Whose key people's programs trust, and since when, is in the log.
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	told := s.events(audit.GatewayReport)
	if err != nil || len(told) == 0 || told[len(told)-1].Detail["host_key"] != ssh.FingerprintSHA256(key) {
		t.Errorf("audited: %+v, %v", told, err)
	}
	for _, bad := range []string{"ssh-ed25519", "* " + line, line + "\n" + line, c.Certificate} {
		report.HostKey = bad
		denied(t, s.gateway.device, api.Invalid, "POST", "/v1/gateway/report", report)
	}
	// Whoever shows the gateways' certificate to a server is found.
	must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{First: 2, Events: []api.AgentEvent{
		{At: s.now(), Kind: "refused", Login: "alice", Serial: c.Serial, KeyID: leg1.KeyId, Key: ssh.FingerprintSHA256(f.public), CA: ssh.FingerprintSHA256(leg1.SignatureKey)},
	}})
	if e := s.audited(audit.HostRefused); !strings.Contains(e.Reason, "recording gateways") || e.User != s.alice.session.User {
		t.Errorf("audited %+v", e)
	}
}

// Where nobody can record there is no way, and never one that is not recorded.
func TestNobodyRecords(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	connect := newFresh(t).connect("web-1", "")
	for _, c := range []struct {
		name string
		make func()
		says string
	}{
		{"no gateway has a spool with room", func() { s.records(s.gateway, false) }, "no gateway of it can record now"},
		{"nobody knows from where the gateway comes", func() {
			s.records(s.gateway, true)
			must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{Egress: &[]string{}})
		}, "--egress"},
	} {
		c.make()
		s.wait(2 * time.Second)
		time.Sleep(1100 * time.Millisecond) // what the other instance remembers of gateways
		e := denied(t, s.alice, api.NoGateway, "POST", "/v1/connect", connect)
		if !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s: %v", c.name, e)
		}
		if why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); why.Allow || !strings.Contains(why.Reason+why.Hint, c.says) {
			t.Errorf("%s: why says %+v", c.name, why)
		}
	}
}

// A gateway that somebody has taken over asks for more than its session needs. It gets nothing,
// and the alarm is raised.
func TestACompromisedGatewayGetsNothing(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{})
	other := s.newGateway("gw-2") // records nothing, so no ticket names it
	web2 := s.newServer("web", "web-2", nil)
	s.confirm(s.server)
	s.confirm(web2)
	connection := func(d *device, server string) (fresh, api.Connection) {
		f := newFresh(t)
		return f, must[api.Connection](t, d, "POST", "/v1/connect", f.connect(server, ""))
	}
	f, c := connection(s.alice, "web-1")
	used, pair := s.claimOf(s.gateway, f, c)
	must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", used)

	bobs, bobc := connection(s.bob, "web-2")
	for name, c := range map[string]struct {
		from  *machine
		claim func() api.Claim
	}{
		"a second pair for a hello that was claimed": {s.gateway, func() api.Claim { return used }},
		"a second pair for other keys": {s.gateway, func() api.Claim {
			again := used
			again.TargetKey, again.HostKey = newFresh(t).line(), newFresh(t).line()
			return again
		}},
		"a ticket that names another gateway": {other, func() api.Claim {
			f, c := connection(s.alice, "web-1")
			claim, _ := s.claimOf(s.gateway, f, c)
			return claim
		}},
		"the ticket of one with the hello of another": {s.gateway, func() api.Claim {
			mixed := bobc
			mixed.Ticket = c.Ticket
			message, _, err := hello.Seal(bobs.private, mixed.Ticket, []hello.Recipient{{Gateway: s.gateway.id, PublicKey: s.gateway.sealing.Public()}}, s.now())
			if err != nil {
				t.Fatal(err)
			}
			claim, _ := s.claimOf(s.gateway, bobs, bobc)
			claim.Hello = s.gateway.open(t, message).Claim
			return claim
		}},
		"a hello that it made up": {s.gateway, func() api.Claim {
			claim, _ := s.claimOf(s.gateway, bobs, bobc)
			claim.Hello = slices.Clone(claim.Hello)
			claim.Hello[len(claim.Hello)-1] ^= 1
			return claim
		}},
		"a key that went to a server before": {s.gateway, func() api.Claim {
			claim, _ := s.claimOf(s.gateway, bobs, bobc)
			claim.TargetKey = pair.target.line()
			return claim
		}},
		"the user's own key": {s.gateway, func() api.Claim {
			claim, _ := s.claimOf(s.gateway, bobs, bobc)
			claim.TargetKey = bobs.line()
			return claim
		}},
		"one key for both": {s.gateway, func() api.Claim {
			claim, _ := s.claimOf(s.gateway, bobs, bobc)
			claim.TargetKey = claim.HostKey
			return claim
		}},
		"no keys": {s.gateway, func() api.Claim {
			claim, _ := s.claimOf(s.gateway, bobs, bobc)
			claim.TargetKey, claim.HostKey = "", ""
			return claim
		}},
	} {
		misused, claimed := len(s.events(audit.GatewayMisuse)), len(s.sessions())
		if got, err := try[api.Claimed](t, c.from.device, "POST", "/v1/gateway/sessions", c.claim()); err == nil || got.Record != nil || got.Session != "" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if n := len(s.events(audit.GatewayMisuse)); n != misused+1 || len(s.sessions()) != claimed {
			t.Errorf("%s: %d alarms, %d sessions more", name, n-misused, len(s.sessions())-claimed)
		}
	}
	// Nothing of all that has spent bob's connection.
	good, _ := s.claimOf(s.gateway, bobs, bobc)
	must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", good)

	f, c = connection(s.alice, "web-1")
	over, _ := s.claimOf(s.gateway, f, c)
	s.wait(hello.TicketLife)
	misused := len(s.events(audit.GatewayMisuse))
	denied(t, s.gateway.device, api.Gone, "POST", "/v1/gateway/sessions", over)
	if n := len(s.events(audit.GatewayMisuse)); n != misused {
		t.Error("a slow gateway is called a thief")
	}
	s.wait(31 * time.Second)
	denied(t, s.gateway.device, api.Denied, "POST", "/v1/gateway/sessions", over)
	if n := len(s.events(audit.GatewayMisuse)); n != misused+1 {
		t.Error("certificates for a ticket of long ago raise no alarm")
	}
}

func (s *scene) sessions() []api.GatewaySession {
	s.t.Helper()
	return must[api.List[api.GatewaySession]](s.t, s.admin, "GET", "/v1/gateway-sessions", nil).Items
}

// What was decided for a ticket is decided again when the gateway claims it.
func TestAClaimOfARecordedSessionDecidesAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(s *scene)
		kind   api.Kind
	}{
		"the grant is gone":      {func(s *scene) { must[api.Named](t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil) }, api.Denied},
		"the membership is gone": {func(s *scene) { must[api.Named](t, s.admin, "DELETE", "/v1/groups/ops/members/alice", nil) }, api.Denied},
		"the user is disabled": {func(s *scene) {
			must[api.User](t, s.admin, "PATCH", "/v1/users/alice", api.UserPatch{Status: ptr("disabled")})
		}, api.Denied},
		"nothing is recorded now":  {func(s *scene) { s.setRecord(api.RecordPatch{Recording: ptr("off")}) }, api.Gone},
		"all enter as one account": {func(s *scene) { s.set(api.AccountPatch{SharedAccount: ptr("deploy")}) }, api.Denied},
		"the server is gone":       {func(s *scene) { must[api.Named](t, s.admin, "DELETE", "/v1/servers/"+s.server.id, nil) }, api.Denied},
		"the gateway's addresses are gone": {func(s *scene) {
			must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{Egress: &[]string{}})
		}, api.NoGateway},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := recordedScene(t)
			f := newFresh(t)
			conn := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
			claim, _ := s.claimOf(s.gateway, f, conn)
			c.change(s)
			if got, err := try[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", claim); api.KindOf(err) != c.kind || got.Record != nil {
				t.Errorf("got %+v, %v, want %s", got, err, c.kind)
			}
			if n := len(s.events(audit.GatewayMisuse)); n != 0 {
				t.Errorf("%d alarms for an honest gateway", n)
			}
			if e := s.audited(audit.GatewayClaim); e.Outcome != audit.Denied || e.Detail["serial"] != "" {
				t.Errorf("audited %+v", e)
			}
		})
	}
}

func (s *scene) setRecord(p api.RecordPatch) {
	s.t.Helper()
	must[api.Project](s.t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: p})
}

// A gateway that did not hear the answer asks again with the same idempotency key. The
// certificates are not made a second time.
func TestALostAnswerBringsNoSecondPair(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	claim, _ := s.claimOf(s.gateway, f, c)
	body, err := json.Marshal(claim)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{http.StatusOK, http.StatusGone} {
		req := s.gateway.request(i, "POST", "/v1/gateway/sessions", string(body))
		req.Header.Set(api.HeaderIdempotency, "one-key")
		if got := s.send(i, req); got.StatusCode != want || strings.Contains(got.body, "certificate\":") != (i == 0) {
			t.Fatalf("try %d: %d %s", i, got.StatusCode, got.body)
		}
	}
	all := s.sessions()
	if len(all) != 1 || all[0].EndedAt.IsZero() || all[0].Recording != api.RecordingDamaged {
		t.Errorf("sessions %+v", all)
	}
	if n := len(s.events(audit.GatewayMisuse)); n != 0 {
		t.Errorf("%d alarms for an honest gateway", n)
	}
}

// Keys that sign recordings are acknowledged, and kept when the gateway is gone.
func TestRecordingKeysAreKept(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	k1, _ := newRecordingKey(t)
	k2, _ := newRecordingKey(t)
	if got := s.records(s.gateway, true, k2, k1); !slices.Equal(got.Recording, []string{k2.ID, k1.ID}) {
		t.Errorf("acknowledged %q", got.Recording)
	}
	other := s.newGateway("gw-2")
	id := other.sealing.ID()
	report := api.GatewayReport{Healthy: true, Records: true, SealingKeys: []api.SealingKey{{ID: id[:], Public: other.sealing.Public()}}}
	for name, keys := range map[string][]api.RecordingKey{
		"another's key":    {k1},
		"an id that lies":  {{ID: k1.ID, Public: other.sealing.Public()}},
		"a key cut short":  {{ID: recording.KeyID(k1.Public[:31]), Public: k1.Public[:31]}},
		"more than may be": {k1, k1, k1, k1, k1},
	} {
		report.RecordingKeys = keys
		if _, err := try[api.GatewayReportAnswer](t, other.device, "POST", "/v1/gateway/report", report); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if e := s.audited(audit.GatewayMisuse); !strings.Contains(e.Reason, "recording key") || e.Actor != other.id {
		t.Errorf("audited %+v", e)
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/gateways/gw-1", nil)
	rows := must[api.List[api.RecordingKey]](t, s.admin, "GET", "/v1/recording-keys", nil).Items
	if len(rows) != 2 || rows[0].Gateway != s.gateway.id || rows[0].Since.IsZero() || !slices.ContainsFunc(rows, func(k api.RecordingKey) bool { return k.ID == k1.ID && string(k.Public) == string(k1.Public) }) {
		t.Errorf("keys %+v", rows)
	}
}

// The gateway CA is rotated while people connect: what was issued before a step is good after it.
func TestTheGatewayCAIsRotatedUnderway(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	connect := func() (fresh, api.Connection) {
		f := newFresh(t)
		return f, must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	}
	step := func(verb string) error {
		s.t.Helper()
		_, err := try[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/"+verb, api.RotationStep{})
		return err
	}
	// claim has the gateway take what was connected, and checks all three against each other.
	claim := func(f fresh, c api.Connection) {
		t.Helper()
		in, _ := s.claimOf(s.gateway, f, c)
		o := must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", in).Record
		leg1 := sshcert.ExpectUser{CAs: authority(t, o.UserCAs...), Login: "alice", ServerID: s.server.id, ProjectID: s.project.ID, Now: s.now()}
		if err := sshcert.VerifyUser(certificate(t, c.Certificate), leg1); err != nil {
			t.Errorf("the gateway does not know the CA of the user's certificate: %v", err)
		}
		host := sshcert.ExpectHost{CAs: authority(t, must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil).GatewayCAs...), ServerID: s.server.id, Gateways: []string{s.gateway.id}, Now: s.now()}
		if err := sshcert.VerifyHost(certificate(t, o.HostCertificate), host); err != nil {
			t.Errorf("ssh does not know the CA of the gateway's certificate: %v", err)
		}
	}
	before := s.cas("gateway-ca")[0]
	f, c := connect()
	if err := step("rotate"); err != nil {
		t.Fatal(err)
	}
	claim(f, c)
	f, c = connect()
	if err := step("switch"); err != nil {
		t.Fatal(err)
	}
	claim(f, c)
	s.eventually(func() bool {
		f, c = connect()
		return string(certificate(t, c.Certificate).SignatureKey.Marshal()) != string(before.Marshal())
	})
	if len(c.GatewayCAs) != 2 {
		t.Errorf("told of %d CAs", len(c.GatewayCAs))
	}
	claim(f, c)
	s.wait(store.KeySettle)
	if err := step("retire"); api.KindOf(err) != api.Conflict {
		t.Errorf("retired while certificates of it live: %v", err)
	}
	s.wait(4 * time.Minute)
	s.records(s.gateway, true)
	if err := step("retire"); err != nil {
		t.Fatal(err)
	}
	s.eventually(func() bool {
		f, c = connect()
		return len(c.GatewayCAs) == 1
	})
	claim(f, c)
	if keys := s.cas("gateway-ca"); len(keys) != 1 || string(keys[0].Marshal()) == string(before.Marshal()) {
		t.Errorf("%d keys are left", len(keys))
	}
}

// A ticket that is older than the rule to record brings no session that nobody records.
func TestAnOldTicketDoesNotPassUnrecorded(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{"required", "best-effort"} {
		s := recordedScene(t)
		s.setRecord(api.RecordPatch{Recording: ptr("off")})
		f := newFresh(t)
		conn := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
		if conn.Recorded {
			t.Fatal("recorded, though it is off")
		}
		message, _ := s.hello(f, conn)
		s.setRecord(api.RecordPatch{Recording: &rule})
		claim := api.Claim{Hello: s.gateway.open(t, message).Claim, Source: "203.0.113.9:50000"}
		if got, err := try[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", claim); api.KindOf(err) != api.Gone {
			t.Errorf("%s: got %+v, %v", rule, got, err)
		}
		if e := s.audited(audit.GatewayClaim); e.Outcome != audit.Denied || e.Reason != "changed" || e.Project != s.project.ID {
			t.Errorf("%s: audited %+v", rule, e)
		}
	}
}

// A session that was claimed and could not begin, as where its server is away, leaves nobody
// waiting for its recording: alarms about those would hide the true ones.
func TestNobodyWaitsForWhatNeverBegan(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	f := newFresh(t)
	conn := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	claim, _ := s.claimOf(s.gateway, f, conn)
	session := must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", claim).Session
	must[api.Named](t, s.gateway.device, "POST", "/v1/gateway/sessions/"+session+"/end", api.SessionEnd{Cause: "error", Unrecorded: "the session did not begin"})
	got := must[api.Recording](t, s.admin, "GET", "/v1/recordings/"+session, nil)
	if got.State != api.RecordingDamaged || got.Fault != "the session did not begin" {
		t.Errorf("%+v", got)
	}
	late, err := s.store.LateRecordings(t.Context(), s.now().Add(24*time.Hour), 10)
	if err != nil || len(late) != 0 {
		t.Errorf("waits for %+v, %v", late, err)
	}
}

// Whoever asks is told of what a recording has the addresses and numbers of bytes alone.
func TestWhyTellsWhatIsOnlyCounted(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	if w := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); !w.Recorded || !slices.Equal(w.CountedOnly, []string{"ports", "X11"}) {
		t.Errorf("got %+v", w)
	}
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/"+s.project.ID, api.ProjectPatch{PortForwarding: ptr(false), RecordPatch: api.RecordPatch{X11Forwarding: ptr(false)}})
	if w := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); !w.Recorded || len(w.CountedOnly) != 0 {
		t.Errorf("got %+v", w)
	}
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/"+s.project.ID, api.ProjectPatch{PortForwarding: ptr(true), RecordPatch: api.RecordPatch{Recording: ptr("off")}})
	if w := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); w.Recorded || len(w.CountedOnly) != 0 {
		t.Errorf("not recorded: %+v", w)
	}
}
