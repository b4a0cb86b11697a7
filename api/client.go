package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Prover makes a proof of possession (RFC 9449) for one request. Token is empty
// for calls that come before there is one.
type Prover interface {
	Proof(method, url, nonce, token string) (string, error)
}

// Client speaks to one control plane. It is safe for concurrent use and keeps
// its connections; make one and keep it. The zero values of the optional
// fields work.
type Client struct {
	// URL is the public URL of the control plane, without a trailing slash.
	URL string
	// Prover proves every call; nil only for public ones.
	Prover Prover
	// Token is sent with each call; empty for public calls and enrolment.
	Token string
	// Fresh, if it is set, gives the token for each try in place of Token: another process
	// may have replaced that while this one slept.
	Fresh func() string
	// HTTP does the transport; nil means NewTransport's defaults.
	HTTP *http.Client
	// UserAgent names the program and version.
	UserAgent string
	// Slow, if it is set, is called beside each try that waits for nothing, where that is
	// without an answer for a while: a person may want to know what he waits for.
	Slow func()

	once  sync.Once
	mu    sync.Mutex
	nonce string // the newest nonce of the server; guarded by mu
}

// dialTimeout bounds a connection attempt: a person waits behind it. Five
// seconds is also the promise for "the control plane is down".
const dialTimeout = 4 * time.Second

// answerTime bounds how long a call that waits for nothing is without the beginning of an
// answer: a person sits before it. The control plane ends such a call by itself after 20 s, and
// one of a stranger after 25.
const answerTime = 30 * time.Second

// takeTime bounds how long an answer may take that has begun. 32 MiB pass in it at 2.3
// Mbit/s; what comes a byte at a time holds nobody for ever.
const takeTime = 2 * time.Minute

// slowAfter is for how long that is.
const slowAfter = 3 * time.Second

// errSilent ends a call that nobody answers, or not to the end.
var errSilent = errors.New("no answer within the time of a call")

// pingAfter is how long a connection may be silent before it is asked whether
// it lives: a laptop that changed its network must not send the next call, or
// wait out a long poll, on a connection that leads nowhere.
const pingAfter = 15 * time.Second

// NewHTTP returns an HTTP client fit for the control plane: proxies from the
// environment, bounded dialling, HTTP/2, no redirects (a proof is good for one
// URL only, so a redirect is an error to be seen). Tune may be nil.
func NewHTTP(tune func(*http.Transport)) *http.Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: LongPoll + 15*time.Second,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       10 * time.Minute,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: dialTimeout},
	}
	if tune != nil {
		tune(t)
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// CheckURL accepts https, and http for loopback alone: a token over an open
// wire is an invitation even if it is bound to a key.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not the URL of a control plane; give it as https://access.example.com", raw)
	}
	if net.ParseIP(u.Hostname()) == nil && !hostName(u.Hostname()) {
		return fmt.Errorf("%q is not the URL of a control plane; give it as https://access.example.com", raw)
	}
	switch {
	case u.Scheme == "https", u.Scheme == "http" && loopback(u):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("%q has no TLS; give it as https://%s", raw, u.Host)
	}
	return fmt.Errorf("%q is not the URL of a control plane; give it as https://access.example.com", raw)
}

// loopback reports whether u is of this machine, which needs no TLS.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// hostName accepts what DNS does, without a first hyphen: a URL that somebody
// else proposed ends up in sentences that say what to type next.
func hostName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
	return s != "" && s[0] != '-' && strings.Trim(s, letters) == ""
}

// Get reads path into out (nil to ignore it). A nil error with found false is 304 Not Modified or
// 204: nothing new within the wait.
func (c *Client) Get(ctx context.Context, path string, query url.Values, out any) (found bool, err error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, outgoing{method: http.MethodGet, path: path}, out)
}

