package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
)

// databaseHolds tells whether a secret is anywhere in the database's files.
func (s *stack) databaseHolds(secret string) bool {
	s.t.Helper()
	files, err := filepath.Glob(s.path + "*")
	if err != nil || len(files) == 0 {
		s.t.Fatal(files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(secret)) {
			return true
		}
	}
	return false
}

func TestOneTokenLetsOneMachineIn(t *testing.T) {
	s := newScene(t)
	token := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-2", Address: "10.0.0.8:22"})
	if s.databaseHolds(token.Secret) || !s.databaseHolds(token.ID) {
		t.Error("the database holds the secret, or the search is broken")
	}
	var mu sync.Mutex
	var won []api.EnrolledServer
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var got api.EnrolledServer
			err := s.device("").api(i%2).Send(t.Context(), "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: token.Secret}, &got)
			mu.Lock()
			defer mu.Unlock()
			switch kind := api.KindOf(err); {
			case err == nil:
				won = append(won, got)
			case kind != api.Gone && kind != api.Limited && kind != api.Unavailable:
				t.Errorf("one of the others got %v", err)
			}
		})
	}
	wg.Wait()
	list := must[api.List[api.Server]](t, s.admin, "GET", "/v1/servers?project=web", nil)
	if len(won) != 1 || len(list.Items) != 2 {
		t.Fatalf("%d got in, %d servers", len(won), len(list.Items))
	}
	if s.databaseHolds(won[0].AccessToken) {
		t.Error("the database holds a machine's token")
	}
}

