package main

import "runtime/debug"

// memoryLimit is where the heap stops growing to twice what is alive, in bytes: a
// state of thousands of people comes in, is kept and is applied, each of which
// leaves as much garbage. The agent is a guest on its host.
const memoryLimit = 96 << 20

// spareMemory sets it, unless the operator has said what he wants in the variable
// that the Go runtime has for it.
func spareMemory(lookup func(string) (string, bool)) {
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memoryLimit)
	}
}
