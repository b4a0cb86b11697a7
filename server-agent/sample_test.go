package serveragent

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// What chooses among the cases of a test that has more than each run can try.
const (
	soakEnv = "CARDEA_SOAK" // anything: all of them; what else it says is in fault_linux_test.go
	seedEnv = "CARDEA_SEED" // which ones; else others each time
)

// soaking tells whether all cases are to be tried.
func soaking() bool { return os.Getenv(soakEnv) != "" }

// dice fall for one test as the seed says, which a failure shows.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := os.Getenv(seedEnv)
	if seed == "" {
		seed = strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	t.Logf("%s=%s", seedEnv, seed)
	h := fnv.New64()
	h.Write([]byte(seed + " " + t.Name()))
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// some are n of the cases, in their order, and all of them for a soak.
func some[T any](t *testing.T, n int, cases []T) []T {
	t.Helper()
	if soaking() || n >= len(cases) {
		return cases
	}
	chosen := dice(t).Perm(len(cases))[:n]
	slices.Sort(chosen)
	out := make([]T, 0, n)
	for _, i := range chosen {
		out = append(out, cases[i])
	}
	return out
}

// upTo are the numbers from 1 to n.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}
