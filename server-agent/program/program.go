// Package program runs the programs of the host that the server agent needs
// (useradd, visudo, sshd, …), and is the only place where the agent starts one.
//
// The agent is root, so nothing around it may decide what it runs: programs
// are named by absolute path, get an argument vector and never a shell, an
// empty environment (no PATH, LD_PRELOAD or locale), the root folder, no
// standard input, and a time-out after which the whole process group is killed.
package program

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
)

const (
	// DefaultLimit bounds a program that works on local files alone. Shadow-utils
	// wait up to 15 s for another's lock on /etc/passwd.
	DefaultLimit = 30 * time.Second
	// MaxOutput bounds what is kept of stdout and of stderr each, in bytes.
	// The longest wanted is the JSON of sudo rules: 700 bytes and the text of each
	// of a thousand.
	MaxOutput = 4 << 20
	// maxQuote is how much of a program's complaint goes into an error, in bytes.
	maxQuote = 300
	// waitDelay is how long a killed program's output is still read.
	waitDelay = time.Second
)

// Runner runs a program and returns its standard output. Run is the only real
// one; tests put a recorder in its place.
type Runner func(ctx context.Context, argv ...string) (stdout []byte, err error)

// Error is a program that failed. Its text quotes the program's own complaint,
// made safe for a log.
type Error struct {
	Program string // base name
	Said    string // last words on stderr or stdout, escaped and cut
	Err     error
}

func (e *Error) Error() string {
	if e.Said == "" {
		return e.Program + ": " + e.Err.Error()
	}
	return e.Program + ": " + e.Err.Error() + ": " + e.Said
}

// Unwrap gives the cause: an *exec.ExitError, or why it could not be started.
func (e *Error) Unwrap() error { return e.Err }

// Run runs argv, where argv[0] is an absolute path, for DefaultLimit at most.
func Run(ctx context.Context, argv ...string) ([]byte, error) {
	return Command{Argv: argv}.Run(ctx)
}

// Command is a program to run in another way than most.
type Command struct {
	Argv []string
	// Env is the whole environment.
	Env []string
	// Limit bounds its time; zero means DefaultLimit.
	Limit time.Duration
	// As is whom it runs as; nil means root.
	As *syscall.Credential
	// Chatty is for a program whose output only a log will see: stderr comes with
	// stdout, what is over MaxOutput is left out and no error, and one that leaves
	// something running in the background is not waited for.
	Chatty bool
}

// Run runs the program and returns its standard output.
func (c Command) Run(ctx context.Context) ([]byte, error) {
	argv := c.Argv
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, errors.New("program without an absolute path")
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Limit, DefaultLimit))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{}, c.Env...) // not nil, which would mean ours
	cmd.Dir = "/"
	cmd.WaitDelay = waitDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.As}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, complaint limited
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if c.Chatty {
		cmd.Stderr = &out // the very same writer, so that one goroutine writes
	}
	err := cmd.Run()
	if c.Chatty && errors.Is(err, exec.ErrWaitDelay) {
		return out.kept.Bytes(), nil
	}
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("gave up: %w", ctx.Err())
	case err == nil && out.over && !c.Chatty:
		err = fmt.Errorf("wrote more than %d bytes", MaxOutput)
	case err == nil:
		return out.kept.Bytes(), nil
	}
	said := complaint.kept.String()
	if strings.TrimSpace(said) == "" {
		said = out.kept.String()
	}
	return out.kept.Bytes(), &Error{Program: filepath.Base(argv[0]), Said: oneLine(said), Err: err}
}

// oneLine makes a program's complaint fit for a sentence.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	s = ident.Text(s[:min(len(s), maxQuote)])
	return strings.TrimSpace(s)
}

// limited keeps the first MaxOutput bytes and lets the program write on. The
// buffer is not embedded: its ReadFrom would go around Write.
type limited struct {
	kept bytes.Buffer
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := MaxOutput - l.kept.Len()
	l.over = l.over || len(p) > room
	l.kept.Write(p[:min(len(p), room)])
	return len(p), nil
}
