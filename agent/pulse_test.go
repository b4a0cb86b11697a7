package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// after is a call that is answered after a time, with err.
func after(d time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return err
		}
	}
}

func TestASilentControlPlaneIsGivenUpWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		if err := p.call(t.Context(), "https://a", after(0, nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // an answer of long ago says nothing
		begun := time.Now()
		err := p.call(t.Context(), "https://a", after(time.Hour, nil))
		if api.KindOf(err) != api.Unavailable || time.Since(begun) != connectTime {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestASlowControlPlaneIsNotTakenForASilentOne(t *testing.T) {
	for name, tc := range map[string]struct {
		others error         // what others are answered every second
		takes  time.Duration // until the call is answered
		want   bool
	}{
		"others are answered":                 {nil, 10 * time.Second, true},
		"others are refused, so it is there":  {api.Errorf(api.Denied, "no"), 10 * time.Second, true},
		"others are not answered either":      {api.Errorf(api.Unavailable, "no"), 10 * time.Second, false},
		"it takes longer than anybody waits":  {nil, slowTime + time.Millisecond, false},
		"it is answered in the last instant":  {nil, slowTime - time.Millisecond, true},
		"what breaks on the way is no answer": {errors.New("broken"), 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p pulse
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				go func() {
					for ctx.Err() == nil {
						_ = p.call(ctx, "https://a", after(time.Second, tc.others))
					}
				}()
				begun := time.Now()
				err := p.call(ctx, "https://a", after(tc.takes, nil))
				if got := err == nil; got != tc.want {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				if time.Since(begun) > slowTime {
					t.Errorf("it took %v", time.Since(begun))
				}
			})
		})
	}
}

func TestACallThatIsCancelledIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.call(ctx, "https://a", after(time.Hour, nil))
		if !errors.Is(err, context.DeadlineExceeded) || !p.last.IsZero() {
			t.Errorf("%v, heard %v", err, p.last)
		}
	})
}
