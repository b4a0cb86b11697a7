package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/cardea-ssh/cardea/api"
)

// ControlFacts are what one call to the control plane has shown, part by part. A part that
// it did not come to is zero.
type ControlFacts struct {
	URL   string
	Proxy string // host and port, without any password
	// ProxyErr says that HTTPS_PROXY cannot be used.
	ProxyErr error

	Addresses []string
	DNSErr    error
	DNS       time.Duration
	Address   string // that took the connection
	TCPErr    error
	TCP       time.Duration
	TLSErr    error
	TLS       time.Duration
	Issuer    string
	NotAfter  time.Time
	Err       error // of the call as a whole
	Took      time.Duration
	Team      string
	Version   string
	// Date is the control plane's clock, and At this machine's in the same moment.
	Date, At time.Time
}

// Environment is the proxy settings of this process.
func Environment() *httpproxy.Config { return httpproxy.FromEnvironment() }

// LookAtControl asks a control plane who it is, which needs no session.
func LookAtControl(ctx context.Context, base string, client *http.Client, proxies *httpproxy.Config) ControlFacts {
	f := ControlFacts{URL: base}
	u, err := url.Parse(base)
	if err != nil {
		f.Err = err
		return f
	}
	proxy, err := proxies.ProxyFunc()(u)
	if f.ProxyErr = err; err != nil {
		return f
	}
	if proxy != nil {
		f.Proxy = proxy.Host
	}
	w := &watched{facts: &f, next: client.Transport, begun: map[string]time.Time{}}
	began := time.Now()
	c := &api.Client{URL: base, HTTP: &http.Client{Transport: w, CheckRedirect: client.CheckRedirect}}
	var team api.Team
	_, err = c.Get(httptrace.WithClientTrace(ctx, w.trace()), "/v1/team", nil, &team)
	w.mu.Lock() // a dial that lost the race may still tell
	defer w.mu.Unlock()
	out := f
	out.Err, out.Took, out.Team, out.Version = err, time.Since(began), team.Name, team.Version
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		out.Err = api.Errorf(api.Unavailable, "the control plane at %s does not answer", base).WithHint("check the network, then try again")
	}
	w.facts = &ControlFacts{}
	return out
}

// watched notes the parts of a call.
type watched struct {
	next http.RoundTripper

	mu    sync.Mutex // guards what follows: two addresses are dialled at once
	facts *ControlFacts
	began time.Time
	begun map[string]time.Time
}

// RoundTrip keeps the clock that the answer shows.
func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	res, err := w.next.RoundTrip(r)
	if err != nil {
		return res, err
	}
	at := time.Now()
	if date, perr := http.ParseTime(res.Header.Get("Date")); perr == nil {
		w.mu.Lock()
		// Between sending and reading, and the header has whole seconds, cut off.
		w.facts.Date, w.facts.At = date.Add(500*time.Millisecond), sent.Add(at.Sub(sent)/2)
		w.mu.Unlock()
	}
	return res, nil
}

func (w *watched) trace() *httptrace.ClientTrace {
	locked := func(do func(f *ControlFacts)) {
		w.mu.Lock()
		defer w.mu.Unlock()
		do(w.facts)
	}
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { locked(func(*ControlFacts) { w.began = time.Now() }) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			locked(func(f *ControlFacts) {
				f.DNS, f.DNSErr = time.Since(w.began), i.Err
				for _, a := range i.Addrs {
					f.Addresses = append(f.Addresses, a.String())
				}
			})
		},
		ConnectStart: func(_, address string) { locked(func(*ControlFacts) { w.begun[address] = time.Now() }) },
		ConnectDone: func(_, address string, err error) {
			locked(func(f *ControlFacts) {
				if err != nil {
					f.TCPErr = err
				} else {
					f.Address, f.TCP, f.TCPErr = address, time.Since(w.begun[address]), nil
				}
			})
		},
		TLSHandshakeStart: func() { locked(func(*ControlFacts) { w.began = time.Now() }) },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			locked(func(f *ControlFacts) {
				f.TLS, f.TLSErr = time.Since(w.began), err
				if len(s.PeerCertificates) > 0 {
					leaf := s.PeerCertificates[0]
					f.Issuer, f.NotAfter = cmp.Or(leaf.Issuer.CommonName, leaf.Issuer.String()), leaf.NotAfter
				}
			})
		},
	}
}

// renewCertificate is when a certificate that ends is worth a word to its administrator.
const renewCertificate = 7 * 24 * time.Hour

