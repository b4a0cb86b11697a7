package control

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/issue"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// signedBy is the fingerprint of the CA of alice's next certificate for a server.
func (s *scene) signedBy(server string) (ca string, c api.Connection, f fresh) {
	s.t.Helper()
	f = newFresh(s.t)
	c = must[api.Connection](s.t, s.alice, "POST", "/v1/connect", f.connect(server, ""))
	return ssh.FingerprintSHA256(certificate(s.t, c.Certificate).SignatureKey), c, f
}

// signs waits until an instance has noticed which key signs.
func (s *scene) signs(server, ca string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, _, _ := s.signedBy(server)
		if got == ca {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("certificates for %s are signed by %s, not by %s", server, got, ca)
		}
	}
}

func (s *scene) seen(m *machine) {
	s.t.Helper()
	must[api.SignedState](s.t, m.device, "GET", "/v1/agent/state", nil)
}

func blockers(v api.Rotation) (out []string) {
	for _, b := range v.Blocking {
		out = append(out, b.Name)
	}
	return out
}

// web-2's agent is away during the whole rotation of the user CA. Nobody is locked
// out at any time, and what the old key has signed is worthless in the end.
func TestAUserCAIsRotatedWhileAServerIsAway(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	away := s.newServer("web", "web-2", nil)
	s.confirm(away)
	old := ssh.FingerprintSHA256(authority(t, s.project.UserCA)[0])

	v := must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/rotate", nil)
	if v.Phase != api.PhasePublished || v.Active.Fingerprint != old || v.Next == nil || v.Servers != 2 || v.Done != 0 {
		t.Fatalf("published: %+v", v)
	}
	next := v.Next.Fingerprint
	denied(t, s.admin, api.Conflict, "POST", "/v1/cas/user%2Fweb/rotate", nil)
	if cas := s.state(s.server).UserCAs; len(cas) != 2 || ssh.FingerprintSHA256(authority(t, cas...)[0]) != old {
		t.Fatalf("the state has %d CAs, or the active one is not first", len(cas))
	}
	if got, _, _ := s.signedBy("web-1"); got != old {
		t.Errorf("the next key signs already")
	}

	s.wait(6 * time.Minute)
	s.seen(s.server)
	s.confirm(s.server)
	e := denied(t, s.admin, api.Conflict, "POST", "/v1/cas/user%2Fweb/switch", api.RotationStep{})
	if !strings.Contains(e.Detail, "1 of 2 servers are not ready: web/web-2") || !strings.Contains(e.Hint, "--without") {
		t.Errorf("the refusal says %q, %q", e.Detail, e.Hint)
	}
	v = must[api.Rotation](t, s.admin, "GET", "/v1/cas/user%2Fweb", nil)
	if !slices.Equal(blockers(v), []string{"web/web-2"}) || !v.Blocking[0].Absent || v.Done != 1 {
		t.Errorf("status: %+v", v)
	}
	denied(t, s.admin, api.Invalid, "POST", "/v1/cas/user%2Fweb/switch", api.RotationStep{Without: []string{"web-1"}})
	v = must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/switch", api.RotationStep{Without: []string{"web-2"}})
	if v.Phase != api.PhaseSwitched || v.Active.Fingerprint != next || v.Previous == nil || v.Previous.Fingerprint != old {
		t.Fatalf("switched: %+v", v)
	}
	s.signs("web-1", next)
	if got, _, _ := s.signedBy("web-2"); got != old {
		t.Errorf("a server that does not know the new key got a certificate of it")
	}
	if events := s.events(audit.CASwitch); len(events) != 2 || events[0].Outcome != audit.Denied || events[1].Detail["without"] != "web/web-2" {
		t.Errorf("audited: %+v", events)
	}

	// The old key goes on for web-2, which also keeps it from being retired.
	denied(t, s.admin, api.Conflict, "POST", "/v1/cas/user%2Fweb/retire", api.RotationStep{})
	_, c, f := s.signedBy("web-2")
	s.confirm(away) // it is back
	s.signs("web-2", next)
	e = denied(t, s.admin, api.Conflict, "POST", "/v1/cas/user%2Fweb/retire", api.RotationStep{})
	if !strings.Contains(e.Detail, "certificates of the old key are not over") {
		t.Errorf("the refusal says %q", e.Detail)
	}
	s.wait(3 * time.Minute)
	v = must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/retire", api.RotationStep{})
	if v.Phase != api.PhaseIdle || v.Active.Fingerprint != next || v.Previous != nil {
		t.Fatalf("retired: %+v", v)
	}
	d := s.confirm(s.server)
	if len(d.UserCAs) != 1 || !slices.Contains(d.Revoked.Keys, old) {
		t.Errorf("%d CAs are trusted, revoked is %v", len(d.UserCAs), d.Revoked.Keys)
	}
	keys, err := api.All[api.CA](t.Context(), s.admin.api(0), "/v1/cas", nil)
	if err != nil || len(keys) < 4 {
		t.Errorf("the keys of all CAs: %d of them, %v", len(keys), err)
	}
	var paged []api.CA
	for next := ""; ; {
		page := must[api.List[api.CA]](t, s.admin, "GET", "/v1/cas?limit=1&cursor="+next, nil)
		if paged = append(paged, page.Items...); page.Next == "" || len(paged) > len(keys) {
			break
		}
		next = page.Next
	}
	if !slices.Equal(paged, keys) {
		t.Errorf("one by one they are %+v, together %+v", paged, keys)
	}
	denied(t, s.admin, api.Invalid, "GET", "/v1/cas?cursor=key_none", nil)
	for _, k := range keys {
		if k.Fingerprint == old && k.State != store.KeyRetired {
			t.Errorf("the old key is %s", k.State)
		}
	}
	// A login that was made before goes on, and ends, without a bad word; the same
	// certificate shown anew is refused, and whose it is is known.
	cert := certificate(t, c.Certificate)
	at := api.AgentEvent{At: s.now(), Login: "alice", Serial: c.Serial, KeyID: cert.KeyId, Key: ssh.FingerprintSHA256(f.public), CA: old}
	logout, refused := at, at
	logout.Kind, refused.Kind = "logout", "refused"
	must[api.AgentEventsAnswer](t, away.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: []api.AgentEvent{logout, refused}})
	if got := s.events(audit.HostLogout); len(got) != 1 || got[0].Detail["verified"] != "true" || got[0].Reason != "" || got[0].User != s.alice.session.User {
		t.Errorf("the logout: %+v", got)
	}
	if got := s.events(audit.HostRefused); len(got) != 1 || !strings.Contains(got[0].Reason, "a certificate of a retired CA") || got[0].User != s.alice.session.User {
		t.Errorf("the refusal: %+v", got)
	}
}

