//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cardea-ssh/cardea/api"
)

// inTmux calls the tmux of a script, whose first window is the screen.
func inTmux(ts *testscript.TestScript, args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-S", ts.MkAbs("tmux" + ts.Getenv("SCREEN")), "-f", "/dev/null"}, args...)...)
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "CARDEA_NO_KEYRING", "CARDEA_BROWSER", "PATH", "TZ"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8", "SHELL=/bin/sh", "NO_COLOR=1")
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func screenCmd(ts *testscript.TestScript, _ bool, args []string) {
	inTmux(ts, "kill-server")
	ts.Setenv("SCREEN", ts.Getenv("SCREEN")+"i") // one that ends takes its socket with it
	ts.Defer(func() { inTmux(ts, "kill-server") })
	if out, err := inTmux(ts, append([]string{"new-session", "-d", "-s", "t", "-x", "100", "-y", "30"}, args...)...); err != nil {
		ts.Fatalf("tmux: %v: %s", err, out)
	}
}

func pressCmd(ts *testscript.TestScript, _ bool, args []string) {
	if out, err := inTmux(ts, append([]string{"send-keys", "-t", "t:0"}, args...)...); err != nil {
		ts.Fatalf("tmux: %v: %s", err, out)
	}
}

// panesOf is what is seen in each pane.
func panesOf(ts *testscript.TestScript) (seen []string) {
	ids, _ := inTmux(ts, "list-panes", "-s", "-t", "t", "-F", "#{pane_id} #{@cardea}")
	for line := range strings.Lines(ids) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		text, _ := inTmux(ts, "capture-pane", "-p", "-t", id)
		seen = append(seen, "== "+name+"\n"+text)
	}
	return seen
}

// within waits until something is true.
func within(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("in vain waited for %s; seen is\n%s", what, strings.Join(panesOf(ts), "\n"))
		}
	}
}

func seeCmd(ts *testscript.TestScript, neg bool, args []string) {
	for _, a := range args {
		re, err := regexp.Compile("(?m)" + a)
		ts.Check(err)
		within(ts, fmt.Sprintf("%v %q", !neg, a), func() bool {
			for _, p := range panesOf(ts) {
				if re.MatchString(p) {
					return !neg
				}
			}
			return neg
		})
	}
}

func windowsCmd(ts *testscript.TestScript, _ bool, args []string) {
	within(ts, "windows", func() bool {
		out, _ := inTmux(ts, "list-windows", "-t", "t")
		return fmt.Sprint(strings.Count(out, "\n")) == args[0]
	})
}

func recordedCmd(t *testing.T, ts *testscript.TestScript, args []string) {
	r := recordEach(t, 10*time.Millisecond)
	content, err := os.ReadFile(r.segment)
	ts.Check(err)
	key, err := os.ReadFile(r.identity)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), key, 0o600))
	s, path := controlOf(ts), "/v1/recordings/"+args[0]
	s.Reply("GET", path, api.Recording{Session: args[0], State: api.RecordingStored, Segments: 1, Head: r.head})
	manifest, err := json.Marshal(map[string]any{})
	ts.Check(err)
	s.Reply("GET", path+"/manifest", manifest)
	s.Reply("GET", path+"/segments/1", content)
}
