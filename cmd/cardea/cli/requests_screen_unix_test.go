//go:build unix

package cli

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	xterm "golang.org/x/term"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/login"
)

// signedIn is an app with a session at a control plane.
func signedIn(t *testing.T) (*app, *apitest.Server) {
	t.Helper()
	a, _, _ := testApp(t)
	s := apitest.New(t)
	newRoot(a) // binds the options
	if err := a.configure(); err != nil {
		t.Fatal(err)
	}
	if err := a.home.Check(); err != nil {
		t.Fatal(err)
	}
	key, err := a.home.DeviceKey()
	if err != nil {
		t.Fatal(err)
	}
	token, session := s.SignIn(key.Thumbprint())
	if err := a.home.Save(login.Saved{URL: s.URL, Token: token, Session: session}); err != nil {
		t.Fatal(err)
	}
	return a, s
}

// terminal is a real one of 80 columns, on which nobody wants colours. What it is given can
// be read in screen, and unchanged fails unless it is as it was before.
func terminal(t *testing.T) (master, tty *os.File, screen *shownOn, unchanged func()) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skip("SKIPPED: no pseudo-terminal here: ", err)
	}
	t.Cleanup(func() { master.Close(); tty.Close() })
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	before, err := xterm.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "1")
	screen = &shownOn{}
	go screen.follow(master)
	return master, tty, screen, func() {
		t.Helper()
		if after, err := xterm.GetState(int(tty.Fd())); err != nil || *after != *before {
			t.Errorf("the terminal is not as it was: %v", err)
		}
	}
}

// At a real terminal somebody sees what waits, approves one, is refused another, and the
// terminal is as it was before.
func TestRequestsAtATerminal(t *testing.T) {
	a, s := signedIn(t)
	const first, second = "rqs_aaaaaaaaaaaaaaaaaaaa", "rqs_bbbbbbbbbbbbbbbbbbbb"
	wait := map[string]api.AccessRequest{
		first:  {ID: first, State: "pending", UserName: "alice", ProjectName: "web", Server: "srv_x", ServerName: "prod-1", GroupName: "oncall", Seconds: 7200, Reason: "the disk is full", CreatedAt: time.Now()},
		second: {ID: second, State: "pending", UserName: "bert", ProjectName: "web", GroupName: "oncall", Seconds: 3600, Reason: "INC-42", CreatedAt: time.Now()},
	}
	answered := make(chan apitest.Call, 1)
	left := []api.AccessRequest{wait[first], wait[second]}
	s.On("GET", "/v1/requests/pending", func(apitest.Call) (any, error) {
		return api.List[api.AccessRequest]{Items: left}, nil
	})
	s.Reply("GET", "/v1/requests", api.List[api.AccessRequest]{Items: []api.AccessRequest{}})
	s.On("POST", "/v1/requests/"+first+"/approve", func(c apitest.Call) (any, error) {
		left = left[1:]
		answered <- c
		return wait[first], nil
	})
	s.Fail("POST", "/v1/requests/"+second+"/deny", api.Errorf(api.Conflict, "the request does not wait any more: it is cancelled").WithHint("to see it type: cardea requests show %s", second))

	master, tty, screen, unchanged := terminal(t)
	a.in, a.out = tty, tty
	over := make(chan ExitCode, 1)
	go func() { over <- a.run(context.Background(), []string{"requests"}) }()
	for _, step := range []struct{ see, keys string }{
		{"the disk is full", "a"}, {"as asked?", "\x1b[B"}, {"1h?", "ok\r"}, {"approved " + first, "d"},
		{"Say no to bert?", "late\r"}, {"it is cancelled", "q"},
	} {
		screen.await(t, step.see)
		if _, err := master.WriteString(step.keys); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case code := <-over:
		if code != ExitOK {
			t.Errorf("code %d", code)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the screen does not end")
	}
	var in api.NewRequestAnswer
	(<-answered).Into(t, &in)
	if in.Seconds != 3600 || in.Reason != "ok" {
		t.Errorf("answered %+v", in)
	}
	screen.await(t, "\x1b[?1049l") // it left the screen of its own
	screen.mu.Lock()
	shown := screen.b.String()
	screen.mu.Unlock()
	for _, colour := range []string{"\x1b[31m", "\x1b[34m", "\x1b[1;34m", "38;5;", "38;2;"} {
		if strings.Contains(shown, colour) {
			t.Errorf("a colour in spite of NO_COLOR: %q", colour)
		}
	}
	unchanged()
}

// Where there is no terminal nothing opens, and nothing is asked of the control plane.
func TestRequestsWithoutATerminalPrintHelp(t *testing.T) {
	a, stdout, _ := testApp(t)
	if code := a.run(context.Background(), []string{"requests"}); code != ExitOK || !strings.Contains(stdout.String(), "cardea requests [command]") {
		t.Errorf("code %d: %s", code, stdout)
	}
	if code := a.run(context.Background(), []string{"requests", "pendign"}); code != ExitUsage {
		t.Errorf("a misspelt verb: code %d", code)
	}
}
