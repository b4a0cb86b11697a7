// Package term talks to the person at the controlling terminal, past whatever
// stdin and stdout are connected to: in a ProxyCommand they are the SSH wire,
// and in a pipe they are somebody's data.
package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	xterm "golang.org/x/term"
)

// ErrNone means that nobody can be asked: there is no controlling terminal.
var ErrNone = errors.New("no terminal to ask on")

// maxAnswer is the longest answer that is read, in bytes. The kernel's own
// line buffer holds 4096.
const maxAnswer = 4096

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return xterm.IsTerminal(int(f.Fd())) }

// Width is the number of columns of f, or fallback if it is no terminal.
func Width(f *os.File, fallback int) int {
	if w, _, err := xterm.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return fallback
}

// Terminal is the controlling terminal.
type Terminal struct {
	in, out *os.File
	lines   *bufio.Reader
}

// Open opens the controlling terminal; the error wraps ErrNone if there is
// none. Close it after the last question.
func Open() (*Terminal, error) {
	in, out, err := openTTY()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNone, err)
	}
	return from(in, out), nil
}

func from(in, out *os.File) *Terminal {
	return &Terminal{in: in, out: out, lines: bufio.NewReader(io.LimitReader(in, 1<<20))}
}

// Close lets the terminal go.
func (t *Terminal) Close() error {
	if t.out != t.in {
		t.out.Close()
	}
	return t.in.Close()
}

// Write shows text to the person. Escape what others wrote first.
func (t *Terminal) Write(p []byte) (int, error) { return t.out.Write(p) }

// Prompt asks a question and returns the answer without its line end.
func (t *Terminal) Prompt(ctx context.Context, question string) (string, error) {
	fmt.Fprint(t.out, question)
	return await(ctx, nil, func() (string, error) {
		line, err := t.lines.ReadString('\n')
		if len(line) > maxAnswer {
			return "", fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
		}
		if err != nil && line == "" {
			return "", fmt.Errorf("reading the answer: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	})
}

// Confirm asks until it gets a yes or a no; an empty answer is no.
func (t *Terminal) Confirm(ctx context.Context, question string) (bool, error) {
	for {
		answer, err := t.Prompt(ctx, question+" [y/N] ")
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return true, nil
		case "", "n", "no":
			return false, nil
		}
	}
}

// Secret asks for something that must not be seen. When ctx ends, echo comes
// back before Secret returns, so that Ctrl-C does not leave a mute terminal.
func (t *Terminal) Secret(ctx context.Context, question string) (string, error) {
	fd := int(t.in.Fd())
	state, err := xterm.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrNone, err)
	}
	fmt.Fprint(t.out, question)
	secret, err := await(ctx, func() { xterm.Restore(fd, state) }, func() (string, error) {
		b, err := xterm.ReadPassword(fd)
		return string(b), err
	})
	fmt.Fprintln(t.out)
	if len(secret) > maxAnswer {
		return "", fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return secret, err
}

// await runs read until it returns or ctx ends. A read of a terminal cannot be
// interrupted, so in the second case its goroutine waits on for a line that
// may never come: the caller is about to end the process.
func await(ctx context.Context, undo func(), read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		if undo != nil {
			undo()
		}
		return "", ctx.Err()
	}
}
