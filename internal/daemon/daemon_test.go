//go:build unix

package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestASignalEndsTheContextAndIsItsCause(t *testing.T) {
	ctx, stop := Context(t.Context())
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, ErrSignal) || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("cause = %v", err)
	}
}

func TestGroup(t *testing.T) {
	broken := errors.New("broken")
	until := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tc := range []struct {
		name  string
		parts []func(context.Context) error
		stop  bool
		want  string
	}{
		{"the first error ends the others and is returned with its part's name", []func(context.Context) error{until, func(context.Context) error { return broken }}, false, "part: broken"},
		{"a part that finishes lets the others go on", []func(context.Context) error{func(context.Context) error { return nil }, until}, true, ""},
		{"a panic is an error", []func(context.Context) error{until, func(context.Context) error { panic("oops") }}, false, "part: panic: oops"},
		{"a part that gives up on a context of its own has failed", []func(context.Context) error{func(context.Context) error { return context.Canceled }}, false, "part: context canceled"},
		{"being asked to stop is not a failure", []func(context.Context) error{until}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := NewGroup(ctx)
			for _, p := range tc.parts {
				g.Go("part", p)
			}
			if tc.stop {
				cancel()
			}
			err := g.Wait()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)) {
				t.Errorf("Wait = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log, err := LogOptions{Level: slog.LevelWarn, Format: "json"}.Logger(&b)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hidden")
	log.Warn("shown", "user", "a\nforged line")
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "shown") {
		t.Errorf("log = %q, want one line", got)
	}
	if _, err := (LogOptions{Format: "xml"}).Logger(&b); err == nil {
		t.Error("an unknown format is accepted")
	}
}

// serve runs a server for handler and returns its address and how to stop it.
func serve(t *testing.T, handler http.Handler, grace time.Duration) (url string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, NewServer(handler, slog.New(slog.DiscardHandler)), ln, grace) }()
	return "http://" + ln.Addr().String(), func() error { cancel(); return <-done }
}

func TestServeLetsARequestInFlightFinish(t *testing.T) {
	began, finish := make(chan bool), make(chan bool)
	url, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-finish
		io.WriteString(w, "done")
	}), time.Minute)
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get(url)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-began
	go func() { time.Sleep(20 * time.Millisecond); close(finish) }()
	if err := stop(); err != nil {
		t.Errorf("Serve = %v", err)
	}
	if got := <-answer; got != "done" {
		t.Errorf("the request in flight got %q", got)
	}
}

func TestServeCutsOffWhatOutlivesTheGrace(t *testing.T) {
	began := make(chan bool)
	url, stop := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}), 10*time.Millisecond)
	go http.Get(url)
	<-began
	if err := stop(); err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestTheServerRefusesHeadersOverTheLimit(t *testing.T) {
	url, stop := serve(t, http.NotFoundHandler(), time.Second)
	defer stop()
	for _, tc := range []struct{ size, want int }{{maxHeader - 1024, 404}, {maxHeader + 8192, 431}} { // net/http adds 4096 of slack
		req, _ := http.NewRequest("GET", url, nil)
		req.Header.Set("X-Big", strings.Repeat("a", tc.size))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tc.want {
			t.Errorf("%d bytes of header: status %d, want %d", tc.size, resp.StatusCode, tc.want)
		}
	}
}

func TestHealth(t *testing.T) {
	var h Health
	mux := http.NewServeMux()
	h.Register(mux)
	status := func(path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	expect := func(when string, alive, ready int) {
		t.Helper()
		if a, _ := status("/healthz"); a != alive {
			t.Errorf("%s: healthz %d, want %d", when, a, alive)
		}
		if r, _ := status("/readyz"); r != ready {
			t.Errorf("%s: readyz %d, want %d", when, r, ready)
		}
	}
	expect("at first", 200, 200)
	var down error
	h.Ready("database", func(context.Context) error { return down })
	expect("with a check that passes", 200, 200)
	down = errors.New("dial 10.1.2.3: refused")
	expect("with the database away", 200, 503)
	if _, body := status("/readyz"); !strings.Contains(body, "database") || strings.Contains(body, "10.1.2.3") {
		t.Errorf("the answer should name the check and hide its error: %s", body)
	}
	down = nil
	h.Figures(func() map[string]int64 { return map[string]int64{"waiting": 7} })
	if _, body := status("/readyz"); !strings.Contains(body, `"figures":{"waiting":7}`) {
		t.Errorf("no figures: %s", body)
	}
	if _, body := status("/healthz"); strings.Contains(body, "figures") {
		t.Errorf("figures: %s", body)
	}
	h.Drain()
	expect("when draining", 200, 503)
	h.Alive("disk", func(context.Context) error { return errors.New("read-only") })
	expect("with a failed disk", 503, 503)
}

// A process that ends at once has told that it stops.
func TestThatItStopsIsToldBeforeTheEnd(t *testing.T) {
	heard := manager(t)
	for range 50 {
		ctx, stop := context.WithCancel(t.Context())
		over := NotifyStopping(ctx)
		stop()
		over()
		if got := heard(now); got != "STOPPING=1" {
			t.Fatalf("told %q", got)
		}
	}
	NotifyStopping(t.Context())() // a process that fails by itself does not wait to be stopped
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	heard := manager(t)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	if got := heard(soon); got != "READY=1" {
		t.Errorf("the manager heard %q", got)
	}
}
