package gateway

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/internal/hostkey"
)

// Causes of a session's end, as api.SessionEnd has them.
const (
	causeClient  = "client"
	causeServer  = "server"
	causeRevoked = "revoked"
	causeDrained = "drained"
	causeError   = "error"
)

// orderLife is how long an order to end a session that is not known here is
// remembered. It can overtake the answer to the claim that starts the session,
// but not by more than claimTimeout.
const orderLife = time.Minute

// session is one live connection.
type session struct {
	id     string
	client client
	server *net.TCPConn
	shown  hostkey.Reader // of relay, and of nobody else before its end

	recorded *recorded // in record mode only, as what follows
	ctx      context.Context
	cancel   context.CancelCauseFunc

	mu    sync.Mutex
	cause string    // the first one holds; guarded by mu
	half  time.Time // when the first side ended; guarded by mu
	timer *time.Timer
}

// cut ends a session from outside: both copies return. why is a sentence for the user, or
// empty.
func (s *session) cut(cause, why string) {
	s.ended(cause)
	if s.recorded != nil {
		s.stop(cause, why)
		return
	}
	s.client.Close()
	s.server.Close()
}

// ended notes the cause, if none was noted before, and returns the one that holds.
func (s *session) ended(cause string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == "" {
		s.cause = cause
	}
	return s.cause
}

// isEnded reports whether the session has a cause to end.
func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause != ""
}

// halfEnded notes that one side has said all that it will.
func (s *session) halfEnded(cause string) {
	s.ended(cause)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.half.IsZero() {
		s.half = time.Now()
	}
}

// halfFor is how long that side has ended first, and the other has not.
func (s *session) halfFor(cause string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.half.IsZero() || s.cause != cause {
		return 0
	}
	return time.Since(s.half)
}

// sessions are all that live, by the id the control plane gave.
type sessions struct {
	mu      sync.Mutex
	live    map[string]*session
	ordered map[string]order // ends that came before their sessions
	closed  bool             // no session begins any more
}

func newSessions() *sessions {
	return &sessions{live: map[string]*session{}, ordered: map[string]order{}}
}

// order is one to end a session that is not known here.
type order struct {
	at  time.Time
	why string
}

// add makes a session live, or returns false if it was ordered to end already,
// or all were.
// endsAt bounds it unless it is zero.
func (t *sessions) add(s *session, endsAt, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ordered := t.ordered[s.id]; ordered || t.closed {
		return false
	}
	t.live[s.id] = s
	if !endsAt.IsZero() {
		s.timer = time.AfterFunc(endsAt.Sub(now), func() { s.cut(causeRevoked, "its time is over") })
	}
	return true
}

func (t *sessions) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, s.id)
	if s.timer != nil {
		s.timer.Stop()
	}
}

// end obeys the control plane's orders, of which why has the sentences, and returns how many
// sessions it cut.
func (t *sessions) end(ids []string, why map[string]string, now time.Time) (cut int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, o := range t.ordered {
		if now.Sub(o.at) > orderLife {
			delete(t.ordered, id)
		}
	}
	for _, id := range ids {
		if s, ok := t.live[id]; ok {
			s.cut(causeRevoked, why[id])
			cut++
			continue
		}
		t.ordered[id] = order{now, why[id]}
	}
	return cut
}

func (t *sessions) cutAll(cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.live {
		s.cut(cause, "")
	}
}

// close cuts all and lets none begin any more.
func (t *sessions) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cutAll(causeDrained)
}

func (t *sessions) ids() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.live))
}

func (t *sessions) has(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live[s.id] == s
}

func (t *sessions) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.live))
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live)
}
