// Package agenttest is alice's laptop for tests: a local agent in this process, the control
// plane that it asks, the team's CAs, and servers to go to.
package agenttest

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// World is the laptop and what is around it. Set its fields before they are used.
type World struct {
	testing.TB
	Control *apitest.Server
	UserCA  sshtest.KeyPair
	HostCA  sshtest.KeyPair
	Project string
	Paths   agent.Paths
	Ask     *agent.Control

	logs    *lockedBuffer
	mu      sync.Mutex // guards what follows
	catalog api.Catalog
	changed chan struct{} // closed when catalog changes
	change  func(*api.Connection, ssh.PublicKey)
}

// lockedBuffer collects a log that several goroutines write.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Account is the session of the fake control plane, until somebody signs out.
type Account struct {
	mu     sync.Mutex
	client *api.Client
}

func (a *Account) Client(context.Context) (*api.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client == nil {
		return nil, api.Errorf(api.SignIn, "not signed in").WithHint("type: cardea login")
	}
	return a.client, nil
}

// Set changes who is signed in; nil is nobody.
func (a *Account) Set(c *api.Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.client = c
}

// ShortDir is a folder whose path leaves room for a socket's name, which t.TempDir's with a long
// test's name does not: unix(7) takes 107 bytes.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ca")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Call is one of the control plane.
type Call = apitest.Call

// Entry is a server that alice may reach.
func Entry(name, project string) api.CatalogEntry {
	return api.CatalogEntry{ID: ident.New(ident.Server), Name: name, Project: ident.New(ident.Project), ProjectName: project, Login: "alice", Role: "user"}
}

// New starts everything but the agent.
func New(t testing.TB, servers ...api.CatalogEntry) *World {
	t.Helper()
	dir := ShortDir(t)
	w := &World{
		TB: t, Control: apitest.New(t), UserCA: sshtest.Key(t), HostCA: sshtest.Key(t), Project: ident.New(ident.Project), logs: &lockedBuffer{},
		Paths:   agent.Paths{Run: filepath.Join(dir, "run"), State: filepath.Join(dir, "state"), SSH: filepath.Join(dir, ".ssh", "cardea")},
		changed: make(chan struct{}),
	}
	w.Ask = &agent.Control{Paths: w.Paths}
	w.SetCatalog("1", servers...)
	w.Control.On("GET", "/v1/catalog", w.serveCatalog)
	w.Control.On("POST", "/v1/connect", w.serveConnect)
	return w
}

// OnConnect has change alter every connection from now on, before it is told; key is the
// one that it is for. Without it the only route leads nowhere.
func (w *World) OnConnect(change func(out *api.Connection, key ssh.PublicKey)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change = change
}

// SetCatalog replaces what alice may reach and wakes whoever polls.
func (w *World) SetCatalog(version string, servers ...api.CatalogEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catalog = api.Catalog{Version: version, Servers: servers, HostCAs: []string{sshtest.Line(w.HostCA.PublicKey())}}
	close(w.changed)
	w.changed = make(chan struct{})
}

// RotateHostCA puts another CA of hosts into the catalog and into all connections.
// Whoever polls is not told: as on a machine that sleeps.
func (w *World) RotateHostCA(t testing.TB) (line string) {
	line = sshtest.Line(sshtest.Key(t).PublicKey())
	w.OnConnect(func(out *api.Connection, _ ssh.PublicKey) { out.HostCAs = []string{line} })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catalog.Version, w.catalog.HostCAs = w.catalog.Version+"+", []string{line}
	return line
}

func (w *World) serveCatalog(c apitest.Call) (any, error) {
	w.mu.Lock()
	current, changed := w.catalog, w.changed
	w.mu.Unlock()
	if c.Query.Get("version") != current.Version {
		return current, nil
	}
	if c.Query.Get("wait") == "0" {
		return nil, nil
	}
	select {
	case <-changed:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.catalog, nil
	case <-w.Context().Done():
	case <-time.After(5 * time.Second):
	}
	return nil, nil
}

func (w *World) serveConnect(c apitest.Call) (any, error) {
	var in api.Connect
	c.Into(w, &in)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.catalog.Servers {
		if in.Server != e.ID && in.Server != e.Name {
			continue
		}
		if in.Login != "" && in.Login != e.Login {
			return nil, api.Errorf(api.Denied, "your login is %s, not %q", e.Login, in.Login).WithHint("type: cardea ssh %s", e.Name)
		}
		out, err := w.Connection(e, in)
		if err == nil && w.change != nil {
			key, _ := sshcert.ParseLine(in.PublicKey) // Connection has parsed it before
			w.change(&out, key)
		}
		return out, err
	}
	return nil, api.Errorf(api.NotFound, "no server %q", in.Server).WithHint("type: cardea ls")
}

