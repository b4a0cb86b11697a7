//go:build linux

package vhost

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// network is a network that is closed at the end; without root the test is
// skipped.
func network(t *testing.T, opt NetworkOptions) *Network {
	t.Helper()
	n, err := NewNetwork(t.Context(), opt)
	if errors.Is(err, ErrUnable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func newHost(t *testing.T, n *Network, opt Options) *Host {
	t.Helper()
	began := time.Now()
	h := must(n.NewHost(t.Context(), opt))(t)
	t.Logf("host %s at %s, made in %s", h.Name, h.Addr(), time.Since(began).Round(time.Millisecond))
	return h
}

func run(t *testing.T, h *Host, name string, args ...string) string {
	t.Helper()
	return must(h.Run(t.Context(), name, args...))(t)
}

// machine is what a host must leave as it was. The message of the day is left
// out: pam_motd writes it anew, by way of motd.dynamic.new, at every login to
// an sshd that another package's tests have on the machine at the same time.
func machine(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, f := range []string{"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/hosts", "/etc/hostname", "/etc/ssh/sshd_config"} {
		text, _ := os.ReadFile(f)
		state[f] = string(text)
	}
	for _, d := range []string{"/etc", "/etc/ssh", "/etc/sudoers.d", "/home", "/mnt", "/dev", "/run", "/var/log", "/var/mail", "/usr/local/bin"} {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "motd.dynamic") {
				state[d] += e.Name() + "\n"
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	state["mounts"] = string(mounts)
	state["hostname"], _ = os.Hostname()
	return state
}

func wantSame(t *testing.T, before map[string]string) {
	t.Helper()
	for what, now := range machine(t) {
		if now != before[what] {
			t.Errorf("%s of the machine changed from\n%s\nto\n%s", what, before[what], now)
		}
	}
}

// remains lists interfaces and processes of ours that are still there.
func remains(t *testing.T, prefix string) []string {
	t.Helper()
	var found []string
	for _, i := range must(net.Interfaces())(t) {
		if strings.HasPrefix(i.Name, prefix) {
			found = append(found, i.Name)
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/ns/mnt")
	home, _ := os.Readlink("/proc/self/ns/mnt")
	for _, d := range dirs {
		ns, err := os.Readlink(d)
		if err != nil || ns == home {
			continue
		}
		pid := strings.Split(d, "/")[2]
		env, _ := os.ReadFile("/proc/" + pid + "/environ")
		if strings.Contains(string(env), "VHOST_TEST_MARK="+prefix) {
			found = append(found, "process "+pid)
		}
	}
	return found
}

func TestARealServerInsideAndAnUntouchedMachineOutside(t *testing.T) {
	before := machine(t)
	n := network(t, NetworkOptions{})
	h := newHost(t, n, Options{Name: "web-1"})
	link := h.link

	if got := strings.TrimSpace(run(t, h, "hostname")); got != "web-1" {
		t.Errorf("hostname = %q", got)
	}
	run(t, h, "/usr/sbin/useradd", "--create-home", "--shell", "/bin/bash", "alice")
	run(t, h, "/usr/sbin/usermod", "-p", "*", "alice")
	if err := h.WriteFile("/etc/sudoers.d/50-alice", []byte("alice ALL=(ALL) NOPASSWD: ALL\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	run(t, h, "/usr/sbin/visudo", "-c")

	identity := filepath.Join(t.TempDir(), "id")
	must(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", identity).CombinedOutput())(t)
	public := must(os.ReadFile(identity + ".pub"))(t)
	if err := h.WriteFile("/home/alice/.ssh/authorized_keys", public, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(t.TempDir(), "known_hosts")
	key := must(h.HostKey())(t)
	if err := os.WriteFile(known, []byte(h.Addr().String()+" "+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ssh := func(command string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+known,
			"-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-i", identity, "alice@"+h.Addr().String(), command).CombinedOutput()
		return string(out), err
	}
	out, err := ssh("hostname; pwd; sudo -n id -u; tty -s || echo no tty; touch ~/here")
	if err != nil || out != "web-1\n/home/alice\n0\nno tty\n" {
		t.Errorf("ssh: %v: %q", err, out)
	}
	log := string(must(h.ReadFile("/var/log/auth.log"))(t))
	for _, want := range []string{" web-1 sshd[", "Accepted publickey for alice from " + n.Addr().String(), " sudo"} {
		if !strings.Contains(log, want) {
			t.Errorf("auth.log lacks %q:\n%s", want, log)
		}
	}

	// The server agent reloads sshd like this.
	if err := h.WriteFile("/etc/ssh/sshd_config.d/10-none.conf", []byte("AuthorizedKeysFile none\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.ReloadSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := ssh("true"); err == nil {
		t.Errorf("the new configuration does not hold: %s", out)
	}
	run(t, h, "sh", "-c", "kill -HUP $(cat /run/sshd.pid)")

	wantSame(t, before) // while the host is up
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if left := remains(t, link); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	wantSame(t, before)
}

func TestHostsAreApartAndReachEachOther(t *testing.T) {
	n := network(t, NetworkOptions{Private: true})
	a, b := newHost(t, n, Options{Name: "web-1"}), newHost(t, n, Options{Name: "web-2"})
	run(t, a, "/usr/sbin/useradd", "alice")
	// What the machine's root has in his shell's files is not what a new installation does.
	if own := run(t, a, "find", "/root", "/tmp", "/var/tmp", "-mindepth", "1"); own != "" {
		t.Errorf("a new host has what the machine's people left: %s", own)
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", "/usr/local/bin", "/opt", "/root", "/run", "/home", "/etc"} {
		path := fmt.Sprintf("%s/cardea-vhost-test-%d", dir, os.Getpid())
		run(t, a, "touch", path)
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s got out to the machine", path)
		}
		if _, err := b.Run(t.Context(), "test", "!", "-e", path); err != nil {
			t.Errorf("%s got over to the other host", path)
		}
	}
	if _, err := b.Run(t.Context(), "id", "alice"); err == nil {
		t.Error("an account of one host exists on the other")
	}
	if ka, kb := must(a.HostKey())(t), must(b.HostKey())(t); ka == kb {
		t.Error("two hosts have the same host key")
	}
	// ps sees: the first process, nsenter's child.
	if out := run(t, a, "sh", "-c", "ls -d /proc/[0-9]* | wc -l"); len(strings.TrimSpace(out)) > 1 {
		t.Errorf("a fresh host sees %s processes", out)
	}
	if err := b.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	const greeting = "exec 3<>/dev/tcp/%s/22; read -r line <&3; echo $line"
	if out := run(t, a, "bash", "-c", fmt.Sprintf(greeting, b.Addr())); !strings.HasPrefix(out, "SSH-2.0-OpenSSH") {
		t.Errorf("one host cannot reach the other: %q", out)
	}
	out, err := n.Command(t.Context(), "bash", "-c", fmt.Sprintf(greeting, b.Addr())).Output()
	if err != nil || !strings.HasPrefix(string(out), "SSH-2.0-OpenSSH") {
		t.Errorf("a program of the network cannot reach a host: %v: %q", err, out)
	}
}

func TestPrivateNetworksDoNotMeet(t *testing.T) {
	n, m := network(t, NetworkOptions{Private: true}), network(t, NetworkOptions{Private: true})
	a, b := newHost(t, n, Options{Name: "a"}), newHost(t, m, Options{Name: "b"})
	if a.Addr() != b.Addr() {
		t.Errorf("addresses %s and %s: this test wants them equal", a.Addr(), b.Addr())
	}
	if err := a.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := must(n.Dial(t.Context(), "tcp", a.Addr().String()+":22"))(t)
	conn.Close()
	if conn, err := m.Dial(t.Context(), "tcp", b.Addr().String()+":22"); err == nil {
		conn.Close()
		t.Error("the other network reaches the sshd of this one")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.Addr().String()+":22")
	if err != nil {
		return
	}
	defer conn.Close()
	// Somebody answers: a sandbox that does so for every address, or a host of another
	// test's. Is it this sshd?
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	want := must(a.HostKey())(t)
	_, _, _, err = ssh.NewClientConn(conn, "", &ssh.ClientConfig{HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if got := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))); strings.HasPrefix(strings.TrimSpace(want), got) {
			t.Error("the machine reaches a private network")
		}
		return errors.New("seen enough")
	}, HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}})
	if err == nil {
		t.Error("somebody let us in")
	}
}

func TestForwardsLeadOutAndPassHalfCloses(t *testing.T) {
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("private %v", private), func(t *testing.T) {
			n := network(t, NetworkOptions{Private: private})
			l := must(n.Listen("tcp", "127.0.0.1:0"))(t)
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					all, _ := io.ReadAll(conn) // ends only if the half-close arrives
					conn.Write(bytes.ToUpper(all))
					conn.Close()
				}
			}()
			h := newHost(t, n, Options{Name: "web-1", Forwards: []Forward{{Port: 7080, To: l.Addr().String()}}})
			conn := must(h.Dial("tcp", "127.0.0.1:7080"))(t)
			conn.Write([]byte("hello"))
			conn.(*net.TCPConn).CloseWrite()
			if out := must(io.ReadAll(conn))(t); string(out) != "HELLO" {
				t.Errorf("got %q", out)
			}
			conn.Close()
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBindsShowThePathsOfTheMachineAndNoMore(t *testing.T) {
	n := network(t, NetworkOptions{Private: true})
	dir := t.TempDir()
	file := filepath.Join(dir, "a file")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, n, Options{Name: "web-1", Binds: []Bind{
		{From: dir, To: "/usr/local/bind"}, {From: file, To: file}, {From: dir, To: "/tmp/rw", Writable: true}}})
	if out := run(t, h, "cat", "/usr/local/bind/a file", file); out != "xx" {
		t.Errorf("got %q", out)
	}
	if _, err := h.Run(t.Context(), "touch", "/usr/local/bind/new"); err == nil {
		t.Error("a read-only bind can be written to")
	}
	run(t, h, "touch", "/tmp/rw/new")
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Errorf("a writable bind does not write: %v", err)
	}
}

func TestProcessesReportTheirEndAndObeySignals(t *testing.T) {
	n := network(t, NetworkOptions{Private: true})
	h := newHost(t, n, Options{Name: "web-1"})
	p := must(h.Start(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 7"))(t)
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 || p.Log() != "out\nerr\n" {
		t.Errorf("Wait = %v, log %q", err, p.Log())
	}
	p = must(h.Start(t.Context(), "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"))(t)
	if err := p.WaitLog(t.Context(), "up"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(5 * time.Second); !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(p.Log(), "bye") {
		t.Errorf("Stop = %v, log %q: the program itself should have had the signal", err, p.Log())
	}
	p = must(h.Start(t.Context(), "sh", "-c", "trap '' TERM; echo up; sleep 600"))(t)
	if err := p.WaitLog(t.Context(), "up"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(10 * time.Millisecond); err == nil {
		t.Error("a program that ignores SIGTERM was not killed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	p = must(h.Start(ctx, "sleep", "600"))(t)
	cancel()
	p.Wait()
	p = must(h.Start(t.Context(), "sleep", "600"))(t)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-p.Done():
	case <-time.After(5 * time.Second):
		t.Error("a program outlived its host")
	}
}

func TestOrphansAreReaped(t *testing.T) {
	n := network(t, NetworkOptions{Private: true})
	h := newHost(t, n, Options{Name: "web-1"})
	run(t, h, "sh", "-c", "for i in 1 2 3; do (setsid sleep 0.01 >/dev/null 2>&1 &) ; done")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		states := run(t, h, "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true")
		if !strings.Contains(states, " Z ") && !strings.Contains(states, "(sleep) S 1 2") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still there:\n%s", states)
		}
	}
}

// The test binary starts itself as a maker of hosts, and kills it.
func TestAKilledMakerLeavesNothing(t *testing.T) {
	const env = "VHOST_TEST_MAKER"
	if os.Getenv(env) != "" {
		n := network(t, NetworkOptions{})
		h := newHost(t, n, Options{Name: "doomed"})
		if err := h.StartSSHD(t.Context()); err != nil {
			t.Fatal(err)
		}
		cmd := h.Command(t.Context(), "sleep", "600")
		cmd.Env = append(cmd.Env, "VHOST_TEST_MARK="+h.link)
		must(Start(cmd))(t)
		fmt.Printf("\nMADE %s %d\n", h.link, h.init.Process.Pid)
		select {}
	}
	network(t, NetworkOptions{}) // skip here, not in the child
	before := machine(t)
	maker := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	maker.Env = append(os.Environ(), env+"=1")
	out := must(maker.StdoutPipe())(t)
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	var link string
	var pid int
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		fmt.Sscanf(lines.Text(), "MADE %s %d", &link, &pid)
	}
	if pid == 0 {
		t.Fatal("the maker made nothing")
	}
	for end := time.Now().Add(10 * time.Second); len(remains(t, link)) < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("this test does not see the host: %v", remains(t, link))
		}
	}
	maker.Process.Kill()
	maker.Wait()
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if left = remains(t, link); len(left) == 0 && syscall.Kill(pid, 0) != nil {
			break
		}
	}
	if len(left) > 0 || syscall.Kill(pid, 0) == nil {
		t.Errorf("left behind: %v, first process %d", left, pid)
	}
	wantSame(t, before)
}

func TestAnUsedSubnetIsSeen(t *testing.T) {
	n := network(t, NetworkOptions{})
	if used := must(n.inUse())(t); used {
		t.Error("a fresh network is in use")
	}
	newHost(t, n, Options{Name: "web-1"})
	if used := must(n.inUse())(t); !used {
		t.Error("a network with a host is not in use")
	}
	if l, err := net.Listen("unix", "@cardea-vhost-"+n.subnet().String()); err == nil {
		l.Close()
		t.Error("another process could claim the same addresses")
	}
}

func TestAFailedHostLeavesNothing(t *testing.T) {
	n := network(t, NetworkOptions{})
	_, err := n.NewHost(t.Context(), Options{Name: "web-1", Binds: []Bind{{From: "/nonexistent/file", To: "/x"}}})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/file") {
		t.Errorf("err = %v, want one that names the path", err)
	}
	ifs := must(net.Interfaces())(t)
	if i := slices.IndexFunc(ifs, func(i net.Interface) bool { return strings.HasPrefix(i.Name, fmt.Sprintf("cardea%d-", n.prefix[2])) }); i >= 0 {
		t.Errorf("interface %s is left", ifs[i].Name)
	}
}

func TestFormatMessage(t *testing.T) {
	for _, tc := range []struct{ name, in, file, want string }{
		{"authpriv goes to auth.log", "<86>Nov 20 23:45:57 sshd[12]: Accepted publickey", "auth.log", "Nov 20 23:45:57 h sshd[12]: Accepted publickey\n"},
		{"auth goes to auth.log", "<38>Nov  1 03:45:57 su: x", "auth.log", "Nov  1 03:45:57 h su: x\n"},
		{"the rest goes to syslog", "<13>Nov 20 23:45:57 root: x", "syslog", "Nov 20 23:45:57 h root: x\n"},
		{"a line end cannot begin a line", "<86>Nov 20 23:45:57 x: a\nb\n", "auth.log", "Nov 20 23:45:57 h x: a#012b\n"},
		{"a message without header is kept", "hello\x1b", "syslog", "hello#033\n"},
	} {
		if file, line := formatMessage("h", tc.in); file != tc.file || line != tc.want {
			t.Errorf("%s: %s: %q, want %s: %q", tc.name, file, line, tc.file, tc.want)
		}
	}
}
