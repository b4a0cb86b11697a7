package gateway

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

// helper is what a client's ProxyCommand does, on a port of loopback: for each
// connection it calls the gateway, and then it copies.
func helper(t *testing.T, p *plane, g *running, server string) string {
	t.Helper()
	return tcptest.Serve(t, func(local net.Conn) {
		remote, a := newCaller(t, p, server, g).call(g)
		if !a.Accepted {
			t.Errorf("refused: %+v", a)
		}
		remote.SetDeadline(time.Time{})
		go func() { io.Copy(remote, local); remote.CloseWrite() }()
		io.Copy(local, remote)
	})
}

// TestRealSSH runs ssh and scp of this machine to its sshd through a gateway.
func TestRealSSH(t *testing.T) {
	key := sshtest.Key(t)
	sshd := sshtest.Start(t, sshtest.AuthorizedKeys(t, sshtest.Line(key.PublicKey())))
	p := newPlane(t)
	g := runGateway(t, p, nil)
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	host, port, err := net.SplitHostPort(helper(t, p, g, sshd.Addr.String()))
	if err != nil {
		t.Fatal(err)
	}
	// The same host key, at the port of the helper: options before others win.
	alias := append([]string{"-o", "HostName=" + host, "-o", "Port=" + port, "-o", "HostKeyAlias=" + hostKeyName(sshd)}, sshd.ClientOptions(t, identity)...)
	ssh := sshtest.Path(t, "ssh")
	args := append(append([]string{}, alias...), sshd.User+"@"+sshd.Addr.Addr().String(), "echo out; echo err >&2; exit 7")
	got := sshtest.Run(t, sshtest.Command(t, ssh, args...))
	if got.Stdout != "out\n" || !strings.Contains(got.Stderr, "err") || got.Exit != 7 {
		t.Fatalf("ssh: %+v\n%s", got, sshd.Log())
	}
	if end := p.end("gse_1"); end.Up == 0 || end.Down == 0 || end.HostKey != sshtest.Line(sshd.HostKey) || end.HostKeyAlgorithms != "" || end.HostKeyHidden {
		t.Errorf("reported %+v", end)
	}
	dir := t.TempDir()
	text := strings.Repeat("every byte of it\n", 1<<16)
	if err := os.WriteFile(filepath.Join(dir, "from"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "to")
	scp := append(append([]string{"-q"}, alias...), filepath.Join(dir, "from"), fmt.Sprintf("%s@%s:%s", sshd.User, sshd.Addr.Addr(), to))
	if got := sshtest.Run(t, sshtest.Command(t, sshtest.Path(t, "scp"), scp...)); got.Exit != 0 {
		t.Fatalf("scp: %+v", got)
	}
	if copied, err := os.ReadFile(to); err != nil || string(copied) != text {
		t.Errorf("scp brought %d of %d bytes: %v", len(copied), len(text), err)
	}
}

// hostKeyName is how the server stands in its known_hosts file.
func hostKeyName(s *sshtest.Server) string {
	return fmt.Sprintf("[%s]:%d", s.Addr.Addr(), s.Addr.Port())
}
