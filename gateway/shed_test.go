package gateway

import (
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestWhereMemoryIsShortTheSessionEndsInWhichMostWaits, and no other one.
func TestWhereMemoryIsShortTheSessionEndsInWhichMostWaits(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	var used atomic.Int64
	g := r.gateway
	g.memory.mu.Lock()
	g.memory.limit, g.memory.used = 1<<30, func() (int64, error) { return used.Load(), nil }
	g.memory.mu.Unlock()
	flood := func(programs int) {
		user, _ := r.connect()
		t.Cleanup(func() { user.Close() })
		for range programs {
			ch, reqs, err := user.OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			go ssh.DiscardRequests(reqs)
			if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"flood"})); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}
	flood(1) // gse_1
	flood(3) // gse_2
	flood(2) // gse_3
	for _, s := range g.sessions.all() {
		eventually(t, "much to wait", func() bool { return s.recorded.held.Bytes() > 3<<19 })
	}
	eventually(t, "most to wait in the second", func() bool { s, n := g.heaviest(); return s.id == "gse_2" && n > 5<<20 })
	used.Store(1 << 30)
	eventually(t, "the end", func() bool {
		if len(r.plane.Calls("POST", "/v1/gateway/sessions/gse_2/end")) > 0 || g.sessions.count() < 3 {
			used.Store(0)
			return true
		}
		return false
	})
	if end := r.plane.end("gse_2"); end.Cause != causeError {
		t.Errorf("ended with %+v", end)
	}
	// Who reads nothing cannot be told, but the recording says why.
	if e := r.recordings.ends(); len(e) != 1 || !strings.Contains(e[0].Sentence, "MiB of this session wait to be read") {
		t.Errorf("the recordings ended with %+v", e)
	}
	if n := g.sessions.count(); n != 2 {
		t.Errorf("%d sessions are left", n)
	}
}
