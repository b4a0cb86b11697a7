package sample

import (
	"slices"
	"testing"
)

func TestTheSameSeedDrawsTheSame(t *testing.T) {
	t.Setenv(Seed, "a seed")
	cases := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	first := Of(Dice(t), 4, cases)
	if again := Of(Dice(t), 4, cases); len(first) != 4 || !slices.Equal(first, again) {
		t.Errorf("%q, then %q", first, again)
	}
	if !slices.IsSorted(first) {
		t.Errorf("%q is not in the order of the cases", first)
	}
	t.Run("another test", func(t *testing.T) {
		if other := Of(Dice(t), 4, cases); slices.Equal(first, other) {
			t.Errorf("%q, as in the other", other)
		}
	})
}

func TestWithoutASeedAllAreDrawnInTheEnd(t *testing.T) {
	t.Setenv(Seed, "")
	drawn := map[int]bool{}
	for range 1000 {
		for _, n := range Of(Dice(t), 1, []int{1, 2, 3}) {
			drawn[n] = true
		}
	}
	if len(drawn) != 3 {
		t.Errorf("only %v", drawn)
	}
	if all := Of(Dice(t), 3, []int{1, 2, 3}); !slices.Equal(all, []int{1, 2, 3}) {
		t.Errorf("%v", all)
	}
}
