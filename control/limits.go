package control

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
)

// Limits of one instance. What a caller costs before he is known is bounded by
// source; what he costs after by who he is.
const (
	// maxCalls is how many short calls are worked on at once. A call takes
	// milliseconds, so a longer queue means that the store is slow, and more
	// waiting callers would only make it slower.
	maxCalls = 512
	// maxPolls is how many long polls are held open: those of 10,000 server
	// agents, and as many users and gateways.
	maxPolls = 20_000
	// maxPollsEach is how many one session, server or gateway may hold. One is
	// needed; others are old ones whose connection was lost unnoticed, and the
	// reads without a wait of a script that runs many at once.
	maxPollsEach = 32
	// callTime bounds a short call; pollTime a poll, which waits by itself.
	callTime = 20 * time.Second
	pollTime = api.LongPoll + 10*time.Second
	// bulkTime lets 32 MiB through at 64 KiB/s.
	bulkTime = 9 * time.Minute
	// bodyTime is how long a caller may take to send api.MaxBody bytes, and
	// answerTime to take the answer, after the call's own time.
	bodyTime, answerTime = 10 * time.Second, 30 * time.Second
	// strangerTime is all of it for a call that nobody is known for.
	strangerTime = 25 * time.Second
	// retryBusy is when to come again after 503.
	retryBusy = 2 * time.Second
)

// Rates. A whole office may come from one address on Monday at nine (2,000
// sign-ins of eight calls within a minute), so these stop a flood and no
// crowd.
const (
	// strangerRate, of calls without a token: pages, sign-in, enrolment. They are answered
	// out of memory or with a row or two that are there: less than a millisecond each.
	strangerRate, strangerBurst = 300, 1000
	// beginRate, of those that leave a row for ten minutes: a sign-in is two.
	beginRate, beginBurst = 80, 500
	// failureRate, of calls with a token or proof that is wrong.
	failureRate, failureBurst = 10, 200
	// passwordRate, of wrong passwords. Each costs 45 ms and a place in the one
	// queue, so without this one source could keep everybody else out of it.
	passwordRate, passwordBurst = 1, 100
	// denialRate, of refusals that are audited for each caller.
	denialRate, denialBurst = 0.1, 10
	// impostorRate, of impostors that one person tells of. Each is a row that
	// stays, and one that is true is told again with the next connection.
	impostorRate, impostorBurst = 0.1, 10
	// eventRate, of events of one host. A host that builds all day has 10 logins
	// a second; one that comes back has a whole queue to tell at once. Without a
	// bound one host that was taken over could fill the log of all.
	eventRate, eventBurst = 20, 20_000
	// seldomRate, of a machine's reports and certificates together. It makes one of
	// each within minutes, and a few more while it starts or while much changes.
	seldomRate, seldomBurst = 2, 300
	// scimRate, of calls of one SCIM client. The largest provider sends 25 a second; a first
	// synchronization of 50,000 people takes nine minutes.
	scimRate, scimBurst = 100, 1000
	// maxSources is how many sources and callers are told apart; 100 bytes each.
	maxSources = 20_000
)

// Rows that refusals may add to the audit of one instance: see signin.
const (
	auditBurst = 120
	auditEvery = 500 * time.Millisecond
)

// limits counts. Make it with newLimits.
type limits struct {
	calls, polls atomic.Int64
	strangers    *buckets
	begins       *buckets
	failures     *buckets
	passwords    *buckets
	denials      *buckets
	impostors    *buckets
	events       *buckets
	seldom       *buckets
	scim         *buckets

	mu   sync.Mutex
	each map[string]int // polls of one caller; guarded by mu
}

func newLimits() *limits {
	return &limits{
		strangers: newBuckets(strangerRate, strangerBurst),
		begins:    newBuckets(beginRate, beginBurst),
		failures:  newBuckets(failureRate, failureBurst),
		passwords: newBuckets(passwordRate, passwordBurst),
		denials:   newBuckets(denialRate, denialBurst),
		impostors: newBuckets(impostorRate, impostorBurst),
		events:    newBuckets(eventRate, eventBurst),
		seldom:    newBuckets(seldomRate, seldomBurst),
		scim:      newBuckets(scimRate, scimBurst),
		each:      map[string]int{},
	}
}