// Anybody can make a key and try tokens; the log is durable and for ever.
func TestWhoTriesTokensCannotFillTheLog(t *testing.T) {
	s := newScene(t)
	before := len(s.events(audit.ServerEnrol))
	stranger := s.device("")
	try := func() {
		denied(t, stranger, api.Denied, "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: "cardea_enr_" + strings.Repeat("a", 52)})
	}
	for range auditBurst + 7 {
		try()
	}
	if n := len(s.events(audit.ServerEnrol)) - before; n != auditBurst {
		t.Errorf("%d rows, want %d", n, auditBurst)
	}
	s.wait(auditEvery)
	try()
	events := s.events(audit.ServerEnrol)
	if len(events)-before != auditBurst+1 {
		t.Fatalf("%d rows, want one more", len(events)-before)
	}
	token := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-8", Address: "10.0.0.8:22"})
	s.wait(25 * time.Hour)
	for range auditBurst + 1 {
		try()
	}
	denied(t, stranger, api.Gone, "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: token.Secret})
	if last := s.events(audit.ServerEnrol); last[len(last)-1].Detail["token"] != token.ID {
		t.Errorf("the last row is not of the token that is over: %+v", last[len(last)-1])
	}
	if e := events[len(events)-1]; e.Detail["not_recorded"] != "7" {
		t.Errorf("the row does not tell of those that are missing: %+v", e)
	}
}

func TestTokensThatLetNobodyIn(t *testing.T) {
	s := newScene(t)
	gateway := s.token(api.NewEnrolmentToken{Kind: store.KindGateway, Name: "gw-9", Address: "gw-9.example.com:7234"})
	deleted := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-8", Address: "10.0.0.8:22"})
	must[api.Named](t, s.admin, "DELETE", "/v1/enrolment-tokens/"+deleted.ID, nil)
	nameless := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web"})
	taken := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-1", Address: "10.0.0.8:22"})
	short := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-7", Address: "10.0.0.8:22", Seconds: 60})
	enrol := func(kind api.Kind, in api.ServerEnrolment) *api.Error {
		t.Helper()
		e := denied(t, s.device(""), kind, "POST", "/v1/servers/enrol", in)
		if !strings.Contains(e.Hint, "cardea admin") || strings.Contains(e.Detail+e.Hint, "cardea_enr_") {
			t.Errorf("%q; %q", e.Detail, e.Hint)
		}
		return e
	}
	unknown := "cardea_enr_" + strings.Repeat("a", 52)
	enrol(api.Denied, api.ServerEnrolment{Secret: unknown})
	enrol(api.Denied, api.ServerEnrolment{Secret: ""})
	enrol(api.Denied, api.ServerEnrolment{Secret: strings.Repeat("x", 100_000)})
	enrol(api.Denied, api.ServerEnrolment{Secret: gateway.Secret})
	enrol(api.Denied, api.ServerEnrolment{Secret: deleted.Secret})
	enrol(api.Conflict, api.ServerEnrolment{Secret: taken.Secret})
	for name, in := range map[string]api.ServerEnrolment{
		"no name at all":         {Address: "10.0.0.9:22"},
		"a shell in the name":    {Hostname: "$(id)", Address: "10.0.0.9:22"},
		"an option as name":      {Hostname: "-oProxyCommand=x", Address: "10.0.0.9:22"},
		"markup as name":         {Hostname: "<script>alert(1)</script>", Address: "10.0.0.9:22"},
		"an escape in the name":  {Hostname: "a\x1b[2J", Address: "10.0.0.9:22"},
		"no address":             {Hostname: "web-5"},
		"the gateway's loopback": {Hostname: "web-5", Address: "127.0.0.1:22"},
		"a cloud's metadata":     {Hostname: "web-5", Address: "169.254.169.254:80"},
		"a label that grants":    {Hostname: "web-5", Address: "10.0.0.9:22", HostLabels: map[string]string{"host/../env": "prod"}},
	} {
		in.Secret = nameless.Secret
		if e := enrol(api.Invalid, in); e.Detail == "" {
			t.Errorf("%s: no sentence", name)
		}
	}
	s.wait(time.Minute)
	enrol(api.Gone, api.ServerEnrolment{Secret: short.Secret})
	events := s.events(audit.ServerEnrol)
	if len(events) != 1+6+9+1 {
		t.Errorf("%d events", len(events))
	}
	for _, e := range events[1:] {
		if e.Outcome != audit.Denied || e.Reason == "" {
			t.Errorf("audit %+v", e)
		}
	}
	// None of that used up the token, and an honest machine gets in. Its name has
	// no domain, and what it says of itself grants nothing.
	got := must[api.EnrolledServer](t, s.device(""), "POST", "/v1/servers/enrol", api.ServerEnrolment{
		Secret: nameless.Secret, Hostname: "web-5.example.com", Address: "10.0.0.9:22", HostLabels: map[string]string{"env": "prod"},
	})
	server := must[api.Server](t, s.admin, "GET", "/v1/servers/web-5", nil)
	if got.Name != "web-5" || server.Labels["host/env"] != "prod" || server.Labels["env"] != "" {
		t.Errorf("enrolled %+v, %+v", got, server)
	}
}

func TestTokensThatAreNotMade(t *testing.T) {
	s := newScene(t)
	for name, in := range map[string]api.NewEnrolmentToken{
		"for servers of no project":         {Kind: "server"},
		"a gateway without an address":      {Kind: "gateway", Name: "gw-5"},
		"a gateway in a project":            {Kind: "gateway", Name: "gw-5", Address: "gw:7234", Project: "web"},
		"one name for two":                  {Kind: "server", Project: "web", Name: "web-5", Uses: 2},
		"one server's address for two":      {Kind: "server", Project: "web", Address: "10.0.0.9:22", Uses: 2},
		"egress addresses of a server":      {Kind: "server", Project: "web", Egress: []string{"10.0.0.1"}},
		"egress from everywhere":            {Kind: "gateway", Name: "gw-5", Address: "gw:7234", Egress: []string{"0.0.0.0/0"}},
		"a host's label from a person":      {Kind: "server", Project: "web", Labels: map[string]string{"host/os": "x"}},
		"an unknown kind":                   {Kind: "printer"},
		"an address that cannot be dialled": {Kind: "server", Project: "web", Name: "web-5", Address: "0.0.0.0:22"},
		"less than one use":                 {Kind: "server", Project: "web", Uses: -1},
		"more uses than there may be":       {Kind: "server", Project: "web", Uses: 10001},
		"a life of 31 days":                 {Kind: "server", Project: "web", Seconds: 31 * 24 * 3600},
	} {
		if _, err := try[api.EnrolmentToken](t, s.admin, "POST", "/v1/enrolment-tokens", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	at := s.token(api.NewEnrolmentToken{Kind: "server", Project: "web", Uses: 10000, Seconds: 30 * 24 * 3600})
	if at.UsesLeft != 10000 || at.ExpiresAt.Sub(s.now()) != 30*24*time.Hour {
		t.Errorf("at the limits: %+v", at)
	}
	// Loopback is possible by an administrator's explicit word.
	if local := s.token(api.NewEnrolmentToken{Kind: "server", Project: "web", Name: "here", Address: "127.0.0.1:2222"}); local.Address != "127.0.0.1:2222" {
		t.Errorf("got %+v", local)
	}
}

func TestOneTokenForAPool(t *testing.T) {
	s := newScene(t)
	token := s.token(api.NewEnrolmentToken{Kind: store.KindGateway, Address: "lb.example.com:7234", Labels: map[string]string{"region": "eu"}, Egress: []string{"198.51.100.9"}, Uses: 2})
	first := must[api.EnrolledGateway](t, s.device(""), "POST", "/v1/gateways/enrol", api.GatewayEnrolment{Secret: token.Secret})
	second := must[api.EnrolledGateway](t, s.device(""), "POST", "/v1/gateways/enrol", api.GatewayEnrolment{Secret: token.Secret})
	denied(t, s.device(""), api.Gone, "POST", "/v1/gateways/enrol", api.GatewayEnrolment{Secret: token.Secret})
	a, b := first.Gateway, second.Gateway
	if a.Name == b.Name || a.Address != b.Address || ident.ServerName(a.Name) != nil || a.Labels["region"] != "eu" || !slices.Equal(b.Egress, []string{"198.51.100.9"}) {
		t.Errorf("got %+v and %+v", a, b)
	}
	// One key is one machine, whatever token comes with it.
	d := s.device("")
	many := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Uses: 2})
	three := must[api.EnrolledServer](t, d, "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: many.Secret, Hostname: "web-3", Address: "10.0.0.3:22"})
	if again := must[api.EnrolledServer](t, d, "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: many.Secret, Hostname: "web-4", Address: "10.0.0.4:22"}); again.Server != three.Server {
		t.Errorf("one key became two servers, %s and %s", three.Name, again.Name)
	}
	another := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Uses: 2})
	denied(t, d, api.Conflict, "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: another.Secret, Hostname: "web-4", Address: "10.0.0.4:22"})
}

// What an agent gets is its own, whatever it asks for; a machine that was
// deleted or disabled gets nothing.
func TestAMachineSpeaksForItselfAlone(t *testing.T) {
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	f := newFresh(t)
	mine := must[api.HostCertificate](t, s.server.device, "POST", "/v1/agent/host-certificate", api.HostCertificateRequest{PublicKey: f.line()})
	cas := authority(t, s.state(s.server).HostCAs...)
	if err := sshcert.VerifyHost(certificate(t, mine.Certificate), sshcert.ExpectHost{CAs: cas, ServerID: s.server.id, Now: s.now()}); err != nil {
		t.Error(err)
	}
	if sshcert.VerifyHost(certificate(t, mine.Certificate), sshcert.ExpectHost{CAs: cas, ServerID: other.id, Now: s.now()}) == nil {
		t.Error("it is good for another server")
	}
	canary := certificate(t, must[api.HostCertificate](t, s.server.device, "POST", "/v1/agent/canary", api.CanaryRequest{PublicKey: f.line()}).Certificate)
	if !slices.Equal(canary.ValidPrincipals, []string{"cardea-canary@" + s.server.id}) || canary.Extensions["permit-pty"] != "" || len(canary.Extensions) != 1 {
		t.Errorf("canary %+v", canary)
	}
	for _, c := range []uint64{canary.Serial, certificate(t, mine.Certificate).Serial} {
		if r, err := s.store.Issued(t.Context(), c); err != nil || r.Server != s.server.id {
			t.Errorf("record %+v, %v", r, err)
		}
	}
	denied(t, s.server.device, api.Invalid, "POST", "/v1/agent/host-certificate", api.HostCertificateRequest{PublicKey: mine.Certificate})
	if d := s.state(other); d.Server != other.id || d.Name != "web-2" {
		t.Errorf("state of %s", d.Name)
	}
	must[api.Server](t, s.admin, "PATCH", "/v1/servers/web-2", json.RawMessage(`{"state":"disabled"}`))
	denied(t, other.device, api.Denied, "GET", "/v1/agent/state", nil)
}

func TestServersAreNamedWithTheirProjectToo(t *testing.T) {
	s := newScene(t)
	for _, ref := range []string{s.server.id, "web-1", "web%2Fweb-1"} {
		if got := must[api.Server](t, s.admin, "GET", "/v1/servers/"+ref, nil); got.ID != s.server.id {
			t.Errorf("%s: %+v", ref, got)
		}
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/servers/web%2Fweb-1", nil)
	denied(t, s.server.device, api.SignIn, "GET", "/v1/agent/state", nil)
	e := denied(t, s.admin, api.NotFound, "GET", "/v1/servers/web-1", nil)
	if !strings.Contains(e.Hint, "cardea admin servers list") {
		t.Errorf("hint %q", e.Hint)
	}
}

func TestNobodyTakesHisOwnRights(t *testing.T) {
	s := newScene(t)
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/bob", json.RawMessage(`{"admin":true}`))
	for name, call := range map[string]func() error{
		"demotes himself": func() error {
			return s.admin.api(0).Send(t.Context(), "PATCH", "/v1/users/admin", json.RawMessage(`{"admin":false}`), nil)
		},
		"disables himself": func() error {
			return s.admin.api(0).Send(t.Context(), "PATCH", "/v1/users/admin", json.RawMessage(`{"status":"disabled"}`), nil)
		},
		"deletes himself": func() error { return s.admin.api(0).Send(t.Context(), "DELETE", "/v1/users/admin", nil, nil) },
	} {
		if err := call(); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "another administrator") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A change of rights holds with the next request.
	must[api.CreatedUser](t, s.bob, "PATCH", "/v1/users/alice", json.RawMessage(`{"full_name":"Alice Example"}`))
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/bob", json.RawMessage(`{"admin":false}`))
	denied(t, s.bob, api.Denied, "GET", "/v1/users", nil)
	refused := 0
	for _, action := range []string{audit.UserUpdate, audit.UserDisable, audit.UserDelete} {
		for _, e := range s.events(action) {
			if e.Outcome == audit.Denied {
				refused++
			}
		}
	}
	if refused != 3 {
		t.Errorf("%d refusals in the audit", refused)
	}
}

func TestWhatNobodyMayBeCalled(t *testing.T) {
	s := newScene(t)
	for path, bodies := range map[string][]any{
		"/v1/users": {
			api.NewUser{Name: "<script>"}, api.NewUser{Name: "a\nb"}, api.NewUser{Name: ""}, api.NewUser{Name: "root"}, api.NewUser{Name: "carol", Login: "sudo"},
			api.NewUser{Name: "carol", FullName: "x\x1b[2J"}, api.NewUser{Name: "carol", FullName: "x:0:0"}, api.NewUser{Name: "carol", Email: "no"},
			api.NewUser{Name: "carol", Password: "short"}, api.NewUser{Name: "carol.c"},
		},
		"/v1/groups": {api.NewGroup{Name: "wheel"}, api.NewGroup{Name: "Ops"}, api.NewGroup{Name: "a b"}, api.NewGroup{Name: ""}, api.NewGroup{Name: "%admin"}},
		"/v1/projects": {
			api.NewProject{Name: "A", ProjectSettings: api.ProjectSettings{CertificateSeconds: 60, Gateway: "none"}},
			api.NewProject{Name: "a", ProjectSettings: api.ProjectSettings{CertificateSeconds: 59, Gateway: "none"}},
			api.NewProject{Name: "a", ProjectSettings: api.ProjectSettings{CertificateSeconds: 601, Gateway: "none"}},
			api.NewProject{Name: "a", ProjectSettings: api.ProjectSettings{CertificateSeconds: 60, Gateway: "maybe"}},
			api.NewProject{Name: "a", ProjectSettings: api.ProjectSettings{CertificateSeconds: 60, Gateway: "none", GatewaySelector: "host/os=x"}},
		},
		"/v1/projects/web/grants": {
			api.NewGrant{Group: "ops", Role: "root"}, api.NewGrant{Group: "ops", Role: "user", Selector: "host/env=prod"}, api.NewGrant{Group: "ops", Role: "user", Selector: "env"},
			api.NewGrant{Group: "ops", Role: "user", Until: s.now()},
		},
	} {
		for _, body := range bodies {
			if _, err := try[json.RawMessage](t, s.admin, "POST", path, body); api.KindOf(err) != api.Invalid {
				t.Errorf("%s %+v: %v", path, body, err)
			}
		}
	}
	// An account on a server brings a group of its own name.
	denied(t, s.admin, api.Conflict, "POST", "/v1/groups", api.NewGroup{Name: "alice"})
	denied(t, s.admin, api.Conflict, "POST", "/v1/users", api.NewUser{Name: "carol", Login: "ops"})
	// A login is never given twice.
	made := must[api.CreatedUser](t, s.admin, "POST", "/v1/users", api.NewUser{Name: "carol"})
	if made.Password == "" || made.Login != "carol" || s.databaseHolds(made.Password) {
		t.Errorf("made %+v", made.User)
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/users/carol", nil)
	denied(t, s.admin, api.Conflict, "POST", "/v1/users", api.NewUser{Name: "carol"})
	if again := must[api.CreatedUser](t, s.admin, "POST", "/v1/users", api.NewUser{Name: "carol", Login: "carol2"}); again.UID <= made.UID {
		t.Errorf("uid %d after %d", again.UID, made.UID)
	}
}

// One key can never be the CA of two projects.
func TestAProjectsKeyIsItsOwn(t *testing.T) {
	s := newScene(t)
	keys, err := s.store.Keys(t.Context(), s.project.ID, string(ca.UserCA))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	thief := store.Project{ID: ident.New(ident.Project), Name: "thief", CertificateSeconds: 60, Gateway: "none"}
	stolen := keys[0]
	stolen.ID, stolen.Scope = ident.New(ident.Key), thief.ID
	if _, err := s.store.CreateProject(t.Context(), thief, stolen, store.Meta{Now: s.now()}); !errors.Is(err, store.ErrExists) {
		t.Errorf("the same key for another project: %v", err)
	}
	// And with a forged fingerprint it opens nowhere but in its place.
	if _, err := s.keys.Authority(t.Context(), ca.Record{
		Ref: ca.Ref{ID: stolen.ID, Scope: thief.ID, Purpose: ca.UserCA}, Public: stolen.Public, Fingerprint: stolen.Fingerprint, Sealed: stolen.Sealed,
	}); !errors.Is(err, ca.ErrSealed) {
		t.Errorf("copied into another row it opened: %v", err)
	}
}

// No answer of the API holds a sealed or private key.
func TestNoAnswerHoldsAKey(t *testing.T) {
	s := newScene(t)
	keys, err := s.store.Keys(t.Context(), "", "")
	if err != nil || len(keys) < 6 {
		t.Fatal(len(keys), err)
	}
	for _, path := range []string{"/v1/projects", "/v1/projects/web", "/v1/audit", "/v1/team", "/v1/servers", "/v1/gateways"} {
		got := s.send(0, s.admin.request(0, "GET", path, ""))
		if got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
		for _, k := range keys {
			sealed, _ := json.Marshal(k.Sealed)
			if strings.Contains(got.body, strings.Trim(string(sealed), `"`)) || strings.Contains(got.body, string(k.Sealed)) {
				t.Errorf("%s holds the sealed key for %s", path, k.Purpose)
			}
		}
	}
}

// A host that was taken over tells of logins as fast as it can, to fill the log
// of all. A host that comes back after a week tells its whole queue at once.
func TestEventsOfOneHostAreRationed(t *testing.T) {
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	events := slices.Repeat([]api.AgentEvent{{At: s.now(), Kind: "sudo", Login: "alice"}}, 1000)
	next := int64(1)
	const uploads = 3 // the last ones that it may make; the others are only counted
	if !s.servers[0].limits.events.takeAll(s.server.id, s.now(), eventBurst-uploads*len(events)) {
		t.Fatal("it has sent events before")
	}
	for range uploads {
		next = must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{First: next, Events: events}).Next
	}
	if next != int64(uploads*len(events))+1 {
		t.Fatalf("next %d", next)
	}
	denied(t, s.server.device, api.Limited, "POST", "/v1/agent/events", api.AgentEvents{First: next, Events: events[:1000]})
	must[api.AgentEventsAnswer](t, other.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: events[:1]})
}

// A host that was taken over tells of another problem with every report, each of
// which is a row of the log, and asks for certificates, each of which is two.
func TestReportsAndCertificatesOfOneHostAreRationed(t *testing.T) {
	s := newScene(t)
	other := s.newServer("web", "web-2", nil)
	report := func(i int) api.AgentReport { return api.AgentReport{Problems: []string{fmt.Sprint("problem ", i)}} }
	before := len(s.events(audit.ServerReport))
	const left = 30 // the others are only counted
	if !s.servers[0].limits.seldom.takeAll(s.server.id, s.now(), seldomBurst-left) {
		t.Fatal("it has used them before")
	}
	for i := range left + 1 {
		_, err := try[struct{}](t, s.server.device, "POST", "/v1/agent/report", report(i))
		if api.KindOf(err) == api.Limited {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	denied(t, s.server.device, api.Limited, "POST", "/v1/agent/report", report(0))
	denied(t, s.server.device, api.Limited, "POST", "/v1/agent/host-certificate", api.HostCertificateRequest{PublicKey: newFresh(t).line()})
	must[struct{}](t, other.device, "POST", "/v1/agent/report", report(0))
	if rows := len(s.events(audit.ServerReport)) - before; rows == 0 || rows > left+1 {
		t.Errorf("%d rows", rows)
	}
}

func TestWhatAHostSaysIsBelievedWhereOurRecordsAgree(t *testing.T) {
	s := newScene(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	keyID := certificate(t, c.Certificate).KeyId
	other := s.newServer("web", "web-2", nil)
	login := func(serial, keyID, login string) api.AgentEvent {
		return api.AgentEvent{At: s.now(), Kind: "login", Serial: serial, KeyID: keyID, Login: login, Source: "203.0.113.9"}
	}
	events := []api.AgentEvent{
		login(c.Serial, keyID, "alice"), login("", "", "carol"), login("12345", keyID, "alice"), login(c.Serial, "cardea:user=bob", "alice"),
		login(c.Serial, keyID, "root"), login("-1", keyID, "alice"), {At: s.now(), Kind: "sudo", Login: "alice", Detail: "id\x1b[2J"},
	}
	first := must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: events})
	if first.Next != int64(len(events))+1 {
		t.Fatalf("next %d", first.Next)
	}
	again := must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: events})
	gap := must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{First: 100, Events: events[:1]})
	if again.Next != first.Next || gap.Next != first.Next {
		t.Errorf("repeated: next %d; after a gap: next %d; want %d", again.Next, gap.Next, first.Next)
	}
	must[api.AgentEventsAnswer](t, other.device, "POST", "/v1/agent/events", api.AgentEvents{First: 1, Events: events[:1]})
	var verified []string
	for _, e := range s.events(audit.HostLogin) {
		verified = append(verified, e.Detail["verified"])
	}
	if !slices.Equal(verified, []string{"true", "false", "false", "false", "false", "false", "false"}) {
		t.Errorf("verified: %v", verified)
	}
	if e := s.events(audit.HostLogin)[0]; e.User != s.alice.session.User || e.Session != s.alice.session.ID || e.Server != s.server.id {
		t.Errorf("the true one: %+v", e)
	}
	denied(t, s.server.device, api.Invalid, "POST", "/v1/agent/events", api.AgentEvents{First: first.Next, Events: make([]api.AgentEvent, 1001)})
	denied(t, s.server.device, api.Invalid, "POST", "/v1/agent/report", api.AgentReport{Confirmed: api.StateVersion{Epoch: 99, Counter: 1}})
}

