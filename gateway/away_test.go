package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/recording"
)

// direct brings requests to a handler without a network, on which no bubble of time can
// wait.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), nil)
	if in.Header = r.Header.Clone(); r.Body != nil {
		in.Body = r.Body
	}
	d.handler.ServeHTTP(w, in)
	return w.Result(), nil
}

// lines is a log that counts.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}

func (l *lines) count(what string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

// awayVariable is for how many hours of the bubble the bucket is away; without it there are
// awaySample, since an hour costs a tenth of a second.
const (
	awayVariable = "CARDEA_AWAY"
	awaySample   = 6
)

// TestABucketThatIsAwayForDaysLosesNothing: sessions begin and end while nothing can be
// stored, one lives all the time, and nobody is told that any of them is stored. When the
// bucket is there again all of them are, soon and whole.
func TestABucketThatIsAwayForDaysLosesNothing(t *testing.T) {
	t.Parallel()
	hours := awaySample
	if n, err := strconv.Atoi(os.Getenv(awayVariable)); err == nil {
		hours = n
	}
	p := newPlane(t)
	r := newVault(t, p)
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		client := p.Client()
		client.HTTP = &http.Client{Transport: direct{p}}
		if err := os.WriteFile(r.bucket, nil, 0o600); err != nil { // where the bucket's folder was
			t.Fatal(err)
		}
		rec, err := NewRecorders("gw_a", r.state, r.options(), client, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); rec.Run(ctx) }()
		acknowledged(t, rec)

		said := map[string]string{} // by session
		begin := func() (recording.Header, *Recording) {
			h := r.header()
			x, err := rec.Begin(h, r.order())
			if err != nil {
				t.Fatal(err)
			}
			return h, x
		}
		say := func(h recording.Header, x *Recording, text string) {
			sayTo(t, x, text)
			said[h.Session] += text
		}
		long, stays := begin()
		for hour := range hours {
			h, x := begin()
			say(h, x, fmt.Sprint("hour ", hour, "\n"))
			say(long, stays, fmt.Sprint("still there in hour ", hour, "\n"))
			if err := x.Close(recording.Ended{Cause: causeClient}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			if last := r.last(h.Session); last.State == "" || last.State == api.RecordingStored {
				t.Fatalf("in hour %d of an ended session is told %+v", hour, last)
			}
			if f := rec.spool.Figures(); f.Waiting < hour+1 || f.Quarantined > 0 {
				t.Fatalf("in hour %d: %+v", hour, f)
			}
		}
		if s := rec.upload.Status(); s.Objects > 0 || time.Since(s.Since) < time.Duration(hours-1)*time.Hour {
			t.Errorf("after %d hours: %+v", hours, s)
		}
		// One object every three minutes at the most, and not given up.
		if tries := log.count("it is tried again"); tries < hours*20 || tries > hours*3600/10 {
			t.Errorf("it was tried %d times in %d hours", tries, hours)
		}
		if said := log.count("recordings cannot be stored; they wait"); said < hours-2 || said > hours+1 {
			t.Errorf("the log says so %d times", said)
		}

		if err := os.Remove(r.bucket); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		if err := stays.Close(recording.Ended{Cause: causeServer}); err != nil {
			t.Fatal(err)
		}
		for session := range said {
			for r.last(session).State != api.RecordingStored {
				if time.Sleep(time.Second); time.Since(back) > 10*time.Minute {
					t.Fatalf("of %s is told %+v", session, r.last(session))
				}
			}
		}
		t.Logf("all %d are stored %s after the bucket was away for %d hours and %d tries", len(said), time.Since(back), hours, log.count("it is tried again"))
		cancel()
		<-done
		if err := rec.spool.Close(); err != nil {
			t.Error(err)
		}
		for session, text := range said {
			if got := r.output(t, rec, session); got != text {
				t.Errorf("%s has %q, want %q", session, got, text)
			}
		}
	})
}

// output is what the verified recording of a session has of it.
func (r *vault) output(t *testing.T, rec *Recorders, session string) string {
	t.Helper()
	told := r.last(session)
	folder := os.DirFS(filepath.Join(r.bucket, told.Place))
	key, err := rec.keys.signing()
	if err != nil {
		t.Fatal(err)
	}
	opt := recording.VerifyOptions{Keys: recording.KeySet(key.Public().(ed25519.PublicKey)), Session: session, Head: told.Head}
	if report, err := recording.Verify(folder, opt); err != nil || !report.Whole() {
		t.Errorf("%s: %+v, %v", session, report, err)
		return ""
	}
	reader, err := recording.NewReader(folder, r.identity)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for {
		e, err := reader.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == recording.Output {
			out.Write(e.Data)
		}
	}
}
