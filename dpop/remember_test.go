package dpop

import (
	"fmt"
	"strings"
	"testing"
)

func TestOnlySoManyKeysAreRemembered(t *testing.T) {
	var c Checker
	for i := range 10 * maxProvers {
		c.remember(fmt.Sprint("header-", i), &prover{thumbprint: fmt.Sprint(i)})
		if n := len(c.young) + len(c.old); n > 2*maxProvers {
			t.Fatalf("%d after %d", n, i+1)
		}
	}
	newest := fmt.Sprint("header-", 10*maxProvers-1)
	if by, ok := c.recall(newest); !ok || by.thumbprint != fmt.Sprint(10*maxProvers-1) {
		t.Error("the newest is forgotten")
	}
	if _, ok := c.recall("header-0"); ok {
		t.Error("the oldest is remembered")
	}
}

func TestAKeyInUseStaysKnown(t *testing.T) {
	var c Checker
	c.remember("mine", &prover{})
	for i := range 5 * maxProvers {
		c.remember(fmt.Sprint("header-", i), &prover{})
		if _, ok := c.recall("mine"); !ok {
			t.Fatalf("forgotten after %d others", i+1)
		}
	}
}

func TestALongHeaderIsNotRemembered(t *testing.T) {
	for _, n := range []int{maxHeader, maxHeader + 1} {
		var c Checker
		h := strings.Repeat("h", n)
		c.remember(h, &prover{})
		if _, ok := c.recall(h); ok != (n == maxHeader) {
			t.Errorf("%d bytes: remembered is %v", n, ok)
		}
	}
}
