package proxycmd

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/vhost"
	"golang.org/x/crypto/ssh"
)

// realHost is alice's laptop, a gateway, and behind it a host with the real sshd, alice's
// account, and the trust that the server agent would set up.
func realHost(t *testing.T) (*agenttest.World, *vhost.Host) {
	t.Helper()
	n, err := vhost.NewNetwork(t.Context(), vhost.NetworkOptions{Private: true})
	if errors.Is(err, vhost.ErrUnable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	h, err := n.NewHost(t.Context(), vhost.Options{Name: "web-1"})
	if err != nil {
		t.Fatal(err)
	}
	w, _ := home(t)
	cat, _, err := w.Ask.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := cat.Servers[0].ID
	line, err := h.HostKey()
	if err != nil {
		t.Fatal(err)
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	certificate := sshtest.Certify(t, w.HostCA, hostKey, []string{id + ".cardea"}, func(c *ssh.Certificate) {
		c.CertType, c.Extensions, c.Serial, c.KeyId = ssh.HostCert, nil, 1, "cardea:host="+id
	})
	for path, text := range map[string]string{
		"/etc/ssh/cardea/user_ca":          sshtest.Line(w.UserCA.PublicKey()) + "\n",
		"/etc/ssh/cardea/host-cert.pub":    sshtest.Line(certificate) + "\n",
		"/etc/ssh/cardea/principals/alice": "alice@" + id + "\n",
		"/etc/ssh/sshd_config.d/cardea.conf": "HostCertificate /etc/ssh/cardea/host-cert.pub\nTrustedUserCAKeys /etc/ssh/cardea/user_ca\n" +
			"AuthorizedPrincipalsFile /etc/ssh/cardea/principals/%u\nAuthorizedKeysFile none\n",
	} {
		if err := h.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Run(t.Context(), "/usr/sbin/useradd", "-m", "-s", "/bin/bash", "-p", "*", "alice"); err != nil {
		t.Fatal(err)
	}
	if err := h.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, func(conn net.Conn, o *hello.Opened) {
		up, err := n.Dial(t.Context(), "tcp", h.Addr().String()+":22")
		if err != nil {
			return
		}
		defer up.Close()
		conn.Write(o.Accept())
		go func() { io.Copy(up, conn); up.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, up)
	})
	through(w, h.Addr().String()+":22", g.route())
	return w, h
}

// Programs that know nothing of Cardea use ssh's configuration and just work.
func TestSSHScpSftpRsyncAndGitWorkUnchanged(t *testing.T) {
	w, h := realHost(t)
	dir := t.TempDir()
	config := w.Paths.SSHConfig()
	big := make([]byte, 3<<20)
	rand.Read(big)
	local := filepath.Join(dir, "big")
	if err := os.WriteFile(local, big, 0o600); err != nil {
		t.Fatal(err)
	}
	remote := func(path string) []byte {
		t.Helper()
		b, err := h.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	run := func(want int, name string, args ...string) sshtest.Result {
		t.Helper()
		cmd := sshtest.Command(t, name, args...)
		cmd.Env = append(os.Environ(), "GIT_SSH_COMMAND=ssh -F "+config, "GIT_CONFIG_GLOBAL=/dev/null")
		r := sshtest.Run(t, cmd)
		if r.Exit != want {
			t.Errorf("%s %s: exit %d, want %d\n%s%s", name, strings.Join(args, " "), r.Exit, want, r.Stdout, r.Stderr)
		}
		return r
	}

	if r := run(0, "ssh", "-F", config, "web-1", "id -un"); r.Stdout != "alice\n" {
		t.Errorf("id says %q", r.Stdout)
	}
	run(7, "ssh", "-F", config, "web-1", "exit 7")
	run(0, "scp", "-F", config, local, "web-1:scp")
	copies := []string{"scp", "sftp"}
	if sshtest.Version(t) >= 809 { // before, it had its old protocol only
		run(0, "scp", "-O", "-F", config, local, "web-1:scp-o")
		copies = append(copies, "scp-o")
	}
	batch := sshtest.WriteFile(t, dir, "batch", fmt.Sprintf("put %s sftp\nget sftp %s.back\n", local, local))
	run(0, "sftp", "-F", config, "-b", batch, "web-1")
	for _, path := range copies {
		if !bytes.Equal(remote("/home/alice/"+path), big) {
			t.Errorf("%s arrived otherwise", path)
		}
	}
	if back, err := os.ReadFile(local + ".back"); err != nil || !bytes.Equal(back, big) {
		t.Errorf("came back otherwise: %v", err)
	}
	if _, err := exec.LookPath("rsync"); err == nil {
		run(0, "rsync", "-e", "ssh -F "+config, "-a", local, "web-1:rsync")
		if !bytes.Equal(remote("/home/alice/rsync"), big) {
			t.Error("rsync: arrived otherwise")
		}
	} else {
		t.Log("SKIPPED: no rsync on this machine")
	}
	if _, err := exec.LookPath("git"); err == nil {
		run(0, "ssh", "-F", config, "web-1", "git init -q --bare repo")
		work := filepath.Join(dir, "work")
		run(0, "git", "init", "-q", work)
		run(0, "git", "-C", work, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "x")
		run(0, "git", "-C", work, "push", "-q", "ssh://web-1/home/alice/repo", "HEAD:refs/heads/main")
		run(0, "git", "clone", "-q", "-b", "main", "web-1:repo", filepath.Join(dir, "clone"))
	} else {
		t.Log("SKIPPED: no git on this machine")
	}
}

// ControlMaster: the helper and the identity are needed once.
func TestOneConnectionCarriesManySessions(t *testing.T) {
	w, _ := realHost(t)
	socket := filepath.Join(filepath.Dir(w.Paths.Run), "cm")
	base := []string{"-F", w.Paths.SSHConfig(), "-o", "BatchMode=yes", "-o", "ControlPath=" + socket}
	master := sshtest.Command(t, "ssh", append(base, "-M", "-N", "web-1")...)
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	w.Until("the master is there", func() bool { _, err := os.Stat(socket); return err == nil })
	issued := len(w.Control.Calls("POST", "/v1/connect"))
	for range 3 {
		if r := sshtest.Run(t, sshtest.Command(t, "ssh", append(base, "web-1", "id -un")...)); r.Stdout != "alice\n" {
			t.Errorf("through the master: %q %s", r.Stdout, r.Stderr)
		}
	}
	if n := len(w.Control.Calls("POST", "/v1/connect")); n != issued {
		t.Errorf("%d more certificates although the master carried them", n-issued)
	}
	r := sshtest.Run(t, sshtest.Command(t, "ssh", append(base, "-O", "exit", "web-1")...))
	if r.Exit != 0 {
		t.Error(r.Stderr)
	}
	master.Wait()
}

// As many as an ansible run opens: none fails, none stays, and each got a certificate of its own.
func TestManyConnectionsAtOnce(t *testing.T) {
	w, h := realHost(t)
	if err := h.WriteFile("/etc/ssh/sshd_config.d/many.conf", []byte("MaxStartups 500\nMaxSessions 500\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.ReloadSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	results := make(chan sshtest.Result)
	const many = 16
	for range many {
		cmd := sshtest.Command(t, "ssh", "-F", w.Paths.SSHConfig(), "-o", "BatchMode=yes", "web-1", "id -un")
		go func() { results <- sshtest.Run(t, cmd) }()
	}
	for range many {
		if r := <-results; r.Exit != 0 || r.Stdout != "alice\n" {
			t.Errorf("exit %d, %q, %s", r.Exit, r.Stdout, r.Stderr)
		}
	}
	t.Logf("%d connections in %s", many, time.Since(start).Round(time.Millisecond))
	log, err := h.ReadFile("/var/log/auth.log")
	if err != nil {
		t.Fatal(err)
	}
	serials := map[string]bool{}
	for line := range strings.Lines(string(log)) {
		if _, serial, ok := strings.Cut(line, "(serial "); ok && strings.Contains(line, "Accepted") {
			serials[strings.SplitN(serial, ")", 2)[0]] = true
		}
	}
	if len(serials) < many*9/10 {
		t.Errorf("%d different certificates for %d connections", len(serials), many)
	}
	t.Logf("%d different certificates", len(serials))
}