func TestTheStateOfAServerFollowsItsLabels(t *testing.T) {
	s := newScene(t)
	must[api.Named](t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil)
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "admin", Selector: "env=prod"})
	prod := s.newServer("web", "web-2", map[string]string{"env": "prod"})
	if d := s.state(prod); len(d.Accounts) != 1 || !d.Accounts[0].Admin || d.Accounts[0].Login != "alice" || d.Accounts[0].UID < store.FirstID || d.PrincipalSeconds != 604800 {
		t.Errorf("prod: %+v", d.Accounts)
	} else if len(d.Groups) != 1 || d.Groups[0].Name != "ops" || !slices.Equal(d.Groups[0].Members, []string{"alice"}) {
		t.Errorf("prod: %+v", d.Groups)
	}
	plain := s.state(s.server)
	if len(plain.Accounts) != 0 || len(plain.Groups[0].Members) != 0 {
		t.Errorf("without the label: %+v", plain)
	}
	// A label by an administrator's hand opens it, and the agent hears of it.
	must[api.Server](t, s.admin, "PATCH", "/v1/servers/web-1", json.RawMessage(`{"labels":{"env":"prod"}}`))
	got := must[api.SignedState](t, s.server.device, "GET", fmt.Sprintf("/v1/agent/state?epoch=%d&counter=%d&wait=5", plain.Version.Epoch, plain.Version.Counter), nil)
	if !strings.Contains(string(got.State), `"login":"alice"`) {
		t.Errorf("after the label: %s", got.State)
	}
}

