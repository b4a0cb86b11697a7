package bridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// patience bounds what a test waits for; it is long because machines are busy.
const patience = 20 * time.Second

// team is the authorities and the names of a test.
type team struct {
	t                           testing.TB
	userCA, hostCA, gatewayCA   sshtest.KeyPair
	login, server, project, dir string
	gateway, fresh              sshtest.KeyPair
}

func newTeam(t testing.TB, login string) *team {
	return &team{
		t: t, userCA: sshtest.Key(t), hostCA: sshtest.Key(t), gatewayCA: sshtest.Key(t),
		login: login, server: ident.New(ident.Server), project: ident.New(ident.Project), dir: t.TempDir(),
		gateway: sshtest.Key(t), fresh: sshtest.Key(t),
	}
}

// user certifies a key for the login on the server.
func (m *team) user(ca ssh.Signer, key ssh.PublicKey, change func(*sshcert.User)) *ssh.Certificate {
	m.t.Helper()
	u := sshcert.User{
		Login: m.login, ServerID: m.server, UserID: ident.New(ident.User), SessionID: ident.New(ident.Session),
		DeviceID: ident.New(ident.Device), ProjectID: m.project, Serial: sshcert.NewSerial(), Issued: time.Now(),
		Permissions: sshcert.Permissions{PTY: true, PortForwarding: true, AgentForwarding: true, X11: true},
	}
	if change != nil {
		change(&u)
	}
	cert, err := sshcert.BuildUser(u, key)
	return m.sign(cert, err, ca)
}

func (m *team) host(ca ssh.Signer, key ssh.PublicKey) *ssh.Certificate {
	m.t.Helper()
	cert, err := sshcert.BuildHost(sshcert.Host{ServerID: m.server, Serial: sshcert.NewSerial(), Issued: time.Now()}, key)
	return m.sign(cert, err, ca)
}

func (m *team) sign(cert *ssh.Certificate, err error, ca ssh.Signer) *ssh.Certificate {
	m.t.Helper()
	if err == nil {
		err = cert.SignCert(rand.Reader, ca)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return cert
}

func certSigner(t testing.TB, cert *ssh.Certificate, key ssh.Signer) ssh.Signer {
	t.Helper()
	s, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// options are those of a session between two connections.
func (m *team) options(user, server net.Conn) Options {
	m.t.Helper()
	target := sshtest.Key(m.t)
	return Options{
		User: user, Server: server,
		HostKey:    certSigner(m.t, m.host(m.gatewayCA, m.gateway.PublicKey()), m.gateway),
		PlainKey:   m.gateway,
		TargetKey:  certSigner(m.t, m.user(m.userCA, target.PublicKey(), nil), target),
		Expect:     sshcert.ExpectUser{CAs: []ssh.PublicKey{m.gatewayCA.PublicKey()}, Login: m.login, ServerID: m.server, ProjectID: m.project},
		Fresh:      sha256.Sum256(m.fresh.PublicKey().Marshal()),
		ExpectHost: sshcert.ExpectHost{CAs: []ssh.PublicKey{m.hostCA.PublicKey()}, ServerID: m.server},
		Policy:     Policy{PortForwarding: true, AgentForwarding: true, X11: true},
		Log:        slog.New(slog.NewTextHandler(testWriter{m.t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// testWriter logs to the test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if os.Getenv("BRIDGE_LOG") != "" {
		os.Stderr.Write(p)
	}
	return len(p), nil
}

// memory is a recorder that keeps everything.
type memory struct {
	mu     sync.Mutex
	events []recording.Event
	fail   error // what Record says, if set
}

func (m *memory) Record(e recording.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	e.Data = append([]byte(nil), e.Data...)
	m.events = append(m.events, e)
	return nil
}

// bytes is all data of one kind.
func (m *memory) bytes(kind recording.Kind) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, e := range m.events {
		if e.Kind == kind {
			b.Write(e.Data)
		}
	}
	return b.String()
}

// all is every event of one kind, taken apart.
func all[T any](t testing.TB, m *memory, kind recording.Kind) (out []T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Kind != kind {
			continue
		}
		var x T
		if err := json.Unmarshal(e.Data, &x); err != nil {
			t.Fatalf("event %d: %v: %s", e.Kind, err, e.Data)
		}
		out = append(out, x)
	}
	return out
}

// ended is how one session ended.
type ended struct {
	Result
	err error
	rec *memory
}

// stage is a gateway on a port of loopback in front of a server.
type stage struct {
	*team
	addr    *net.TCPAddr
	dial    func() (net.Conn, error)
	change  func(*Options)
	ends    chan ended
	refused chan Refusal
	ssh     []string // options of the user's ssh
}

// serveStage stands in front of any server.
func serveStage(t testing.TB, m *team, dial func() (net.Conn, error), change func(*Options)) *stage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{team: m, addr: l.Addr().(*net.TCPAddr), dial: dial, change: change, ends: make(chan ended, 1000), refused: make(chan Refusal, 10000)}
	s.ssh = s.clientOptions()
	var work sync.WaitGroup
	t.Cleanup(func() { l.Close(); work.Wait() })
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { s.serve(conn) })
		}
	})
	return s
}

