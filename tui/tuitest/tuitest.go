// Package tuitest drives screens for their tests, without a terminal, and holds what they show
// against golden files.
package tuitest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

// named are the keys that are no characters.
func named(name string) (k tea.KeyPressMsg, known bool) {
	k, known = map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "tab": {Code: tea.KeyTab}, "down": {Code: tea.KeyDown}, "up": {Code: tea.KeyUp},
		"left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight}, "bs": {Code: tea.KeyBackspace}, "del": {Code: tea.KeyDelete}, "home": {Code: tea.KeyHome},
		"end": {Code: tea.KeyEnd}, "pgdown": {Code: tea.KeyPgDown}, "space": {Code: tea.KeySpace, Text: " "},
		"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+k": {Code: 'k', Mod: tea.ModCtrl}, "ctrl+r": {Code: 'r', Mod: tea.ModCtrl}, "ctrl+u": {Code: 'u', Mod: tea.ModCtrl},
	}[name]
	return k, known
}

// Press sends keys, one after the other: names of special ones stand in angle brackets.
func Press(t testing.TB, keys string, send func(tea.Msg)) {
	t.Helper()
	for keys != "" {
		if rest, ok := strings.CutPrefix(keys, "<"); ok {
			name, after, _ := strings.Cut(rest, ">")
			k, known := named(name)
			if !known {
				t.Fatalf("no key %q", name)
			}
			send(k)
			keys = after
			continue
		}
		r := []rune(keys)[0]
		send(tea.KeyPressMsg{Code: r, Text: string(r)})
		keys = keys[len(string(r)):]
	}
}

// Frame is what is seen, without colours and blanks at the ends of lines.
func Frame(m tea.Model) string {
	lines := strings.Split(ansi.Strip(m.View().Content), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// Golden fails if got is not what testdata/name holds; update writes it there first.
func Golden(t testing.TB, update bool, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s (run with -update to accept):\n%s", file, diff)
	}
}

// Fits fails if what a screen shows does not fit terminals of these sizes, or could do more
// to one than draw.
func Fits(t testing.TB, name string, m tea.Model, send func(tea.Msg), widths, heights []int) {
	t.Helper()
	for _, width := range widths {
		for _, height := range heights {
			send(tea.WindowSizeMsg{Width: width, Height: height})
			lines := strings.Split(m.View().Content, "\n")
			if len(lines) > height {
				t.Fatalf("%s: %d lines of %d", name, len(lines), height)
			}
			for _, l := range lines {
				if n := ansi.StringWidth(l); n > width {
					t.Fatalf("%s: %d cells of %d: %q", name, n, width, ansi.Strip(l))
				}
				if s := ansi.Strip(l); strings.ContainsAny(s, "\x1b\x07\u202e") || strings.Contains(s, "\x9b") {
					t.Fatalf("%s: %q is not harmless", name, s)
				}
			}
		}
	}
}
