package serveragent

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// patience is how long tests wait for what should come within a second: the
// machine may be busy with other tests.
const patience = time.Minute

// plane is a control plane of one project with one server. It lies when told.
type plane struct {
	t       testing.TB
	policy  ed25519.PrivateKey
	userCA  ssh.Signer
	hostCA  ssh.Signer
	secret  string
	server  string
	project string

	mu       sync.Mutex
	state    api.DesiredState
	changed  chan struct{} // closed and made anew by set
	lie      func(http.ResponseWriter, *http.Request) bool
	canaryBy ssh.Signer    // signs the canary's certificate; nil means userCA
	aged     time.Duration // how old host certificates are when they are made
	reports  []api.AgentReport
	events   []api.AgentEvent
	enrolled int
	// thumbprint is that of the agent's key from its first call on.
	thumbprint string
}

func newPlane(t testing.TB) *plane {
	_, policy, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{
		t: t, policy: policy, userCA: newSigner(t), hostCA: newSigner(t), secret: "cardea_enr_test",
		server: ident.New(ident.Server), project: ident.New(ident.Project), changed: make(chan struct{}),
	}
	p.state = api.DesiredState{
		Team: ident.New(ident.Team), Project: p.project, Server: p.server, Name: "web-1", Version: api.StateVersion{Epoch: 1, Counter: 1}, Complete: true,
		UserCAs: []string{sshcert.Line(p.userCA.PublicKey())}, HostCAs: []string{sshcert.Line(p.hostCA.PublicKey())}, PrincipalSeconds: 7 * 86400,
	}
	return p
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// set changes the state and makes it the next version.
func (p *plane) set(change func(*api.DesiredState)) api.StateVersion {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Version.Counter++
	// An answer with the state before may be on its way.
	p.state.Accounts, p.state.Groups = slices.Clone(p.state.Accounts), slices.Clone(p.state.Groups)
	change(&p.state)
	p.state.IssuedAt = time.Now().UTC()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.state.Version
}

// lying makes every answer a lie until it is called with nil.
func (p *plane) lying(lie func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lie = lie
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *plane) sign(d api.DesiredState, by ed25519.PrivateKey) api.SignedState {
	raw, err := json.Marshal(d)
	if err != nil {
		p.t.Error(err)
	}
	return api.SignedState{State: raw, Signature: ed25519.Sign(by, append([]byte(api.StateDomain), raw...))}
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	lie := p.lie
	p.mu.Unlock()
	if lie != nil && lie(w, r) {
		return
	}
	p.mu.Lock()
	expect := dpop.Expect{Method: r.Method, URL: "http://" + r.Host + r.URL.Path, Token: strings.TrimPrefix(r.Header.Get("Authorization"), "DPoP "), Thumbprint: p.thumbprint}
	proof, err := dpop.Check(r.Header.Values(dpop.Header), expect)
	if err != nil {
		p.t.Errorf("%s: proof: %v", r.URL.Path, err)
	} else if p.thumbprint == "" {
		p.thumbprint = proof.Thumbprint
	}
	p.mu.Unlock()
	if r.URL.Path != "/v1/servers/enrol" && r.Header.Get("Authorization") != "DPoP cardea_srv_test" {
		answer(w, api.Errorf(api.SignIn, "no"))
		return
	}
	switch r.URL.Path {
	case "/v1/servers/enrol":
		p.enrol(w, r)
	case "/v1/agent/state":
		p.serveState(w, r)
	case "/v1/agent/report":
		var in api.AgentReport
		json.NewDecoder(r.Body).Decode(&in)
		p.mu.Lock()
		p.reports = append(p.reports, in)
		p.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	case "/v1/agent/events":
		p.takeEvents(w, r)
	case "/v1/agent/host-certificate", "/v1/agent/canary":
		p.certify(w, r)
	default:
		answer(w, api.Errorf(api.NotFound, "no such call"))
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if e, ok := v.(*api.Error); ok {
		w.WriteHeader(e.StatusCode)
	}
	json.NewEncoder(w).Encode(v)
}

func (p *plane) enrol(w http.ResponseWriter, r *http.Request) {
	var in api.ServerEnrolment
	json.NewDecoder(r.Body).Decode(&in)
	p.mu.Lock()
	defer p.mu.Unlock()
	if in.Secret != p.secret || p.enrolled > 0 {
		answer(w, api.Errorf(api.Gone, "this enrolment token was used, or its time is over"))
		return
	}
	p.enrolled++
	answer(w, api.EnrolledServer{
		Token:  api.Token{AccessToken: "cardea_srv_test", TokenType: "DPoP"},
		Server: p.server, Name: "web-1", PolicyKey: p.policy.Public().(ed25519.PublicKey),
	})
}

func (p *plane) serveState(w http.ResponseWriter, r *http.Request) {
	epoch, _ := strconv.ParseInt(r.URL.Query().Get("epoch"), 10, 64)
	counter, _ := strconv.ParseInt(r.URL.Query().Get("counter"), 10, 64)
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	deadline := time.After(time.Duration(wait) * time.Second)
	for {
		p.mu.Lock()
		state, changed, lie := p.state, p.changed, p.lie
		p.mu.Unlock()
		if lie != nil && lie(w, r) {
			return
		}
		if (api.StateVersion{Epoch: epoch, Counter: counter}).Less(state.Version) {
			answer(w, p.sign(state, p.policy))
			return
		}
		select {
		case <-changed:
		case <-deadline:
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (p *plane) takeEvents(w http.ResponseWriter, r *http.Request) {
	var in api.AgentEvents
	json.NewDecoder(r.Body).Decode(&in)
	p.mu.Lock()
	defer p.mu.Unlock()
	next := int64(len(p.events)) + 1
	for i, e := range in.Events {
		if in.First+int64(i) == next {
			p.events = append(p.events, e)
			next++
		}
	}
	answer(w, api.AgentEventsAnswer{Next: next})
}

func (p *plane) certify(w http.ResponseWriter, r *http.Request) {
	var in struct {
		PublicKey string `json:"public_key"`
	}
	json.NewDecoder(r.Body).Decode(&in)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(in.PublicKey))
	if err != nil {
		answer(w, api.Errorf(api.Invalid, "no key"))
		return
	}
	p.mu.Lock()
	canaryBy := p.canaryBy
	p.mu.Unlock()
	var cert *ssh.Certificate
	p.mu.Lock()
	by, userCA, issued := p.hostCA, p.userCA, time.Now().Add(-p.aged)
	p.mu.Unlock()
	if r.URL.Path == "/v1/agent/canary" {
		by = userCA
		if canaryBy != nil {
			by = canaryBy
		}
		cert, err = sshcert.BuildCanary(sshcert.Canary{ServerID: p.server, ProjectID: p.project, Serial: sshcert.NewSerial(), Issued: time.Now()}, key)
	} else {
		cert, err = sshcert.BuildHost(sshcert.Host{ServerID: p.server, Serial: sshcert.NewSerial(), Issued: issued}, key)
	}
	if err == nil {
		err = cert.SignCert(rand.Reader, by)
	}
	if err != nil {
		p.t.Error(err)
		answer(w, api.Errorf(api.Internal, "no"))
		return
	}
	answer(w, api.HostCertificate{Certificate: sshcert.Line(cert), Serial: strconv.FormatUint(cert.Serial, 10), ExpiresAt: time.Unix(int64(cert.ValidBefore), 0).UTC()})
}

// userCert is a certificate as the control plane gives it to a person, under a
// break-glass or none.
func (p *plane) userCert(key ssh.PublicKey, user, login, glass string) *ssh.Certificate {
	p.t.Helper()
	cert, err := sshcert.BuildUser(sshcert.User{
		Login: login, ServerID: p.server, ProjectID: p.project, UserID: user, BreakGlass: glass, SessionID: ident.New(ident.Session), DeviceID: ident.New(ident.Device),
		Serial: sshcert.NewSerial(), Issued: time.Now(), Permissions: sshcert.Permissions{PTY: true},
	}, key)
	if err == nil {
		err = cert.SignCert(rand.Reader, p.userCA)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

// serve runs the control plane on a listener until the test ends.
func (p *plane) serve(l net.Listener) {
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	p.t.Cleanup(func() { srv.Close() })
}

// waitReport waits for a report that confirms version and passes check.
func (p *plane) wait(what string, check func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		p.mu.Lock()
		ok := check()
		p.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			p.mu.Lock()
			defer p.mu.Unlock()
			last := api.AgentReport{}
			if len(p.reports) > 0 {
				last = p.reports[len(p.reports)-1]
			}
			p.t.Fatalf("it never came to pass that %s; the last report is %+v, events %+v", what, last, p.events)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// confirmed waits until the agent has v in force.
func (p *plane) confirmed(v api.StateVersion) api.AgentReport {
	p.t.Helper()
	var last api.AgentReport
	p.wait("state "+versionText(v)+" is in force", func() bool {
		if len(p.reports) > 0 {
			last = p.reports[len(p.reports)-1]
		}
		return last.Confirmed == v
	})
	return last
}

// age makes host certificates that old when they are made.
func (p *plane) age(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aged = d
}

// last is the last report.
func (p *plane) last() api.AgentReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reports[len(p.reports)-1]
}

// problem waits until the agent reports a problem that contains text.
func (p *plane) problem(text string) {
	p.t.Helper()
	p.wait("a problem says "+text, func() bool {
		return len(p.reports) > 0 && strings.Contains(strings.Join(p.reports[len(p.reports)-1].Problems, "\n"), text)
	})
}

// event waits for an event.
func (p *plane) event(what string, match func(api.AgentEvent) bool) (found api.AgentEvent) {
	p.t.Helper()
	p.wait("there is an event of "+what, func() bool {
		for _, e := range p.events {
			if match(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// bomb is a gzip answer that would fill the memory.
func bomb(size int) []byte {
	// One part many times over is read as one, and need not be packed each time.
	var part bytes.Buffer
	z := gzip.NewWriter(&part)
	z.Write(make([]byte, 1<<20))
	z.Close()
	return bytes.Repeat(part.Bytes(), size>>20)
}
