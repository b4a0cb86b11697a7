package bridge

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// peer is a server made in Go, which does what the test wants.
type peer struct {
	conn  *ssh.ServerConn
	chans <-chan ssh.NewChannel
	reqs  <-chan *ssh.Request
}

// newFake is a stage in front of such a server. Without serve it answers like sshd that runs
// nothing: sessions open, and every request in them is granted.
func newFake(t testing.TB, change func(*Options), serve func(*peer)) *stage {
	t.Helper()
	m := newTeam(t, "alice")
	key := sshtest.Key(t)
	return newFakeWith(t, m, certSigner(t, m.host(m.hostCA, key.PublicKey()), key), change, serve)
}

func newFakeWith(t testing.TB, m *team, hostKey ssh.Signer, change func(*Options), serve func(*peer)) *stage {
	t.Helper()
	if serve == nil {
		serve = grantAll
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(hostKey)
	at := tcptest.Serve(t, func(conn net.Conn) {
		if c, chans, reqs, err := ssh.NewServerConn(conn, config); err == nil {
			serve(&peer{c, chans, reqs})
		}
	})
	return serveStage(t, m, func() (net.Conn, error) { return net.Dial("tcp", at) }, change)
}

func grantAll(p *peer) {
	go ssh.DiscardRequests(p.reqs)
	for nc := range p.chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go io.Copy(io.Discard, ch)
		go func() {
			for req := range reqs {
				req.Reply(true, nil)
			}
			ch.Close()
		}()
	}
}

// onSession serves one session channel with f, once a program was asked for.
func onSession(f func(p *peer, ch ssh.Channel)) func(*peer) {
	return func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go func() {
				for req := range reqs {
					req.Reply(true, nil)
					if req.Type == "exec" || req.Type == "shell" {
						go f(p, ch)
					}
				}
			}()
		}
	}
}

// goroutines waits until no more than before are left.
func noMoreGoroutines(t *testing.T, before int) {
	t.Helper()
	end := time.Now().Add(patience)
	for runtime.NumGoroutine() > before && time.Now().Before(end) {
		time.Sleep(5 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
	}
}

func TestOnlyTheKeyOfTheSessionComesIn(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	other := sshtest.Key(t)
	cert := func(ca ssh.Signer, key sshtest.KeyPair, change func(*sshcert.User)) []ssh.AuthMethod {
		return []ssh.AuthMethod{ssh.PublicKeys(certSigner(t, s.user(ca, key.PublicKey(), change), key))}
	}
	bare := *s.user(s.gatewayCA, s.fresh.PublicKey(), nil)
	bare.ValidPrincipals = nil
	if err := bare.SignCert(rand.Reader, s.gatewayCA); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		user string
		auth []ssh.AuthMethod
	}{
		"nothing at all":                    {"alice", nil},
		"a password":                        {"alice", []ssh.AuthMethod{ssh.Password("secret")}},
		"answers to questions":              {"alice", []ssh.AuthMethod{ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil })}},
		"the key without a certificate":     {"alice", []ssh.AuthMethod{ssh.PublicKeys(s.fresh)}},
		"a good certificate of another key": {"alice", cert(s.gatewayCA, other, nil)},
		"a certificate that servers trust":  {"alice", cert(s.userCA, s.fresh, nil)},
		"another login":                     {"root", cert(s.gatewayCA, s.fresh, nil)},
		"a certificate for another login":   {"alice", cert(s.gatewayCA, s.fresh, func(u *sshcert.User) { u.Login = "bob" })},
		"a certificate that is over":        {"alice", cert(s.gatewayCA, s.fresh, func(u *sshcert.User) { u.Issued = u.Issued.Add(-time.Hour) })},
		"a certificate without principals":  {"alice", []ssh.AuthMethod{ssh.PublicKeys(certSigner(t, &bare, s.fresh))}},
		"a certificate of another project":  {"alice", cert(s.gatewayCA, s.fresh, func(u *sshcert.User) { u.ProjectID = newTeam(t, "alice").project })},
		"a certificate for another server":  {"alice", cert(s.gatewayCA, s.fresh, func(u *sshcert.User) { u.ServerID = newTeam(t, "alice").server })},
	} {
		conn, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		config := s.goConfig()
		config.User, config.Auth = tc.user, tc.auth
		if _, _, _, err := ssh.NewClientConn(conn, "", config); err == nil {
			t.Errorf("%s let a user in", name)
		} else if !strings.Contains(err.Error(), "unable to authenticate") && !strings.Contains(err.Error(), "too many authentication failures") {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
		if e := s.end(); e.Cause != CauseError || e.err == nil || len(e.rec.events) != 0 {
			t.Errorf("%s: ended with %+v, %d events", name, e.Result, len(e.rec.events))
		}
	}
}

