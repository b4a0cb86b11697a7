package term

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// open is a terminal and the end at which the person sits.
func open(t *testing.T) (*Terminal, *os.File) {
	t.Helper()
	person, tty, err := pty.Open()
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminal here: %v", err)
	}
	t.Cleanup(func() { tty.Close(); person.Close() })
	return from(tty, tty), person
}

func TestPromptReturnsTheLineTyped(t *testing.T) {
	term, person := open(t)
	go person.WriteString("alice\n")
	got, err := term.Prompt(t.Context(), "name: ")
	if got != "alice" || err != nil {
		t.Errorf("Prompt = %q, %v", got, err)
	}
}

func TestTwoAnswersTypedAheadAreBothRead(t *testing.T) {
	term, person := open(t)
	go person.WriteString("maybe\nyes\n")
	if ok, err := term.Confirm(t.Context(), "sure?"); !ok || err != nil {
		t.Errorf("Confirm = %v, %v; want yes after asking again", ok, err)
	}
}

func TestAnEmptyAnswerIsNo(t *testing.T) {
	term, person := open(t)
	go person.WriteString("\n")
	if ok, err := term.Confirm(t.Context(), "sure?"); ok || err != nil {
		t.Errorf("Confirm = %v, %v; want no", ok, err)
	}
}

func TestASecretIsNotEchoed(t *testing.T) {
	term, person := open(t)
	seen := make(chan string)
	go func() {
		r := bufio.NewReader(person)
		r.ReadString(':')
		for echoes(term.in) { // type only when echo is off, as a person would
			time.Sleep(time.Millisecond)
		}
		person.WriteString("hunter2\n")
		rest, _ := r.ReadString('\n')
		seen <- rest
	}()
	got, err := term.Secret(t.Context(), "password:")
	if got != "hunter2" || err != nil {
		t.Errorf("Secret = %q, %v", got, err)
	}
	if rest := <-seen; strings.Contains(rest, "hunter2") {
		t.Errorf("the terminal shows %q", rest)
	}
}

func TestCancellingASecretBringsEchoBack(t *testing.T) {
	term, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for echoes(term.in) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := term.Secret(ctx, "password:"); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if !echoes(term.in) {
		t.Error("the terminal stays mute")
	}
}

func TestWithoutAControllingTerminalNobodyIsAsked(t *testing.T) {
	if os.Getenv("CARDEA_TERM_CHILD") != "" {
		if _, err := Open(); !errors.Is(err, ErrNone) {
			t.Errorf("Open = %v, want ErrNone", err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "CARDEA_TERM_CHILD=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a new session has no terminal
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestIsTerminal(t *testing.T) {
	term, _ := open(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if !IsTerminal(term.in) || IsTerminal(r) {
		t.Error("IsTerminal confuses a terminal with a pipe")
	}
	if w := Width(r, 72); w != 72 {
		t.Errorf("Width of a pipe = %d, want the fallback", w)
	}
}

// echoes reports whether the terminal shows what is typed.
func echoes(f *os.File) bool {
	now, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && now.Lflag&unix.ECHO != 0
}
