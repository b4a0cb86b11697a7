package bridge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/cardea-ssh/cardea/internal/freeport"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/recording"
)

// echo serves l: it sends back what comes, and the end when the end comes.
func echo(l net.Listener) {
	tcptest.Each(l, func(conn net.Conn) {
		io.Copy(conn, conn)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	})
}

func freePort(t *testing.T) string {
	port, err := freeport.At("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// roundTrip sends text to an echo, ends, and wants it back to the last byte.
func roundTrip(t *testing.T, network, address, text string) {
	t.Helper()
	conn, err := dialPatiently(network, address)
	if err != nil {
		t.Errorf("%s: %v", address, err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go func() {
		io.WriteString(conn, text)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != text {
		t.Errorf("%s: %d of %d bytes came back: %v", address, len(got), len(text), err)
	}
}

func dialPatiently(network, address string) (conn net.Conn, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if conn, err = net.Dial(network, address); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// background is an ssh that runs until the test stops it.
func (s *real) background(args ...string) (stop func()) {
	s.t.Helper()
	cmd := sshtest.Command(s.t, "ssh", append(append([]string{}, s.ssh...), args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		gone := make(chan struct{})
		go func() { defer close(gone); cmd.Wait() }()
		for waiting := true; waiting; { // ssh misses a signal that comes just before it waits
			cmd.Process.Signal(os.Interrupt)
			select {
			case <-gone:
				waiting = false
			case <-time.After(100 * time.Millisecond):
			}
		}
		if os.Getenv("BRIDGE_LOG") != "" {
			s.t.Log(stderr.String())
		}
	}
}

func TestForwardsOfEveryKindPassToTheLastByte(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	inside, err := s.Listen("tcp", "127.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	go echo(inside)
	outside := tcptest.Listen(t)
	go echo(outside)
	dir := t.TempDir()
	text := strings.Repeat("0123456789abcdef", 1<<15) // half a megabyte
	localUnix, loop := filepath.Join(dir, "local"), filepath.Join(dir, "loop")
	outsideUnix, err := net.Listen("unix", filepath.Join(dir, "outside"))
	if err != nil {
		t.Fatal(err)
	}
	defer outsideUnix.Close()
	go echo(outsideUnix)
	l, d := freePort(t), freePort(t)
	stop := s.background("-N", "-L", l+":127.0.0.1:7", "-L", localUnix+":127.0.0.1:7", "-D", d,
		"-R", "9001:"+outside.Addr().String(), "-R", "/home/alice/remote:"+outsideUnix.Addr().String(), "-L", loop+":/home/alice/remote", "web-1")
	roundTrip(t, "tcp", "127.0.0.1:"+l, text)
	roundTrip(t, "unix", localUnix, text)
	socks(t, "127.0.0.1:"+d, 7, text)
	// What listens on the server is reached through a second session.
	got := s.run("web-1", `exec 3<>/dev/tcp/127.0.0.1/9001; echo there and back >&3; head -1 <&3`)
	if got.Stdout != "there and back\n" {
		t.Errorf("-R: %+v", got)
	}
	roundTrip(t, "unix", loop, text)
	got = s.run("-W", "127.0.0.1:7", "web-1")
	if got.Exit != 0 {
		t.Errorf("-W: %+v", got)
	}
	stop()
	var seen []string
	for range 3 {
		for _, f := range all[recording.Forwarded](t, s.end().rec, recording.Forward) {
			seen = append(seen, fmt.Sprintf("%s %d %d", f.To, f.Up, f.Down))
		}
	}
	all := strings.Join(seen, "\n")
	for _, want := range []string{"127.0.0.1:7 524288 524288", ":9001 15 15", "/home/alice/remote 524288 524288"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q was recorded, but\n%s", want, all)
		}
	}
}

// socks asks a SOCKS5 proxy for a port of its loopback and sends text there and back.
func socks(t *testing.T, proxy string, port byte, text string) {
	t.Helper()
	conn, err := dialPatiently("tcp", proxy)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write([]byte{5, 1, 0})
	var two [2]byte
	io.ReadFull(conn, two[:])
	conn.Write([]byte{5, 1, 0, 1, 127, 0, 0, 1, 0, port})
	var ten [10]byte
	io.ReadFull(conn, ten[:])
	go func() {
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != text {
		t.Errorf("SOCKS: %d of %d bytes came back: %v", len(got), len(text), err)
	}
}

func TestTheAgentAndTheDisplayAreForwardedWhereTheyMay(t *testing.T) {
	t.Parallel()
	allowed := newReal(t, nil)
	refused := newReal(t, func(o *Options) { o.Policy = Policy{} })
	socket := filepath.Join(t.TempDir(), "agent")
	cmd := sshtest.Command(t, "ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if conn, err := dialPatiently("unix", socket); err != nil {
		t.Fatal(err)
	} else {
		conn.Close()
	}
	add := sshtest.Command(t, "ssh-add", sshtest.Key(t).Write(t, filepath.Join(t.TempDir(), "key")))
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if got := sshtest.Run(t, add); got.Exit != 0 {
		t.Fatalf("%+v", got)
	}
	list := []string{"-o", "ForwardAgent=" + socket, "web-1", "ssh-add -l"}
	for _, s := range []*real{allowed, refused} { // ssh forwards none where it has none
		s.ssh = append([]string{"-o", "IdentityAgent=" + socket}, s.ssh...)
	}
	if got := allowed.run(list...); !strings.Contains(got.Stdout, "ED25519") {
		t.Errorf("with the policy: %+v", got)
	}
	got := refused.run(list...)
	if strings.Contains(got.Stdout, "ED25519") || strings.Count(got.Stderr, "cardea: agent forwarding is not allowed in this project\n") != 1 {
		t.Errorf("without the policy: %+v", got)
	}
	e := refused.end()
	if r := all[recording.Refused](t, e.rec, recording.Refusal); len(r) != 1 || r[0].Type != "auth-agent-req@openssh.com" {
		t.Errorf("recorded %+v", r)
	}
	if len(refused.refused) != 1 {
		t.Errorf("%d refusals were told", len(refused.refused))
	}
	if !strings.Contains(e.rec.bytes(recording.Errput), "agent forwarding is not allowed") {
		t.Error("what the user was told is not recorded")
	}
}

func TestWhatThePolicyDoesNotAllowIsRefusedAndTold(t *testing.T) {
	t.Parallel()
	s := newReal(t, func(o *Options) { o.Policy = Policy{} })
	got := s.run("-o", "ExitOnForwardFailure=no", "-R", "9001:127.0.0.1:1", "web-1", "sleep 0.2; echo on")
	if got.Stdout != "on\n" || !strings.Contains(got.Stderr, "cardea: port forwarding is not allowed in this project") {
		t.Errorf("-R: %+v", got)
	}
	got = s.run("-W", "127.0.0.1:22", "web-1")
	if got.Exit == 0 || !strings.Contains(got.Stderr, "port forwarding is not allowed in this project") {
		t.Errorf("-W: %+v", got)
	}
	got = s.run("-s", "web-1", "netconf")
	if got.Exit == 0 || !strings.Contains(got.Stderr, "no subsystem but sftp") {
		t.Errorf("netconf: %+v", got)
	}
	got = s.run("-o", "Tunnel=point-to-point", "web-1", "echo on")
	for range 4 {
		s.end()
	}
	types := map[string]bool{}
	for len(s.refused) > 0 {
		types[(<-s.refused).Type] = true
	}
	for _, want := range []string{"tcpip-forward", "direct-tcpip", "subsystem"} {
		if !types[want] {
			t.Errorf("no refusal of %s was told, but %v", want, types)
		}
	}
}

func TestTheEndsOfStreamsPassBothWays(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	in := strings.Repeat("line\n", 1<<16)
	cmd := sshtest.Command(t, "ssh", append(s.ssh, "web-1", "md5sum; echo more; exit 5")...)
	cmd.Stdin = strings.NewReader(in)
	got := sshtest.Run(t, cmd)
	if got.Exit != 5 || !strings.Contains(got.Stdout, "more\n") {
		t.Errorf("input: %+v", got)
	}
	// The user stops reading: the program must hear of it, or this never ends.
	cmd = sshtest.Command(t, "sh", "-c", `"$@" | head -c 100000 | wc -c`, "sh", sshtest.Path(t, "ssh"))
	cmd.Args = append(cmd.Args, append(s.ssh, "web-1", "yes")...)
	if got := sshtest.Run(t, cmd); strings.TrimSpace(got.Stdout) != "100000" {
		t.Errorf("head: %+v", got)
	}
	// The program stops reading and lives on; its output still comes.
	cmd = sshtest.Command(t, "ssh", append(s.ssh, "web-1", "exec <&-; sleep 0.1; echo done; exit 4")...)
	cmd.Stdin = zeros{}
	if got := sshtest.Run(t, cmd); got.Stdout != "done\n" || got.Exit != 4 {
		t.Errorf("a program that does not read: %d %q %q", got.Exit, got.Stdout, got.Stderr)
	}
	// The program's end is told, though its child holds the output open; and output comes.
	started := time.Now()
	got = s.run("-tt", "web-1", "echo first; exit 6")
	if got.Exit != 6 || !strings.Contains(got.Stdout, "first") || time.Since(started) > patience {
		t.Errorf("terminal: %+v", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAMasterCarriesManySessions(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	control := filepath.Join(t.TempDir(), "c")
	stop := s.background("-M", "-S", control, "-N", "web-1")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(control); err == nil {
			break
		}
	}
	results := make(chan error, 20)
	for i := range cap(results) {
		go func() {
			cmd := sshtest.Command(t, "ssh", append(s.ssh, "-S", control, "web-1", fmt.Sprintf("cat; exit %d", i))...)
			text := strings.Repeat(fmt.Sprint("session ", i, "\n"), 20000)
			cmd.Stdin = strings.NewReader(text)
			var out bytes.Buffer
			cmd.Stdout = &out
			cmd.Run()
			if out.String() != text || cmd.ProcessState.ExitCode() != i {
				results <- fmt.Errorf("session %d: %d of %d bytes, exit code %d", i, out.Len(), len(text), cmd.ProcessState.ExitCode())
				return
			}
			results <- nil
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	stop()
	if e := s.end(); e.err != nil || len(all[recording.Exited](t, e.rec, recording.Exit)) != 20 {
		t.Errorf("ended with %v; %d ends of programs recorded", e.err, len(all[recording.Exited](t, e.rec, recording.Exit)))
	}
}

func TestResizesSignalsAndSignalsOfTheEndPass(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	cmd := sshtest.Command(t, "ssh", append(s.ssh, "-t", "web-1",
		`echo ready; until test "$(stty size)" = "50 132"; do sleep 0.05; done; stty size; exit 9`)...)
	cmd.SysProcAttr = nil // it gets a session of its own
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 90})
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(terminal)
	lines.Scan()
	pty.Setsize(terminal, &pty.Winsize{Rows: 50, Cols: 132})
	lines.Scan()
	if text := lines.Text(); text != "50 132" {
		t.Errorf("the program saw %q", text)
	}
	for lines.Scan() {
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
	rec := s.end().rec
	if r := all[recording.Size](t, rec, recording.Resize); len(r) != 1 || r[0] != (recording.Size{Columns: 132, Rows: 50}) {
		t.Errorf("recorded %+v", r)
	}
	conn := s.goClient(t)
	defer conn.Close()
	session, err := conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := session.StdoutPipe()
	if err := session.Start(`echo ready; exec sleep 1000`); err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(out).ReadString('\n')
	if err := session.Signal("TERM"); err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err == nil || !strings.Contains(err.Error(), "signal TERM") {
		t.Errorf("ended with %v", err)
	}
	conn.Close()
	rec = s.end().rec
	if x := all[recording.Exited](t, rec, recording.Exit); len(x) != 1 || x[0].Signal != "TERM" {
		t.Errorf("recorded %+v", x)
	}
}
