package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/gateway"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

// The test binary is the gateway if this variable says so; its value is the
// limit on open files, or "-".
const asGateway = "CARDEA_TEST_AS_GATEWAY"

func TestMain(m *testing.M) {
	files := os.Getenv(asGateway)
	if files == "" && os.Getenv(handoverVariable) == "" { // the next process is one as well
		os.Exit(m.Run())
	}
	os.Unsetenv(asGateway)
	if n, err := strconv.ParseUint(files, 10, 64); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			panic(err)
		}
	}
	main()
}

func noEnv(string) (string, bool) { return "", false }

func TestWrongCommandLinesSayWhatToType(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"an unknown flag", []string{"serve", "--lisen=:1"}, 2, "type: cardea-gateway serve --help"},
		{"an unknown verb", []string{"sever"}, 2, "type: cardea-gateway --help"},
		{"a word too many", []string{"serve", "now"}, 2, `"now" is one word too many; type: cardea-gateway serve --help`},
		{"a prefix that is none", []string{"serve", "--allow-targets=localhost"}, 2, "127.0.0.0/8"},
		{"an address without a port", []string{"serve", "--listen=localhost"}, 2, `listen: "localhost" is not an address and a port`},
		{"health checks at no port", []string{"serve", "--health-listen=localhost"}, 2, "health-listen: "},
		{"TLS at no port", []string{"serve", "--listen-tls=localhost"}, 2, "listen-tls: "},
		{"a balancer by its name", []string{"serve", "--proxy-from=balancer.example.com"}, 2, "10.0.0.5 or 10.0.0.0/28"},
		{"a negative time", []string{"serve", "--drain-time=-1s"}, 2, "negative"},
		{"a port that there is not", []string{"serve", "--listen=:72345"}, 2, "is not an address and a port"},
		{"a control plane without TLS", []string{"serve", "--control-url=http://10.0.0.1"}, 2, "control-url: \"http://10.0.0.1\" has no TLS"},
		{"a control plane that is no URL", []string{"serve", "--control-url=access.example.com"}, 2, "is not the URL of a control plane"},
		{"a time that is none", []string{"serve", "--drain-time=soon"}, 2, "no duration such as 90s, 8h or 30d"},
		{"a peer that is given no time", []string{"serve", "--peer-timeout=9s"}, 2, "peer-timeout: 9s is not between 10s and 4h0m0s"},
		{"a peer that is given all the time", []string{"serve", "--peer-timeout=4h1s"}, 2, "peer-timeout: 4h0m1s is not between"},
		{"a level that there is not", []string{"serve", "--log-level=loud"}, 2, "log-level"},
		{"a format that there is not", []string{"serve", "--log-format=xml"}, 2, "use text or json"},
		{"no state folder", []string{"serve", "--state-dir="}, 2, "state-dir is empty"},
		{"a file that is not there", []string{"serve", "--config=/nonexistent"}, 2, "/nonexistent"},
		{"a gateway that is not enrolled", []string{"serve", "--state-dir=" + t.TempDir() + "/x"}, 1, "not enrolled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, err bytes.Buffer
			if code := run(t.Context(), tc.args, noEnv, &out, &err); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(err.String(), tc.says) || strings.Count(err.String(), "\n") != 1 || out.Len() != 0 {
				t.Errorf("stderr %q, stdout %q", err.String(), out.String())
			}
		})
	}
}

func TestAPortInUseIsToldWithTheFlagThatChoosesAnother(t *testing.T) {
	taken, err := healthListener(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = gateway.Listen(t.Context(), addressOf(taken))
	want := "another program listens on " + addressOf(taken) + "; stop it, or choose another address with --listen"
	if err == nil || cannotListen(err, addressOf(taken), "--listen").Error() != want {
		t.Errorf("%v", err)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"version"}, noEnv, &out, io.Discard); code != 0 || !strings.HasPrefix(out.String(), "cardea-gateway ") {
		t.Errorf("%d: %q", code, out.String())
	}
}

// control is a control plane that enrols one gateway and lets everybody in.
type control struct {
	*apitest.Server
	priv    ed25519.PrivateKey
	mu      sync.Mutex
	reports []api.GatewayReport
	count   int
}