func TestTheCatalogChangesWhenItMust(t *testing.T) {
	s := newScene(t)
	first := must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil)
	if len(first.Servers) != 1 || first.Servers[0].ID != s.server.id || len(first.HostCAs) != 1 || first.Session.Login != "alice" {
		t.Fatalf("catalog %+v", first)
	}
	if got := must[api.Catalog](t, s.bob, "GET", "/v1/catalog", nil); len(got.Servers) != 0 || got.Servers == nil {
		t.Errorf("bob: %+v", got)
	}
	s.wait(2 * time.Minute)
	s.state(s.server) // it was seen just now
	if got := must[api.Catalog](t, s.alice, "GET", "/v1/catalog"+query("version", first.Version), nil); got.Version != "" {
		t.Errorf("that a server was seen is a new catalog: %+v", got)
	}
	next := func(change func()) api.Catalog {
		t.Helper()
		got := make(chan api.Catalog, 1)
		began := time.Now()
		go func() {
			c, err := try[api.Catalog](t, s.alice, "GET", "/v1/catalog"+query("version", first.Version, "wait", "20"), nil)
			if err != nil {
				t.Error(err)
			}
			got <- c
		}()
		time.Sleep(100 * time.Millisecond)
		change()
		c := <-got
		if took := time.Since(began); took > 3*time.Second || c.Version == "" {
			t.Errorf("after %s: %+v", took, c)
		}
		return c
	}
	if c := next(func() { s.newServer("web", "web-2", nil) }); len(c.Servers) != 2 {
		t.Errorf("with a second server: %+v", c.Servers)
	} else {
		first = c
	}
	// A project of which she had nothing before.
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 60, Gateway: "none"}})
	s.newServer("db", "db-1", nil)
	if c := next(func() {
		must[api.Grant](t, s.admin, "POST", "/v1/projects/db/grants", api.NewGrant{Group: "ops", Role: "user"})
	}); len(c.Servers) != 3 {
		t.Errorf("with another project: %+v", c.Servers)
	} else {
		first = c
	}
	if c := next(func() { must[api.Named](t, s.admin, "DELETE", "/v1/groups/ops/members/alice", nil) }); len(c.Servers) != 0 {
		t.Errorf("out of the group: %+v", c.Servers)
	}
}

