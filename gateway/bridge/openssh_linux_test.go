package bridge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/vhost"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// real is a stage in front of a real sshd, on a host of its own.
type real struct {
	*stage
	*vhost.Host
}

// newReal makes it. lines of configuration win over the defaults.
func newReal(t testing.TB, change func(*Options), lines ...string) *real {
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
	m := newTeam(t, "alice")
	line, err := h.HostKey()
	if err != nil {
		t.Fatal(err)
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/etc/ssh/cardea/user_ca":          sshtest.Line(m.userCA.PublicKey()) + "\n",
		"/etc/ssh/cardea/host-cert.pub":    sshtest.Line(m.host(m.hostCA, hostKey)) + "\n",
		"/etc/ssh/cardea/principals/alice": sshcert.UserPrincipal(m.login, m.server) + "\n",
		"/etc/ssh/sshd_config.d/cardea.conf": strings.Join(append(lines, "HostCertificate /etc/ssh/cardea/host-cert.pub", "TrustedUserCAKeys /etc/ssh/cardea/user_ca",
			"AuthorizedPrincipalsFile /etc/ssh/cardea/principals/%u", "AuthorizedKeysFile none", "MaxSessions 100", "PrintLastLog no"), "\n") + "\n",
	} {
		if err := h.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Run(t.Context(), "/usr/sbin/useradd", "-m", "-s", "/bin/bash", "-p", "*", m.login); err != nil {
		t.Fatal(err)
	}
	if err := h.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, error) { return n.Dial(t.Context(), "tcp", h.Addr().String()+":22") }
	return &real{serveStage(t, m, dial, change), h}
}

func TestACommandItsOutputAndItsExitCodePass(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	got := s.run("web-1", "echo out; echo err >&2; exit 7")
	if got.Stdout != "out\n" || got.Stderr != "err\n" || got.Exit != 7 {
		t.Fatalf("got %+v", got)
	}
	e := s.end()
	if e.err != nil || e.Cause != CauseClient {
		t.Errorf("ended with %+v", e)
	}
	if e.rec.bytes(recording.Output) != "out\n" || e.rec.bytes(recording.Errput) != "err\n" {
		t.Errorf("recorded %q and %q", e.rec.bytes(recording.Output), e.rec.bytes(recording.Errput))
	}
	if x := all[recording.Exited](t, e.rec, recording.Exit); len(x) != 1 || x[0].Code != 7 {
		t.Errorf("recorded %+v", x)
	}
}

func TestSftpAndScpBringWholeFiles(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	dir := t.TempDir()
	text := strings.Repeat("every byte of it\n", 1<<16)
	from := filepath.Join(dir, "from")
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	hows := []string{"-s", "-O"}
	if sshtest.Version(t) < 807 {
		hows = []string{"-q"} // it has the old protocol alone, and no name for it
	}
	for _, how := range hows {
		to, back := "/home/alice/to"+how, filepath.Join(dir, "back"+how)
		for _, pair := range [][2]string{{from, "web-1:" + to}, {"web-1:" + to, back}} {
			args := append(append([]string{"-q", how}, s.ssh...), pair[0], pair[1])
			if got := sshtest.Run(t, sshtest.Command(t, "scp", args...)); got.Exit != 0 {
				t.Fatalf("scp %s: %+v", how, got)
			}
		}
		if copied, err := os.ReadFile(back); err != nil || string(copied) != text {
			t.Errorf("scp %s brought %d of %d bytes: %v", how, len(copied), len(text), err)
		}
		for _, action := range []string{"upload", "download"} {
			rec := s.end().rec
			if strings.Contains(rec.bytes(recording.Output), "every byte") {
				t.Errorf("scp %s: the content is in the recording", how)
			}
			found := false
			for _, f := range all[recording.FileAction](t, rec, recording.File) {
				sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
				found = found || f.Action == action && f.Path == to && f.Size == int64(len(text)) && f.SHA256 == sum && f.Whole
			}
			if !found {
				t.Errorf("scp %s: no %s of %s is recorded, but %+v", how, action, to, all[recording.FileAction](t, rec, recording.File))
			}
		}
	}
}

func TestAShellHasATerminal(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	got := s.run("-tt", "web-1", "tty; stty size; exit 3")
	if !strings.Contains(got.Stdout, "/dev/pts/") || got.Exit != 3 {
		t.Errorf("got %+v", got)
	}
	e := s.end()
	if r := all[recording.Requested](t, e.rec, recording.Request); len(r) < 2 || r[0].Type != "pty-req" {
		t.Errorf("recorded %+v", r)
	}
	if !strings.Contains(e.rec.bytes(recording.Output), "/dev/pts/") {
		t.Errorf("recorded %q", e.rec.bytes(recording.Output))
	}
}

func TestEveryExitCodeAndSignalArrives(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	for _, code := range []int{0, 1, 2, 126, 127, 254} {
		if got := s.run("web-1", fmt.Sprintf("exit %d", code)); got.Exit != code {
			t.Errorf("exit %d came as %d", code, got.Exit)
		}
	}
	if got := s.run("web-1", "kill -TERM $$"); got.Exit != 255 {
		t.Errorf("a signal came as %+v", got)
	}
}

func TestWhatIsNoFileTransferIsKeptWhateverItsName(t *testing.T) {
	t.Parallel()
	s := newReal(t, nil)
	if _, err := s.Run(t.Context(), "/bin/sh", "-c", `mkdir -p /home/alice/bin && printf '#!/bin/sh\ncat /etc/hostname; echo shown\n' >/home/alice/bin/scp && chmod -R 755 /home/alice/bin && ln -s /home/alice/bin/scp /usr/local/bin/scp`); err != nil {
		t.Fatal(err)
	}
	cmd := sshtest.Command(t, "ssh", append(s.ssh, "web-1", "scp -f /etc/hostname")...)
	cmd.Stdin = strings.NewReader("\x00") // as the one who receives begins
	got := sshtest.Run(t, cmd)
	if !strings.Contains(got.Stdout, "shown") {
		t.Fatalf("%+v", got)
	}
	if kept := s.end().rec.bytes(recording.Output); !strings.Contains(kept, "shown") {
		t.Errorf("recorded %q", kept)
	}
	for _, command := range []string{"scp -f /etc/hostname", "/usr/bin/scp -f /nowhere; echo shown", "sftp-server -h; echo shown"} {
		got := s.run("-n", "web-1", command)
		if !strings.Contains(got.Stdout, "shown") {
			t.Fatalf("%s: %+v", command, got)
		}
		if kept := s.end().rec.bytes(recording.Output); strings.Count(kept, "shown") != 1 {
			t.Errorf("%s: recorded %q", command, kept)
		}
	}
}
