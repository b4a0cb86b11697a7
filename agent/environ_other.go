//go:build !linux

package agent

// authSock is known on Linux only; elsewhere the agent's own environment has to do.
func authSock(int) string { return "" }
