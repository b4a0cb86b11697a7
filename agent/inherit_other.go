//go:build !unix

package agent

// keepDescriptors has nothing to do: here a process inherits only what it is given.
func keepDescriptors() (undo func()) { return func() {} }