// A program that knows no host certificates finds the gateway by its own key, and whoever
// knows them is shown no other.
func TestTheGatewaysOwnKeyIsForWhoAsksForNoCertificate(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	for name, tc := range map[string]struct {
		algorithms []string
		want       ssh.PublicKey
	}{
		"certificates alone":      {[]string{ssh.CertAlgoED25519v01}, nil},
		"certificates, else keys": {[]string{ssh.CertAlgoED25519v01, ssh.KeyAlgoED25519}, nil},
		"keys alone":              {[]string{ssh.KeyAlgoED25519}, s.gateway.PublicKey()},
	} {
		config := s.goConfig()
		config.HostKeyAlgorithms = tc.algorithms
		var shown ssh.PublicKey
		config.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
			shown = key
			return nil
		}
		conn, err := ssh.Dial("tcp", s.addr.String(), config)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Close()
		if _, cert := shown.(*ssh.Certificate); cert != (tc.want == nil) || !cert && !bytes.Equal(shown.Marshal(), tc.want.Marshal()) {
			t.Errorf("%s: shown %T", name, shown)
		}
	}
}

func TestWhoProvesAnotherKeyLastIsNotTheFirst(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	other := sshtest.Key(t)
	good := certSigner(t, s.user(s.gatewayCA, s.fresh.PublicKey(), nil), s.fresh)
	stranger := certSigner(t, s.user(s.gatewayCA, other.PublicKey(), nil), other)
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	config := s.goConfig()
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(stranger, good)}
	c, _, _, err := ssh.NewClientConn(conn, "", config)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// He offers the good certificate, and signs with the key of another.
	conn, _ = net.Dial("tcp", s.addr.String())
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(forger{good, other})}
	if _, _, _, err := ssh.NewClientConn(conn, "", config); err == nil {
		t.Error("a signature of another key was taken")
	}
}

// forger shows one key and signs with another.
type forger struct {
	ssh.Signer
	with ssh.Signer
}

func (f forger) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return f.with.Sign(rand, data)
}

func TestAServerThatIsNotTheRightOneIsNotShown(t *testing.T) {
	t.Parallel()
	m := newTeam(t, "alice")
	key := sshtest.Key(t)
	other := newTeam(t, "alice")
	for name, hostKey := range map[string]ssh.Signer{
		"a certificate of another authority": certSigner(t, m.host(sshtest.Key(t), key.PublicKey()), key),
		"the certificate of another server":  certSigner(t, other.host(m.hostCA, key.PublicKey()), key),
		"a key without a certificate":        key,
	} {
		s := newFakeWith(t, m, hostKey, nil, nil)
		var banner string
		config := s.goConfig()
		config.BannerCallback = func(text string) error { banner = text; return nil }
		conn, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := ssh.NewClientConn(conn, "", config); err == nil {
			t.Errorf("%s: the user was let in", name)
		}
		conn.Close()
		if !strings.Contains(banner, "cardea: ") {
			t.Errorf("%s: the user was told %q", name, banner)
		}
		if e := s.end(); e.Cause != CauseError || (e.HostKey == nil) != (name == "a key without a certificate") {
			t.Errorf("%s: %+v", name, e.Result)
		}
	}
}

func TestAStrangerHoldsNothingLongerThanHeMay(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(net.Conn){
		"says nothing":       func(net.Conn) {},
		"says half a line":   func(c net.Conn) { io.WriteString(c, "SSH-2.0-x") },
		"exchanges no keys":  func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n") },
		"sends a huge frame": func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n\xff\xff\xff\xff\x04") },
		"sends no padding":   func(c net.Conn) { c.Write([]byte("SSH-2.0-x\r\n\x00\x00\x00\x04\x00\x14\x00\x00")) },
	} {
		s := newFake(t, func(o *Options) { o.kexTime, o.authTime = 300*time.Millisecond, 600*time.Millisecond }, nil)
		conn, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		begin(conn)
		if e := s.end(); e.Cause != CauseError {
			t.Errorf("who %s: %+v", name, e.Result)
		}
		conn.Close()
	}
	// One who exchanges keys, and then does not say who he is.
	s := newFake(t, func(o *Options) { o.kexTime, o.authTime = patience, time.Second }, nil)
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config := s.goConfig()
	config.Auth = []ssh.AuthMethod{ssh.PasswordCallback(func() (string, error) { select {} })}
	go ssh.NewClientConn(conn, "", config)
	if e := s.end(); e.Cause != CauseError {
		t.Errorf("%+v", e.Result)
	}
}

func TestAServerOpensNothingThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	results := make(chan string, 10)
	s := newFake(t, nil, onSession(func(p *peer, ch ssh.Channel) {
		for _, open := range []struct {
			kind  string
			extra []byte
		}{
			{"auth-agent@openssh.com", nil}, {"x11", ssh.Marshal(origin{"h", 1})},
			{"forwarded-tcpip", ssh.Marshal(addressPair{"h", 80, "o", 1})}, {"forwarded-streamlocal@openssh.com", ssh.Marshal(forwardedUnix{"/x", ""})},
			{"session", nil}, {"direct-tcpip", ssh.Marshal(addressPair{"h", 80, "o", 1})}, {"tun@openssh.com", nil}, {"\x1b[2J", nil},
		} {
			_, _, err := p.conn.OpenChannel(open.kind, open.extra)
			results <- fmt.Sprint(err)
		}
		ch.Close()
	}))
	user := s.goClient(t)
	defer user.Close()
	for _, kind := range []string{"auth-agent@openssh.com", "x11", "forwarded-tcpip", "session"} {
		reached := user.HandleChannelOpen(kind)
		go func() {
			for nc := range reached {
				t.Errorf("a channel reached the user: %s", kind)
				nc.Reject(ssh.Prohibited, "")
			}
		}()
	}
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	session.Start("x")
	session.Wait()
	for range 8 {
		if r := <-results; !strings.Contains(r, "administratively prohibited") {
			t.Errorf("answered %q", r)
		}
	}
	user.Close()
	e := s.end()
	refused := all[recording.Refused](t, e.rec, recording.Refusal)
	if len(refused) != 8 || refused[7].Type != `\x1b[2J` {
		t.Errorf("recorded %+v", refused)
	}
}

// slow is a recorder that always has something to do.
type slow struct{ memory }

func (s *slow) Record(e recording.Event) error {
	if e.Kind == recording.Output {
		time.Sleep(2 * exitPatience)
	}
	return s.memory.Record(e)
}

// TestAnExitCodeWaitsForNoOutputThatHasNoEnd: sshd does not hold it back either.
func TestAnExitCodeWaitsForNoOutputThatHasNoEnd(t *testing.T) {
	t.Parallel()
	s := newFake(t, func(o *Options) { o.Recorder = &slow{} }, onSession(func(_ *peer, ch ssh.Channel) {
		for i := 0; ; i++ {
			if _, err := ch.Write(make([]byte, chunk)); err != nil {
				return
			}
			if i == 10 {
				ch.SendRequest("exit-status", false, []byte{0, 0, 0, 3})
			}
		}
	}))
	user := s.goClient(t)
	defer user.Close()
	ch, reqs, err := user.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, ch)
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(text{"yes & exit 3"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	select {
	case req := <-reqs:
		if req.Type != "exit-status" {
			t.Errorf("%s came", req.Type)
		}
	case <-time.After(patience):
		t.Error("no exit code came")
	}
}

func TestWhatAServerSaysWronglyDoesNotPass(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, onSession(func(p *peer, ch ssh.Channel) {
		ch.SendRequest("exit-status", false, []byte{1, 2})
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 1, 9})
		ch.SendRequest("exit-signal", false, []byte{0xff, 0xff, 0xff, 0xff})
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 7})
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 8})
		ch.SendRequest("shell", true, nil)
		p.conn.SendRequest("tcpip-forward", true, nil)
		p.conn.SendRequest("hostkeys-00@openssh.com", false, []byte("junk"))
		ch.Close()
	}))
	user := s.goClient(t)
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	session.Start("x")
	if err := session.Wait(); err == nil || !strings.Contains(err.Error(), "status 7") {
		t.Errorf("ended with %v", err)
	}
	user.Close()
	e := s.end()
	if x := all[recording.Exited](t, e.rec, recording.Exit); len(x) != 1 || x[0].Code != 7 {
		t.Errorf("recorded %+v", x)
	}
	if r := all[recording.Refused](t, e.rec, recording.Refusal); len(r) != 6 {
		t.Errorf("recorded %+v", r)
	}
}

