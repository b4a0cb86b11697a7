package main

import "runtime/debug"

const (
	// gcPercent lets the heap grow to five times what is alive before it is
	// swept. A connection leaves some 100 KiB of garbage and next to nothing that
	// stays, so that with Go's own 100 a fifth of all work is sweeping a heap of a
	// few MiB again and again.
	gcPercent = 400
	// memoryLimit is where growing ends and sweeping comes as often as it must:
	// what ten thousand waiting agents may take in all.
	memoryLimit = 1 << 30
)

// spendMemory sets both, unless the operator has said what he wants in the
// variables that the Go runtime has for it.
func spendMemory(lookup func(string) (string, bool)) {
	if _, set := lookup("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memoryLimit)
	}
}
