//go:build race

package serveragent

// raceFactor is 1 in tests with the race detector.
const raceFactor = 1