// Send calls path with a method and a JSON body (nil for none) and reads the
// answer into out (nil to ignore it). One idempotency key serves all tries of
// this call.
func (c *Client) Send(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode %s: %w", path, err)
		}
	}
	_, err := c.call(ctx, outgoing{method: method, path: path, mediaType: "application/json", body: body}, out)
	return err
}

// Open reads path, whose answer is no JSON. The caller reads the body, bounds what he takes of
// it, and closes it; ctx ends it.
func (c *Client) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	var o opened
	found, err := c.call(ctx, outgoing{method: http.MethodGet, path: path}, &o)
	if err == nil && (!found || o.body == nil) {
		err = foreign(c.URL, nil)
	}
	return o.body, err
}

// opened is where an answer goes that is not read here.
type opened struct{ body io.ReadCloser }

// Redeem trades an authorization code for a session, or signs in a program: POST
// /oauth/token, whose body is a form (RFC 6749 sections 4.1.3 and 4.4). The prover's key
// must be the one that the authorization request named, or a registered one.
func (c *Client) Redeem(ctx context.Context, form url.Values) (SignedIn, error) {
	var in SignedIn
	found, err := c.call(ctx, outgoing{
		method: http.MethodPost, path: "/oauth/token",
		mediaType: "application/x-www-form-urlencoded", body: []byte(form.Encode()),
	}, &in)
	if err == nil && (!found || in.AccessToken == "" || !strings.EqualFold(in.TokenType, "DPoP")) {
		err = foreign(c.URL, nil)
	}
	return in, err
}

// outgoing is one call; all its tries are alike but for the proof.
type outgoing struct {
	method, path string
	mediaType    string
	body         []byte // nil for none
	key          string // of idempotency
}

// polls reports whether the server is told to wait. A path may have words of others in it: that
// stands in the query alone.
func (o outgoing) polls() bool {
	_, query, _ := strings.Cut(o.path, "?")
	q, err := url.ParseQuery(query)
	return err == nil && q.Has("wait")
}

// call tries once, and once more where the server asks for its newer nonce.
func (c *Client) call(ctx context.Context, o outgoing, out any) (bool, error) {
	c.once.Do(func() {
		if c.HTTP == nil {
			c.HTTP = NewHTTP(nil)
		}
	})
	if o.method != http.MethodGet {
		o.key = rand.Text()
	}
	found, err := c.try(ctx, o, out)
	if KindOf(err) == UseNonce {
		found, err = c.try(ctx, o, out)
	}
	return found, err
}

// try gives up on an answer that does not begin, or does not end, but for one that is read by
// somebody else.
func (c *Client) try(ctx context.Context, o outgoing, out any) (bool, error) {
	if _, open := out.(*opened); open {
		return c.exchange(ctx, o, out, func() {})
	}
	polls, patience := o.polls(), answerTime
	if polls {
		patience += LongPoll
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(patience, func() { cancel(errSilent) })
	defer silent.Stop()
	begun := func() { silent.Reset(takeTime) }
	if c.Slow != nil && !polls {
		slow := time.AfterFunc(slowAfter, c.Slow)
		defer slow.Stop()
		begun = func() { slow.Stop(); silent.Reset(takeTime) }
	}
	found, err := c.exchange(ctx, o, out, begun)
	if err != nil && context.Cause(ctx) == errSilent {
		err = unanswered(c.URL, errSilent)
	}
	return found, err
}

// exchange sends a request and reads what is answered; begun is called when that begins.
func (c *Client) exchange(ctx context.Context, o outgoing, out any, begun func()) (bool, error) {
	req, err := c.request(ctx, o)
	if err != nil {
		return false, err
	}
	res, err := c.HTTP.Do(req)
	begun()
	if err != nil {
		return false, unreachable(c.URL, err)
	}
	if n := res.Header.Get(HeaderNonce); n != "" {
		c.mu.Lock()
		c.nonce = n
		c.mu.Unlock()
	}
	if o, ok := out.(*opened); ok && res.StatusCode == http.StatusOK {
		o.body = res.Body
		return true, nil
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer+1))
	if err != nil {
		return false, unreachable(c.URL, err)
	}
	if len(raw) > MaxAnswer {
		return false, Errorf(Foreign, "%s answered more than %d bytes", c.URL, MaxAnswer)
	}
	switch {
	case res.StatusCode == http.StatusNotModified, res.StatusCode == http.StatusNoContent:
		return false, nil
	case res.StatusCode >= 300:
		return false, problem(res, raw)
	case out == nil:
		return true, nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return false, foreign(c.URL, err)
	}
	return true, nil
}

