package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Mallory's program reaches the sockets and nothing else. It guesses, ends the agent, and has it
// started by its next request.
func TestWhoEndsTheAgentGuessesNoFaster(t *testing.T) {
	now := time.Now()
	file := filepath.Join(t.TempDir(), lockFileName)
	started := func() *lock {
		l := &lock{now: func() time.Time { return now }, file: file}
		l.load()
		return l
	}
	try := func(passphrase string, want api.Kind) {
		t.Helper()
		if err := started().open(passphrase); api.KindOf(err) != want {
			t.Errorf("%s: got %v, want %s", passphrase, err, want)
		}
	}
	if err := started().close("open sesame"); err != nil {
		t.Fatal(err)
	}
	try("open barley", api.Denied)
	try("open sesame", api.Limited)
	now = now.Add(firstPause)
	try("open wheat", api.Denied)
	now = now.Add(firstPause)
	try("open sesame", api.Limited) // it doubles
	now = now.Add(-24 * time.Hour)  // a clock that was set back keeps nobody out for a day
	last := started()
	now = now.Add(maxPause)
	if err := last.open("open sesame"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a lock stays: %v", err)
	}
}

// Alice has forgotten the passphrase and signs out while mallory's program still guesses.
func TestAWrongPassphraseBringsNoLockBack(t *testing.T) {
	l := &lock{now: time.Now, file: filepath.Join(t.TempDir(), lockFileName)}
	if err := l.close("open sesame"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(l.file); err != nil {
		t.Fatal(err)
	}
	if err := l.open("open barley"); api.KindOf(err) != api.Denied {
		t.Errorf("got %v", err)
	}
	if l.load(); l.locked() {
		t.Error("it is locked again")
	}
}

// A sign-out while a passphrase is hashed must not read a file that is not there yet.
func TestAChangeOfWhoIsSignedInOpensNoLockThatIsBeingShut(t *testing.T) {
	l := &lock{now: time.Now, file: filepath.Join(t.TempDir(), lockFileName)}
	l.turning.Lock() // close has it
	loaded := make(chan struct{})
	go func() { defer close(loaded); l.load() }()
	select {
	case <-loaded:
		t.Error("it was read in the middle")
	case <-time.After(20 * time.Millisecond):
	}
	l.turning.Unlock()
	<-loaded
}
