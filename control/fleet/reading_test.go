package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

func counted(n int64) *view { return &view{version: api.StateVersion{Counter: n}} }

func TestAThousandThatWakeAtOnceCostAFewReadings(t *testing.T) {
	var c cached
	var loads atomic.Int64
	load := func(context.Context, *view) (*view, error) {
		time.Sleep(20 * time.Millisecond)
		return counted(loads.Add(1)), nil
	}
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if v, err := c.get(t.Context(), load); err != nil || v == nil {
				t.Error(v, err)
			}
		})
	}
	wg.Wait()
	if n := loads.Load(); n > 20 { // two, but for the time it takes to start a thousand
		t.Errorf("%d readings", n)
	}
}

// What was committed before somebody asks is in what he gets: he never joins a
// reading that has begun.
func TestAReadingThatHasBegunIsNotJoined(t *testing.T) {
	var c cached
	begun, finish := make(chan struct{}), make(chan struct{})
	var committed atomic.Int64
	first := func(context.Context, *view) (*view, error) {
		seen := committed.Load()
		close(begun)
		<-finish
		return counted(seen), nil
	}
	go c.get(t.Context(), first)
	<-begun
	committed.Store(1)
	got := make(chan *view)
	go func() {
		v, _ := c.get(t.Context(), func(_ context.Context, old *view) (*view, error) {
			if old == nil || old.version.Counter != 0 {
				t.Errorf("the reading before gave %+v", old)
			}
			return counted(committed.Load()), nil
		})
		got <- v
	}()
	time.Sleep(10 * time.Millisecond)
	close(finish)
	if v := <-got; v.version.Counter != 1 {
		t.Errorf("got the view before the commit: %+v", v)
	}
}

func TestAReadingOutlivesWhoBeganIt(t *testing.T) {
	var c cached
	ctx, cancel := context.WithCancel(t.Context())
	finish := make(chan struct{})
	led := make(chan error)
	go func() {
		_, err := c.get(ctx, func(ctx context.Context, _ *view) (*view, error) {
			<-finish
			return counted(1), ctx.Err()
		})
		led <- err
	}()
	time.Sleep(10 * time.Millisecond)
	cancel()
	close(finish)
	if err := <-led; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	fault := errors.New("fault")
	if _, err := c.get(t.Context(), func(context.Context, *view) (*view, error) { return nil, fault }); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	if v, err := c.get(t.Context(), func(context.Context, *view) (*view, error) { return counted(2), nil }); err != nil || v.version.Counter != 2 {
		t.Errorf("after a fault: %v, %v", v, err)
	}
}
