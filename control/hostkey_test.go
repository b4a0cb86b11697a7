package control

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// What a gateway saw of a server's host key is judged by the team's CA, and the
// end of the session says whose it was.
func TestAServerThatDoesNotShowItsHostCertificateIsRecorded(t *testing.T) {
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	own, foreign := newFresh(t), newFresh(t)
	s.confirm(other)
	certify := func(m *machine, f fresh) string {
		return must[api.HostCertificate](t, m.device, "POST", "/v1/agent/host-certificate", api.HostCertificateRequest{PublicKey: f.line()}).Certificate
	}
	good, others := certify(s.server, own), certify(other, foreign)
	version := s.state(s.server).Version
	must[struct{}](t, s.server.device, "POST", "/v1/agent/report", api.AgentReport{Confirmed: version, HostKey: strings.TrimSpace(own.line())})
	print := ssh.FingerprintSHA256(foreign.public)
	for _, tc := range []struct {
		name            string
		shown           api.SessionEnd
		outcome, reason string // none: nothing is recorded
	}{
		{"nothing, by an older gateway", api.SessionEnd{}, "", ""},
		{"its own certificate", api.SessionEnd{HostKey: good}, "", ""},
		{"an offer of a certificate, and the client left", api.SessionEnd{HostKeyAlgorithms: "rsa-sha2-512,ssh-ed25519-cert-v01@openssh.com"}, "", ""},
		{"the certificate of another server", api.SessionEnd{HostKey: others}, audit.Denied, "web-1 showed the host certificate of web-2"},
		{"a user's certificate", api.SessionEnd{HostKey: must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", "")).Certificate}, audit.Denied, "a host certificate that is not good"},
		{"a strange key", api.SessionEnd{HostKey: strings.TrimSpace(foreign.line())}, audit.Denied, "web-1 showed a key without certificate, " + print},
		{"its own key without certificate", api.SessionEnd{HostKey: strings.TrimSpace(own.line())}, audit.Failed, "web-1 showed its own host key without a certificate"},
		{"its own key, for a program that asks for no certificate", api.SessionEnd{HostKey: strings.TrimSpace(own.line()), HostKeyAlgorithms: "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com"}, "", ""},
		{"a strange key, for such a program", api.SessionEnd{HostKey: strings.TrimSpace(foreign.line()), HostKeyAlgorithms: "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com"}, audit.Denied, "web-1 showed a key without certificate, " + print},
		{"a certificate cut in two", api.SessionEnd{HostKey: good[:len(good)/2]}, audit.Denied, "web-1 showed a host key that cannot be read, of type ssh-ed25519-cert-v01@openssh.com"},
		{"no key", api.SessionEnd{HostKey: "x"}, audit.Denied, "web-1 showed a key without certificate"},
		{"no offer of a certificate", api.SessionEnd{HostKeyAlgorithms: "rsa-sha2-512,ssh-ed25519"}, audit.Denied, "web-1 offered no host certificate, only rsa-sha2-512,ssh-ed25519"},
		{"nothing that can be read", api.SessionEnd{HostKeyAlgorithms: "ssh-ed25519-cert-v01@openssh.com", HostKeyHidden: true}, audit.Denied, "web-1 sent no host key that can be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(s.events(audit.HostImpostor))
			session := s.throughGateway(t)
			tc.shown.Cause = "client"
			path := "/v1/gateway/sessions/" + session + "/end"
			must[api.Named](t, s.gateway.device, "POST", path, tc.shown)
			must[api.Named](t, s.gateway.device, "POST", path, tc.shown) // again: once is enough
			got := s.events(audit.HostImpostor)[before:]
			if tc.reason == "" {
				if len(got) != 0 {
					t.Errorf("recorded %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Outcome != tc.outcome || !strings.Contains(got[0].Reason, tc.reason) || got[0].Server != s.server.id ||
				got[0].User != s.alice.session.User || got[0].Gateway != s.gateway.id || got[0].Detail["gateway_session"] != session {
				t.Errorf("recorded %+v", got)
			}
		})
	}
	for _, e := range s.events(audit.GatewaySessionEnd) {
		if e.User != s.alice.session.User || e.Server != s.server.id || e.Project != s.project.ID || e.Session != s.alice.session.ID {
			t.Errorf("the end names not whose it was: %+v", e)
		}
	}
	session := s.throughGateway(t)
	for name, in := range map[string]api.SessionEnd{
		"a long key":                    {Cause: "client", HostKey: strings.Repeat("a", 16385)},
		"a long list":                   {Cause: "client", HostKeyAlgorithms: strings.Repeat("a", 1025)},
		"a cause that there is none of": {Cause: "boredom"},
	} {
		t.Run(name, func(t *testing.T) {
			denied(t, s.gateway.device, api.Invalid, "POST", "/v1/gateway/sessions/"+session+"/end", in)
		})
	}
	must[api.Named](t, s.gateway.device, "POST", "/v1/gateway/sessions/"+session+"/end", api.SessionEnd{
		Cause: "client", HostKey: strings.Repeat("a", 16384), HostKeyAlgorithms: strings.Repeat("a", 1024),
	})
	denied(t, s.newGateway("gw-2").device, api.NotFound, "POST", "/v1/gateway/sessions/"+session+"/end", api.SessionEnd{Cause: "client"})
	denied(t, s.gateway.device, api.NotFound, "POST", "/v1/gateway/sessions/"+ident.New(ident.GatewaySession)+"/end", api.SessionEnd{Cause: "client"})
	if slices.ContainsFunc(s.events(audit.GatewaySessionEnd), func(e audit.Event) bool { return e.Gateway != s.gateway.id }) {
		t.Error("another gateway ended it")
	}
}

// On the direct way the user's machine tells what it was shown, and the control
// plane judges it by itself.
func TestAUserTellsOfAServerThatDoesNotShowItsHostCertificate(t *testing.T) {
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	certify := func(m *machine) string {
		return must[api.HostCertificate](t, m.device, "POST", "/v1/agent/host-certificate", api.HostCertificateRequest{PublicKey: newFresh(t).line()}).Certificate
	}
	met := api.Impostor{Address: "10.0.0.7:22", Server: s.server.id}
	for name, change := range map[string]func(*api.Impostor){
		"no address":              func(i *api.Impostor) { i.Address = "" },
		"gateways as well":        func(i *api.Impostor) { i.Gateways = []string{s.gateway.id} },
		"no id":                   func(i *api.Impostor) { i.Server = "web-1" },
		"a key that is too long":  func(i *api.Impostor) { i.HostKey = strings.Repeat("a", 16385) },
		"a list that is too long": func(i *api.Impostor) { i.HostKeyAlgorithms = strings.Repeat("a", 1025) },
	} {
		t.Run(name, func(t *testing.T) {
			in := met
			change(&in)
			denied(t, s.alice, api.Invalid, "POST", "/v1/impostors", in)
		})
	}
	gone := met
	gone.Server = ident.New(ident.Server)
	denied(t, s.alice, api.NotFound, "POST", "/v1/impostors", gone)
	right := met
	right.HostKey = certify(s.server)
	must[api.Named](t, s.alice, "POST", "/v1/impostors", right)
	if got := s.events(audit.HostImpostor); len(got) != 0 {
		t.Fatalf("recorded %+v", got)
	}
	wrong := met
	wrong.HostKey = certify(other)
	must[api.Named](t, s.alice, "POST", "/v1/impostors", wrong)
	got := s.events(audit.HostImpostor)
	if len(got) != 1 || got[0].Outcome != audit.Denied || got[0].Reason != "web-1 showed the host certificate of web-2" || got[0].User != s.alice.session.User ||
		got[0].Server != s.server.id || got[0].Project != s.project.ID || got[0].Gateway != "" || got[0].Detail["address"] != met.Address {
		t.Errorf("recorded %+v", got)
	}
}

// throughGateway begins a session of alice's on web-1.
func (s *scene) throughGateway(t *testing.T) string {
	t.Helper()
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	message, _ := s.hello(f, c)
	return must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(t, message).Claim, Source: "203.0.113.9:50000"}).Session
}
