// Package tuitest drives screens for their tests, without a terminal, and holds what they show
// against golden files.
package tuitest

import (
	"os"
	"path/filepath"
	"reflect"
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
		"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+k": {Code: 'k', Mod: tea.ModCtrl}, "ctrl+r": {Code: 'r', Mod: tea.ModCtrl}, "ctrl+u": {Code: 'u', Mod: tea.ModCtrl}, "ctrl+n": {Code: 'n', Mod: tea.ModCtrl}, "ctrl+p": {Code: 'p', Mod: tea.ModCtrl},
	}[name]
	return k, known
}

// Driver drives a screen without a terminal: what the screen begins it runs at once.
type Driver struct {
	Quit bool
	// Told is what was begun for the terminal, such as to copy a text.
	Told []tea.Msg

	t      testing.TB
	screen tea.Model
}

// Drive begins with what the screen begins with.
func Drive(t testing.TB, screen tea.Model) Driver {
	d := Driver{t: t, screen: screen}
	d.Run(screen.Init())
	return d
}

// Run does what the screen began, and sends it what comes of that.
func (d *Driver) Run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.QuitMsg:
		d.Quit = true
	case tea.BatchMsg:
		for _, c := range msg {
			d.Run(c)
		}
	default:
		if !d.own(msg) {
			d.Told = append(d.Told, msg)
			return
		}
		d.Send(msg)
	}
}

// own reports whether a message is one of the screen's to itself: those it declares.
func (d *Driver) own(msg tea.Msg) bool {
	return reflect.TypeOf(msg).PkgPath() == reflect.TypeOf(d.screen).Elem().PkgPath()
}

// Send sends a message, and runs what the screen begins upon it.
func (d *Driver) Send(msg tea.Msg) {
	_, cmd := d.screen.Update(msg)
	d.Run(cmd)
}

// Press sends keys, one after the other: names of special ones stand in angle brackets.
func (d *Driver) Press(keys string) {
	d.t.Helper()
	for keys != "" {
		if rest, ok := strings.CutPrefix(keys, "<"); ok {
			name, after, _ := strings.Cut(rest, ">")
			k, known := named(name)
			if !known {
				d.t.Fatalf("no key %q", name)
			}
			d.Send(k)
			keys = after
			continue
		}
		r := []rune(keys)[0]
		d.Send(tea.KeyPressMsg{Code: r, Text: string(r)})
		keys = keys[len(string(r)):]
	}
}

// Frame is what is seen, without colours and blanks at the ends of lines.
func (d *Driver) Frame() string {
	lines := strings.Split(ansi.Strip(d.screen.View().Content), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// Fits fails if what a screen shows does not fit terminals of these sizes, or could do more
// to one than draw.
func (d *Driver) Fits(name string, widths, heights []int) {
	d.t.Helper()
	for _, width := range widths {
		for _, height := range heights {
			d.Send(tea.WindowSizeMsg{Width: width, Height: height})
			lines := strings.Split(d.screen.View().Content, "\n")
			if len(lines) > height {
				d.t.Fatalf("%s: %d lines of %d", name, len(lines), height)
			}
			for _, l := range lines {
				if n := ansi.StringWidth(l); n > width {
					d.t.Fatalf("%s: %d cells of %d: %q", name, n, width, ansi.Strip(l))
				}
				if s := ansi.Strip(l); strings.ContainsAny(s, "\x1b\x07\u202e") || strings.Contains(s, "\x9b") {
					d.t.Fatalf("%s: %q is not harmless", name, s)
				}
			}
		}
	}
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
