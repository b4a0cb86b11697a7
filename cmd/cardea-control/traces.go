package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// traces are what init put on the disk, to be taken away again if it fails before
// anything depends on it: a key file that is left would look like one that
// sealed something.
type traces struct{ paths []string }

// folder makes a folder with what is missing above it.
func (m *traces) folder(dir string) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		missing = append(missing, d)
	}
	slices.Reverse(missing)
	m.paths = append(m.paths, missing...)
	return os.MkdirAll(dir, 0o700)
}

// file notes a file that was made just now.
func (m *traces) file(paths ...string) { m.paths = append(m.paths, paths...) }

// keep forgets all of it: from now on it is needed.
func (m *traces) keep() { m.paths = nil }

// remove takes away what is there of it, and folders if they are empty.
func (m *traces) remove() {
	for _, path := range slices.Backward(m.paths) {
		os.Remove(path)
	}
	m.keep() // what comes to be there later is somebody else's
}
