package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// scene is the story's stage: alice is in group ops, which has a grant for
// project web with its server web-1; bob has nothing. A gateway stands ready.
// Everything was made over the API.
type scene struct {
	*stack
	admin, alice, bob *device
	project           api.Project
	grant             api.Grant
	server            *machine
	gateway           *machine
}

// machine is an enrolled server or gateway.
type machine struct {
	*device
	id      string
	pinned  ed25519.PublicKey // of a server: verifies its desired states
	sealing *hello.SealingKey // of a gateway
	tickets hello.TicketKeys  // of a gateway
}

// must makes a call that has to succeed.
func must[Out any](t testing.TB, d *device, method, path string, in any) Out {
	t.Helper()
	out, err := try[Out](t, d, method, path, in)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return out
}

func try[Out any](t testing.TB, d *device, method, path string, in any) (out Out, err error) {
	t.Helper()
	if method == "GET" {
		_, err = d.api(0).Get(t.Context(), path, nil, &out)
		return out, err
	}
	return out, d.api(0).Send(t.Context(), method, path, in, &out)
}

// denied makes a call that has to be refused with this kind.
func denied(t testing.TB, d *device, kind api.Kind, method, path string, in any) *api.Error {
	t.Helper()
	_, err := try[json.RawMessage](t, d, method, path, in)
	e, ok := err.(*api.Error)
	if !ok || e.Kind != kind {
		t.Fatalf("%s %s: got %v, want %s", method, path, err, kind)
	}
	return e
}

func newScene(t testing.TB, settings ...func(*api.ProjectSettings)) *scene {
	t.Helper()
	return sceneOn(t, newStack(t), settings...)
}

func sceneOn(t testing.TB, at *stack, settings ...func(*api.ProjectSettings)) *scene {
	t.Helper()
	s := &scene{stack: at}
	s.admin = s.stack.admin()
	s.alice, s.bob = s.signIn("alice"), s.signIn("bob")
	with := api.ProjectSettings{CertificateSeconds: 180, Gateway: "allowed"}
	for _, f := range settings {
		f(&with)
	}
	s.project = must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: with})
	must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "ops"})
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/alice", api.NewMember{})
	s.grant = must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "user"})
	s.server = s.newServer("web", "web-1", nil)
	s.gateway = s.newGateway("gw-1")
	s.confirm(s.server)
	return s
}

func (s *scene) token(in api.NewEnrolmentToken) api.EnrolmentToken {
	s.t.Helper()
	return must[api.EnrolmentToken](s.t, s.admin, "POST", "/v1/enrolment-tokens", in)
}

func (s *scene) newServer(project, name string, labels map[string]string) *machine {
	s.t.Helper()
	token := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: project, Name: name, Address: "10.0.0.7:22", Labels: labels})
	m := &machine{device: s.device("")}
	got := must[api.EnrolledServer](s.t, m.device, "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: token.Secret, Hostname: "ignored"})
	m.device.token, m.id, m.pinned = got.AccessToken, got.Server, got.PolicyKey
	return m
}

func (s *scene) newGateway(name string) *machine {
	s.t.Helper()
	token := s.token(api.NewEnrolmentToken{Kind: store.KindGateway, Name: name, Address: name + ".example.com:7234", Egress: []string{"198.51.100.1"}})
	m := &machine{device: s.device("")}
	got := must[api.EnrolledGateway](s.t, m.device, "POST", "/v1/gateways/enrol", api.GatewayEnrolment{Secret: token.Secret})
	m.device.token, m.id = got.AccessToken, got.Gateway.ID
	var err error
	if m.sealing, err = hello.NewSealingKey(); err != nil {
		s.t.Fatal(err)
	}
	s.report(m)
	var public []ed25519.PublicKey
	for _, k := range got.TicketKeys {
		public = append(public, k)
	}
	if m.tickets, err = hello.NewTicketKeys(public...); err != nil {
		s.t.Fatal(err)
	}
	return m
}

// report is a gateway's, healthy, with its sealing key.
func (s *scene) report(m *machine) {
	s.t.Helper()
	id := m.sealing.ID()
	got := must[api.GatewayReportAnswer](s.t, m.device, "POST", "/v1/gateway/report", api.GatewayReport{
		Healthy: true, SealingKeys: []api.SealingKey{{ID: id[:], Public: m.sealing.Public()}},
	})
	if len(got.Acknowledged) != 1 || len(got.TicketKeys) == 0 {
		s.t.Fatalf("report answered %+v", got)
	}
}

// state reads a server's desired state as its agent does: signature first.
func (s *scene) state(m *machine) api.DesiredState {
	s.t.Helper()
	got := must[api.SignedState](s.t, m.device, "GET", "/v1/agent/state", nil)
	if !ed25519.Verify(m.pinned, append([]byte(api.StateDomain), got.State...), got.Signature) {
		s.t.Fatal("the state is not signed with the pinned key")
	}
	var d api.DesiredState
	if err := json.Unmarshal(got.State, &d); err != nil {
		s.t.Fatal(err)
	}
	if d.Server != m.id || !d.Complete {
		s.t.Fatalf("state of %q, complete %v", d.Server, d.Complete)
	}
	d.ResolveSudo()
	return d
}

// confirm reports the newest state as in force.
func (s *scene) confirm(m *machine) api.DesiredState {
	s.t.Helper()
	d := s.state(m)
	if err := m.api(0).Send(s.t.Context(), "POST", "/v1/agent/report", api.AgentReport{Confirmed: d.Version}, nil); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// fresh is the key of one connection.
type fresh struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
}

func newFresh(t testing.TB) fresh {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return fresh{priv, key}
}

func (f fresh) line() string { return string(ssh.MarshalAuthorizedKey(f.public)) }

func (f fresh) connect(server, login string) api.Connect {
	return api.Connect{Server: server, Login: login, PublicKey: f.line()}
}

// certificate reads one as a client does.
func certificate(t testing.TB, line string) *ssh.Certificate {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := sshcert.ParseCertificate(key.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func authority(t testing.TB, lines ...string) []ssh.PublicKey {
	t.Helper()
	var out []ssh.PublicKey
	for _, l := range lines {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, key)
	}
	return out
}

// hello is what alice's agent sends to the first route of a connection.
func (s *scene) hello(f fresh, c api.Connection) (message []byte, keys hello.AnswerKeys) {
	s.t.Helper()
	var to []hello.Recipient
	for _, r := range c.Routes[0].Recipients {
		to = append(to, hello.Recipient{Gateway: r.Gateway, PublicKey: r.Public})
	}
	message, keys, err := hello.Seal(f.private, c.Ticket, to, s.now())
	if err != nil {
		s.t.Fatal(err)
	}
	return message, keys
}

// open is what the gateway does with it.
func (m *machine) open(t testing.TB, message []byte) *hello.Opened {
	t.Helper()
	var o hello.Opener
	o.SetKeys(m.sealing)
	opened, err := o.Open(message)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "?" + q.Encode()
}

func (s *scene) String() string { return fmt.Sprintf("scene at %s", s.path) }
