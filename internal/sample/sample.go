// Package sample draws what one run of a test tries of many cases that are alike: others
// each time, so that by and by it is all of them. It is for tests alone.
package sample

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Seed is the environment variable that has tests draw again what they drew. They say what
// it was.
const Seed = "CARDEA_SEED"

// Dice fall for one test as the seed says.
func Dice(t testing.TB) *rand.Rand {
	t.Helper()
	seed := os.Getenv(Seed)
	if seed == "" {
		seed = strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	t.Logf("%s=%s", Seed, seed)
	h := fnv.New64()
	h.Write([]byte(seed + " " + t.Name()))
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// Of draws n of the cases, in their order, or takes all that there are.
func Of[T any](dice *rand.Rand, n int, cases []T) []T {
	if n >= len(cases) {
		return cases
	}
	drawn := dice.Perm(len(cases))[:n]
	slices.Sort(drawn)
	out := make([]T, 0, n)
	for _, i := range drawn {
		out = append(out, cases[i])
	}
	return out
}
