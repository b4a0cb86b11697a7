package serveragent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// backoff is how long to wait after so many failures in a row: full jitter up
// to a bound that doubles, or what the server asked for with a little more, so
// that those whom it told the same do not come together.
func backoff(failures int, err error) time.Duration {
	bound := maxBackoff
	if failures < 8 {
		bound = min(maxBackoff, firstBackoff<<max(failures-1, 0))
	}
	var e *api.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		after := min(time.Duration(min(e.RetryAfter, int(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
		return after + jitter(after/4+time.Second)
	}
	return jitter(bound)
}

// jitter is drawn evenly from 0 to d. Randomness need not be secret here.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) + 1
}

// sleep waits, or says that ctx is over.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