// A CA of hosts is retired only when all servers show a certificate of the new
// one, and people's catalogs have both as long as both are shown.
func TestAHostCAIsRotated(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	active := must[api.Rotation](t, s.admin, "GET", "/v1/cas/host", nil).Active
	v := must[api.Rotation](t, s.admin, "POST", "/v1/cas/host/rotate", nil)
	next := *v.Next
	s.confirm(s.server)
	catalog := func() []string {
		t.Helper()
		return must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil).HostCAs
	}
	if got := catalog(); !slices.Equal(got, []string{active.PublicKey, next.PublicKey}) {
		t.Errorf("the catalog has %v", got)
	}
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/host/switch", api.RotationStep{})
	if got := s.state(s.server).HostCAs; !slices.Equal(got, []string{next.PublicKey, active.PublicKey}) {
		t.Errorf("the state has %v: the one that signs is not first", got)
	}
	s.wait(time.Minute)
	report := func(ca string) {
		t.Helper()
		d := s.state(s.server)
		if err := s.server.api(0).Send(t.Context(), "POST", "/v1/agent/report", api.AgentReport{Confirmed: d.Version, HostCA: ca}, nil); err != nil {
			t.Fatal(err)
		}
	}
	report(active.Fingerprint)
	e := denied(t, s.admin, api.Conflict, "POST", "/v1/cas/host/retire", api.RotationStep{})
	if !strings.Contains(e.Detail, "web/web-1") {
		t.Errorf("the refusal says %q", e.Detail)
	}
	report(next.Fingerprint)
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/host/retire", api.RotationStep{})
	if got := catalog(); !slices.Equal(got, []string{next.PublicKey}) {
		t.Errorf("the catalog has %v", got)
	}
	if err := s.server.api(0).Send(t.Context(), "POST", "/v1/agent/report", api.AgentReport{HostCA: "SHA256:x"}, nil); api.KindOf(err) != api.Invalid {
		t.Errorf("a CA that is no fingerprint: %v", err)
	}
}

