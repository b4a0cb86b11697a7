package gateway

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// flushTime bounds the last try of each kind when the gateway stops.
const flushTime = 5 * time.Second

// backoff is how long a loop waits that found the control plane away: longer each time,
// from retryMin to retryMax. Zero is at the beginning, and is set when it is back.
type backoff time.Duration

func (b *backoff) next() time.Duration {
	d := max(time.Duration(*b), retryMin)
	*b = backoff(min(2*d, retryMax))
	return jitter(d)
}

// outcome is what became of telling the control plane what waits first.
type outcome int

const (
	nothingWaits outcome = iota
	settled              // it was told, or refused for good
	away                 // the control plane may take it later
)

// tellAll has one tell what waits, in order, and retries for ever. wake says that there may be
// something again.
func tellAll(ctx context.Context, wake <-chan struct{}, one func(context.Context) outcome) error {
	var retry backoff
	for ctx.Err() == nil {
		switch one(ctx) {
		case settled:
			retry = 0
		case away:
			sleep(ctx, retry.next())
		case nothingWaits:
			select {
			case <-ctx.Done():
			case <-wake:
			}
		}
	}
	return nil
}

// flush is the last try of a gateway that stops.
func flush(one func(context.Context) outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	for one(ctx) == settled {
	}
}

// post tells the control plane something of a session; path is what it stands under.
func post(ctx context.Context, client *api.Client, session, path string, in any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.Send(ctx, http.MethodPost, claimPath+"/"+url.PathEscape(session)+"/"+path, in, nil)
}

// forGood reports whether the control plane would say the same again.
func forGood(err error) bool {
	switch api.KindOf(err) {
	case api.Invalid, api.NotFound, api.Conflict, api.Gone:
		return true
	}
	return false
}

// wakeUp wakes who waits for c, which holds one.
func wakeUp(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // he is awake already
	}
}
