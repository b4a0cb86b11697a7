package serveragent

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/server-agent/logins"
)

func TestVerify(t *testing.T) {
	p := newPlane(t)
	policy := p.policy.Public().(ed25519.PublicKey)
	good := p.state
	good.Version = api.StateVersion{Epoch: 2, Counter: 5}
	for name, tc := range map[string]struct {
		change func(*api.DesiredState)
		last   api.StateVersion
		ok     bool
	}{
		"the first":                      {func(*api.DesiredState) {}, api.StateVersion{}, true},
		"the next":                       {func(*api.DesiredState) {}, api.StateVersion{Epoch: 2, Counter: 4}, true},
		"the same again":                 {func(*api.DesiredState) {}, api.StateVersion{Epoch: 2, Counter: 5}, true},
		"a restored plane's lower count": {func(*api.DesiredState) {}, api.StateVersion{Epoch: 1, Counter: 900}, true},
		"one that is older":              {func(*api.DesiredState) {}, api.StateVersion{Epoch: 2, Counter: 6}, false},
		"one of an older epoch":          {func(*api.DesiredState) {}, api.StateVersion{Epoch: 3}, false},
		"one for another server":         {func(d *api.DesiredState) { d.Server = "srv_bbbbbbbbbbbbbbbbbbbb" }, api.StateVersion{}, false},
		"one that is not complete":       {func(d *api.DesiredState) { d.Complete = false }, api.StateVersion{}, false},
		"one with a negative version":    {func(d *api.DesiredState) { d.Version.Counter = -1 }, api.StateVersion{}, false},
	} {
		d := good
		tc.change(&d)
		if _, err := verify(p.sign(d, p.policy), policy, p.server, tc.last); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	signed := p.sign(good, p.policy)
	for name, change := range map[string]func(*api.SignedState){
		"one bit of the state":     func(s *api.SignedState) { s.State[10] ^= 1 },
		"one bit of the signature": func(s *api.SignedState) { s.Signature[10] ^= 1 },
		"no signature":             func(s *api.SignedState) { s.Signature = nil },
		"a signature without the domain": func(s *api.SignedState) {
			s.Signature = ed25519.Sign(p.policy, s.State)
		},
		"a second value behind the first": func(s *api.SignedState) {
			s.State = append(s.State, []byte(`{"complete":true}`)...)
			s.Signature = ed25519.Sign(p.policy, append([]byte(api.StateDomain), s.State...))
		},
	} {
		s := api.SignedState{State: slices.Clone(signed.State), Signature: slices.Clone(signed.Signature)}
		change(&s)
		if _, err := verify(s, policy, p.server, api.StateVersion{}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := verify(signed, nil, p.server, api.StateVersion{}); err == nil {
		t.Error("without a pinned key anything is accepted")
	}
	// A control plane that is newer than this agent must still be obeyed.
	var loose map[string]any
	json.Unmarshal(signed.State, &loose)
	loose["something_new"] = true
	raw, _ := json.Marshal(loose)
	newer := api.SignedState{State: raw, Signature: ed25519.Sign(p.policy, append([]byte(api.StateDomain), raw...))}
	if _, err := verify(newer, policy, p.server, api.StateVersion{}); err != nil {
		t.Errorf("a field that is not known yet: %v", err)
	}
}

func TestTheStoredStateIsTheOneThatWasFetched(t *testing.T) {
	p := newPlane(t)
	a := agentIn(t, "")
	a.cred = credential{Server: p.server, PolicyKey: p.policy.Public().(ed25519.PublicKey)}
	signed := p.sign(p.state, p.policy)
	if err := a.saveState(signed); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(a.path(stateFile))
	want, _ := json.Marshal(signed)
	if err != nil || string(raw) != string(want)+"\n" {
		t.Errorf("%v: %s", err, raw)
	}
	if d, err := a.loadState(); err != nil || d.Version != p.state.Version {
		t.Errorf("%v: %+v", err, d)
	}
}

func TestBackoff(t *testing.T) {
	for failures, bound := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 8: maxBackoff, 1000: maxBackoff} {
		var low, high time.Duration = maxBackoff, 0
		for range 300 {
			d := backoff(failures, errors.New("x"))
			low, high = min(low, d), max(high, d)
		}
		if low <= 0 || low > bound/4 || high > bound+1 || high < bound*3/4 {
			t.Errorf("%d failures: from %s to %s, not spread over %s", failures, low, high, bound)
		}
	}
	for asked, want := range map[int]time.Duration{10: 10 * time.Second, 900: maxRetryAfter, 901: maxRetryAfter, 1 << 40: maxRetryAfter} {
		err := api.Errorf(api.Limited, "later")
		err.RetryAfter = asked
		for range 50 {
			if d := backoff(1, err); d < want || d > want+want/4+2*time.Second {
				t.Errorf("asked for %d s, waits %s", asked, d)
			}
		}
	}
}

func events(from, to int) (out []api.AgentEvent) {
	for i := from; i <= to; i++ {
		out = append(out, api.AgentEvent{Kind: "login", Serial: string(rune('0' + i%10)), Detail: strings.Repeat("x", i%7)})
	}
	return out
}

func TestTheQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue")
	open := func() *queue {
		t.Helper()
		q, err := openQueue(path)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	for _, e := range events(1, 5) {
		if err := q.add(e); err != nil {
			t.Fatal(err)
		}
	}
	in, ok := q.batch()
	if !ok || in.First != 0 || len(in.Events) != 0 {
		t.Fatalf("before it knows the number it sends %+v", in)
	}
	q.arrived(0, 57)
	q = open() // restarted
	if in, _ = q.batch(); in.First != 57 || len(in.Events) != 5 {
		t.Fatalf("%+v", in)
	}
	q.arrived(5, 59) // two of them are there
	if in, _ = q.batch(); in.First != 59 || len(in.Events) != 3 {
		t.Fatalf("%+v", in)
	}
	q.arrived(3, 10) // the control plane was restored
	if in, _ = q.batch(); in.First != 10 || len(in.Events) != 3 {
		t.Fatalf("%+v", in)
	}
	q.arrived(3, 99) // or we were: nothing of ours is lost
	if in, _ = q.batch(); in.First != 99 || len(in.Events) != 3 {
		t.Fatalf("%+v", in)
	}
	q.arrived(3, 102)
	if in, ok = q.batch(); ok {
		t.Fatalf("%+v", in)
	}
	// A crash leaves half a line.
	q.add(events(1, 1)[0])
	f, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	f.WriteString(`{"kind":"log`)
	f.Close()
	q = open()
	if in, _ = q.batch(); in.First != 102 || len(in.Events) != 1 {
		t.Fatalf("%+v", in)
	}
}

func TestManyEventsAreKeptTogetherAndAFailureLosesNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue")
	q, err := openQueue(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.add(events(1, 700)...); err != nil {
		t.Fatal(err)
	}
	q.file.Close() // as a disk that fails
	if err := q.add(events(1, 2)...); err == nil {
		t.Error("a failure is no error")
	}
	if err := q.add(); err != nil {
		t.Error(err)
	}
	if err := q.add(events(1, 1)...); err != nil {
		t.Errorf("after the failure: %v", err)
	}
	if q, err = openQueue(path); err != nil || len(q.events) != 703 {
		t.Errorf("%d events are on disk, %v", len(q.events), err)
	}
}

func TestAFullQueueCountsWhatItDrops(t *testing.T) {
	q, err := openQueue(filepath.Join(t.TempDir(), "queue"))
	if err != nil {
		t.Fatal(err)
	}
	q.events = slices.Repeat(events(1, 1), maxQueue-1)
	q.add(events(1, 1)[0]) // the last that fits
	for range 3 {
		q.add(events(1, 1)[0])
	}
	if len(q.events) != maxQueue || q.dropped != 3 {
		t.Fatalf("%d events, %d dropped", len(q.events), q.dropped)
	}
	q.header.Synced = true
	in, _ := q.batch()
	if len(in.Events) != maxPost {
		t.Fatalf("%d events in one call", len(in.Events))
	}
	q.arrived(maxPost, maxPost)
	q.add(events(1, 1)[0])
	if tail := q.events[len(q.events)-2:]; tail[0].Kind != "alarm" || !strings.HasPrefix(tail[0].Detail, "3 events were dropped") || tail[1].Kind != "login" {
		t.Fatalf("%+v", tail)
	}
}

// Refused certificates are what strangers can cause: however many come while the
// control plane is away, a login that comes after them has its place.
func TestRefusalsTakeHalfOfTheQueueAtMost(t *testing.T) {
	q, err := openQueue(filepath.Join(t.TempDir(), "queue"))
	if err != nil {
		t.Fatal(err)
	}
	refused := api.AgentEvent{Kind: logins.Refused, Key: "SHA256:x"}
	q.events = slices.Repeat(events(1, 1), maxRefusals-1)
	q.add(refused) // the last that fits
	q.add(refused)
	q.add(api.AgentEvent{Kind: logins.Refused, More: 5})
	if len(q.events) != maxRefusals || q.refused != 6 {
		t.Fatalf("%d events, %d refusals are counted", len(q.events), q.refused)
	}
	q.add(events(1, 1)[0])
	if last := q.events[len(q.events)-1]; len(q.events) != maxRefusals+1 || last.Kind != "login" {
		t.Fatalf("%d events, the last %+v", len(q.events), last)
	}
	q.header.Synced = true
	q.arrived(maxPost, maxPost)
	q.add(refused)
	if last := q.events[len(q.events)-1]; last.Kind != logins.Refused || last.More != 6 || q.refused != 0 {
		t.Fatalf("%+v", last)
	}
}

func TestOurOwnProbeIsNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		e   api.AgentEvent
		own bool
	}{
		"it logs in":                            {api.AgentEvent{Kind: logins.Login, Login: "cardea-canary"}, true},
		"it is refused":                         {api.AgentEvent{Kind: logins.Refused, Login: "cardea-canary", KeyID: "cardea:canary=srv_a"}, true},
		"another certificate is refused there":  {api.AgentEvent{Kind: logins.Refused, Login: "cardea-canary", KeyID: "cardea:user=usr_a"}, false},
		"a stranger's is":                       {api.AgentEvent{Kind: logins.Refused, Login: "cardea-canary", Key: "SHA256:x"}, false},
		"its certificate is shown for a person": {api.AgentEvent{Kind: logins.Refused, Login: "alice", KeyID: "cardea:canary=srv_a"}, false},
		"a person":                              {api.AgentEvent{Kind: logins.Login, Login: "alice"}, false},
	} {
		if got := ownProbe(c.e); got != c.own {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// agentIn is an agent that is not enrolled, whose control plane is url.
func agentIn(t *testing.T, url string) *Agent {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	a, err := New(Options{StateDir: dir, ControlURL: url})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEnrolment(t *testing.T) {
	p := newPlane(t)
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	a := agentIn(t, srv.URL)
	if _, _, err := a.Enrol(t.Context()); !errors.Is(err, ErrNotEnrolled) {
		t.Fatalf("without a token: %v", err)
	}
	token := a.opt.TokenFile
	write := func(text string) { os.WriteFile(token, []byte(text), 0o600) }
	for name, text := range map[string]string{"an empty file": "", "two words": "a b", "two lines": "a\nb"} {
		write(text)
		if _, _, err := a.Enrol(t.Context()); err == nil || !strings.Contains(err.Error(), "does not hold one enrolment token") {
			t.Errorf("%s: %v", name, err)
		}
	}
	os.Remove(token)
	os.Symlink("/etc/hostname", token)
	if _, _, err := a.Enrol(t.Context()); err == nil {
		t.Error("a token that is a link is followed")
	}
	os.Remove(token)
	syscall.Mkfifo(token, 0o600)
	if _, _, err := a.Enrol(t.Context()); err == nil {
		t.Error("a token that is a FIFO is read")
	}
	os.Remove(token)
	write(strings.Repeat("a", maxSmallFile+1))
	if _, _, err := a.Enrol(t.Context()); err == nil {
		t.Error("a token that is too large is read")
	}
	write("wrong\n")
	if _, _, err := a.Enrol(t.Context()); api.KindOf(err) != api.Gone {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := os.Stat(token); err != nil {
		t.Error("a token that was refused is removed")
	}
	write(p.secret + "\n")
	id, name, err := a.Enrol(t.Context())
	if err != nil || id != p.server || name != "web-1" {
		t.Fatal(id, name, err)
	}
	if _, err := os.Stat(token); err == nil {
		t.Error("the used token is still there")
	}
	for _, f := range []string{credentialFile, identityFile} {
		if info, err := os.Stat(a.path(f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info, err)
		}
	}
	// From now on the credential serves, also without a configured URL.
	again, err := New(Options{StateDir: a.opt.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := again.Enrol(t.Context()); err != nil || id != p.server || p.enrolled != 1 {
		t.Fatal(id, err, p.enrolled)
	}
	for age, left := range map[time.Duration]bool{time.Hour: false, -time.Hour: true} {
		write(p.secret)
		os.Chtimes(token, time.Now().Add(-age), time.Now().Add(-age))
		if _, _, err := again.Enrol(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(token); (err == nil) != left {
			t.Errorf("a token that is %s older than the credential: %v", age, err)
		}
	}
}

func TestADamagedCredentialIsNotUsed(t *testing.T) {
	p := newPlane(t)
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	for name, damage := range map[string]func(path string){
		"half of it": func(path string) { os.Truncate(path, 40) },
		"nothing":    func(path string) { os.Truncate(path, 0) },
		"a link":     func(path string) { os.Rename(path, path+"2"); os.Symlink(path+"2", path) },
		"a folder":   func(path string) { os.Remove(path); os.Mkdir(path, 0o700) },
		"another pinned key": func(path string) {
			os.WriteFile(path, []byte(`{"control_url":"https://x.example.com","token":"t","server":"`+p.server+`","policy_key":"AAAA"}`), 0o600)
		},
		"a plain URL": func(path string) {
			os.WriteFile(path, []byte(`{"control_url":"http://10.0.0.1","token":"t","server":"`+p.server+`"}`), 0o600)
		},
	} {
		p.enrolled = 0
		p.thumbprint = ""
		a := agentIn(t, srv.URL)
		os.WriteFile(a.opt.TokenFile, []byte(p.secret), 0o600)
		if _, _, err := a.Enrol(t.Context()); err != nil {
			t.Fatal(err)
		}
		damage(a.path(credentialFile))
		again, err := New(Options{StateDir: a.opt.StateDir, ControlURL: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := again.Enrol(t.Context()); err == nil || errors.Is(err, ErrNotEnrolled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFolderThatOthersReachIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, prepare := range map[string]func(path string){
		"readable by the group": func(p string) { os.Mkdir(p, 0o750); os.Chmod(p, 0o750) },
		"a link":                func(p string) { os.Symlink(dir, p) },
		"a file":                func(p string) { os.WriteFile(p, nil, 0o600) },
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		prepare(path)
		if _, err := New(Options{StateDir: path}); err == nil {
			t.Errorf("%s is used", name)
		}
	}
}

func TestASecondAgentIsRefused(t *testing.T) {
	a := agentIn(t, "")
	lock, err := a.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	b, err := New(Options{StateDir: a.opt.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "another cardea-server-agent") {
		t.Errorf("%v", err)
	}
}

// The wait that the server asks for is obeyed, and an answer that comes at once
// over and over makes no storm.
func TestPollsAreFarApart(t *testing.T) {
	polls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		polls++
		w.WriteHeader(http.StatusNotModified)
	}))
	t.Cleanup(srv.Close)
	a := agentIn(t, srv.URL)
	a.client = &api.Client{URL: srv.URL}
	ctx, cancel := context.WithTimeout(t.Context(), minPoll*3/2)
	defer cancel()
	a.fetch(ctx, api.StateVersion{}, make(chan api.DesiredState, 1))
	if polls > 2 {
		t.Errorf("%d polls in %s", polls, minPoll*3/2)
	}
}

func TestAReportStaysWithinItsLimits(t *testing.T) {
	var b board
	b.set("accounts", slices.Repeat([]string{strings.Repeat("ä\n", 400)}, 200)...)
	s := b.snapshot()
	if len(s.Problems) != maxProblems {
		t.Errorf("%d problems", len(s.Problems))
	}
	for _, p := range s.Problems {
		if len(p) > maxProblem || strings.Contains(p, "\n") {
			t.Fatalf("%d bytes: %q", len(p), p)
		}
	}
}