// Connection is what the control plane answers for a server.
func (w *World) Connection(e api.CatalogEntry, in api.Connect) (api.Connection, error) {
	key, err := sshcert.ParseLine(in.PublicKey)
	if err != nil {
		return api.Connection{}, err
	}
	u := sshcert.User{
		Login: e.Login, ServerID: e.ID, UserID: ident.New(ident.User), SessionID: ident.New(ident.Session), DeviceID: ident.New(ident.Device),
		ProjectID: w.Project, Serial: sshcert.NewSerial(), Issued: time.Now(), Permissions: sshcert.Permissions{PTY: true},
	}
	cert, err := sshcert.BuildUser(u, key)
	if err == nil {
		err = cert.SignCert(rand.Reader, w.UserCA)
	}
	if err != nil {
		return api.Connection{}, err
	}
	return api.Connection{Certificate: sshtest.Line(cert), ServerID: e.ID, ServerName: e.Name, Login: e.Login, Routes: []api.Route{{Address: "127.0.0.1:1"}}}, nil
}

// atHome are the addresses of a machine that stays where it is. Tests that run beside this one
// make networks, by which this machine would seem to be somewhere else.
func atHome() ([]net.Addr, error) {
	return []net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}, nil
}

// Start runs an agent until the test ends, and returns its account.
func (w *World) Start(change ...func(*agent.Options)) *Account {
	w.Helper()
	a := &Account{client: w.Control.Client()}
	o := agent.Options{Account: a, Paths: w.Paths, Binary: "/usr/bin/cardea", Addresses: atHome, Log: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx, o) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the agent ended with %v", err)
		}
		if w.Failed() {
			w.Logf("agent's log:\n%s", w.logs)
		}
	})
	w.Until("the agent answers", func() bool { _, ok := w.Ask.Running(w.Context()); return ok })
	return a
}

// Until waits for something to become true.
func (w *World) Until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.Fatalf("in vain waited until %s", what)
}

// UntilListed waits until the agent has the catalog.
func (w *World) UntilListed() {
	w.Helper()
	w.Until("the catalog is there", func() bool { _, _, err := w.Ask.Catalog(w.Context()); return err == nil })
}

// Connect asks the agent, for an ssh of process id parent.
func (w *World) Connect(host string, parent int) agent.Connected {
	w.Helper()
	c, err := w.Ask.Connect(w.Context(), host, "", parent)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// HostSigner is a server's host key with its certificate.
func (w *World) HostSigner(serverID string, change func(*ssh.Certificate)) ssh.Signer {
	w.Helper()
	key := sshtest.Key(w)
	cert, err := sshcert.BuildHost(sshcert.Host{ServerID: serverID, Serial: sshcert.NewSerial(), Issued: time.Now()}, key.PublicKey())
	if err != nil {
		w.Fatal(err)
	}
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, w.HostCA); err != nil {
		w.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		w.Fatal(err)
	}
	return signer
}

// SSHD is a server that lets in whoever has the certificate of alice for serverID, and
// answers every command with the login.
type SSHD struct {
	Addr string
	mu   sync.Mutex
	seen []string // key ids of accepted certificates
}

// Logins are the key ids of the certificates that were let in.
func (s *SSHD) Logins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// SSHD starts one on the loopback.
func (w *World) SSHD(serverID string, host ssh.Signer) *SSHD {
	w.Helper()
	s := &SSHD{}
	config := &ssh.ServerConfig{PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		cert, _ := key.(*ssh.Certificate)
		err := sshcert.VerifyUser(cert, sshcert.ExpectUser{CAs: []ssh.PublicKey{w.UserCA.PublicKey()}, Login: meta.User(), ServerID: serverID, ProjectID: w.Project, Now: time.Now()})
		if err != nil {
			return nil, err
		}
		return &ssh.Permissions{Extensions: map[string]string{"id": cert.KeyId}}, nil
	}}
	config.AddHostKey(host)
	s.Addr = tcptest.Serve(w, func(conn net.Conn) { s.serve(conn, config) })
	return s
}

func (s *SSHD) serve(conn net.Conn, config *ssh.ServerConfig) {
	sc, chans, reqs, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, sc.Permissions.Extensions["id"])
	s.mu.Unlock()
	go ssh.DiscardRequests(reqs)
	for c := range chans {
		ch, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			r.Reply(r.Type == "exec", nil)
			if r.Type == "exec" {
				io.WriteString(ch, "hello "+sc.User()+"\n")
				ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
				ch.Close()
			}
		}
	}
}
