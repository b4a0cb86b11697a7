package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/demo/stage"
)

// balancer is haproxy in front of all gateways, set up as docs/gateway.md says.
type balancer struct {
	plain  string // the address that people dial
	inside string // the one for TLS, with a name that nobody here resolves
	tls    string // where haproxy takes what is for inside
	dir    string
	cmd    *exec.Cmd
}

// gatewayName is by what haproxy routes TLS.
const gatewayName = "gw.example.test"

// newBalancer finds two ports.
func newBalancer(dir string) (*balancer, error) {
	b := &balancer{dir: dir, inside: gatewayName + ":443"}
	for _, to := range []*string{&b.plain, &b.tls} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		*to = l.Addr().String()
	}
	return b, nil
}

// start runs haproxy; without plain it takes TLS alone, as a strict network does.
func (b *balancer) start(gateways []*stage.Gateway, plain bool) error {
	b.stop()
	var c strings.Builder
	fmt.Fprint(&c, `global
    maxconn 4000
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 2s
    option redispatch 1
    retries 3
`)
	if plain {
		fmt.Fprintf(&c, "frontend plain\n    bind %s\n    default_backend plain\n", b.plain)
	}
	fmt.Fprintf(&c, `frontend inside
    bind %s
    tcp-request inspect-delay 5s
    tcp-request content accept if { req.ssl_hello_type 1 }
    use_backend inside if { req.ssl_sni -i %s }
`, b.tls, gatewayName)
	for _, name := range []string{"plain", "inside"} {
		fmt.Fprintf(&c, "backend %s\n    balance roundrobin\n    option httpchk GET /readyz\n    default-server check inter 500ms fall 1 rise 1 send-proxy-v2\n", name)
		for _, g := range gateways {
			address := g.Listen
			if name == "inside" {
				address = g.Inside
			}
			_, port, _ := net.SplitHostPort(g.Health)
			fmt.Fprintf(&c, "    server %s %s port %s\n", g.Name, address, port)
		}
	}
	file := filepath.Join(b.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(c.String()), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(b.dir, "log", "haproxy.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	b.cmd = exec.Command("haproxy", "-db", "-f", file)
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(longest); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", b.tls)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("haproxy does not listen: %w", err)
		}
	}
}

// proxy is an HTTP proxy on alice's network: it lets only port 443 pass, and knows where the
// gateway's name leads.
func (b *balancer) proxy(t testing.TB) (url string) {
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != b.inside {
			http.Error(w, "not from here", http.StatusForbidden)
			return
		}
		up, err := net.Dial("tcp", b.tls)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(up, conn); up.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, up)
	}))
	t.Cleanup(p.Close)
	return p.URL
}

func (b *balancer) stop() {
	if b.cmd != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
		b.cmd = nil
	}
}
