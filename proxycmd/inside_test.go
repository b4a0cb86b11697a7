package proxycmd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

// inside opens the gateway's listener for TLS and returns its address, the route with both
// ways, and how many came inside.
func (g *gateway) inside(t testing.TB) (string, api.Route, *atomic.Int32) {
	t.Helper()
	l, hits := tcptest.Listen(t), new(atomic.Int32)
	go tcptest.Each(tls.NewListener(l, hello.ServerTLS()), func(c net.Conn) { hits.Add(1); g.meet(c) })
	r := g.route()
	r.TLS = &api.TLSRoute{Address: l.Addr().String(), Recipients: r.Recipients}
	return l.Addr().String(), r, hits
}

// passing are the two ways in which ssh gets its connection.
func passing(t testing.TB) map[string][]string {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"copied":            {"-o", `ProxyCommand="` + binary + `" proxycommand %h %p %r`, "-o", "ProxyUseFdpass=no"},
		"passed descriptor": {"-o", `ProxyCommand="` + binary + `" proxycommand --fdpass %h %p %r`, "-o", "ProxyUseFdpass=yes"},
	}
}

func greeted(t testing.TB, name string, r sshtest.Result) {
	t.Helper()
	if r.Exit != 0 || r.Stdout != "hello alice\n" || r.Stderr != "" {
		t.Errorf("%s: exit %d, stdout %q, stderr %q", name, r.Exit, r.Stdout, r.Stderr)
	}
}

func TestWhereThePlainWayIsClosedTheOneInsideTLSIsTakenAndRemembered(t *testing.T) {
	for name, options := range passing(t) {
		t.Run(name, func(t *testing.T) {
			w, s := home(t)
			g := newGateway(t, relayTo(s.Addr))
			_, route, inside := g.inside(t)
			open := route.Address
			route.Address = nobody
			through(w, s.Addr, route)
			greeted(t, "the first", realSSH(w, options...))
			// Now that it has worked it comes first, though the other would do again: but for a
			// machine so slow that the other, which begins beside it after a while, overtakes it.
			route.Address = open
			through(w, s.Addr, route)
			for range 5 {
				greeted(t, "another", realSSH(w, options...))
				if inside.Load() > 1 {
					return
				}
			}
			t.Errorf("%d of %d came inside TLS", inside.Load(), g.Hits.Load())
		})
	}
}

func TestThePlainWayIsTakenWhereItIsOpen(t *testing.T) {
	w, s := home(t)
	g := newGateway(t, relayTo(s.Addr))
	_, route, inside := g.inside(t)
	through(w, s.Addr, route)
	greeted(t, "ssh", realSSH(w))
	if inside.Load() != 0 {
		t.Error("it was tried inside TLS")
	}
}

// A firewall that drops packets says nothing: the other way begins beside it.
func TestTheWayInsideTLSBeginsBesideOneThatHangs(t *testing.T) {
	routes := []agent.Route{{Address: "gw:7234", Hello: []byte("x")}, {Address: "gw:443", Hello: []byte("x"), TLS: true}}
	began := make(chan time.Time, 2)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := race{note: Options{}.note, journal: new(journal), dial: func(ctx context.Context, r agent.Route) (net.Conn, error) {
		began <- time.Now()
		if !r.TLS {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		cancel()
		return nil, ctx.Err()
	}}.run(ctx, routes)
	if err == nil {
		t.Fatal("nobody answered, and there is a connection")
	}
	if first, second := <-began, <-began; second.Sub(first) < nextAfter {
		t.Errorf("the second began after %s", second.Sub(first))
	}
}

// proxy is an HTTP proxy of a company: it asks who somebody is, lets port 443 pass alone,
// and knows where the gateway is.
type proxy struct {
	url   string
	mu    sync.Mutex
	asked []string // addresses
}

func newProxy(t *testing.T, secure *tls.Config, gateway string) *proxy {
	l := tcptest.Listen(t)
	p := &proxy{url: "http://" + l.Addr().String()}
	if secure != nil {
		l, p.url = tls.NewListener(l, secure), "https://localhost:"+strings.TrimPrefix(l.Addr().String(), "127.0.0.1:")
	}
	go tcptest.Each(l, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		p.mu.Lock()
		p.asked = append(p.asked, r.Host)
		p.mu.Unlock()
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:pass word"))
		switch {
		case r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want:
			io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n")
		case !strings.HasSuffix(r.Host, ":443"):
			io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		default:
			up, err := net.Dial("tcp", gateway)
			if err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			defer up.Close()
			go func() { io.Copy(up, conn); up.(*net.TCPConn).CloseWrite() }()
			io.Copy(conn, up)
			conn.(halfCloser).CloseWrite()
		}
	})
	return p
}

