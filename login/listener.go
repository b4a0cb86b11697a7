package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const callbackPath = "/callback"

// Limits of the loopback listener: any program of any local user can reach it.
const (
	// maxCallback is the size of a request's head, in bytes; ours has about 300.
	maxCallback = 16 << 10
	// callbackRead is how long a request's head may take. A browser on the same
	// machine needs a millisecond.
	callbackRead = 5 * time.Second
	// maxOpen is the number of connections held; one more ends the oldest, so
	// that the browser always gets in.
	maxOpen = 64
	// lastMoment is for the page of the valid callback to leave the kernel.
	lastMoment = 200 * time.Millisecond
)

// callback waits for the browser to come back.
type callback struct {
	listener net.Listener
	server   *http.Server
	host     string // 127.0.0.1:PORT, as the browser must write it
	state    string
	issuer   string
	done     chan outcome // of size one: the first valid callback alone counts
	once     sync.Once
}

// outcome is what a valid callback brought: a code, or the refusal.
type outcome struct {
	code    string
	refused string // the error code of RFC 6749 section 4.1.2.1
	reason  string // its description
}

// listen opens a random port on 127.0.0.1 (RFC 8252 section 7.3).
func listen(state, issuer string) (*callback, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &callback{
		listener: &bounded{Listener: l}, host: l.Addr().String(), state: state, issuer: issuer,
		done: make(chan outcome, 1),
	}
	c.server = &http.Server{
		Handler: c, ReadTimeout: callbackRead, WriteTimeout: callbackRead, IdleTimeout: callbackRead,
		MaxHeaderBytes: maxCallback, ErrorLog: log.New(io.Discard, "", 0),
	}
	// One request per connection: a kept one would hold a place.
	c.server.SetKeepAlivesEnabled(false)
	return c, nil
}

func (c *callback) redirectURI() string { return "http://" + c.host + callbackPath }

// wait serves until a valid callback came or ctx ends, and closes the listener.
func (c *callback) wait(ctx context.Context) (outcome, error) {
	served := make(chan error, 1)
	go func() { served <- c.server.Serve(c.listener) }()
	var o outcome
	var err error
	select {
	case o = <-c.done:
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-served:
		return o, err
	}
	// The listener closes at once. Whoever else holds a connection (browsers
	// open some in advance) loses it a moment after the page was written.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
	defer cancel()
	if c.server.Shutdown(last) != nil {
		c.server.Close()
	}
	<-served
	return o, err
}

// ServeHTTP believes one kind of request alone: GET of the exact path, to this
// address by its number (a Host that is a name means that a web site had its
// name rebound to this machine), with our state and the right issuer. All else
// is told nothing and changes nothing.
func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+styleHash()+"; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	o, ok := c.judge(r)
	if !ok {
		http.Error(w, "nothing here", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	if o.refused != "" {
		io.WriteString(w, pageRefused)
	} else {
		io.WriteString(w, pageDone)
	}
	http.NewResponseController(w).Flush()
	c.once.Do(func() { c.done <- o })
}

func (c *callback) judge(r *http.Request) (outcome, bool) {
	if r.Method != http.MethodGet || r.URL.Path != callbackPath || r.URL.RawPath != "" || r.Host != c.host {
		return outcome{}, false
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return outcome{}, false
	}
	state, ok := single(q, "state")
	if !ok || subtle.ConstantTimeCompare([]byte(state), []byte(c.state)) != 1 {
		return outcome{}, false
	}
	// Without iss, or with another one, the answer is of another server than
	// the one that was asked (RFC 9207 section 2.4).
	if iss, ok := single(q, "iss"); !ok || iss != c.issuer {
		return outcome{}, false
	}
	code, isCode := single(q, "code")
	refused, isError := single(q, "error")
	if isCode == isError {
		return outcome{}, false
	}
	reason, _ := single(q, "error_description")
	return outcome{code: code, refused: refused, reason: reason}, true
}

// paste takes addresses from a person until one is the right one. It is judged as if the
// browser had come.
func (c *callback) paste(ctx context.Context, ask func(context.Context) (string, error)) {
	for ctx.Err() == nil {
		text, err := ask(ctx)
		if err != nil {
			return
		}
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			continue
		}
		if o, ok := c.judge(&http.Request{Method: http.MethodGet, URL: u, Host: u.Host}); ok {
			c.once.Do(func() { c.done <- o })
			return
		}
	}
}

// single returns the value of a parameter that is given exactly once.
func single(q url.Values, name string) (string, bool) {
	v := q[name]
	if len(v) != 1 || v[0] == "" {
		return "", false
	}
	return v[0], true
}

// The pages look like those of the control plane, of which they can fetch nothing:
// the listener is gone after its first answer.
const (
	pageStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:18vh auto 0;padding:0 1.5rem}h1{font-size:1.5rem;margin:0 0 .25rem}p{margin:0}`
	pageHead  = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Cardea</title><style>` +
		pageStyle + "</style>\n"
	pageDone    = pageHead + "<h1>You are signed in</h1><p>Close this page and go back to the terminal.\n"
	pageRefused = pageHead + "<h1>Nothing was signed in</h1><p>Close this page and go back to the terminal.\n"
)

// styleHash lets a browser apply our style and no other (CSP level 3, section 2.3.1).
func styleHash() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// bounded holds at most maxOpen connections and sacrifices the oldest.
type bounded struct {
	net.Listener
	mu   sync.Mutex
	open []net.Conn // the oldest first; guarded by mu
}

func (b *bounded) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	held := &heldConn{Conn: conn, in: b}
	b.mu.Lock()
	b.open = append(b.open, held)
	var oldest net.Conn
	if len(b.open) > maxOpen {
		oldest = b.open[0]
	}
	b.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return held, nil
}

type heldConn struct {
	net.Conn
	in *bounded
}

func (c *heldConn) Close() error {
	c.in.mu.Lock()
	for i, o := range c.in.open {
		if o == net.Conn(c) {
			c.in.open = append(c.in.open[:i], c.in.open[i+1:]...)
			break
		}
	}
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// errLate is told where nobody came back in time.
var errLate = errors.New("nobody came back from the browser")
