package spool

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"
)

// TestAProcessThatBeginsIsNotTakenForDead: what it writes would be finished under its hands. So
// nobody looks for dead ones between the making of its file and the lock on that.
func TestAProcessThatBeginsIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := Open(Options{Dir: dir, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	done := make(chan struct{})
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for {
			select {
			case <-done:
				return
			default:
				first.Recover(ed25519.PrivateKey(nil))
			}
		}
	}()
	for i := range 300 {
		next, err := Open(Options{Dir: dir, Reserve: 1})
		if err != nil {
			t.Errorf("process %d: %v", i, err)
			break
		}
		if _, err := os.Stat(filepath.Join(dir, next.owner.name)); err != nil || !alive(dir, next.owner.name) {
			t.Errorf("process %d lives, and is taken for dead: %v", i, err)
			break
		}
		next.Close()
	}
	close(done)
	<-looked
}
