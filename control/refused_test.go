package control

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"golang.org/x/crypto/ssh"
)

// A host's sshd refused a certificate. Whom it names, and why it was refused,
// is said where our own record agrees in every field.
func TestARefusedCertificateIsExplainedByOurRecords(t *testing.T) {
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	key, by := ssh.FingerprintSHA256(f.public), ssh.FingerprintSHA256(authority(t, s.project.UserCA)[0])
	shown := func(change func(*api.AgentEvent)) api.AgentEvent {
		e := api.AgentEvent{
			At: s.now(), Kind: "refused", Login: "alice", Serial: c.Serial, KeyID: certificate(t, c.Certificate).KeyId, Source: "203.0.113.9",
			Detail: "Certificate does not contain an authorized principal", Key: key, CA: by,
		}
		change(&e)
		return e
	}
	next := map[string]int64{}
	for _, tc := range []struct {
		name     string
		on       *machine
		change   func(*api.AgentEvent)
		verified bool
		reason   string
	}{
		{"on another server", other, func(*api.AgentEvent) {}, true, "a certificate for web-1 (serial " + c.Serial + ") was shown to web-2"},
		{"for another account", s.server, func(e *api.AgentEvent) { e.Login = "root" }, true, "a certificate for alice (serial " + c.Serial + ") was shown for root"},
		{"on its own server", s.server, func(e *api.AgentEvent) { e.Detail = "not from a permitted host" }, true, "web-1 refused its own certificate (serial " + c.Serial + "): not from a permitted host"},
		{"on its own server, without a reason", s.server, func(e *api.AgentEvent) { e.Detail = "" }, true, "its sshd does not say why"},
		{"signed by mallory", other, func(e *api.AgentEvent) { e.CA = key }, false, "not the one issued with serial " + c.Serial},
		{"for a key of mallory's", other, func(e *api.AgentEvent) { e.Key = by }, false, "not the one issued"},
		{"with an id of mallory's", other, func(e *api.AgentEvent) { e.KeyID = "cardea:user=usr_b" }, false, "not the one issued"},
		{"with a serial of mallory's", other, func(e *api.AgentEvent) { e.Serial = "12345" }, false, "a serial that was never issued was shown to web-2"},
		{"that is a stranger's", other, func(e *api.AgentEvent) { e.Serial, e.KeyID = "", "" }, false, "a certificate that was not issued here was shown to web-2"},
		{"many of them", other, func(e *api.AgentEvent) { *e = api.AgentEvent{At: e.At, Kind: "refused", More: 417} }, false, "web-2 refused 417 more certificates"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(s.events(audit.HostRefused))
			next[tc.on.id]++
			must[api.AgentEventsAnswer](t, tc.on.device, "POST", "/v1/agent/events", api.AgentEvents{First: next[tc.on.id], Events: []api.AgentEvent{shown(tc.change)}})
			got := s.events(audit.HostRefused)
			if len(got) != before+1 {
				t.Fatalf("%d rows", len(got)-before)
			}
			e := got[before]
			if e.Outcome != audit.Denied || !strings.Contains(e.Reason, tc.reason) || e.Server != tc.on.id || e.Detail["verified"] != strconv.FormatBool(tc.verified) {
				t.Errorf("recorded %+v", e)
			}
			if named := e.User == s.alice.session.User && e.Session == s.alice.session.ID && e.Detail["issued_for"] == s.server.id; named != tc.verified || !named && e.User+e.Session != "" {
				t.Errorf("names user %q, session %q", e.User, e.Session)
			}
		})
	}
	denied(t, other.device, api.Invalid, "POST", "/v1/agent/events", api.AgentEvents{First: next[other.id] + 1, Events: []api.AgentEvent{{At: s.now(), Kind: "refused", More: -1}}})
}

// The certificate of another project is known as well: its CA is another.
func TestARefusedCertificateOfAnotherProject(t *testing.T) {
	s := newScene(t)
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
	db := s.newServer("db", "db-1", nil)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	must[api.AgentEventsAnswer](t, db.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: []api.AgentEvent{{
		At: s.now(), Kind: "refused", Login: "alice", Serial: c.Serial, KeyID: certificate(t, c.Certificate).KeyId,
		Key: ssh.FingerprintSHA256(f.public), CA: ssh.FingerprintSHA256(authority(t, s.project.UserCA)[0]),
	}}})
	if got := s.events(audit.HostRefused); len(got) != 1 || got[0].User != s.alice.session.User || !strings.Contains(got[0].Reason, "for web-1") || got[0].Project != db.project(t, s) {
		t.Errorf("recorded %+v", got)
	}
}

func (m *machine) project(t *testing.T, s *scene) string {
	t.Helper()
	return must[api.Server](t, s.admin, "GET", "/v1/servers/"+m.id, nil).Project
}
