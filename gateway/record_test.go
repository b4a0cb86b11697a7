package gateway

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// recordings are the recordings of a gateway in a test.
type recordings struct {
	mu      sync.Mutex
	begun   []recording.Header
	events  []recording.Event
	closed  []recording.Ended
	refuses error         // what beginning one is answered with, if set
	fails   error         // what Record is
	frozen  chan struct{} // Close waits for it, if set
}

func (r *recordings) begin(h recording.Header, _ *api.RecordOrder) (sessionRecorder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuses != nil {
		return nil, r.refuses
	}
	r.begun = append(r.begun, h)
	return r, nil
}

func (r *recordings) Record(e recording.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Data = bytes.Clone(e.Data)
	r.events = append(r.events, e)
	return r.fails
}

func (r *recordings) Close(e recording.Ended) error {
	if r.frozen != nil {
		<-r.frozen
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = append(r.closed, e)
	return nil
}

func (r *recordings) ends() []recording.Ended {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.closed)
}

func (r *recordings) output() (text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == recording.Output {
			text += string(e.Data)
		}
	}
	return text
}

// recorder is a control plane that orders sessions to be recorded, a gateway that can, and
// behind it a server that knows the certificates.
type recorder struct {
	t                         testing.TB
	plane                     *plane
	gateway                   *running
	recordings                *recordings
	userCA, hostCA, gatewayCA sshtest.KeyPair
	server, project           string
	address                   string
	order                     func(*api.RecordOrder) // changes it
	dial                      func(string) (net.Conn, error)
}

func newRecorder(t *testing.T) *recorder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newRecorderAt(t, "127.0.0.1:0", l, nil)
}

// newRecorderAt has its gateway at an address, and the server where l listens.
func newRecorderAt(t *testing.T, gateway string, l net.Listener, change func(*Options)) *recorder {
	r := &recorder{
		t: t, plane: newPlane(t), recordings: &recordings{}, userCA: sshtest.Key(t), hostCA: sshtest.Key(t), gatewayCA: sshtest.Key(t),
		server: ident.New(ident.Server), project: ident.New(ident.Project), order: func(*api.RecordOrder) {},
	}
	r.plane.On("POST", "/v1/gateway/sessions", r.claim)
	r.gateway = runGatewayAt(t, gateway, r.plane, func(o *Options) {
		o.recording = r.recordings.begin
		if change != nil {
			change(o)
		}
	})
	r.serve(l)
	return r
}

// claim answers as the control plane does.
func (r *recorder) claim(c apitest.Call) (any, error) {
	got, err := r.plane.claim(c)
	if err != nil {
		return nil, err
	}
	var in api.Claim
	c.Into(r.t, &in)
	claimed := got.(api.Claimed)
	if in.HostKey == "" {
		return claimed, nil
	}
	r.plane.On("POST", "/v1/gateway/sessions/"+claimed.Session+"/refusals", func(apitest.Call) (any, error) { return nil, nil })
	host, _ := sshcert.ParseLine(in.HostKey)
	target, _ := sshcert.ParseLine(in.TargetKey)
	claimed.Record = &api.RecordOrder{
		Required: true, HostCertificate: sshtest.Line(r.host(r.gatewayCA, host)), TargetCertificate: sshtest.Line(r.user(r.userCA, target)),
		UserCAs: []string{sshtest.Line(r.gatewayCA.PublicKey())}, HostCAs: []string{sshtest.Line(r.hostCA.PublicKey())},
	}
	r.order(claimed.Record)
	return claimed, nil
}

func (r *recorder) user(ca ssh.Signer, key ssh.PublicKey) *ssh.Certificate {
	cert, err := sshcert.BuildUser(sshcert.User{
		Login: "alice", ServerID: r.server, UserID: ident.New(ident.User), SessionID: ident.New(ident.Session), DeviceID: ident.New(ident.Device),
		ProjectID: r.project, Serial: sshcert.NewSerial(), Issued: time.Now(),
	}, key)
	return r.sign(cert, err, ca)
}

func (r *recorder) host(ca ssh.Signer, key ssh.PublicKey) *ssh.Certificate {
	cert, err := sshcert.BuildHost(sshcert.Host{ServerID: r.server, Serial: sshcert.NewSerial(), Issued: time.Now()}, key)
	return r.sign(cert, err, ca)
}

func (r *recorder) sign(cert *ssh.Certificate, err error, ca ssh.Signer) *ssh.Certificate {
	if err == nil {
		err = cert.SignCert(rand.Reader, ca)
	}
	if err != nil {
		r.t.Error(err)
	}
	return cert
}