// Control judges the way to the control plane: proxy, name, connection, TLS, answer, clock.
func Control(f ControlFacts) []Finding {
	const check = "control-plane"
	if f.URL == "" {
		return []Finding{Skip(check, "none is known here; sign in to one first")}
	}
	text, cure := "", ""
	if f.Err != nil {
		text, cure = Told(f.Err)
	}
	cure = cmp.Or(cure, "check the network, then try again")
	out := []Finding{}
	switch {
	case f.ProxyErr != nil:
		return []Finding{failed("proxy", "to see it type: env | grep -i _proxy", "HTTPS_PROXY cannot be used: %v", f.ProxyErr)}
	case f.Proxy != "":
		out = append(out, ok("proxy", "the way leads through %s, as HTTPS_PROXY says", f.Proxy))
	default:
		out = append(out, ok("proxy", "none is set for the control plane"))
	}
	whose := "the control plane's name"
	if f.Proxy != "" {
		whose = "the proxy's name"
	}
	switch {
	case f.DNSErr != nil:
		return append(out, failed("dns", cure, "%s", cmp.Or(text, f.DNSErr.Error())))
	case len(f.Addresses) > 0:
		out = append(out, ok("dns", "%s is %s, looked up within %s", whose, f.Addresses[0], millis(f.DNS)))
	}
	switch {
	case f.Address == "" && f.Err != nil:
		if f.TCPErr != nil {
			text = fmt.Sprintf("%s (%v)", text, f.TCPErr)
		}
		return append(out, failed("tcp", cure, "%s", text))
	case f.Address != "":
		out = append(out, ok("tcp", "connected to %s within %s", f.Address, millis(f.TCP)))
	}
	switch {
	case f.TLSErr != nil:
		return append(out, failed("tls", cure, "%s (%s)", text, cause(f.TLSErr)))
	case !f.NotAfter.IsZero() && f.NotAfter.Sub(f.At) < renewCertificate:
		out = append(out, warning("tls", "tell an administrator", "its certificate ends %s", f.NotAfter.Format(time.DateOnly)))
	case !f.NotAfter.IsZero():
		out = append(out, ok("tls", "signed by %s, good until %s", f.Issuer, f.NotAfter.Format(time.DateOnly)))
	}
	if f.Err != nil {
		out = append(out, failed(check, cure, "%s", text))
	} else {
		out = append(out, ok(check, "%s of team %s, version %s, answered within %s", f.URL, f.Team, f.Version, millis(f.Took)))
	}
	return append(out, Clock(f))
}

// cause is the innermost reason of a handshake that failed.
func cause(err error) string {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return untrusted.Err.Error()
	}
	return err.Error()
}

// loose is how far two clocks may be apart before it is worth a word. Beyond it times on
// screens are wrong; certificates last for minutes, and beyond those nothing works.
const (
	loose  = 30 * time.Second
	broken = 2 * time.Minute
)

// Clock judges this machine's clock by the control plane's.
func Clock(f ControlFacts) Finding {
	const check = "clock"
	if f.Date.IsZero() {
		return Skip(check, "the control plane did not tell the time")
	}
	skew := f.At.Sub(f.Date)
	way := "ahead"
	if skew < 0 {
		way, skew = "behind", -skew
	}
	switch {
	case skew > broken:
		return failed(check, "set it; on Linux type: sudo timedatectl set-ntp true", "this machine's clock is %s %s of the control plane's", skew.Round(time.Second), way)
	case skew > loose:
		return warning(check, "set it; on Linux type: sudo timedatectl set-ntp true", "this machine's clock is %s %s of the control plane's", skew.Round(time.Second), way)
	}
	return ok(check, "within %s of the control plane's", max(time.Second, skew.Round(time.Second)))
}

// Gateway is one address of a gateway and how the way there was.
type Gateway struct {
	Address string
	TLS     bool   // it is dialled inside TLS
	Proxy   string // host and port of the one that leads there
	Took    time.Duration
	Err     error
}

// gatewayTime bounds the dialling of one. It is a person who waits.
const gatewayTime = 4 * time.Second

// Dial opens a connection, through the proxy that there is for an address.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// LookAtGateways dials all at once, and says nothing to any.
func LookAtGateways(ctx context.Context, gateways []Gateway, dial Dial, proxies *httpproxy.Config) []Gateway {
	var all sync.WaitGroup
	for i := range gateways {
		g := &gateways[i]
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, gatewayTime)
			defer cancel()
			if proxy, err := proxies.ProxyFunc()(&url.URL{Scheme: "https", Host: g.Address}); err == nil && proxy != nil {
				g.Proxy = proxy.Host
			}
			began := time.Now()
			conn, err := dial(ctx, g.Address)
			if g.Took, g.Err = time.Since(began), err; err == nil {
				conn.Close()
			}
		})
	}
	all.Wait()
	return gateways
}

// GatewayFacts are about gateways: those to which connections from here were led, or those of
// one server.
type GatewayFacts struct {
	Gateways []Gateway
	// Server is one that is looked at as well; "" if there is none.
	Server string
	// Led says that the control plane leads to Server by Gateways, and by no others.
	Led bool
}

// Gateways judges them: one that is down is no hindrance while another is there.
func Gateways(f GatewayFacts) []Finding {
	const check = "gateway"
	switch {
	case len(f.Gateways) > 0:
	case f.Led:
		return []Finding{ok(check, "the way to %s leads through none", f.Server)}
	case f.Server != "":
		return []Finding{Skip(check, "no connection from here was led to one yet; the way to "+f.Server+" is looked at by itself")}
	default:
		return []Finding{Skip(check, "no connection from here was led to one yet; to look at a server's type: cardea doctor SERVER")}
	}
	reached, where := 0, ""
	if f.Led {
		where = " on the way to " + f.Server
	}
	for _, g := range f.Gateways {
		if g.Err == nil {
			reached++
		}
	}
	var out []Finding
	for _, g := range f.Gateways {
		through := where
		if g.Proxy != "" {
			through += " through " + g.Proxy
		}
		switch {
		case g.Err == nil:
			out = append(out, ok(check, "%s%s took a connection within %s", g.Address, through, millis(g.Took)))
		case reached > 0:
			out = append(out, warning(check, "none is needed: another one is reached", "%s%s: %s", g.Address, through, Plain(g.Err)))
		default:
			out = append(out, failed(check, "ask who runs your network to let TCP through to it, or your administrator for a way inside TLS", "%s%s: %s", g.Address, through, Plain(g.Err)))
		}
	}
	return out
}

// Plain is the reason in an error of the network.
func Plain(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.As(err, &op) && op.Timeout():
		return "no answer"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}
