package control

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// The whole way of one connection, over the API and with real keys: from alice's
// request to the end of the session at the gateway.
func TestAliceConnects(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	if c.ServerID != s.server.id || c.ServerName != "web-1" || c.Login != "alice" || c.Notice != "" {
		t.Errorf("got %+v", c)
	}
	cert := certificate(t, c.Certificate)
	err := sshcert.VerifyUser(cert, sshcert.ExpectUser{
		CAs: authority(t, s.project.UserCA), Login: "alice", ServerID: s.server.id, ProjectID: s.project.ID, MaxLifetime: 3 * time.Minute, Now: s.now(),
	})
	if err != nil {
		t.Error(err)
	}
	if string(cert.Key.Marshal()) != string(f.public.Marshal()) || strconv.FormatUint(cert.Serial, 10) != c.Serial {
		t.Error("the certificate is for another key, or has another serial")
	}
	record, err := s.store.Issued(t.Context(), cert.Serial)
	if err != nil || record.Login != "alice" || record.Grant != s.grant.ID || record.KeyID != cert.KeyId || record.PublicKey != ssh.FingerprintSHA256(f.public) {
		t.Errorf("record %+v, %v", record, err)
	}
	if len(c.Routes) != 2 || len(c.Routes[0].Recipients) != 1 || c.Routes[0].Recipients[0].Gateway != s.gateway.id || len(c.Routes[1].Recipients) != 0 || c.Routes[1].Address != "10.0.0.7:22" {
		t.Fatalf("routes %+v", c.Routes)
	}

	// The gateway opens the hello, believes the ticket and claims it.
	message, _ := s.hello(f, c)
	opened := s.gateway.open(t, message)
	ticket, err := opened.VerifyTicket(s.gateway.tickets, s.now())
	if err != nil || ticket.Server != s.server.id || ticket.Address != "10.0.0.7:22" || ticket.Login != "alice" || ticket.KeyFingerprint != sha256.Sum256(f.public.Marshal()) {
		t.Fatalf("ticket %+v, %v", ticket, err)
	}
	claim := api.Claim{Hello: opened.Claim, Source: "203.0.113.9:50000"}
	claimed := must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", claim)
	live := must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions?live=true&user=alice", nil)
	if len(live.Items) != 1 || live.Items[0].ID != claimed.Session || live.Items[0].Login != "alice" || live.Items[0].Project != s.project.ID {
		t.Errorf("live sessions %+v", live)
	}

	// Nobody claims it a second time: not this gateway, not another instance.
	denied(t, s.gateway.device, api.Gone, "POST", "/v1/gateway/sessions", claim)
	if err := s.gateway.api(1).Send(t.Context(), "POST", "/v1/gateway/sessions", claim, nil); api.KindOf(err) != api.Gone {
		t.Errorf("replayed at the other instance: %v", err)
	}

	end := "/v1/gateway/sessions/" + claimed.Session + "/end"
	must[api.Named](t, s.gateway.device, "POST", end, api.SessionEnd{Cause: "client", Up: 10, Down: 20})
	must[api.Named](t, s.gateway.device, "POST", end, api.SessionEnd{Cause: "error", Up: 11, Down: 21})
	all := must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions", nil)
	if len(all.Items) != 1 || all.Items[0].Cause != "client" || all.Items[0].Up != 10 || all.Items[0].EndedAt.IsZero() {
		t.Errorf("after the end: %+v", all)
	}
	if got := s.events(audit.Connect); len(got) != 1 || got[0].Outcome != audit.Allowed || got[0].Detail["serial"] != c.Serial || got[0].Server != s.server.id || got[0].User != s.alice.session.User {
		t.Errorf("audit %+v", got)
	}
}

func TestRealSSHKeygenReadsTheCertificate(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("SKIPPED: ssh-keygen is not installed")
	}
	s := newScene(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", "alice"))
	path := filepath.Join(t.TempDir(), "cert.pub")
	if err := os.WriteFile(path, []byte(c.Certificate+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), keygen, "-L", "-f", path).CombinedOutput()
	ca := ssh.FingerprintSHA256(authority(t, s.project.UserCA)[0])
	for _, want := range []string{"user certificate", ca, "Serial: " + c.Serial, "alice@" + s.server.id, "permit-pty", "Critical Options: (none)"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q is missing (%v) in:\n%s", want, err, out)
		}
	}
	if strings.Contains(string(out), "permit-port-forwarding") || strings.Contains(string(out), "permit-agent-forwarding") {
		t.Errorf("forwarding was not granted:\n%s", out)
	}
}