func (c *Client) request(ctx context.Context, o outgoing) (*http.Request, error) {
	target := strings.TrimSuffix(c.URL, "/") + o.path
	req, err := http.NewRequestWithContext(ctx, o.method, target, bytes.NewReader(o.body))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", target, err)
	}
	req.Header.Set("Accept", "application/json")
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	if o.body != nil {
		req.Header.Set("Content-Type", o.mediaType)
	}
	if o.key != "" {
		req.Header.Set(HeaderIdempotency, o.key)
	}
	token := c.Token
	if c.Fresh != nil {
		token = c.Fresh()
	}
	if token != "" {
		req.Header.Set("Authorization", "DPoP "+token)
	}
	if c.Prover == nil {
		return req, nil
	}
	c.mu.Lock()
	nonce := c.nonce
	c.mu.Unlock()
	bare, _, _ := strings.Cut(target, "?")
	proof, err := c.Prover.Proof(o.method, bare, nonce, token)
	if err != nil {
		return nil, fmt.Errorf("prove the device key: %w", err)
	}
	req.Header.Set(HeaderProof, proof)
	return req, nil
}

// problem reads an error answer. What is not a problem document of ours came
// from something in between, and is described, not quoted.
func problem(res *http.Response, raw []byte) error {
	var e Error
	if err := json.Unmarshal(raw, &e); err != nil || e.Kind == "" {
		if o, ok := oauthProblem(raw); ok {
			return o
		}
		kind := Foreign
		if res.StatusCode == http.StatusBadGateway || res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusGatewayTimeout {
			kind = Unavailable
		}
		return Errorf(kind, "%s answered with status %d, and not as a control plane of Cardea does", res.Request.URL.Host, res.StatusCode).
			WithHint("check the URL; a browser at %s shows what answers there", origin(res.Request.URL.String()))
	}
	e.StatusCode = res.StatusCode
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = s
	}
	return &e
}

// oauthProblem reads the error shape that RFC 6749 section 5.2 demands of the
// token endpoint.
func oauthProblem(raw []byte) (*Error, bool) {
	var o OAuthError
	if err := json.Unmarshal(raw, &o); err != nil || o.Code == "" {
		return nil, false
	}
	kind, hint := Denied, "to begin again type: cardea login"
	switch o.Code {
	case "use_dpop_nonce":
		kind, hint = UseNonce, ""
	case "invalid_grant", "expired_token":
		kind = Gone
	case AuthorizationPending, SlowDown:
		kind, hint = Unavailable, ""
	case "invalid_request", "unsupported_grant_type":
		kind = Invalid
	case "temporarily_unavailable", "server_error":
		kind, hint = Unavailable, "try again in a minute"
	}
	detail := o.Description
	if detail == "" {
		detail = "the control plane refused the sign-in: " + o.Code
	}
	if strings.Contains(detail, ": cardea ") || strings.Contains(detail, "try again") {
		hint = "" // it says itself what to do, and that is not always a login
	}
	if i := strings.LastIndex(detail, "; "); o.Reason != "" && i > 0 {
		kind, detail, hint = o.Reason, detail[:i], detail[i+2:]
	}
	e := Errorf(kind, "%s", detail)
	e.Hint, e.OAuth = hint, o.Code
	return e, true
}