func TestOneChannelRunsOneProgramInOneTerminal(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	user := s.goClient(t)
	ch := openSession(t, user)
	go io.Copy(io.Discard, ch.Stderr())
	pty := ssh.Marshal(ptyRequest{"xterm", 1<<32 - 1, 0, 0, 0, ""})
	for i, step := range []struct {
		name    string
		payload []byte
		ok      bool
	}{
		{"window-change", ssh.Marshal(resize{}), false}, {"pty-req", []byte{1}, false}, {"pty-req", append(pty, 0), false}, {"pty-req", pty, true}, {"pty-req", pty, false},
		{"env", ssh.Marshal(variable{"LANG", "C"}), true}, {"env", []byte{0, 0, 0, 9}, false}, {"shell", []byte{1}, false}, {"shell", nil, true}, {"shell", nil, false},
		{"exec", ssh.Marshal(text{"id"}), false}, {"subsystem", ssh.Marshal(text{"sftp"}), false}, {"pty-req", pty, false}, {"auth-agent-req@openssh.com", nil, false},
		{"window-change", ssh.Marshal(resize{1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1}), true}, {"signal", ssh.Marshal(text{"INT"}), true},
		{"signal", ssh.Marshal(text{strings.Repeat("\x1b", 1000)}), true}, {"break", ssh.Marshal(number{0}), true}, {"xon-xoff", []byte{1}, false}, {"exit-status", make([]byte, 4), false},
	} {
		if ok, err := ch.SendRequest(step.name, true, step.payload); ok != step.ok || err != nil {
			t.Errorf("step %d, %s: %v %v", i, step.name, ok, err)
		}
	}
	user.Close()
	rec := s.end().rec
	if r := all[recording.Requested](t, rec, recording.Request); r[0].Type != "pty-req" || *r[0].Size != (recording.Size{Columns: 65535}) {
		t.Errorf("recorded %+v", r)
	}
	if r := all[recording.Size](t, rec, recording.Resize); len(r) != 1 || r[0].Columns != 65535 {
		t.Errorf("recorded %+v", r)
	}
}

func TestVariablesAndLongCommandsAreBounded(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	user := s.goClient(t)
	ch := openSession(t, user)
	for i := range maxEnv + 1 {
		if ok, _ := ch.SendRequest("env", true, ssh.Marshal(variable{"LC_" + strconv.Itoa(i), "x"})); ok != (i < maxEnv) {
			t.Errorf("variable %d: %v", i, ok)
		}
	}
	command := strings.Repeat("\x01\xffé", 25000) // 100 KB, most of which JSON has to escape
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(text{command})); !ok || err != nil {
		t.Errorf("a long command: %v %v", ok, err)
	}
	user.Close()
	whole := ""
	for _, r := range all[recording.Requested](t, s.end().rec, recording.Request) {
		if strings.HasPrefix(r.Type, "exec") {
			whole += r.Command
		}
	}
	if whole != legible(command) {
		t.Errorf("%d bytes of %d were recorded", len(whole), len(legible(command)))
	}
}

func TestAsManyChannelsAsMayBe(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	user := s.goClient(t)
	for i := range maxChannels + 1 {
		_, reqs, err := user.OpenChannel("session", nil)
		if (err == nil) != (i < maxChannels) {
			t.Fatalf("channel %d: %v", i, err)
		}
		if err == nil {
			go ssh.DiscardRequests(reqs)
		} else if !strings.Contains(err.Error(), "too many channels") {
			t.Error(err)
		}
	}
	user.Close()
	s.end()
}

// TestRefusedChannelsCostNothing opens channels of a kind that is refused; a million of them
// with BRIDGE_CHANNELS=1000000.
func TestRefusedChannelsCostNothing(t *testing.T) {
	count := 5000
	if v := os.Getenv("BRIDGE_CHANNELS"); v != "" {
		count, _ = strconv.Atoi(v)
	}
	s := newFake(t, nil, nil)
	before := runtime.NumGoroutine()
	user := s.goClient(t)
	for i := range count {
		if _, _, err := user.OpenChannel("tun@openssh.com", nil); err == nil {
			t.Fatalf("channel %d was opened", i)
		}
	}
	if n := runtime.NumGoroutine(); n > before+40 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	user.Close()
	e := s.end()
	if e.Refusals != count-maxRefusals || len(s.refused) != maxRefusals {
		t.Errorf("%d refusals were told, %d were not", len(s.refused), e.Refusals)
	}
	noMoreGoroutines(t, before)
}

