//go:build !linux || !(amd64 || arm64)

package faulttest

// Main returns: there is no such thing here.
func Main(func(path string) error) {}