// Nothing of a certificate comes from the request, whatever it says.
func TestARequestSelectsAndNeverFills(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	for name, login := range map[string]string{
		"root": "root", "another person": "bob", "everybody": "*", "two at once": "alice,root", "with a newline": "alice\nroot",
		"capitals": "Alice", "a principal": "alice@" + s.server.id, "long": strings.Repeat("a", 4096), "a NUL": "alice\x00",
	} {
		if e := denied(t, s.alice, api.Denied, "POST", "/v1/connect", f.connect("web-1", login)); !strings.Contains(e.Detail, "your login is alice") {
			t.Errorf("%s: %s", name, e.Detail)
		}
	}
	got := s.events(audit.Connect)
	if len(got) != 9 {
		t.Fatalf("%d events, want one for each try", len(got))
	}
	for _, e := range got {
		if e.Outcome != audit.Denied || e.Reason != "other-login" {
			t.Errorf("audit %+v", e)
		}
	}
}

func TestKeysForWhichNoCertificateIsMade(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	cert := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", "")).Certificate
	words := strings.Fields(f.line())
	for name, key := range map[string]string{
		"nothing": "", "one word": "ssh-ed25519", "no base64": "ssh-ed25519 !!!", "another type than it says": "ssh-rsa " + words[1],
		"a certificate": cert, "DSA": "ssh-dss AAAAB3NzaC1kc3M=", "an option before it": `cert-authority ` + f.line(),
		"a megabyte": "ssh-ed25519 " + strings.Repeat("A", 100_000), "cut short": "ssh-ed25519 " + words[1][:20],
	} {
		c := api.Connect{Server: "web-1", PublicKey: key}
		if e := denied(t, s.alice, api.Invalid, "POST", "/v1/connect", c); e.Hint == "" {
			t.Errorf("%s: no hint with %q", name, e.Detail)
		}
	}
}

// Whether a server exists is nobody's business who may not enter it.
func TestAHiddenServerAndNoServerReadTheSame(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	sentence := func(who *device, ref string) string {
		t.Helper()
		e := denied(t, who, api.NotFound, "POST", "/v1/connect", f.connect(ref, ""))
		if !strings.Contains(e.Hint, "cardea ls") || !strings.Contains(e.Hint, "grant") {
			t.Errorf("hint %q", e.Hint)
		}
		return strings.ReplaceAll(e.Detail, ref, "X")
	}
	hidden := sentence(s.bob, "web-1")
	for _, ref := range []string{"web-9", "web/web-1", "nope/web-1", s.server.id, "srv_aaaaaaaaaaaaaaaaaaaa", "a b", "-oProxyCommand=x"} {
		if got := sentence(s.bob, ref); got != hidden {
			t.Errorf("%s: %q, and of the hidden one %q", ref, got, hidden)
		}
	}
	// An administrator sees all servers anyway, and is told the truth.
	if e := denied(t, s.admin, api.Denied, "POST", "/v1/connect", f.connect("web-1", "")); !strings.Contains(e.Detail, "no grant") {
		t.Errorf("the administrator: %s", e.Detail)
	}
	if e := denied(t, s.admin, api.NotFound, "POST", "/v1/connect", f.connect("web-9", "")); !strings.Contains(e.Hint, "cardea admin servers list") {
		t.Errorf("the administrator: %s; %s", e.Detail, e.Hint)
	}
	reasons := map[string]int{}
	for _, e := range s.events(audit.Connect) {
		reasons[e.Reason]++
	}
	if reasons["no-grant"] != 4 || reasons["no-such-server"] != 6 {
		t.Errorf("the audit tells them apart as %v", reasons)
	}
}