func TestAUserWhoNeverReadsHoldsAWindowAndNoMore(t *testing.T) {
	var sent atomic.Int64
	s := newFake(t, nil, onSession(func(_ *peer, ch ssh.Channel) {
		block := make([]byte, chunk)
		for {
			n, err := ch.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	before := runtime.NumGoroutine()
	user := s.goClient(t)
	ch := openSession(t, user)
	if _, err := ch.SendRequest("exec", true, ssh.Marshal(text{"yes"})); err != nil {
		t.Fatal(err)
	}
	// The server fills two windows, ours and the user's, and stops.
	var last int64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if n := sent.Load(); n == last && n > 0 {
			break
		} else {
			last = n
		}
	}
	if n := sent.Load(); n > 6<<20 {
		t.Errorf("the gateway took %d bytes that nobody reads", n)
	}
	user.Close()
	s.end()
	noMoreGoroutines(t, before)
}

func TestASessionThatCannotBeRecordedEndsOrGoesOn(t *testing.T) {
	t.Parallel()
	for _, required := range []bool{true, false} {
		var rec *memory
		s := newFake(t, func(o *Options) { o.Required = required; rec = o.Recorder.(*memory) }, onSession(func(_ *peer, ch ssh.Channel) {
			io.WriteString(ch, "first")
			line := make([]byte, 4)
			io.ReadFull(ch, line)
			io.WriteString(ch, "second")
			ch.SendRequest("exit-status", false, make([]byte, 4))
			ch.Close()
		}))
		user := s.goClient(t)
		session, err := user.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		session.Stderr = &stderr
		out, _ := session.StdoutPipe()
		in, _ := session.StdinPipe()
		if err := session.Start("x"); err != nil {
			t.Fatal(err)
		}
		io.ReadFull(out, make([]byte, 5))
		rec.mu.Lock()
		rec.fail = errors.New("no space")
		rec.mu.Unlock()
		began := time.Now()
		io.WriteString(in, "more")
		rest, _ := io.ReadAll(out)
		session.Wait()
		user.Close()
		e := s.end()
		if required && (len(rest) > 0 || !strings.Contains(stderr.String(), "cannot be recorded") || e.Cause != CauseError || time.Since(began) > 10*time.Second) {
			t.Errorf("required: %q after, %q told, %+v, %s", rest, stderr.String(), e.Result, time.Since(began))
		}
		if !required && (string(rest) != "second" || e.Unrecorded == nil || e.Cause != CauseClient) {
			t.Errorf("not required: %q after, %+v", rest, e.Result)
		}
	}
}

// gate is a recorder that waits.
type gate struct {
	memory
	open chan struct{}
}

func (g *gate) Record(e recording.Event) error {
	if e.Kind == recording.Output {
		<-g.open
	}
	return g.memory.Record(e)
}

func TestNothingReachesTheUserBeforeItIsRecorded(t *testing.T) {
	t.Parallel()
	g := &gate{open: make(chan struct{})}
	s := newFake(t, func(o *Options) { o.Recorder = g }, onSession(func(_ *peer, ch ssh.Channel) { io.WriteString(ch, "secret") }))
	user := s.goClient(t)
	defer user.Close()
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := session.StdoutPipe()
	if err := session.Start("x"); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 6)
		io.ReadFull(out, b)
		got <- string(b)
	}()
	select {
	case text := <-got:
		t.Fatalf("%q came before it was recorded", text)
	case <-time.After(200 * time.Millisecond):
	}
	close(g.open)
	if text := <-got; text != "secret" {
		t.Errorf("%q came", text)
	}
}

// bomb is a recorder that panics.
type bomb struct{}

func (bomb) Record(e recording.Event) error {
	if e.Kind == recording.Output {
		panic("boom")
	}
	return nil
}

func TestAPanicEndsItsOwnSessionAlone(t *testing.T) {
	first := true
	s := newFake(t, func(o *Options) {
		if first {
			o.Recorder, first = bomb{}, false
		}
	}, onSession(func(_ *peer, ch ssh.Channel) {
		io.WriteString(ch, "output")
	}))
	before := runtime.NumGoroutine()
	victim := s.goClient(t)
	neighbour := s.goClient(t)
	for _, c := range []*ssh.Client{victim, neighbour} {
		session, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := session.StdoutPipe()
		session.Start("x")
		if c == victim {
			io.ReadAll(out)
			if e := s.end(); e.Cause != CauseError || !strings.Contains(e.Sentence, "internal error") {
				t.Errorf("%+v", e.Result)
			}
			continue
		}
		b := make([]byte, 6)
		if _, err := io.ReadFull(out, b); err != nil || string(b) != "output" {
			t.Errorf("the neighbour read %q: %v", b, err)
		}
	}
	victim.Close()
	neighbour.Close()
	s.end()
	noMoreGoroutines(t, before)
}

func TestWhoDisappearsLeavesNothing(t *testing.T) {
	for name, vanish := range map[string]func(user, server net.Conn){
		"user":   func(user, _ net.Conn) { user.(*net.TCPConn).SetLinger(0); user.Close() },
		"server": func(_, server net.Conn) { server.(*net.TCPConn).SetLinger(0); server.Close() },
	} {
		var server net.Conn
		s := newFake(t, func(o *Options) { server = o.Server }, nil)
		before := runtime.NumGoroutine()
		conn, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c, chans, reqs, err := ssh.NewClientConn(conn, "", s.goConfig())
		if err != nil {
			t.Fatal(err)
		}
		user := ssh.NewClient(c, chans, reqs)
		if _, err := user.NewSession(); err != nil {
			t.Fatal(err)
		}
		vanish(conn, server)
		if e := s.end(); e.Cause != map[string]string{"user": CauseClient, "server": CauseServer}[name] {
			t.Errorf("%s: %+v", name, e.Result)
		}
		user.Close()
		noMoreGoroutines(t, before)
	}
}

func TestADisplayIsConnectedAsOftenAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	results := make(chan error, 3)
	s := newFake(t, nil, onSession(func(p *peer, ch ssh.Channel) {
		for range 2 {
			_, _, err := p.conn.OpenChannel("x11", ssh.Marshal(origin{"127.0.0.1", 1}))
			results <- err
		}
		_, _, err := p.conn.OpenChannel("auth-agent@openssh.com", nil)
		results <- err
		ch.Close()
	}))
	user := s.goClient(t)
	for _, kind := range []string{"x11", "auth-agent@openssh.com"} {
		opened := user.HandleChannelOpen(kind)
		go func() {
			for nc := range opened {
				if ch, reqs, err := nc.Accept(); err == nil {
					go ssh.DiscardRequests(reqs)
					ch.Close()
				}
			}
		}()
	}
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	x := ssh.Marshal(x11Request{Single: true, Protocol: "MIT-MAGIC-COOKIE-1", Cookie: "c0ffee"})
	if ok, err := session.SendRequest("x11-req", true, x); !ok || err != nil {
		t.Fatal(err)
	}
	if ok, err := session.SendRequest("auth-agent-req@openssh.com", true, nil); !ok || err != nil {
		t.Fatal(err)
	}
	session.Start("x")
	session.Wait()
	for i, want := range []bool{true, false, true} {
		if err := <-results; (err == nil) != want {
			t.Errorf("channel %d: %v", i, err)
		}
	}
	user.Close()
	rec := s.end().rec
	for _, e := range rec.events {
		if bytes.Contains(e.Data, []byte("c0ffee")) {
			t.Error("the cookie is in the recording")
		}
	}
	if f := all[recording.Forwarded](t, rec, recording.Forward); len(f) != 2 {
		t.Errorf("recorded %+v", f)
	}
}

func TestHandshakesThatFailLeaveNothing(t *testing.T) {
	s := newFake(t, func(o *Options) { o.kexTime, o.authTime = 200*time.Millisecond, 400*time.Millisecond }, nil)
	before := runtime.NumGoroutine()
	for i := range 20 {
		conn, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		config := s.goConfig()
		switch i % 4 {
		case 0: // says nothing
		case 1:
			io.WriteString(conn, "SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x05") // ends in the middle of a packet
			conn.Close()
		case 2:
			config.Auth = nil
			ssh.NewClientConn(conn, "", config)
		case 3:
			config.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { return errors.New("not mine") }
			ssh.NewClientConn(conn, "", config)
		}
		if e := s.end(); e.Cause != CauseError {
			t.Errorf("%d: %+v", i, e.Result)
		}
		conn.Close()
	}
	noMoreGoroutines(t, before)
}
