package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/freeport"
	"github.com/cardea-ssh/cardea/internal/vhost"
)

// patience bounds the wait for what usually takes a second.
const patience = time.Minute

// host is one virtual host on which packages are installed, with root's key.
type host struct {
	*testing.T
	network *vhost.Network
	*vhost.Host
	key string // of root, which no package may ever lock out
}

// where the packages lie inside.
const inside = "/opt/packages"

// newHost makes a host run by systemd, or one without.
func newHost(t *testing.T, systemd bool, forwards ...vhost.Forward) *host {
	t.Helper()
	check := vhost.Check
	if systemd {
		check = vhost.CheckSystemd
	}
	if err := check(); err != nil {
		t.Skipf("SKIPPED: %v; type: sudo make test", err)
	}
	need(t, "/usr/sbin/sshd", "/usr/bin/ssh", "/usr/sbin/visudo", "/usr/bin/cvtsudoers", "/usr/sbin/useradd")
	n, err := vhost.NewNetwork(t.Context(), vhost.NetworkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	h, err := n.NewHost(t.Context(), vhost.Options{
		Name: "web-1", Systemd: systemd, Install: true, Forwards: forwards, Binds: []vhost.Bind{{From: files, To: inside}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &host{T: t, network: n, Host: h, key: filepath.Join(t.TempDir(), "key")}
	// What takes most of the CPU time and is no part of a package: an index of all manual
	// pages at each installation, and a key exchange that is slow in OpenSSH 8.5 to 9.8.
	r.sh("rm -f /var/lib/man-db/auto-update")
	if systemd {
		r.sh("systemctl set-environment '" + buildtest.RaceOptions + "'") // for the services
	}
	if err := h.WriteFile("/etc/ssh/sshd_config.d/10-fast.conf", []byte("KexAlgorithms -sntrup761*\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	said(t, "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", r.key)
	public, err := os.ReadFile(r.key + ".pub")
	if err == nil {
		err = h.WriteFile("/root/.ssh/authorized_keys", public, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := h.Run(context.Background(), "sh", "-c", "journalctl --no-pager -n 60 2>&1; tail -n 20 /var/log/auth.log 2>&1; systemctl status cardea-server-agent --no-pager 2>&1")
			t.Log(out)
		}
	})
	return r
}

// try runs a shell script on the host and returns what it said.
func (h *host) try(script string) (string, error) {
	cmd := h.Command(h.Context(), "/bin/sh", "-c", script)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive", buildtest.RaceOptions)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sh is try for what has to succeed.
func (h *host) sh(script string) string {
	h.Helper()
	out, err := h.try(script)
	if err != nil {
		h.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// is compares what a script says.
func (h *host) is(want, script string) {
	h.Helper()
	if got, _ := h.try(script); strings.TrimSpace(got) != want {
		h.Errorf("%s: %q, want %q", script, got, want)
	}
}

// eventually waits until a script succeeds.
func (h *host) eventually(script string) {
	h.Helper()
	pause := 50 * time.Millisecond // each try starts a shell and more on the host
	for end := time.Now().Add(patience); ; pause = min(2*pause, 400*time.Millisecond) {
		out, err := h.try(script)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			h.Fatalf("it never came to pass: %s: %v: %s", script, err, out)
		}
		time.Sleep(pause)
	}
}

// enterable proves that the host's own administrator gets in, and that what
// decides on logins and sudo is valid.
func (h *host) enterable(when string) {
	h.Helper()
	cmd := h.network.Command(h.Context(), "/usr/bin/ssh", "-F", "none", "-i", h.key, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@"+h.Addr().String(),
		"sshd -t && visudo -cq && echo ROOT")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "ROOT") {
		h.Errorf("%s root cannot enter, or sshd's or sudo's configuration is broken: %v: %s", when, err, out)
	}
}

// etc is every file of the host that a package, or the agent, may touch, and what
// it holds; not the caches and backups that the system's own tools write there.
func (h *host) etc() string {
	h.Helper()
	return h.sh(`cd /; { find etc usr/bin usr/lib/systemd usr/lib/cardea* usr/share/man/man8 usr/share/doc/cardea* var/lib/cardea* var/lib/systemd/deb-systemd-helper-* home root/.ssh \
		-xdev \( -type f -o -type l -o -type d \) -printf '%p %y %m %u:%g %l\n' 2>/dev/null; find etc -xdev -type f -exec sha256sum {} +; } |
		grep -vE 'etc/(ld.so.cache|passwd-|shadow-|group-|gshadow-|subuid-|subgid-|\.pwd.lock|mtab|resolv.conf|machine-id)' | LC_ALL=C sort`)
}

// changes are the lines that are in one listing alone.
func changes(before, after string) (out []string) {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[strings.TrimSpace(line)]--
	}
	for line := range strings.Lines(after) {
		count[strings.TrimSpace(line)]++
	}
	for line, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", n, line))
		}
	}
	slices.Sort(out)
	return out
}

// servers lets a stage use the host, with an agent out of a package.
type servers struct {
	*host
	port int
	// enrol is what an administrator types to start the agent.
	enrol string
}

func (s *servers) Egress(context.Context) (string, error) { return s.network.Addr().String(), nil }
func (s *servers) Close() error                           { return nil }

func (s *servers) Make(context.Context, string, string) (string, error) {
	return s.Addr().String(), nil
}

func (s *servers) Enrol(_ context.Context, _, token string) error {
	out, err := s.try(fmt.Sprintf(`umask 077
		grep -q control_url /etc/cardea/server-agent.yaml && printf '\ncontrol_url: http://127.0.0.1:%d\n' >>/etc/cardea/server-agent.yaml &&
		echo %s >/var/lib/cardea-server-agent/enrollment.token && %s`, s.port, token, s.enrol))
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// team is a control plane, and alice, who may do everything on the host.
type team struct {
	*stage.Stage
	alice *stage.Person
	host  *host
}

// begin initialises a control plane, which each team gets a copy of.
func begin(ctx context.Context, dir string) error {
	begun := filepath.Join(dir, "begun")
	if err := os.Mkdir(begun, 0o700); err != nil {
		return err
	}
	return stage.Begin(ctx, stage.Options{Bin: filepath.Join(dir, "bin"), Dir: begun})
}

// newTeam makes them for a host on which port leads to the control plane.
func newTeam(h *host, port int, enrol string) *team {
	h.Helper()
	dir, err := os.MkdirTemp("", "cpkg") // short, for the sockets below it
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	ctx := h.Context()
	s, err := stage.New(ctx, stage.Options{
		Bin: filepath.Join(files, "bin"), Begun: filepath.Join(files, "begun"), Dir: dir, Port: port, Browser: self + " " + asBrowser, Servers: &servers{host: h, port: port, enrol: enrol},
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { s.Close() })
	t := &team{Stage: s, host: h}
	must := func(err error) {
		h.Helper()
		if err != nil {
			h.Fatal(err)
		}
	}
	must(s.AddProject(ctx, "web", api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}))
	t.alice, err = s.AddUser(ctx, "alice")
	must(err)
	must(s.Access(ctx, "web", "ops", "admin", "alice"))
	return t
}

// join enrols the host and signs alice in.
func (t *team) join() {
	t.host.Helper()
	if err := t.AddServer(t.host.Context(), "web", "web-1", nil); err != nil {
		t.host.Fatal(err)
	}
	if err := t.alice.SignIn(t.host.Context()); err != nil {
		t.host.Fatal(err)
	}
	t.mayWork("after its enrolment")
}

// mayWork proves that alice gets in and may use sudo.
func (t *team) mayWork(when string) {
	t.host.Helper()
	var r stage.Result
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if r = t.alice.Run(t.host.Context(), "cardea", "ssh", "web-1", "sudo", "-n", "whoami"); r.Code == 0 && strings.TrimSpace(r.Stdout) == "root" {
			return
		}
	}
	t.host.Errorf("%s alice cannot work: %d %s %s", when, r.Code, r.Stdout, r.Stderr)
}

// mayNotEnter proves that she is kept out.
func (t *team) mayNotEnter(when string) {
	t.host.Helper()
	if r := t.alice.Run(t.host.Context(), "cardea", "ssh", "web-1", "echo", "IN"); r.Code == 0 || strings.Contains(r.Stdout, "IN") {
		t.host.Errorf("%s alice can enter: %s", when, r.Stdout)
	}
}

// session is one of alice's that stays open.
type session struct {
	team *team
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func (t *team) open() *session {
	t.host.Helper()
	s := &session{team: t, cmd: t.alice.Command(context.Background(), "cardea", "ssh", "web-1", "sh")}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.host.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.host.Fatal(err)
	}
	s.in, s.out = in, bufio.NewReader(out)
	s.cmd.Stderr = &bytes.Buffer{}
	if err := s.cmd.Start(); err != nil {
		t.host.Fatal(err)
	}
	t.host.Cleanup(func() { s.in.Close(); s.cmd.Process.Kill(); s.cmd.Wait() })
	if got := s.say("echo hello"); got != "hello" {
		t.host.Fatalf("the session says %q", got)
	}
	return s
}

// say types a line and reads lines up to the end of what it gives.
func (s *session) say(line string) string {
	if _, err := fmt.Fprintf(s.in, "%s; echo END\n", line); err != nil {
		return err.Error()
	}
	answer := make(chan string, 1)
	go func() {
		var all strings.Builder
		for {
			text, err := s.out.ReadString('\n')
			if text == "END\n" || err != nil {
				answer <- strings.TrimSpace(all.String() + errorText(err))
				return
			}
			all.WriteString(text)
		}
	}()
	select {
	case text := <-answer:
		return text
	case <-time.After(patience):
		return "no answer"
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lives proves that the session was not touched.
func (s *session) lives(when string) {
	s.team.host.Helper()
	if got := s.say("echo still here"); got != "still here" {
		s.team.host.Errorf("%s the session says %q: %s", when, got, s.cmd.Stderr)
	}
}

// freePort is one of this machine's loopback.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := freeport.At("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// forward leads from the host to a port of this machine.
func forward(port int) vhost.Forward {
	return vhost.Forward{Port: uint16(port), To: fmt.Sprintf("127.0.0.1:%d", port)}
}