// serve is the server: it says hello to whoever has the certificate, and waits.
func (r *recorder) serve(l net.Listener) {
	key := sshtest.Key(r.t)
	signer, err := ssh.NewCertSigner(r.host(r.hostCA, key.PublicKey()), key)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	r.address = l.Addr().String()
	checker := &ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), r.userCA.PublicKey().Marshal()) }}
	config := &ssh.ServerConfig{PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		cert, ok := key.(*ssh.Certificate)
		if !ok || !checker.IsUserAuthority(cert.SignatureKey) {
			return nil, errors.New("not ours")
		}
		return nil, checker.CheckCert(sshcert.UserPrincipal(m.User(), r.server), cert)
	}}
	config.AddHostKey(signer)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveHello(conn, config)
		}
	}()
}

func serveHello(conn net.Conn, config *ssh.ServerConfig) {
	_, chans, reqs, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range reqs {
				req.Reply(req.Type == "exec", nil)
				if req.Type == "exec" {
					io.WriteString(ch, "hello\n")
				}
				if strings.Contains(string(req.Payload), "flood") {
					go func() {
						for err := error(nil); err == nil; {
							_, err = ch.Write(make([]byte, 32<<10))
						}
					}()
				}
			}
		}()
	}
}

// connect is a user who goes through the gateway.
func (r *recorder) connect() (*ssh.Client, hello.Answer) {
	r.t.Helper()
	c := newCaller(r.t, r.plane, r.address, r.gateway)
	c.ticket.Mode, c.ticket.Server, c.dial = hello.Record, r.server, r.dial
	conn, a := c.call(r.gateway)
	if !a.Accepted {
		return nil, a
	}
	signer, err := ssh.NewSignerFromKey(c.fresh)
	if err != nil {
		r.t.Fatal(err)
	}
	certified, err := ssh.NewCertSigner(r.user(r.gatewayCA, signer.PublicKey()), signer)
	if err != nil {
		r.t.Fatal(err)
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(certified)}, HostKeyAlgorithms: []string{ssh.CertAlgoED25519v01},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			return sshcert.VerifyHost(key.(*ssh.Certificate), sshcert.ExpectHost{CAs: []ssh.PublicKey{r.gatewayCA.PublicKey()}, ServerID: r.server, Now: time.Now()})
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(sc, chans, reqs), a
}

func TestASessionIsRecordedFromItsClaimToItsEnd(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	user, _ := r.connect()
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := session.StdoutPipe()
	if err := session.Start("greet"); err != nil {
		t.Fatal(err)
	}
	var text [6]byte
	if _, err := io.ReadFull(out, text[:]); err != nil || string(text[:]) != "hello\n" || r.recordings.output() != "hello\n" {
		t.Errorf("read %q, recorded %q: %v", text, r.recordings.output(), err)
	}
	if _, err := user.Dial("tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "not allowed in this project") {
		t.Errorf("a forward: %v", err)
	}
	eventually(t, "the refusal", func() bool { return len(r.plane.Calls("POST", "/v1/gateway/sessions/gse_1/refusals")) == 1 })
	var told api.SessionRefusals
	r.plane.Calls("POST", "/v1/gateway/sessions/gse_1/refusals")[0].Into(t, &told)
	if len(told.Refusals) != 1 || told.Refusals[0].Type != "direct-tcpip" {
		t.Errorf("told %+v", told)
	}
	user.Close()
	end := r.plane.end("gse_1")
	if end.Cause != causeClient || end.Up == 0 || end.Down == 0 || !strings.HasPrefix(end.HostKey, "ssh-ed25519-cert-v01@openssh.com ") || end.Unrecorded != "" {
		t.Errorf("ended with %+v", end)
	}
	h := r.recordings.begun[0]
	if h.Session != "gse_1" || h.Gateway != "gw_a" || h.Server != r.server || h.Project != r.project || h.Login != "alice" || h.User != "usr_alice" || h.Source != "127.0.0.1" {
		t.Errorf("recorded for %+v", h)
	}
	if len(r.recordings.closed) != 1 || r.recordings.closed[0].Cause != causeClient {
		t.Errorf("the recording ended with %+v", r.recordings.closed)
	}
}

func TestASessionThatIsEndedByOrderTellsItsUser(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	user, _ := r.connect()
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	errput, _ := session.StderrPipe()
	if err := session.Start("greet"); err != nil {
		t.Fatal(err)
	}
	r.plane.order("gse_1")
	said, _ := io.ReadAll(errput)
	if string(said) != "cardea: "+sentenceRevoked+"\n" {
		t.Errorf("the user was told %q", said)
	}
	if end := r.plane.end("gse_1"); end.Cause != causeRevoked {
		t.Errorf("ended with %+v", end)
	}
	if e := r.recordings.closed; len(e) != 1 || e[0].Cause != causeRevoked {
		t.Errorf("the recording ended with %+v", e)
	}
}

