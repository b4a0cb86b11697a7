package sshtest

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/freeport"
)

// startTimeout is how long sshd may take to listen; on a machine that also
// compiles it is seldom over a second.
const startTimeout = 10 * time.Second

// Server is a throwaway sshd that ends with the test.
type Server struct {
	Addr    netip.AddrPort
	User    string        // whom one can log in as: the user who runs the test
	HostKey ssh.PublicKey // plain, also when the test gave it a certificate
	Dir     string        // its configuration and keys; readable by all
	Config  string        // path of its configuration

	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	log  []string
}

// Start runs a real sshd on a free port of 127.0.0.1 with these lines of
// configuration, which win over the defaults that a test usually wants: no
// passwords, no strict modes (sshd refuses files below /tmp), many unfinished
// connections. If the lines name no HostKey, it gets a fresh Ed25519 key.
func Start(t testing.TB, lines ...string) *Server {
	t.Helper()
	return StartAt(t, "127.0.0.1", 0, lines...)
}

// StartAt is Start at another address, or on a port that a former server had
// (0: any free one).
func StartAt(t testing.TB, host string, port uint16, lines ...string) *Server {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{User: me.Username, Dir: t.TempDir()}
	s.Config = filepath.Join(s.Dir, "sshd_config")
	hostKey := Key(t)
	s.HostKey = hostKey.PublicKey()
	keyFile := hostKey.Write(t, filepath.Join(s.Dir, "host_key"))
	for attempt := 0; ; attempt++ {
		at := port
		if at == 0 {
			free, err := freeport.At(host)
			if err != nil {
				t.Fatal(err)
			}
			at = uint16(free)
		}
		s.Addr = netip.AddrPortFrom(netip.MustParseAddr(host), at)
		config := append(append([]string{}, lines...), s.defaults(t, keyFile, lines)...)
		if err := os.WriteFile(s.Config, []byte(strings.Join(config, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := s.start(t)
		if err == nil {
			return s
		}
		// Between finding a port free and sshd taking it, another may have come.
		if port != 0 || attempt == 3 || !strings.Contains(s.Log(), "already in use") {
			t.Fatalf("sshd: %v\n%s", err, s.Log())
		}
	}
}

// defaults are the last lines of the configuration: the first value wins.
func (s *Server) defaults(t testing.TB, keyFile string, lines []string) []string {
	d := []string{
		"Port " + fmt.Sprint(s.Addr.Port()), "ListenAddress " + s.Addr.Addr().String(),
		"PidFile " + s.pidFile(),
		"StrictModes no", "PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"MaxStartups 1000", "LogLevel VERBOSE", "PrintMotd no", "PrintLastLog no", "Subsystem sftp internal-sftp",
	}
	if !hasKeyword(lines, "HostKey") {
		d = append(d, "HostKey "+keyFile)
	}
	if !hasKeyword(lines, "KexAlgorithms") {
		// With this one OpenSSH 8.5 to 9.8 works for a tenth of a second in each ssh, many
		// times what all else of a login takes.
		d = append(d, "KexAlgorithms -sntrup761*")
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd locks itself in before login
			t.Fatal(err)
		}
		// As on real servers: without PAM sshd takes a "!" password for a locked account.
		d = append(d, "UsePAM yes")
	}
	if Version(t) >= 908 {
		d = append(d, "PerSourcePenalties no") // refused logins are what many tests are about
	}
	// Defaults behind a Match block of the test's would belong to it.
	return append([]string{"Match all"}[:boolInt(hasKeyword(lines, "Match"))], d...)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func hasKeyword(lines []string, keyword string) bool {
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 0 && strings.EqualFold(f[0], keyword) {
			return true
		}
	}
	return false
}

func (s *Server) start(t testing.TB) error {
	s.cmd = exec.Command(Path(t, "sshd"), "-D", "-e", "-f", s.Config)
	lead(s.cmd)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go s.follow(stderr)
	t.Cleanup(s.Stop)
	return s.await(1)
}

// await waits until sshd has begun to listen for the nth time. It says so
// before it handles SIGHUP, which would kill it; the pid file comes after.
func (s *Server) await(nth int) error {
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-s.done:
			return fmt.Errorf("it ended: %s", s.cmd.ProcessState)
		default:
		}
		if _, err := os.Stat(s.pidFile()); err == nil && strings.Count(s.Log(), "Server listening on") >= nth {
			return nil
		}
	}
	return fmt.Errorf("it did not listen within %s", startTimeout)
}

func (s *Server) pidFile() string { return filepath.Join(s.Dir, "sshd.pid") }

// follow keeps the log until sshd has ended.
func (s *Server) follow(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		s.mu.Lock()
		s.log = append(s.log, line)
		s.mu.Unlock()
	}
	s.cmd.Wait()
	close(s.done)
}

// Log is everything that sshd has said so far, one line each.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

// WaitLog waits for a line that contains text and returns it. sshd writes some
// lines only after the client has gone.
func (s *Server) WaitLog(t testing.TB, text string) string {
	t.Helper()
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for line := range strings.SplitSeq(s.Log(), "\n") {
			if strings.Contains(line, text) {
				return line
			}
		}
	}
	t.Fatalf("sshd never said %q:\n%s", text, s.Log())
	return ""
}

// Reload makes sshd read its configuration and keys again.
func (s *Server) Reload(t testing.TB) {
	t.Helper()
	heard := strings.Count(s.Log(), "Server listening on")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := s.await(heard + 1); err != nil {
		t.Fatalf("reloading sshd: %v\n%s", err, s.Log())
	}
}

// Stop ends sshd and every session in it. It may be called twice.
func (s *Server) Stop() {
	// Sessions left sshd's process group, so each is found as a child first.
	for _, pid := range descendants(s.cmd.Process.Pid) {
		kill(pid)
	}
	kill(-s.cmd.Process.Pid)
	<-s.done
}

// descendants lists the processes below pid, from /proc.
func descendants(pid int) []int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var all []int
	for f := range strings.FieldsSeq(string(children)) {
		var child int
		fmt.Sscan(f, &child)
		all = append(append(all, child), descendants(child)...)
	}
	return all
}
