//go:build !linux

package disktest

import "testing"

func memory(testing.TB) (string, bool) { return "", false }