func TestWhySaysWhatConnectWould(t *testing.T) {
	s := newScene(t)
	why := func(who *device, pairs ...string) api.Why {
		t.Helper()
		return must[api.Why](t, who, "GET", "/v1/why"+query(pairs...), nil)
	}
	if w := why(s.alice, "server", "web-1"); !w.Allow || !strings.Contains(w.Reason, s.grant.ID) {
		t.Errorf("alice: %+v", w)
	}
	if w := why(s.alice, "server", "web-1", "login", "root"); w.Allow || !strings.Contains(w.Reason, "your login is alice") || w.Hint == "" {
		t.Errorf("as root: %+v", w)
	}
	if a, b := why(s.bob, "server", "web-1"), why(s.bob, "server", "web-9"); a.Allow || strings.ReplaceAll(a.Reason, "web-1", "web-9") != b.Reason {
		t.Errorf("bob: %+v, %+v", a, b)
	}
	denied(t, s.bob, api.Denied, "GET", "/v1/why"+query("server", "web-1", "user", "alice"), nil)
	if w := why(s.admin, "server", "web-1", "user", "alice"); !w.Allow {
		t.Errorf("the administrator about alice: %+v", w)
	}
	if w := why(s.admin, "server", "web-1", "user", "bob"); w.Allow || !strings.Contains(w.Reason, "no grant") {
		t.Errorf("about bob: %+v", w)
	}
	if issued := s.events(audit.Connect); len(issued) != 0 {
		t.Errorf("asking made %+v", issued)
	}
}

