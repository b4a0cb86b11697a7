package serveragent

import (
	"os"
	"testing"

	"github.com/cardea-ssh/cardea/internal/sample"
)

// soakEnv, whatever it says, has a test that has more cases than each run can try take all of
// them. What else it says is in fault_linux_test.go.
const soakEnv = "CARDEA_SOAK"

// soaking tells whether all cases are to be tried.
func soaking() bool { return os.Getenv(soakEnv) != "" }

// some are n of the cases, in their order, and all of them for a soak.
func some[T any](t *testing.T, n int, cases []T) []T {
	t.Helper()
	if soaking() {
		return cases
	}
	return sample.Of(sample.Dice(t), n, cases)
}

// upTo are the numbers from 1 to n.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}
