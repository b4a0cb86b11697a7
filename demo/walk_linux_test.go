package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Who tries the demonstration on a machine without a screen must be able to sign in,
// and who has one sees the real pages.
func TestTheBrowserIsOneThatThePersonHas(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	if err := os.WriteFile(file, []byte(envFile(dir, "/x/demo", "alice", "SECRET", []string{"HOME=/there", "A=b c"})), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, display, want string }{
		{"without a screen", "DISPLAY=", "/x/demo browser|alice|SECRET|/there|b c"},
		{"with one", "DISPLAY=:0", "env HOME=/mine xdg-open|||/there|b c"},
		{"with Wayland", "WAYLAND_DISPLAY=wayland-0", "env HOME=/mine xdg-open|||/there|b c"},
	} {
		cmd := exec.Command("/bin/sh", "-c", `. "$0"; printf %s "$CARDEA_BROWSER|$CARDEA_BROWSE_NAME|$CARDEA_BROWSE_PASSWORD|$HOME|$A"`, file)
		cmd.Env = []string{"HOME=/mine", "PATH=" + dir + ":/usr/bin:/bin", tc.display}
		got, err := cmd.CombinedOutput()
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
}
