package gateway

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
)

// TestARecordedSessionRunsOnWithoutTheControlPlane: it runs, is recorded and stored while nothing
// can be told, nobody else gets in, and all that there was to tell is told when the control plane
// is there again, once.
func TestARecordedSessionRunsOnWithoutTheControlPlane(t *testing.T) {
	t.Parallel()
	r := &recorder{
		t: t, plane: newPlane(t), userCA: sshtest.Key(t), hostCA: sshtest.Key(t), gatewayCA: sshtest.Key(t),
		server: ident.New(ident.Server), project: ident.New(ident.Project),
	}
	v := newVault(t, r.plane)
	r.order = func(o *api.RecordOrder) { o.Recipients = v.order().Recipients }
	var mu sync.Mutex
	var told []string
	away := false
	whileThere := func(what string, do apitest.Handler) apitest.Handler {
		return func(c apitest.Call) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if away {
				return nil, api.Errorf(api.Unavailable, "the database is away")
			}
			if what != "" {
				told = append(told, what)
			}
			return do(c)
		}
	}
	nothing := func(apitest.Call) (any, error) { return nil, nil }
	session := v.header().Session
	r.plane.On("POST", "/v1/gateway/sessions", whileThere("", func(c apitest.Call) (any, error) {
		got, err := r.claim(c)
		if err != nil {
			return nil, err
		}
		claimed := got.(api.Claimed)
		claimed.Session = session
		return claimed, nil
	}))
	r.plane.On("POST", "/v1/gateway/report", whileThere("", r.plane.report))
	r.plane.On("POST", "/v1/gateway/sessions/"+session+"/end", whileThere("end", nothing))
	r.plane.On("POST", "/v1/gateway/sessions/"+session+"/refusals", whileThere("refusals", nothing))
	r.gateway = runGateway(t, r.plane, v.with)
	eventually(t, "a key to record with", func() bool { return r.gateway.recorders.Records() == nil })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.serve(l)

	user, _ := r.connect()
	greet := func() {
		t.Helper()
		s, err := user.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		out, _ := s.StdoutPipe()
		if err := s.Start("greet"); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, len("hello\n"))
		if _, err := io.ReadFull(out, text); err != nil || string(text) != "hello\n" {
			t.Fatalf("read %q, %v", text, err)
		}
	}
	greet()
	v.waitFor(session, api.RecordingRunning)
	set := func(to bool) { mu.Lock(); defer mu.Unlock(); away = to }
	set(true)
	v.setAway(true)

	greet()
	if _, a := r.connect(); a.Accepted || a.Kind != kindControl {
		t.Errorf("somebody else: %+v", a)
	}
	if _, err := user.Dial("tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "not allowed in this project") {
		t.Errorf("a forward: %v", err)
	}
	user.Close()
	eventually(t, "the recording in the bucket", func() bool { return r.gateway.recorders.upload.Status().Objects == 2 })
	mu.Lock()
	if len(told) > 0 || v.last(session).State != api.RecordingRunning {
		t.Errorf("it was told %v and %+v", told, v.last(session))
	}
	mu.Unlock()

	set(false)
	v.setAway(false)
	rep := v.waitFor(session, api.RecordingStored)
	eventually(t, "the end and the refusals", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= 2 })
	mu.Lock()
	slices.Sort(told)
	if !slices.Equal(told, []string{"end", "refusals"}) {
		t.Errorf("told %v", told)
	}
	mu.Unlock()
	if got := v.verify(rep, session); !got.Whole() || rep.Cause != causeClient {
		t.Errorf("%+v of %+v", got, rep)
	}
	if got := v.output(t, r.gateway.recorders, session); got != "hello\nhello\n" {
		t.Errorf("recorded %q", got)
	}
}
