package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/cardea-ssh/cardea/agent/socket"
)

// Paths are the folders of one user. Each belongs to him alone (0700).
type Paths struct {
	Run   string // sockets and locks; best on a file system that a restart empties
	State string // the catalog as it was last seen
	SSH   string // config and known_hosts, for ssh to include
}

// Names within the folders.
const (
	sshSocket     = "agent.sock"
	controlSocket = "control.sock"
	agentLock     = "agent.lock"
	startLock     = "start.lock"
	catalogFile   = "catalog.json"
	gatewaysFile  = "gateways.json"
	logFile       = "agent.log"
	sshConfigFile = "config"
	knownHosts    = "known_hosts"
)

// maxSocketPath is what fits into sockaddr_un: 104 bytes on macOS, 108 on Linux, with a
// zero at the end.
const maxSocketPath = 103

// DefaultPaths follows the XDG base directory specification, with the run folder below the
// state folder where there is no XDG_RUNTIME_DIR (macOS, cron, sudo -u).
func DefaultPaths() (Paths, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return Paths{}, fmt.Errorf("no home directory: %w; set HOME", err)
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(home, ".local", "state")
		switch local := os.Getenv("LocalAppData"); {
		case runtime.GOOS == "darwin":
			state = filepath.Join(home, "Library", "Application Support")
		case runtime.GOOS == "windows" && filepath.IsAbs(local):
			state = local
		}
	}
	p := Paths{State: filepath.Join(state, "cardea"), SSH: filepath.Join(home, ".ssh", "cardea")}
	p.Run = filepath.Join(p.State, "run")
	if run := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(run) {
		p.Run = filepath.Join(run, "cardea")
	}
	return p, nil
}

// SSHSocket is where ssh finds the agent (IdentityAgent).
func (p Paths) SSHSocket() string { return socket.Path(p.Run, sshSocket) }

// ControlSocket is where our own programs find it.
func (p Paths) ControlSocket() string { return socket.Path(p.Run, controlSocket) }

// SSHConfig is the file that the user's ssh configuration includes.
func (p Paths) SSHConfig() string { return filepath.Join(p.SSH, sshConfigFile) }

// KnownHosts is the file with the team's host CAs.
func (p Paths) KnownHosts() string { return filepath.Join(p.SSH, knownHosts) }

// Log is where an agent in the background writes what it does.
func (p Paths) Log() string { return filepath.Join(p.State, logFile) }

// prepare makes the folders and refuses those that somebody else could write to.
func (p Paths) prepare() error {
	for _, dir := range []string{p.State, p.Run, filepath.Dir(p.SSH), p.SSH} {
		if dir == "" || !filepath.IsAbs(dir) {
			return errors.New("a folder of the agent is not given")
		}
		if err := privateDir(dir); err != nil {
			return err
		}
	}
	if n := len(p.ControlSocket()); n > maxSocketPath {
		return fmt.Errorf("the path %s is too long for a socket; set XDG_RUNTIME_DIR to a shorter one", p.ControlSocket())
	}
	return nil
}

// privateDir makes dir if needed. One that exists must be a folder of ours that nobody else
// may write to; what it holds is 0600 in any case.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !ownedByUs(info) || othersMay(info, 0o022) {
		return fmt.Errorf("others may write to %s, or it belongs to somebody else; type: chmod 700 %s", dir, dir)
	}
	return nil
}
