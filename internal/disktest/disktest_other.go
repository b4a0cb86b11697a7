//go:build !linux

package disktest

// Memory is a folder whose files are in memory; this system has none that is known.
func Memory() string { return "" }
