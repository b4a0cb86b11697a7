package gateway

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clockNoise is what the whole seconds of a Date field and the network make of
// two equal clocks.
const clockNoise = 2 * time.Second

// clock is the control plane's clock as seen from here, learnt from the Date of
// its answers. Tickets are judged by it, so that a gateway whose own clock is
// wrong neither refuses everybody nor takes what is over.
type clock struct {
	now    func() time.Time
	offset atomic.Int64 // nanoseconds to add to now
}

func newClock(now func() time.Time) *clock {
	if now == nil {
		now = time.Now
	}
	return &clock{now: now}
}

// Now is the control plane's time.
func (c *clock) Now() time.Time { return c.now().Add(time.Duration(c.offset.Load())) }

// local is this machine's time, for durations.
func (c *clock) local() time.Time { return c.now() }

// watch returns a transport that learns from what passes through it.
func (c *clock) watch(inner http.RoundTripper) http.RoundTripper {
	if inner == nil {
		inner = http.DefaultTransport
	}
	return watcher{c, inner}
}

type watcher struct {
	clock *clock
	inner http.RoundTripper
}

func (w watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		w.clock.learn(date)
	}
	return res, nil
}

func (c *clock) learn(date time.Time) {
	offset := date.Add(500 * time.Millisecond).Sub(c.now()) // the middle of its second
	if offset.Abs() <= clockNoise {
		offset = 0
	}
	c.offset.Store(int64(offset))
}
