package caller

import (
	"testing"
	"time"
)

func TestRation(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewRation(3, time.Second)
	take := func(n int) (got int) {
		for range n {
			if _, ok := r.Take(now); ok {
				got++
			}
		}
		return got
	}
	if got := take(10); got != 3 {
		t.Fatalf("%d at once, want the burst of 3", got)
	}
	now = now.Add(time.Second)
	if held, ok := r.Take(now); !ok || held != 7 {
		t.Errorf("after a second: %v, %d held back, want 7", ok, held)
	}
	if got := take(1); got != 0 {
		t.Error("a second gave two")
	}
	now = now.Add(999 * time.Millisecond)
	if got := take(1); got != 0 {
		t.Error("less than a second gave one")
	}
	now = now.Add(time.Millisecond)
	if got := take(1); got != 1 {
		t.Error("the rest of the second was lost")
	}
	now = now.Add(24 * time.Hour)
	if got := take(10); got != 3 {
		t.Errorf("a day later %d, want the burst of 3", got)
	}
	now = now.Add(-time.Hour)
	if got := take(1); got != 0 {
		t.Error("a clock set back gives rows")
	}
	now = now.Add(time.Second)
	if got := take(1); got != 1 {
		t.Error("after a clock set back nothing comes any more")
	}
}