func (s *stage) serve(conn net.Conn) {
	server, err := s.dial()
	if err != nil {
		conn.Close()
		return
	}
	rec := &memory{}
	o := s.options(conn, server)
	o.Recorder, o.Required = rec, true
	o.Refused = func(r Refusal) { s.refused <- r }
	if s.change != nil {
		s.change(&o)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	res, err := Run(ctx, o)
	s.ends <- ended{res, err, rec}
}

// end waits for the end of the next session.
func (s *stage) end() ended {
	s.t.Helper()
	select {
	case e := <-s.ends:
		return e
	case <-time.After(patience):
		s.t.Fatal("the session did not end")
		return ended{}
	}
}

func (s *stage) clientOptions() []string {
	t := s.t
	identity := s.fresh.Write(t, filepath.Join(s.dir, "id"))
	sshtest.WriteFile(t, s.dir, "id-cert.pub", sshtest.Line(s.user(s.gatewayCA, s.fresh.PublicKey(), nil))+"\n")
	alias := sshcert.HostPrincipal(s.server)
	known := sshtest.WriteFile(t, s.dir, "known_hosts", "@cert-authority "+alias+" "+sshtest.Line(s.gatewayCA.PublicKey())+"\n")
	return append(sshtest.Alone(), "-o", "UserKnownHostsFile="+known, "-o", "HostKeyAlias="+alias,
		"-o", "IdentityFile="+identity, "-o", "User="+s.login, "-o", "HostName=127.0.0.1", "-o", "Port="+s.port())
}

func (s *stage) port() string { _, p, _ := net.SplitHostPort(s.addr.String()); return p }

// run runs ssh through the gateway with these arguments after the options.
func (s *stage) run(args ...string) sshtest.Result {
	s.t.Helper()
	return sshtest.Run(s.t, sshtest.Command(s.t, "ssh", append(append([]string{}, s.ssh...), args...)...))
}

// goClient is a user who speaks SSH in Go.
func (s *stage) goClient(t testing.TB) *ssh.Client {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, "", s.goConfig())
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(c, chans, reqs)
}

// openSession opens a channel for a program, and drops what is asked of us there.
func openSession(t testing.TB, c ssh.Conn) ssh.Channel {
	t.Helper()
	ch, reqs, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	return ch
}

func (s *stage) goConfig() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: s.login,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(certSigner(s.t, s.user(s.gatewayCA, s.fresh.PublicKey(), nil), s.fresh))},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			return sshcert.VerifyHost(key.(*ssh.Certificate), sshcert.ExpectHost{CAs: []ssh.PublicKey{s.gatewayCA.PublicKey()}, ServerID: s.server, Now: time.Now()})
		},
		HostKeyAlgorithms: []string{ssh.CertAlgoED25519v01},
	}
}
