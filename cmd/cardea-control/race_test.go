//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Two administrators, or a playbook that ran twice, begin at the same time. The
// slower init finds the database held by the faster one, and must not take it
// away from under it: the faster one said that all is well, and wrote to files
// that nobody would find again.
func TestAnInitThatCameSecondTakesNothingFromTheFirst(t *testing.T) {
	dir := t.TempDir()
	control := isolated(t, dir)
	database := filepath.Join(dir, "cardea.db")
	first, err := os.OpenFile(database+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := syscall.Flock(int(first.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := control("init", "--key-file="+filepath.Join(dir, "kek"), "--database="+database)
	if code != 1 || !strings.Contains(stderr, "another process uses this database") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	for _, path := range []string{database, database + ".lock"} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the first one's: %v", err)
		}
	}
}