func newControl(t *testing.T) *control {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &control{Server: apitest.New(t), priv: priv}
	keys := api.GatewayKeys{TicketKeys: map[string][]byte{"k": priv.Public().(ed25519.PublicKey)}}
	c.On("POST", "/v1/gateways/enrol", func(call apitest.Call) (any, error) {
		token, _ := c.SignIn(call.Thumbprint)
		return api.EnrolledGateway{Token: api.Token{AccessToken: token}, Gateway: api.Gateway{ID: "gw_a"}, GatewayKeys: keys}, nil
	})
	c.On("POST", "/v1/gateway/report", func(call apitest.Call) (any, error) {
		var in api.GatewayReport
		call.Into(t, &in)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reports = append(c.reports, in)
		answer := api.GatewayReportAnswer{Acknowledged: [][]byte{in.SealingKeys[0].ID}, GatewayKeys: keys}
		for _, k := range in.RecordingKeys {
			answer.Recording = append(answer.Recording, k.ID)
		}
		return answer, nil
	})
	c.On("GET", "/v1/gateway/watch", func(apitest.Call) (any, error) { time.Sleep(200 * time.Millisecond); return nil, nil })
	c.On("POST", "/v1/gateway/sessions", func(apitest.Call) (any, error) {
		c.mu.Lock()
		c.count++
		id := fmt.Sprintf("gse_%d", c.count)
		c.mu.Unlock()
		c.Reply("POST", "/v1/gateway/sessions/"+id+"/end", nil)
		return api.Claimed{Session: id}, nil
	})
	return c
}

func (c *control) last() (r api.GatewayReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reports) > 0 {
		r = c.reports[len(c.reports)-1]
	}
	return r
}

// told says whether a report named something that fails.
func (c *control) told(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.reports, func(r api.GatewayReport) bool { return !r.Healthy && strings.Contains(r.Health, what) })
}

// process is a gateway in a process of its own.
type process struct {
	t            *testing.T
	cmd          *exec.Cmd
	addr, health string
	program      string
	log          logFile
	unread       *os.File // the end of the pipe that nobody reads, if there is one
	gone         chan error
}

// logFile is what the processes of a row write, one after the other.
type logFile string

func (l logFile) String() string {
	text, _ := os.ReadFile(string(l))
	return string(text)
}

var servingLine = regexp.MustCompile(`msg=serving .*listen=(\S+) health=(\S+)`)

func start(t *testing.T, c *control, files string, args ...string) *process {
	t.Helper()
	return startAs(t, c, files, "", false, args...)
}

// startAs is start in a control group, if one is given; unread has nobody read what the process
// says once it serves.
func startAs(t *testing.T, c *control, files, group string, unread bool, args ...string) *process {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "enrollment.token"), []byte("cardea_enr_x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, log: logFile(filepath.Join(dir, "..", "log")), gone: make(chan error, 1)}
	all := append([]string{"serve", "--control-url=" + c.URL, "--state-dir=" + dir, "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", "--allow-targets=127.0.0.0/8"}, args...)
	p.program = filepath.Join(dir, "..", "cardea-gateway") // a file that a test may replace
	if err := os.Link(os.Args[0], p.program); err != nil {
		copyFile(t, p.program, os.Args[0])
	}
	p.cmd = exec.Command(p.program, all...)
	if group != "" {
		p.cmd = exec.Command("/bin/sh", append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group, p.program}, all...)...)
	}
	p.cmd.Env = append(os.Environ(), asGateway+"="+files)
	// A file and no pipe of ours: the next process has it, too, after this one has ended.
	log, err := os.Create(string(p.log))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	if unread {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer write.Close()
		p.cmd.Stderr, p.unread = write, read
		go func() {
			for buf := make([]byte, 4<<10); !strings.Contains(p.log.String(), "msg=serving"); {
				n, err := read.Read(buf)
				if err != nil || os.WriteFile(string(p.log), append([]byte(p.log.String()), buf[:n]...), 0o600) != nil {
					return
				}
			}
		}()
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.gone <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		if text := p.log.String(); t.Failed() {
			t.Log(text[max(0, len(text)-maxShown):])
		}
	})
	p.wait("the start", func() bool {
		m := servingLine.FindStringSubmatch(p.log.String())
		if m != nil {
			p.addr, p.health = m[1], m[2]
		}
		return m != nil
	})
	p.wait("the first report", func() bool { return len(c.last().SealingKeys) > 0 })
	return p
}

func (p *process) wait(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.t.Fatalf("%s did not come", what)
}

// call opens a session to server, or returns the refusal.
func (p *process) call(c *control, server string) (net.Conn, hello.Answer, error) {
	_, fresh, _ := ed25519.GenerateKey(rand.Reader)
	return p.callWith(c, fresh, hello.Ticket{Server: "srv_a", Address: server})
}

