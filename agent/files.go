package agent

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// readUpTo reads a regular file of at most so many bytes.
func readUpTo(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, errors.New(path + " is not a regular file of a usual size")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// openInclude reads the files of an Include line as ssh finds them: ~ is the home, and what
// is not absolute is below ~/.ssh. Our own file is not the user's word.
func (a *Agent) openInclude(pattern string) (texts [][]byte) {
	ssh := filepath.Dir(a.paths.SSH)
	if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
		pattern = filepath.Join(filepath.Dir(ssh), rest)
	}
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(ssh, pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	for _, path := range paths {
		if path == a.paths.SSHConfig() {
			continue
		}
		if text, err := readUpTo(path, maxOwnConfig); err == nil {
			texts = append(texts, text)
		}
	}
	return texts
}

// userSocket is the socket of the user's own agent, as long as there is one.
func (a *Agent) userSocket() string {
	socket, _ := a.userAgent.Load().(string)
	if !a.isUserSocket(socket) {
		return ""
	}
	return socket
}

// noteUserAgent remembers the user's agent from an ssh that he started: his session may be a
// newer one than that which our process comes from.
func (a *Agent) noteUserAgent(sshPID int) {
	if socket := authSock(sshPID); a.isUserSocket(socket) {
		a.userAgent.Store(socket)
	}
}

func (a *Agent) isUserSocket(path string) bool {
	if !filepath.IsAbs(path) || path == a.paths.SSHSocket() {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}
