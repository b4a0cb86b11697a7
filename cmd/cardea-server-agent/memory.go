package main

import (
	"runtime/debug"

	serveragent "github.com/cardea-ssh/cardea/server-agent"
)

// spareMemory sets the limit of the agent, unless the operator has said what he wants in
// the variable that the Go runtime has for it.
func spareMemory(lookup func(string) (string, bool)) {
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(serveragent.MemoryLimit)
	}
}