func TestWhatEndsAccess(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(s *scene)
		kind api.Kind
		hint string
	}{
		"the grant is deleted": {func(s *scene) {
			must[api.Named](s.t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil)
		}, api.NotFound, "ask your administrator"},
		"the membership is deleted": {func(s *scene) {
			must[api.Named](s.t, s.admin, "DELETE", "/v1/groups/ops/members/alice", nil)
		}, api.NotFound, "ask your administrator"},
		"the membership is over": {func(s *scene) {
			must[api.Member](s.t, s.admin, "PUT", "/v1/groups/ops/members/alice", api.NewMember{Until: s.now().Add(time.Minute)})
			s.wait(time.Minute)
		}, api.Denied, "ask your administrator to renew it"},
		"the user is disabled": {func(s *scene) {
			must[api.CreatedUser](s.t, s.admin, "PATCH", "/v1/users/alice", json.RawMessage(`{"status":"disabled"}`))
		}, api.SignIn, "cardea login"},
		"the server is disabled": {func(s *scene) {
			must[api.Server](s.t, s.admin, "PATCH", "/v1/servers/web-1", json.RawMessage(`{"state":"disabled"}`))
		}, api.Denied, "ask your administrator"},
		"the server got other labels": {func(s *scene) {
			must[api.Grant](s.t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "user", Selector: "env=prod"})
			must[api.Named](s.t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil)
		}, api.NotFound, "ask your administrator"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c.end(s)
			e := denied(t, s.alice, c.kind, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
			if e.Detail == "" || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%q; %q, want the hint %q", e.Detail, e.Hint, c.hint)
			}
		})
	}
}

func TestTheCertificateEndsWithTheAccess(t *testing.T) {
	s := newScene(t)
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/alice", api.NewMember{Until: s.now().Add(40 * time.Second)})
	s.confirm(s.server)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if left := c.ExpiresAt.Sub(s.now()); left > 40*time.Second || left < 39*time.Second {
		t.Errorf("the membership ends in 40 s, the certificate in %s", left)
	}
	s.wait(39*time.Second + 500*time.Millisecond)
	denied(t, s.alice, api.Denied, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
}

func TestANameThatMeansTwoServersIsNeverGuessed(t *testing.T) {
	s := newScene(t)
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 60, Gateway: "none"}})
	other := s.newServer("db", "web-1", nil)
	f := newFresh(t)
	// Alice has no grant in db: its namesake neither confuses nor shows.
	if c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", "")); c.ServerID != s.server.id {
		t.Errorf("led to %s", c.ServerID)
	}
	must[api.Grant](t, s.admin, "POST", "/v1/projects/db/grants", api.NewGrant{Group: "ops", Role: "admin"})
	s.confirm(other)
	e := denied(t, s.alice, api.Ambiguous, "POST", "/v1/connect", f.connect("web-1", ""))
	if !strings.Contains(e.Detail, "db/web-1, web/web-1") {
		t.Errorf("%s", e.Detail)
	}
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("db/web-1", ""))
	if c.ServerID != other.id || len(c.Routes) != 1 || len(c.Ticket) != 0 || len(c.Routes[0].Recipients) != 0 {
		t.Errorf("got %+v", c)
	}
	// What one project issued is worthless in the other.
	err := sshcert.VerifyUser(certificate(t, c.Certificate), sshcert.ExpectUser{
		CAs: authority(t, s.project.UserCA), Login: "alice", ServerID: s.server.id, ProjectID: s.project.ID, Now: s.now(),
	})
	if err == nil {
		t.Error("a certificate of project db is good in project web")
	}
}

func TestARequiredGatewayIsNeverGoneAround(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.Gateway = "required" })
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	if len(c.Routes) != 1 || len(c.Routes[0].Recipients) == 0 {
		t.Errorf("routes %+v", c.Routes)
	}
	if d := s.state(s.server); !slices.Equal(d.Sources, []string{"198.51.100.1"}) {
		t.Errorf("sources %v", d.Sources)
	}
	must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", json.RawMessage(`{"state":"disabled"}`))
	if e := denied(t, s.alice, api.NoGateway, "POST", "/v1/connect", f.connect("web-1", "")); !strings.Contains(e.Hint, "cardea admin gateways list") {
		t.Errorf("hint %q", e.Hint)
	}
	if d := s.state(s.server); len(d.Sources) == 0 {
		t.Error("without a gateway the server would let everybody in directly")
	}
}

func TestNewEgressAddressesHaveToBeConfirmedFirst(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.Gateway = "required" })
	must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", json.RawMessage(`{"egress":["198.51.100.77"]}`))
	done := make(chan error, 1)
	go func() {
		_, err := try[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
		done <- err
	}()
	time.Sleep(100 * time.Millisecond)
	s.confirm(s.server)
	if err := <-done; err != nil {
		t.Errorf("confirmed while it waited: %v", err)
	}
}