func TestWhatHasToBeRecordedAndCannotBeDoesNotBegin(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*recorder)
		kind   string
	}{
		"no recording can be begun":               {func(r *recorder) { r.recordings.refuses = errors.New("full") }, kindRecord},
		"this gateway cannot record at all":       {func(r *recorder) { r.gateway.recording = nil }, kindMode},
		"the control plane forgot the order":      {func(r *recorder) { r.plane.On("POST", "/v1/gateway/sessions", r.plane.claim) }, kindControl},
		"no authority for the user":               {func(r *recorder) { r.order = func(o *api.RecordOrder) { o.UserCAs = nil } }, kindControl},
		"no authority for the server":             {func(r *recorder) { r.order = func(o *api.RecordOrder) { o.HostCAs = nil } }, kindControl},
		"a certificate for another gateway's key": {func(r *recorder) { r.order = r.strangersHost }, kindControl},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRecorder(t)
			tc.change(r)
			if user, a := r.connect(); user != nil || a.Kind != tc.kind {
				t.Errorf("answered %+v", a)
			}
			if len(r.recordings.events) > 0 {
				t.Error("something was recorded")
			}
		})
	}
}

func (r *recorder) strangersHost(o *api.RecordOrder) {
	o.HostCertificate = sshtest.Line(r.host(r.gatewayCA, sshtest.Key(r.t).PublicKey()))
}

// TestNothingOfTheWayToTheServerIsKept: the key with which a gateway goes to a server, and its
// certificate, are in memory alone.
func TestNothingOfTheWayToTheServerIsKept(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	files := func() map[string]string {
		out := map[string]string{}
		err := filepath.WalkDir(r.gateway.opt.StateDir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			out[path] = string(text)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return out
	}
	var certificate string
	r.order = func(o *api.RecordOrder) { certificate = o.TargetCertificate }
	var log logText
	r.gateway.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	before := files()
	user, _ := r.connect()
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("greet"); err != nil {
		t.Fatal(err)
	}
	if during := files(); !maps.Equal(before, during) {
		t.Errorf("while the session lives there are %d files, before %d, or others", len(during), len(before))
	}
	user.Close()
	r.plane.end("gse_1")
	if after := files(); !maps.Equal(before, after) {
		t.Errorf("after the session there are %d files, before %d, or others", len(after), len(before))
	}
	blob := strings.Fields(certificate)[1]
	if text := log.String(); text == "" || strings.Contains(text, blob[:60]) || strings.Contains(text, "PRIVATE") {
		t.Errorf("the log has it:\n%s", text)
	}
}

// logText collects a log.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logText) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// TestADiskThatNeverAnswersHoldsNoSession: neither one that ends nor one that would begin.
func TestADiskThatNeverAnswersHoldsNoSession(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	thawed := make(chan struct{})
	r.recordings.frozen = thawed
	r.gateway.beginTime, r.gateway.closeTime = 200*time.Millisecond, 200*time.Millisecond
	user, _ := r.connect()
	if _, err := user.NewSession(); err != nil {
		t.Fatal(err)
	}
	user.Close()
	r.plane.end("gse_1")
	eventually(t, "no session", func() bool { return r.gateway.sessions.count() == 0 })
	r.gateway.recording = func(recording.Header, *api.RecordOrder) (sessionRecorder, error) {
		<-thawed
		return r.recordings, nil
	}
	if user, a := r.connect(); user != nil || a.Kind != kindRecord {
		t.Errorf("answered %+v", a)
	}
	close(thawed)
	eventually(t, "both recordings to be closed", func() bool {
		r.recordings.mu.Lock()
		defer r.recordings.mu.Unlock()
		return len(r.recordings.closed) == 2
	})
}

func TestWhatMayGoUnrecordedGoesOnAndSaysSo(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	r.recordings.refuses = errors.New("full")
	r.order = func(o *api.RecordOrder) { o.Required = false }
	user, _ := r.connect()
	session, err := user.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("greet"); err != nil {
		t.Error(err)
	}
	user.Close()
	if end := r.plane.end("gse_1"); end.Unrecorded == "" || end.Cause != causeClient {
		t.Errorf("ended with %+v", end)
	}
}

func TestTheHostKeyStaysAndIsNobodyElses(t *testing.T) {
	dir := t.TempDir()
	first, err := loadHostKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadHostKey(dir)
	if err != nil || !bytes.Equal(first.PublicKey().Marshal(), again.PublicKey().Marshal()) {
		t.Errorf("another key at the second start: %v", err)
	}
	path := filepath.Join(dir, hostKeyFile)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	os.Chmod(path, 0o644)
	if _, err := loadHostKey(dir); err == nil {
		t.Error("a key that others can read was taken")
	}
	os.WriteFile(path, []byte("nothing"), 0o600)
	os.Chmod(path, 0o600)
	if _, err := loadHostKey(dir); err == nil {
		t.Error("nonsense was taken")
	}
}
