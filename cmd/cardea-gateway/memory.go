package main

import "runtime/debug"

// gcPercent lets the heap grow to four times what is alive before it is swept. In record mode
// each packet leaves 32 KiB of garbage, so that with Go's own 100 a heap of a few MiB is
// swept 250 times for each GB: a tenth to a fifth of all work.
const gcPercent = 300

// spendMemory sets it, unless the operator has said what he wants in the variable that the
// Go runtime has for it.
func spendMemory(lookup func(string) (string, bool)) {
	if _, set := lookup("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}