// Whenever one begins, what was written from then on is there, and little that is
// older; nothing is read through to find it.
func TestTheAuditIsReadFromATimeOn(t *testing.T) {
	s := newScene(t)
	var stamps []time.Time
	for i := range 20 {
		s.wait(10 * time.Minute)
		stamps = append(stamps, s.now())
		e := audit.Event{Time: s.now(), Action: audit.GroupCreate, Outcome: audit.Allowed, Detail: map[string]string{"name": fmt.Sprint("mark", i)}}
		if err := s.store.AppendAudit(t.Context(), store.Meta{Now: s.now(), Audit: audit.EncodeAll(e)}); err != nil {
			t.Fatal(err)
		}
	}
	since := func(at time.Time) []api.AuditEvent {
		return must[api.List[api.AuditEvent]](t, s.admin, "GET", "/v1/audit?limit=1000&since="+at.UTC().Format(time.RFC3339), nil).Items
	}
	for i, at := range stamps {
		got := since(at)
		if len(got) == 0 || got[0].Detail["name"] != fmt.Sprint("mark", i) {
			t.Errorf("from mark %d on: %d events, first %+v", i, len(got), got[0])
		}
	}
	if got := since(stamps[0].Add(-24 * time.Hour)); got[0].Seq != 1 {
		t.Errorf("from before the first on: %+v", got[0])
	}
	if got := since(stamps[19].Add(10 * time.Minute)); len(got) != 0 {
		t.Errorf("from after the last on: %+v", got)
	}
}

