package upload

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gocloud.dev/blob"

	"github.com/cardea-ssh/cardea/internal/bucket"
	"github.com/cardea-ssh/cardea/internal/buildtest"
)

// s3Server is the file of the program that the tests need: packaging/install-test-needs
// builds it, and names it by its source.
func s3Server(t *testing.T) string {
	t.Helper()
	path, err := buildtest.Brought("s3server", filepath.Join("testdata", "s3server"), "main.go", "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// store is an S3 server that can be stopped and started, behind a proxy that can be
// as bad as a network.
type store struct {
	t      testing.TB
	binary string
	dir    string
	// versions is the folder of versions that were replaced; empty for none, and no locks.
	versions string
	addr     string // of the server
	front    *proxy
	cmd      *exec.Cmd
}

func newStore(t *testing.T) *store {
	t.Helper()
	binary := s3Server(t)
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("SKIPPED: %s is not there; packaging/install-test-needs builds it", binary)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, binary: binary, dir: t.TempDir(), addr: l.Addr().String()}
	l.Close()
	if err := os.MkdirAll(filepath.Join(s.dir, "data", "recordings"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.front = newProxy(t, s.addr)
	s.credentials("first", "first-secret")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(s.dir, "credentials"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(s.dir, "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // those of the Uploader are tested
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Cleanup(s.stop)
	return s
}

func (s *store) url() string {
	return "s3://recordings?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(s.front.url)
}

func (s *store) credentials(id, secret string) {
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret)
	if err := os.WriteFile(filepath.Join(s.dir, "credentials"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) start(id, secret string) {
	s.t.Helper()
	out, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	s.cmd = exec.Command(s.binary, "-listen", s.addr, "-access", id, "-secret", secret, "-versions", s.versions, filepath.Join(s.dir, "data"))
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the S3 server", func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *store) stop() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// good opens the bucket past the proxy.
func (s *store) good() *blob.Bucket {
	s.t.Helper()
	b, err := bucket.Open(context.Background(), "s3://recordings?region=us-east-1&use_path_style=true&endpoint="+url.QueryEscape("http://"+s.addr))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { b.Close() })
	return b
}

// proxy passes requests on, as its mood is.
type proxy struct {
	url  string
	mood atomic.Pointer[mood]
}

// mood is how bad the network is.
type mood struct {
	slowDown func() bool               // answer 503 SlowDown
	body     func(io.Reader) io.Reader // what the server gets of a body
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	p := &proxy{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", to
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		FlushInterval: -1,
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := p.mood.Load(); m != nil {
			if m.slowDown != nil && m.slowDown() {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(http.StatusServiceUnavailable)
				io.WriteString(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
				return
			}
			if m.body != nil && r.Method != http.MethodGet {
				r.Body = io.NopCloser(m.body(r.Body))
			}
		}
		forward.ServeHTTP(w, r)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	p.url = "http://" + l.Addr().String()
	return p
}

func TestS3IsAwayAndComesBack(t *testing.T) {
	s := newStore(t)
	f := newFolder(t)
	var all []Object
	for i := range 30 {
		all = append(all, f.add(fmt.Sprint("one", i), 50_000))
	}
	u := start(t, f, Options{URL: s.url()})
	eventually(t, "errors", func() bool { return u.Status().Err != nil })
	for i := range 30 {
		all = append(all, f.add(fmt.Sprint("two", i), 50_000))
	}
	if f.left() != 60 {
		t.Fatalf("%d are left of 60 while nothing answers", f.left())
	}
	s.start("first", "first-secret")
	eventually(t, "the end", func() bool { return f.left() == 0 })
	good := s.good()
	for _, o := range all {
		if n, _ := f.outcome(o); n != 1 {
			t.Errorf("%s is stored %d times", o.Key, n)
		}
		sameAsFile(t, good, o)
	}
}

func TestS3ThrottlesAndCutsConnections(t *testing.T) {
	s := newStore(t)
	s.start("first", "first-secret")
	var calls, cuts atomic.Int64
	s.front.mood.Store(&mood{
		slowDown: func() bool { return calls.Add(1)%3 == 0 },
		body: func(r io.Reader) io.Reader {
			if cuts.Add(1)%4 != 0 {
				return r
			}
			return io.MultiReader(io.LimitReader(r, 20_000), broken{})
		},
	})
	f := newFolder(t)
	var all []Object
	for i := range 24 {
		all = append(all, f.add(fmt.Sprint("object", i), 100_000))
	}
	big := f.add("big", 11<<20) // three parts
	all = append(all, big)
	start(t, f, Options{URL: s.url()})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	good := s.good()
	for _, o := range all {
		if n, why := f.outcome(o); n != 1 {
			t.Errorf("%s is stored %d times, %v", o.Key, n, why)
		}
		sameAsFile(t, good, o)
	}
	if calls.Load() < 30 || cuts.Load() < 8 {
		t.Errorf("%d calls, %d bodies", calls.Load(), cuts.Load())
	}
}

func TestS3IsRestartedInTheMiddleOfAPart(t *testing.T) {
	s := newStore(t)
	s.start("first", "first-secret")
	var once sync.Once
	s.front.mood.Store(&mood{body: func(r io.Reader) io.Reader {
		return io.TeeReader(r, writer(func(n int64) {
			if n > 1<<20 {
				once.Do(func() { s.stop(); s.start("first", "first-secret") })
			}
		}))
	}})
	f := newFolder(t)
	big := f.add("big", 11<<20)
	start(t, f, Options{URL: s.url()})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	sameAsFile(t, s.good(), big)
	if n, _ := f.outcome(big); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

func TestS3HasAnotherObjectThere(t *testing.T) {
	s := newStore(t)
	s.start("first", "first-secret")
	f := newFolder(t)
	wrong, right := f.add("wrong", 1000), f.add("right", 1000)
	good := s.good()
	if err := good.WriteAll(t.Context(), wrong.Key, []byte("somebody else's"), nil); err != nil {
		t.Fatal(err)
	}
	start(t, f, Options{URL: s.url()})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	sameAsFile(t, good, right)
	if n, why := f.outcome(wrong); n != 0 || why == nil || !strings.Contains(why.Error(), "another object") {
		t.Errorf("stored %d times, %v", n, why)
	}
	if text, err := good.ReadAll(t.Context(), wrong.Key); err != nil || string(text) != "somebody else's" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestS3CredentialsAreRotated(t *testing.T) {
	s := newStore(t)
	s.start("first", "first-secret")
	f := newFolder(t)
	u := start(t, f, Options{URL: s.url()})
	before := f.add("before", 1000)
	eventually(t, "the first", func() bool { n, _ := f.outcome(before); return n == 1 })
	s.stop()
	s.start("second", "second-secret")
	after := f.add("after", 1000)
	eventually(t, "a refusal", func() bool { return u.Status().Err != nil })
	s.credentials("second", "second-secret")
	eventually(t, "the second", func() bool { n, _ := f.outcome(after); return n == 1 })
	sameAsFile(t, s.good(), after)
}

func TestS3IsSlow(t *testing.T) {
	s := newStore(t)
	s.start("first", "first-secret")
	s.front.mood.Store(&mood{body: func(r io.Reader) io.Reader { return slow{r} }})
	f := newFolder(t)
	o := f.add("slow", 3000)
	start(t, f, Options{URL: s.url()})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	sameAsFile(t, s.good(), o)
}

// slow gives a kibibyte a second.
type slow struct{ r io.Reader }

func (s slow) Read(b []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return s.r.Read(b[:min(len(b), 102)])
}

// broken is a connection that was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// countingWriter counts what was read.
type countingWriter struct {
	n    int64
	then func(int64)
}

func writer(then func(int64)) io.Writer { return &countingWriter{then: then} }

func (c *countingWriter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	c.then(c.n)
	return len(b), nil
}