// callWith is call with a key and a ticket of the caller's, in which the rest is filled in.
func (p *process) callWith(c *control, fresh ed25519.PrivateKey, ticket hello.Ticket) (net.Conn, hello.Answer, error) {
	pub, err := ssh.NewPublicKey(fresh.Public())
	if err != nil {
		return nil, hello.Answer{}, err
	}
	now := time.Now().Truncate(time.Second)
	ticket.ID, ticket.KeyFingerprint, ticket.User, ticket.Session, ticket.Login = "tkt_1", hello.Fingerprint(pub), "usr_a", "ses_a", "alice"
	ticket.Gateways, ticket.IssuedAt, ticket.Expires = []string{"gw_a"}, now, now.Add(hello.TicketLife)
	raw, err := hello.SignTicket(c.priv, ticket)
	if err != nil {
		return nil, hello.Answer{}, err
	}
	message, keys, err := hello.Seal(fresh, raw, []hello.Recipient{{Gateway: "gw_a", PublicKey: c.last().SealingKeys[0].Public}}, now)
	if err != nil {
		return nil, hello.Answer{}, err
	}
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, hello.Answer{}, err
	}
	p.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(message); err != nil {
		return nil, hello.Answer{}, err
	}
	a, err := hello.ReadAnswer(conn, keys)
	return conn, a, err
}

// echo is a server that sends back what it hears.
func echo(t *testing.T) string {
	return tcptest.Serve(t, func(c net.Conn) { io.Copy(c, c) })
}

func ping(t *testing.T, conn net.Conn) {
	t.Helper()
	buf := make([]byte, 4)
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "ping" {
		t.Fatalf("heard %q, %v", buf, err)
	}
}

// ready is the status of /readyz, 0 for no answer.
func (p *process) ready() int {
	res, err := http.Get("http://" + p.health + "/readyz")
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

func TestAGatewaysWholeLife(t *testing.T) {
	c, server := newControl(t), echo(t)
	p := start(t, c, "-")
	p.wait("readiness", func() bool { return p.ready() == http.StatusOK })
	conn, a, err := p.call(c, server)
	if err != nil || !a.Accepted {
		t.Fatalf("%+v, %v", a, err)
	}
	ping(t, conn)
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.wait("the drain", func() bool { return p.ready() == http.StatusServiceUnavailable && c.last().Draining })
	if _, a, err := p.call(c, server); err != nil || a.Kind != "draining" {
		t.Errorf("a new session: %+v, %v", a, err)
	}
	ping(t, conn)
	conn.Close()
	select {
	case err := <-p.gone:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end after its last session")
	}
	if ends := c.Calls("POST", "/v1/gateway/sessions/gse_1/end"); len(ends) != 1 {
		t.Errorf("the end was reported %d times", len(ends))
	}
	if strings.Contains(p.log.String(), "cardea_") {
		t.Error("the log tells a token")
	}
}

// TestRunningOutOfDescriptors: somebody uses up all descriptors; the session
// that runs goes on, the gateway says what is wrong, and recovers.
func TestRunningOutOfDescriptors(t *testing.T) {
	c, server := newControl(t), echo(t)
	p := start(t, c, "32")
	p.wait("readiness", func() bool { return p.ready() == http.StatusOK })
	conn, a, err := p.call(c, server)
	if err != nil || !a.Accepted {
		t.Fatalf("%+v, %v", a, err)
	}
	ping(t, conn)
	var idle []net.Conn
	for range maxHealth {
		h, err := net.Dial("tcp", p.health)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, h)
	}
	time.Sleep(100 * time.Millisecond)
	more, err := net.Dial("tcp", p.addr) // the kernel takes it, nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	p.wait("the report that says so", func() bool { return c.told("too many open files") })
	ping(t, conn)
	for _, h := range idle {
		h.Close()
	}
	more.Close()
	conn.Close()
	p.wait("a new session", func() bool {
		conn, a, err := p.call(c, server)
		if conn != nil {
			conn.Close()
		}
		return err == nil && a.Accepted
	})
	p.wait("the healthy report", func() bool { return c.last().Healthy })
}

func TestEveryOptionIsAVariableToo(t *testing.T) {
	var out, err bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	env := map[string]string{"CARDEA_STATE_DIR": t.TempDir() + "/from-env"}
	run(ctx, []string{"serve"}, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, &out, &err)
	if !strings.Contains(err.String(), "from-env/enrollment.token") {
		t.Errorf("stderr %q", err.String())
	}
}

// maxShown bounds how much of a gateway's log a test that fails shows.
const maxShown = 20 << 10

// patience bounds what a test waits for; machines are busy.
const patience = 30 * time.Second

func nobodyThere(apitest.Call) (any, error) {
	return nil, api.Errorf(api.Unavailable, "not now")
}