func TestTheAuditIsReadInOrderAndFollowed(t *testing.T) {
	s := newScene(t)
	all := must[api.List[api.AuditEvent]](t, s.admin, "GET", "/v1/audit?limit=1000", nil)
	var last int64
	for _, e := range all.Items {
		if e.Seq <= last || e.Action == "" || e.Action == "unreadable" {
			t.Errorf("event %+v after %d", e, last)
		}
		last = e.Seq
	}
	two := must[api.List[api.AuditEvent]](t, s.admin, "GET", "/v1/audit?limit=2", nil)
	if len(two.Items) != 2 || two.Next != fmt.Sprint(two.Items[1].Seq) || all.Next != "" {
		t.Errorf("a page of two: %+v", two)
	}
	newest := must[api.List[api.AuditEvent]](t, s.admin, "GET", "/v1/audit?last=2", nil)
	older := must[api.List[api.AuditEvent]](t, s.admin, "GET", fmt.Sprintf("/v1/audit?last=3&before=%d", newest.Items[0].Seq), nil)
	n := len(all.Items)
	if diff := cmp.Diff(all.Items[n-5:], append(older.Items, newest.Items...)); diff != "" {
		t.Errorf("backward: %s", diff)
	}
	if none := must[api.List[api.AuditEvent]](t, s.admin, "GET", "/v1/audit?last=3&before=1", nil); none.Items == nil || len(none.Items) != 0 {
		t.Errorf("before the first: %+v", none)
	}
	for _, mixed := range []string{"last=2&after=1", "last=2&limit=1", "last=2&wait=1", "before=3", "last=1001", "last=2&since=2026-01-01T00:00:00Z"} {
		if _, err := try[api.List[api.AuditEvent]](t, s.admin, "GET", "/v1/audit?"+mixed, nil); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", mixed, err)
		}
	}
	got := make(chan api.List[api.AuditEvent], 1)
	go func() {
		l, err := try[api.List[api.AuditEvent]](t, s.admin, "GET", fmt.Sprintf("/v1/audit?after=%d&wait=20", last), nil)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	time.Sleep(50 * time.Millisecond)
	must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "dba"})
	if l := <-got; len(l.Items) != 1 || l.Items[0].Action != audit.GroupCreate {
		t.Errorf("followed: %+v", l)
	}
}
