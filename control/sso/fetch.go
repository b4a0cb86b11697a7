package sso

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Bounds of what is asked of a provider. A person waits behind it, and whoever may begin
// a sign-in can cause it.
const (
	// dialTime is for a connection, and requestTime for all of one request. The page that
	// says that a provider is down is there after that.
	dialTime, requestTime = 3 * time.Second, 5 * time.Second
	// maxAnswer bounds an answer, in bytes, decompressed. Entra's keys have 15 KiB.
	maxAnswer = 256 << 10
	// maxHeader bounds its head, in bytes.
	maxHeader = 32 << 10
	// maxRedirects are followed for documents and keys. What carries a code or a token is
	// never sent on.
	maxRedirects = 2
	// maxConns are the connections to one provider at a time; one that hangs holds no more.
	// On a Monday at nine 34 people a second sign in, each with two requests to a provider
	// that may take 2 s for each.
	maxConns = 256
	// maxIdle are kept between requests; a new one costs three round trips.
	maxIdle = 32
)

// errLarge is of an answer that is longer than maxAnswer.
var errLarge = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)

// guard is the only way to the network.
type guard struct {
	direct, proxied *http.Transport
	loopbackHTTP    bool
}

func newHTTP(o Options) *http.Client {
	g := &guard{direct: newTransport(o), proxied: newTransport(o), loopbackHTTP: o.LoopbackHTTP}
	dialer := &net.Dialer{Timeout: dialTime, Control: refuseAddress}
	g.direct.DialContext = dialer.DialContext
	// A proxy dials by itself, and is where the operator says it is.
	g.proxied.Proxy = http.ProxyFromEnvironment
	return &http.Client{Transport: g, Timeout: requestTime, CheckRedirect: follow}
}

func newTransport(o Options) *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout:    dialTime,
		ResponseHeaderTimeout:  requestTime,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        maxConns,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots},
	}
}

// RoundTrip implements http.RoundTripper. A client calls it for each redirect, too.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkURL(req.URL, g.loopbackHTTP); err != nil {
		return nil, err
	}
	through := g.direct
	switch proxy, err := http.ProxyFromEnvironment(req); {
	case err != nil:
		return nil, err
	case proxy != nil:
		through = g.proxied
	}
	res, err := through.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.ContentLength > maxAnswer {
		res.Body.Close()
		return nil, errLarge
	}
	res.Body = &bounded{ReadCloser: res.Body, left: maxAnswer}
	return res, nil
}

// bounded is a body of at most left bytes: one more is an error and not an end.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if n > b.left {
		return b.left, errLarge
	}
	b.left -= n
	return n, err
}

// follow lets documents move, a little.
func follow(req *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || first.Header.Get("Authorization") != "" || len(via) > maxRedirects {
		return fmt.Errorf("it redirects to %s", clip(req.URL.Redacted()))
	}
	return nil
}

// metadataIPv6 is where AWS keeps the metadata of instances; those of IPv4 are all
// link-local.
var metadataIPv6 = netip.MustParseAddr("fd00:ec2::254")

// refuseAddress looks at an address after its name was resolved. Private ones are
// allowed: that is where many run their provider.
func refuseAddress(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip == metadataIPv6 {
		return fmt.Errorf("the address %s is not one of a provider", ip)
	}
	return nil
}

// checkURL accepts https, and with loopbackHTTP http to this machine.
func checkURL(u *url.URL, loopbackHTTP bool) error {
	if u.Host == "" || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("%q is not the URL of a provider", clip(u.Redacted()))
	}
	ip, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && loopback && loopbackHTTP {
		return nil
	}
	return fmt.Errorf("%q is not https", clip(u.Redacted()))
}

// maxURL bounds an issuer, in bytes: it is part of every user's row.
const maxURL = 512

func checkIssuer(raw string, loopbackHTTP bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxURL || strings.TrimFunc(raw, printable) != "":
		return fmt.Errorf("%q is no URL", clip(raw))
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("an issuer has no query and no fragment")
	}
	return checkURL(u, loopbackHTTP)
}

func printable(r rune) bool { return r > ' ' && r < 0x7f }

// clip is as much of what a provider said as an error repeats.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// get reads a document.
func (i *Issuers) get(ctx context.Context, url, bearer string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := i.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", clip(url), err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %s", clip(url), clip(res.Status))
	}
	return raw, res.Header, nil
}
