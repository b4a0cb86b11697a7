//go:build unix

package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	xterm "golang.org/x/term"
)

// shownOn is what a terminal was given so far.
type shownOn struct {
	mu   sync.Mutex
	b    bytes.Buffer
	seen int // how much of it next has passed
}

func (s *shownOn) follow(r io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		s.mu.Lock()
		s.b.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until text is there.
func (s *shownOn) await(t *testing.T, text string) {
	t.Helper()
	s.seen = 0
	s.next(t, text)
}

// next waits until text is there behind what it waited for last.
func (s *shownOn) next(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		got := s.b.String()[s.seen:]
		s.mu.Unlock()
		if i := strings.Index(got, text); i >= 0 {
			s.seen += i + len(text)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in %q", text, got)
		}
	}
}

// What some keys send.
const right, left, home = "\x1b[C", "\x1bOD", "\x1b[1~"

func TestPlayAtATerminalTakesItsTimeAndObeysKeys(t *testing.T) {
	r := record(t) // an event each hour
	for _, tc := range []struct {
		name string
		keys []string
		args []string
		see  []string // keys are pressed one after the other, each when this was seen
	}{
		{"with no more than a moment between two events", nil, []string{"--idle-limit", "1ms"}, []string{"hello", "bär", undo}},
		{"until q", []string{"q"}, []string{"--at", "1h"}, []string{"hello", undo}},
		{"until Ctrl-C", []string{"\x03"}, []string{"--at", "1h"}, []string{"hello", undo}},
		{"a pause that ends goes on at once", []string{" ", " ", "q"}, []string{"--at", "1h"}, []string{"hello", "", "?6n", undo}},
		{"a pause on a screen of its own is seen, and what it was written over comes back", []string{" ", " ", "x", "q"}, []string{"--hold", "--at", "1h"}, []string{"hello", "Paused", wiped + "\x1b[1mhello", "?6n", undo}},
		{"lines of a program without a terminal", []string{"q"}, []string{"--channel", "2", "--idle-limit", "1ms"}, []string{"of another channel\r\n", undo}},
		{"faster", []string{"+", "+", "-", "q"}, []string{"--at", "1h"}, []string{"hello", "?6n", "bär", "", undo}},
		{"back to before something was shown, and on again", []string{right, left, home, "q"}, []string{"--at", "1h"}, []string{"hello", wiped + "\x1b[1mhello", wiped + "\x1b[1mhello", wiped, undo}},
		{"on a screen of its own, which waits at the end", []string{left, home, "x", "q"}, []string{"--hold", "--idle-limit", "1ms"}, []string{wiped + "\x1b[1mhello", "This is the end", wiped, "This is the end", "", undo}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			master, tty, err := pty.Open()
			if err != nil {
				t.Skip("SKIPPED: no pseudo-terminal here: ", err)
			}
			defer master.Close()
			defer tty.Close()
			before, err := xterm.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			var screen shownOn
			go screen.follow(master)
			a, _, stderr := testApp(t)
			a.in, a.out = tty, tty
			over := make(chan ExitCode, 1)
			go func() {
				over <- a.run(context.Background(), append([]string{"sessions", "play", "-i", r.identity, r.dir}, tc.args...))
			}()
			for i, see := range tc.see {
				screen.next(t, see)
				if i < len(tc.keys) {
					if _, err := master.WriteString(tc.keys[i]); err != nil {
						t.Fatal(err)
					}
				}
			}
			select {
			case code := <-over:
				if code != ExitOK {
					t.Errorf("code %d: %s", code, stderr)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the play does not end")
			}
			after, err := xterm.GetState(int(tty.Fd()))
			if err != nil || *after != *before {
				t.Errorf("the terminal is not as it was: %v", err)
			}
		})
	}
}
