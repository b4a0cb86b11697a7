//go:build !windows

package socket

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Path is the socket called name in a folder.
func Path(folder, name string) string { return filepath.Join(folder, name) }

// Listen listens at path. A socket that is there is of an agent that was killed, and replaced:
// the caller has the lock that says that none lives.
func Listen(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s is in the way and is not a socket; remove it", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// The folder keeps others out; this is for a folder that somebody opened up later.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Dial connects to path. Check tells whether that is the user himself.
func Dial(path string) (net.Conn, error) { return net.Dial("unix", path) }