// A new account is not there yet; the connection waits for it, and no longer
// than a person would.
func TestTheConnectionWaitsForTheAccount(t *testing.T) {
	s := newScene(t)
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{})
	began := time.Now()
	done := make(chan api.Connection, 1)
	go func() {
		c, err := try[api.Connection](t, s.bob, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
		if err != nil {
			t.Error(err)
		}
		done <- c
	}()
	time.Sleep(200 * time.Millisecond)
	select {
	case <-done:
		t.Fatal("it did not wait")
	default:
	}
	s.confirm(s.server)
	if c := <-done; c.Notice != "" || time.Since(began) > 1500*time.Millisecond {
		t.Errorf("after %s: notice %q", time.Since(began), c.Notice)
	}
	s.user("carol")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/carol", api.NewMember{})
	carol := s.signIn("carol")
	began = time.Now()
	c := must[api.Connection](t, carol, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if took := time.Since(began); took < 1900*time.Millisecond || took > 4*time.Second || !strings.Contains(c.Notice, "has not confirmed your account") {
		t.Errorf("after %s: notice %q", took, c.Notice)
	}
	// Alice's account was confirmed long ago: she does not wait for carol's.
	began = time.Now()
	must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if took := time.Since(began); took > time.Second {
		t.Errorf("alice waited %s", took)
	}
}

func TestManyAtOnceEachHaveARecordAndASerialOfTheirOwn(t *testing.T) {
	s := newScene(t)
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			var c api.Connection
			if err := s.alice.api(i%2).Send(t.Context(), "POST", "/v1/connect", newFresh(t).connect("web-1", ""), &c); err != nil {
				t.Error(err)
				return
			}
			serial := certificate(t, c.Certificate).Serial
			if _, err := s.store.Issued(t.Context(), serial); err != nil {
				t.Errorf("no record of %d: %v", serial, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[serial] || serial == 0 {
				t.Errorf("serial %d", serial)
			}
			seen[serial] = true
		})
	}
	wg.Wait()
}

// A gateway has no power of its own: only what a user's key signed, once, for
// this gateway.
func TestAGatewayThatLies(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	message, _ := s.hello(f, c)
	good := s.gateway.open(t, message).Claim
	spoilt := slices.Clone(good)
	spoilt[len(spoilt)/2] ^= 1
	other := s.newGateway("gw-2") // not among the ticket's
	mine := newFresh(t)           // mallory's key with alice's ticket
	forged, _, err := hello.Seal(mine.private, c.Ticket, []hello.Recipient{{Gateway: s.gateway.id, PublicKey: s.gateway.sealing.Public()}}, s.now())
	if err != nil {
		t.Fatal(err)
	}
	var own hello.Opener
	own.SetKeys(s.gateway.sealing)
	if o, err := own.Open(forged); err == nil {
		forged = o.Claim
	}
	for name, call := range map[string]struct {
		by    *machine
		claim []byte
	}{
		"a changed hello": {s.gateway, spoilt}, "rubbish": {s.gateway, []byte("hello")},
		"somebody else's": {other, good}, "a ticket with another key": {s.gateway, forged},
	} {
		e := denied(t, call.by.device, api.Denied, "POST", "/v1/gateway/sessions", api.Claim{Hello: call.claim, Source: "203.0.113.9:1"})
		if e.Detail == "" {
			t.Errorf("%s: no sentence", name)
		}
	}
	// What the gateway refused by itself, and only tells of, is no misuse of its.
	told := api.Claim{Hello: forged, Source: "203.0.113.9:1", Refused: "the ticket is not good"}
	denied(t, s.gateway.device, api.Denied, "POST", "/v1/gateway/sessions", told)
	if got := s.events(audit.GatewayClaim); len(got) != 1 || got[0].Outcome != audit.Denied || got[0].User == "" || !strings.Contains(got[0].Reason, "another key") {
		t.Errorf("recorded as %+v", got)
	}
	if got := s.events(audit.GatewayMisuse); len(got) != 4 {
		t.Errorf("%d alarms, want 4: %+v", len(got), got)
	}
	denied(t, other.device, api.NotFound, "POST", "/v1/gateway/sessions/nope/end", api.SessionEnd{Cause: "client"})
	// Too late: the ticket is over by our clock.
	s.wait(hello.TicketLife)
	denied(t, s.gateway.device, api.Gone, "POST", "/v1/gateway/sessions", api.Claim{Hello: good, Source: "203.0.113.9:1"})
	if live := must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions", nil); len(live.Items) != 0 {
		t.Errorf("a session began: %+v", live.Items)
	}
}

