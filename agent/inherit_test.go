//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pipe that whoever started us waits on must end with us, not with the agent.
func TestTheAgentHoldsNoDescriptorThatItWasNotGiven(t *testing.T) {
	dir := t.TempDir()
	p := Paths{Run: filepath.Join(dir, "run"), State: filepath.Join(dir, "state"), SSH: filepath.Join(dir, "home", ".ssh", "cardea")}
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil { // without CLOEXEC, as one that was inherited
		t.Fatal(err)
	}
	if _, err := Background(p, "/bin/sleep", "3"); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(ends[1]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("ssh, which comes after, would not get the descriptor: flags %d, %v", flags, err)
	}
	if err := syscall.Close(ends[1]); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := os.NewFile(uintptr(ends[0]), "pipe")
	defer r.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("read %d, %v after %s; want the end at once", n, err, time.Since(began))
	}
}