// begin counts a call in. The answer to one too many is 503 or 429 at once: it
// is not made to wait.
func (l *limits) begin(r route, by caller.Caller, now time.Time) (end func(), err error) {
	source := sourceKey(by.Source)
	if (r.Access == Public || r.Access == Proof || r.Access == Dashboard) && !l.strangers.take(source, now) || r.Begins && !l.begins.take(source, now) {
		return nil, tooMany("too many calls from your address")
	}
	if r.Access != Public && l.failures.empty(source, now) {
		return nil, tooMany("too many refused calls from your address")
	}
	count, most := &l.calls, int64(maxCalls)
	if r.Poll {
		count, most = &l.polls, maxPolls
	}
	if count.Add(1) > most {
		count.Add(-1)
		return nil, api.Errorf(api.Unavailable, "the control plane has all hands full").WithRetry(retryBusy)
	}
	return func() { count.Add(-1) }, nil
}

// hold counts a poll of a known caller.
func (l *limits) hold(id string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each[id] >= maxPollsEach {
		return nil, api.Errorf(api.Limited, "you hold %d long polls open already", maxPollsEach).WithRetry(retryBusy)
	}
	l.each[id]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.each[id]--; l.each[id] == 0 {
			delete(l.each, id)
		}
	}, nil
}

func tooMany(why string) error {
	return api.Errorf(api.Limited, "%s", why).WithHint("try again in a moment").WithRetry(retryBusy)
}

// sourceKey is what addresses are told apart by: an IPv6 customer has a whole
// /64 to come from.
func sourceKey(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil || a.Is4() {
		return source
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return source
	}
	return p.String()
}

// buckets is a token bucket for each key, of a bounded number of keys. When it
// is full of busy ones, all others share one.
type buckets struct {
	rate  rate.Limit
	burst int

	mu    sync.Mutex
	of    map[string]*rate.Limiter // guarded by mu, as below
	other *rate.Limiter
}

func newBuckets(perSecond rate.Limit, burst int) *buckets {
	return &buckets{rate: perSecond, burst: burst, of: map[string]*rate.Limiter{}, other: rate.NewLimiter(perSecond, burst)}
}

// take takes one from key's bucket and reports whether there was one.
func (b *buckets) take(key string, now time.Time) bool { return b.takeAll(key, now, 1) }

// takeAll takes so many, or none if there are not as many.
func (b *buckets) takeAll(key string, now time.Time, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.of[key]
	if !ok {
		if l = b.room(now); l == nil {
			l = b.other
		} else {
			b.of[key] = l
		}
	}
	return l.AllowN(now, n)
}

// empty reports whether key has none left, without taking one. A key that
// nothing was taken from costs no memory.
func (b *buckets) empty(key string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.of[key]
	return ok && l.TokensAt(now) < 1
}

// room makes a bucket if there is place for one; it drops those that are full
// again, which say nothing.
func (b *buckets) room(now time.Time) *rate.Limiter {
	if len(b.of) >= maxSources {
		for key, l := range b.of {
			if l.TokensAt(now) >= float64(b.burst) {
				delete(b.of, key)
			}
		}
	}
	if len(b.of) >= maxSources {
		return nil
	}
	return rate.NewLimiter(b.rate, b.burst)
}

// deadlines bound the time of a request on its connection, for strangers; within
// gives the known more. A body has bodyTime to come, also one that no handler reads: net/http would wait for its end
// before it answers. A request without one has no read deadline, because a read
// beyond it, which tells that the peer left, would end a long poll.
func deadlines(w http.ResponseWriter, req *http.Request) {
	conn := http.NewResponseController(w)
	// A recorder in a test has no deadlines; a real connection always does.
	_ = conn.SetWriteDeadline(time.Now().Add(strangerTime))
	if req.Body != nil && req.Body != http.NoBody {
		_ = conn.SetReadDeadline(time.Now().Add(bodyTime))
	}
}

// bodyRead lifts the body's deadline.
func bodyRead(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // as in deadlines
}

// within runs a call inside its limits: counted, and with its time.
func (s *Server) within(w http.ResponseWriter, req *http.Request, r route, do func(ctx context.Context) error) error {
	by, _ := caller.From(req.Context())
	end, err := s.limits.begin(r, by, s.options.Now())
	if err != nil {
		return err
	}
	defer end()
	limit := callTime
	switch {
	case r.Poll:
		limit = pollTime
	case r.Bulk:
		limit = bulkTime
	}
	if r.Access != Public && r.Access != Proof {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit + answerTime)) // as in deadlines
	}
	ctx, cancel := context.WithTimeout(req.Context(), limit)
	defer cancel()
	if r.Poll {
		// Nothing is lost by ending a poll: the caller asks again, elsewhere.
		defer context.AfterFunc(s.stopping, cancel)()
	}
	return do(ctx)
}