// identity makes a certificate for localhost and the file in which it is trusted.
func identity(t *testing.T) (*tls.Config, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

func TestThroughAProxyThatAsksWhoSomebodyIsAndLetsOnlyPort443Pass(t *testing.T) {
	config, trusted := identity(t)
	for scheme, secure := range map[string]*tls.Config{"http": nil, "https": config} {
		for name, options := range passing(t) {
			t.Run(scheme+", "+name, func(t *testing.T) {
				w, s := home(t)
				g := newGateway(t, relayTo(s.Addr))
				addr, route, inside := g.inside(t)
				route.Address, route.TLS.Address = "gw.example.test:7234", "gw.example.test:443"
				through(w, s.Addr, route)
				p := newProxy(t, secure, addr)
				set := func(user string) { t.Setenv("HTTPS_PROXY", strings.Replace(p.url, "://", "://"+user, 1)) }
				t.Setenv("SSL_CERT_FILE", trusted)
				set("alice:pass%20word@")
				greeted(t, "with the password", realSSH(w, options...))
				// The plain way is asked for first; on a slow machine it may be given up before it asks.
				if inside.Load() != 1 || !slices.Contains(p.asked, route.TLS.Address) {
					t.Errorf("%d came inside TLS, and the proxy was asked for %v", inside.Load(), p.asked)
				}
				set("alice:wrong@")
				if r := realSSH(w, options...); r.Exit != 255 || !strings.Contains(r.Stderr, "wants a user and a password") {
					t.Errorf("with a wrong password: exit %d, stderr %q", r.Exit, r.Stderr)
				}
				t.Setenv("NO_PROXY", "gw.example.test")
				if r := realSSH(w, options...); r.Exit != 255 || strings.Contains(r.Stderr, "HTTPS_PROXY") {
					t.Errorf("without a proxy the name is unknown: exit %d, stderr %q", r.Exit, r.Stderr)
				}
			})
		}
	}
	t.Run("whose certificate is not trusted", func(t *testing.T) {
		w, s := home(t)
		g := newGateway(t, relayTo(s.Addr))
		addr, route, _ := g.inside(t)
		route.Address, route.TLS.Address = "gw.example.test:7234", "gw.example.test:443"
		through(w, s.Addr, route)
		p := newProxy(t, config, addr)
		t.Setenv("HTTPS_PROXY", strings.Replace(p.url, "://", "://alice:pass%20word@", 1))
		if r := realSSH(w); r.Exit != 255 || !strings.Contains(r.Stderr, "certificate") || len(p.asked) > 0 {
			t.Errorf("exit %d, stderr %q; it was told the password %d times", r.Exit, r.Stderr, len(p.asked))
		}
	})
}

// Behind a balancer the next member may be going, too; each try has an identity of its own.
func TestAGatewayThatHangsUpIsTriedAgainForAWhile(t *testing.T) {
	w, s := home(t)
	var g *gateway
	g = newGateway(t, func(conn net.Conn, o *hello.Opened) {
		if g.Hits.Load() >= maxTries {
			relayTo(s.Addr)(conn, o)
		}
	})
	through(w, s.Addr, g.route())
	greeted(t, "the last try", realSSH(w))
	never := newGateway(t, func(net.Conn, *hello.Opened) {})
	through(w, s.Addr, never.route())
	if r := realSSH(w); r.Exit != 255 || never.Hits.Load() != maxTries || !strings.Contains(r.Stderr, "closed the connection") {
		t.Errorf("exit %d, %d tries, stderr %q", r.Exit, never.Hits.Load(), r.Stderr)
	}
}

var _ Agent = (*agent.Control)(nil)
