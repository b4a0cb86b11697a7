package desktop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// having is a system with these programs and variables.
func having(goos string, env map[string]string, programs ...string) System {
	return System{GOOS: goos, Env: func(name string) string { return env[name] }, Look: func(name string) (string, error) {
		if slices.Contains(programs, name) {
			return "/bin/" + filepath.Base(name), nil
		}
		return "", errors.New("not found")
	}}
}

const evil = `x" -e 'do shell script "id"' $(id) <b>&`

func TestWhatIsShownIsNeverAPartOfAScript(t *testing.T) {
	screen := map[string]string{"DISPLAY": ":0"}
	for name, c := range map[string]struct {
		s    System
		last string // argument or variable with the text
	}{
		"Linux":   {having("linux", screen, "notify-send", "zenity"), evil},
		"KDE":     {having("linux", map[string]string{"WAYLAND_DISPLAY": "w"}, "notify-send", "kdialog"), evil},
		"a Mac":   {having("darwin", nil, "osascript"), evil},
		"Windows": {having("windows", nil, "powershell.exe"), "CARDEA_TEXT=" + evil},
	} {
		q, err := c.s.question(evil)
		n, nerr := c.s.notification("title", evil)
		if err != nil || nerr != nil {
			t.Fatalf("%s: %v, %v", name, err, nerr)
		}
		for _, got := range []command{q, n} {
			words := slices.Concat(got.argv, got.env)
			at := slices.IndexFunc(words, func(w string) bool {
				return w == c.last || w == `x&#34; -e &#39;do shell script &#34;id&#34;&#39; $(id) &lt;b&gt;&amp;`
			})
			if at < 1 {
				t.Errorf("%s: the text is no word of its own in %q", name, words)
			}
			words = slices.Delete(words, at, at+1)
			if strings.Contains(strings.Join(words, " "), "$(id)") {
				t.Errorf("%s: the text is in %q", name, words)
			}
		}
	}
}

func TestWithoutAScreenOrAProgramNobodyIsAsked(t *testing.T) {
	screen := map[string]string{"DISPLAY": ":0"}
	for name, c := range map[string]struct {
		s   System
		can bool
	}{
		"no screen":                           {having("linux", map[string]string{"SSH_ASKPASS": "/bin/ask"}, "zenity"), false},
		"no program":                          {having("linux", screen, "notify-send"), false},
		"the user's own program":              {having("linux", map[string]string{"DISPLAY": ":0", "SSH_ASKPASS": "/bin/ask"}), true},
		"one that needs no screen":            {having("linux", map[string]string{"SSH_ASKPASS": "/bin/ask", "SSH_ASKPASS_REQUIRE": "force"}), true},
		"OpenSSH's own":                       {having("linux", screen, "/usr/libexec/openssh/ssh-askpass"), true},
		"a Mac without its programs":          {having("darwin", nil), false},
		"Windows without PowerShell in sight": {having("windows", nil), false},
	} {
		if err := c.s.CanConfirm(); (err == nil) != c.can || !c.can && !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := having("linux", nil).Notify(t.Context(), "a", "b"); !errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheAnswerIsYesOnlyIfTheProgramSaysSo(t *testing.T) {
	if os.PathSeparator == '\\' {
		t.Skip("SKIPPED: needs a shell")
	}
	ask := func(program string) System {
		return having("linux", map[string]string{"SSH_ASKPASS": program, "DISPLAY": ":0"})
	}
	yes := script(t, `test "$SSH_ASKPASS_PROMPT" = confirm && test "$1" = "really?"`)
	if ok, err := ask(yes).Confirm(t.Context(), "really?"); !ok || err != nil {
		t.Errorf("yes: %v, %v", ok, err)
	}
	if ok, err := ask(script(t, "exit 1")).Confirm(t.Context(), "really?"); ok || err != nil {
		t.Errorf("no: %v, %v", ok, err)
	}
	// Many have a program there that prints a passphrase and asks nobody; it ends with 0.
	for text, want := range map[string]bool{"echo hunter2": false, "echo no": false, "echo yes": true, "echo Yes; echo a warning >&2": true, "echo": true} {
		if ok, err := ask(script(t, text)).Confirm(t.Context(), "really?"); ok != want || err != nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	if ok, err := ask("/nonexistent/program").Confirm(t.Context(), "really?"); ok || err == nil {
		t.Errorf("a program that is not there: %v, %v", ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if ok, err := ask(script(t, "exec sleep 5")).Confirm(ctx, "really?"); ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v, %v", ok, err)
	}
	shows := having("linux", nil)
	told := filepath.Join(t.TempDir(), "told")
	shows.Look = func(string) (string, error) {
		return script(t, `for a; do last=$a; done; printf %s "$last" >`+told), nil
	}
	if err := shows.Notify(t.Context(), "title", "a < b"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(told); string(text) != "a &lt; b" {
		t.Errorf("shown is %q, %v", text, err)
	}
	shows.Look = func(string) (string, error) { return script(t, "echo no daemon; exit 1"), nil }
	if err := shows.Notify(t.Context(), "title", "text"); err == nil || !strings.Contains(err.Error(), "no daemon") {
		t.Errorf("got %v", err)
	}
}