// Alice is disabled while she is in: her session ends, nothing new begins, and
// the servers are told to lock her account.
func TestADisabledUserIsPutOut(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	message, _ := s.hello(f, c)
	claimed := must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(t, message).Claim, Source: "203.0.113.9:1"})
	second, _ := s.hello(f, c) // a hello that she sealed before

	orders := make(chan api.GatewayWatch, 1)
	began := time.Now()
	go func() {
		w, err := try[api.GatewayWatch](t, s.gateway.device, "GET", "/v1/gateway/watch?wait=20", nil)
		if err != nil {
			t.Error(err)
		}
		orders <- w
	}()
	states := make(chan api.DesiredState, 1)
	before := s.state(s.server)
	go func() {
		got, err := try[api.SignedState](t, s.server.device, "GET", fmt.Sprintf("/v1/agent/state?epoch=%d&counter=%d&wait=20", before.Version.Epoch, before.Version.Counter), nil)
		var d api.DesiredState
		if err == nil {
			err = json.Unmarshal(got.State, &d)
		}
		if err != nil {
			t.Error(err)
		}
		states <- d
	}()
	time.Sleep(100 * time.Millisecond)
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/alice", json.RawMessage(`{"status":"disabled"}`))
	if w := <-orders; !slices.Equal(w.End, []string{claimed.Session}) || len(w.TicketKeys) == 0 {
		t.Errorf("orders %+v", w)
	}
	if d := <-states; len(d.Accounts) != 1 || d.Accounts[0].State != "locked" || !before.Version.Less(d.Version) {
		t.Errorf("state %+v", d)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("both heard of it after %s", took)
	}
	denied(t, s.alice, api.SignIn, "POST", "/v1/connect", f.connect("web-1", ""))
	denied(t, s.gateway.device, api.Denied, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(t, second).Claim, Source: "203.0.113.9:1"})
}

// Between two reads of the list of gateways its owner may change it; what this
// instance changed itself counts at once.
func TestAGatewayThatWasDisabledIsNotChosen(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", json.RawMessage(`{"state":"disabled"}`))
	if c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", "")); len(c.Routes) != 1 || len(c.Ticket) != 0 {
		t.Errorf("routes %+v", c.Routes)
	}
	must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", json.RawMessage(`{"state":"active"}`))
	if c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", "")); len(c.Routes) != 2 {
		t.Errorf("routes %+v", c.Routes)
	}
}

// A gateway that was killed cannot say that its sessions are over; its next
// process says so by how long it has run.
func TestSessionsOfAKilledGatewayEnd(t *testing.T) {
	s := newScene(t)
	begin := func() string {
		f := newFresh(t)
		c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
		message, _ := s.hello(f, c)
		return must[api.Claimed](t, s.gateway.device, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(t, message).Claim, Source: "203.0.113.9:1"}).Session
	}
	report := func(uptime int64) []api.GatewaySession {
		t.Helper()
		id := s.gateway.sealing.ID()
		must[api.GatewayReportAnswer](t, s.gateway.device, "POST", "/v1/gateway/report", api.GatewayReport{
			Healthy: true, SealingKeys: []api.SealingKey{{ID: id[:], Public: s.gateway.sealing.Public()}}, Uptime: uptime,
		})
		return must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions?live=true", nil).Items
	}
	old := begin()
	s.wait(2 * time.Minute)
	if live := report(600); len(live) != 1 {
		t.Errorf("the same process: live %+v", live)
	}
	s.wait(time.Minute)
	if live := report(1); len(live) != 0 {
		t.Errorf("a new process: live %+v", live)
	}
	s.wait(10 * time.Second)
	young := begin()
	s.wait(2 * time.Minute)
	if live := report(131); len(live) != 1 || live[0].ID != young || young == old {
		t.Errorf("two minutes later: live %+v", live)
	}
	s.wait(time.Minute)
	last := begin()
	s.wait(300 * time.Millisecond) // it is killed, and runs again for 100 ms
	id := s.gateway.sealing.ID()
	must[api.GatewayReportAnswer](t, s.gateway.device, "POST", "/v1/gateway/report", api.GatewayReport{
		Healthy: true, SealingKeys: []api.SealingKey{{ID: id[:], Public: s.gateway.sealing.Public()}}, Uptime: 1, UptimeMillis: 100,
	})
	if live := must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions?live=true", nil).Items; len(live) != 0 {
		t.Errorf("started again at once: live %+v, of which the last was %s", live, last)
	}
	if e := s.events(audit.GatewaySessionEnd); len(e) != 3 || e[0].Detail["gateway_session"] != old || e[0].User != s.alice.session.User || e[0].Reason == "" {
		t.Errorf("audit %+v", e)
	}
}