func TestAForcedStepIsAudited(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/rotate", nil)
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/switch", api.RotationStep{Force: true})
	if e := s.events(audit.CASwitch); len(e) != 1 || e[0].Detail["force"] != "true" || e[0].Detail["without"] != "web/web-1" || e[0].Project != s.project.ID {
		t.Errorf("audited: %+v", e)
	}
	v := must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/abort", api.RotationStep{})
	if v.Phase != api.PhasePublished {
		t.Errorf("aborted: %+v", v)
	}
	s.wait(time.Minute)
	v = must[api.Rotation](t, s.admin, "POST", "/v1/cas/user%2Fweb/abort", api.RotationStep{})
	if v.Phase != api.PhaseIdle {
		t.Errorf("aborted twice: %+v", v)
	}
	denied(t, s.admin, api.Conflict, "POST", "/v1/cas/user%2Fweb/abort", api.RotationStep{})
	for _, name := range []string{"user", "user%2Fnope", "hosts", "host%2Fweb", "policy"} {
		denied(t, s.admin, api.NotFound, "POST", "/v1/cas/"+name+"/rotate", nil)
	}
	// The CA of gateways has no servers to wait for.
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/rotate", nil)
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/switch", api.RotationStep{})
	denied(t, s.admin, api.Conflict, "POST", "/v1/cas/gateway/retire", api.RotationStep{})
	s.wait(time.Minute)
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/retire", api.RotationStep{})
	// A next key that has signed is not destroyed at once, and the refusal says why.
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/rotate", nil)
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/switch", api.RotationStep{})
	must[api.Rotation](t, s.admin, "POST", "/v1/cas/gateway/abort", api.RotationStep{})
	e := denied(t, s.admin, api.Conflict, "POST", "/v1/cas/gateway/abort", api.RotationStep{})
	if !strings.Contains(e.Detail, "has been the active one") || !strings.Contains(e.Hint, "cardea admin ca switch gateway") {
		t.Errorf("the refusal says %q, %q", e.Detail, e.Hint)
	}
}

func TestWhatWasRevokedIsInTheState(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	lost := ssh.FingerprintSHA256(newFresh(t).public)
	must[api.RevokedKey](t, s.admin, "POST", "/v1/revoked-keys", api.NewRevokedKey{Fingerprint: lost, Reason: "laptop stolen"})
	denied(t, s.admin, api.Conflict, "POST", "/v1/revoked-keys", api.NewRevokedKey{Fingerprint: lost})
	denied(t, s.admin, api.Invalid, "POST", "/v1/revoked-keys", api.NewRevokedKey{Fingerprint: "SHA256:nope"})
	denied(t, s.admin, api.Conflict, "POST", "/v1/revoked-keys", api.NewRevokedKey{Fingerprint: ssh.FingerprintSHA256(authority(t, s.project.UserCA)[0])})
	_, c, _ := s.signedBy("web-1")
	must[api.Named](t, s.admin, "POST", "/v1/sessions/"+s.alice.session.ID+"/revoke", nil)
	d := s.state(s.server)
	if !slices.Equal(d.Revoked.Keys, []string{lost}) || !slices.Equal(d.Revoked.Serials, []string{c.Serial}) {
		t.Errorf("revoked is %+v", d.Revoked)
	}
	if d := s.state(other); !slices.Equal(d.Revoked.Keys, []string{lost}) || len(d.Revoked.Serials) > 0 {
		t.Errorf("another server is told of %+v", d.Revoked)
	}
	if got := must[api.List[api.RevokedKey]](t, s.admin, "GET", "/v1/revoked-keys", nil).Items; len(got) != 1 || got[0].Reason != "laptop stolen" {
		t.Errorf("listed: %+v", got)
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/revoked-keys/"+url.PathEscape(lost), nil)
	denied(t, s.admin, api.NotFound, "DELETE", "/v1/revoked-keys/"+url.PathEscape(lost), nil)
	if d := s.state(s.server); len(d.Revoked.Keys) != 0 {
		t.Errorf("revoked is %+v", d.Revoked)
	}
}

// BenchmarkReissue is what a rotation of the CA of hosts asks of the control plane
// for each server: a host certificate, and one for the probe that proves it, each
// recorded durably before it is signed. Ten thousand servers shall take two minutes
// at most.
func BenchmarkReissue(b *testing.B) {
	s := newStack(b)
	s.machines(s.admin())
	servers, err := s.store.ServersByName(b.Context(), "web-1")
	if err != nil || len(servers) != 1 {
		b.Fatal(servers, err)
	}
	service := &issue.Service{Store: s.store, Keys: s.keys, Now: s.now}
	agent := caller.Caller{Subject: store.Subject{Kind: store.KindServer, Server: servers[0]}}
	const agents = 64 // that ask at the same time
	var wait sync.WaitGroup
	jobs := make(chan struct{})
	for range agents {
		key := newFresh(b).line()
		wait.Go(func() {
			for range jobs {
				if _, err := service.HostCertificate(b.Context(), agent, api.HostCertificateRequest{PublicKey: key}); err != nil {
					b.Error(err)
				}
				if _, err := service.Canary(b.Context(), agent, api.CanaryRequest{PublicKey: key}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		jobs <- struct{}{}
	}
	close(jobs)
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*10_000, "s/10000-servers")
}

// What the list calls a CA is what the verbs take.
func TestTheListNamesCAsAsTheVerbsDo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	names := map[string]bool{}
	for _, c := range must[api.List[api.CA]](t, s.admin, "GET", "/v1/cas", nil).Items {
		names[c.CA] = true
		must[api.Rotation](t, s.admin, "GET", "/v1/cas/"+url.PathEscape(c.CA), nil)
	}
	for _, want := range []string{"host", "gateway", "user/web"} {
		if !names[want] {
			t.Errorf("no CA %s among %v", want, names)
		}
	}
}
