package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/password"
)

const (
	// lockFileName holds the hash of the passphrase for as long as the agent is locked: an
	// agent that ends, for an upgrade or because nobody asked for long, is followed by one
	// that is locked. After wrong passphrases a second line has their number, and until when
	// none is looked at (Unix milliseconds): who ends the agent guesses no faster.
	lockFileName = "locked"
	// maxLockFile bounds what is read back, bytes. A hash has about 100.
	maxLockFile = 4 << 10
	// firstPause is how long after a wrong passphrase the next one is not looked at. It
	// doubles with each up to maxPause: a program that guesses gets 1,500 a day.
	firstPause, maxPause = 500 * time.Millisecond, time.Minute
)

// lock is whether the agent is locked. It is safe for concurrent use; the zero value is not
// locked, and load says what is.
type lock struct {
	now  func() time.Time
	file string

	// turning is held while a passphrase is hashed, one at a time, and before mu.
	turning sync.Mutex
	mu      sync.Mutex
	shut    bool // guarded by mu, as below
	hash    string
	wrong   int
	next    time.Time // no passphrase is looked at before
}

// load reads what the file says. One that cannot be read locks, and no passphrase opens that.
func (l *lock) load() {
	l.turning.Lock() // a lock that is being shut has no file yet
	defer l.turning.Unlock()
	text, err := readUpTo(l.file, maxLockFile)
	hash, tries, tried := strings.Cut(string(text), "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut, l.hash, l.wrong, l.next = !errors.Is(err, fs.ErrNotExist), hash, 0, time.Time{}
	if !tried {
		return
	}
	var next int64
	if _, err := fmt.Sscanf(tries, "%d %d\n", &l.wrong, &next); err != nil || l.wrong < 0 {
		l.hash = ""
		return
	}
	l.next = time.UnixMilli(next)
	if latest := l.now().Add(maxPause); l.next.After(latest) { // the clock was set back
		l.next = latest
	}
}

// write has the file say it; the caller holds turning. After a first wrong passphrase it is more
// than a hash.
func (l *lock) write(hash string, wrong int, next time.Time) error {
	text := hash
	if wrong > 0 {
		text = fmt.Sprintf("%s\n%d %d\n", hash, wrong, next.UnixMilli())
	}
	_, err := atomicfile.Write(l.file, []byte(text), atomicfile.Options{Mode: 0o600})
	return err
}

func (l *lock) locked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut
}

var errBusy = api.Errorf(api.Limited, "another passphrase is being looked at").WithHint("try again in a second")

// close locks with a passphrase.
func (l *lock) close(passphrase string) error {
	if !l.turning.TryLock() {
		return errBusy
	}
	defer l.turning.Unlock()
	switch {
	case l.locked():
		return api.Errorf(api.Conflict, "the agent is locked already").WithHint("type: cardea agent unlock")
	case passphrase == "":
		return api.Errorf(api.Invalid, "the passphrase is empty").WithHint("give one of some length")
	}
	hash, err := password.Hash(passphrase)
	if err != nil {
		return api.Errorf(api.Invalid, "%s", err).WithHint("give a shorter one")
	}
	if err := l.write(hash, 0, time.Time{}); err != nil {
		return api.Errorf(api.Internal, "the agent is not locked, for that cannot be written down: %s", err).WithHint("make room, then try again")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut, l.hash, l.wrong, l.next = true, hash, 0, time.Time{}
	return nil
}

// open unlocks with the passphrase that close was given.
func (l *lock) open(passphrase string) error {
	if !l.turning.TryLock() {
		return errBusy
	}
	defer l.turning.Unlock()
	l.mu.Lock()
	shut, hash, wait := l.shut, l.hash, l.next.Sub(l.now())
	l.mu.Unlock()
	switch {
	case !shut:
		return api.Errorf(api.Conflict, "the agent is not locked").WithHint("to lock it type: cardea agent lock")
	case wait > 0:
		e := api.Errorf(api.Limited, "the passphrase before was wrong")
		e.RetryAfter = int((wait + time.Second - 1) / time.Second)
		return e
	}
	right, err := password.Verify(hash, passphrase)
	if err != nil || hash == "" {
		return api.Errorf(api.Conflict, "what the agent is locked with cannot be read").WithHint("to begin anew type: cardea logout")
	}
	if !right {
		return l.refuse(hash)
	}
	if err := os.Remove(l.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut, l.hash, l.wrong, l.next = false, "", 0, time.Time{}
	return nil
}

// refuse counts a wrong passphrase; the caller holds turning.
func (l *lock) refuse(hash string) error {
	l.mu.Lock()
	l.next = l.now().Add(min(maxPause, firstPause<<min(l.wrong, 10)))
	l.wrong++
	wrong, next := l.wrong, l.next
	l.mu.Unlock()
	_, err := os.Lstat(l.file)
	if !errors.Is(err, fs.ErrNotExist) { // who signs out has removed it, and it stays away
		err = l.write(hash, wrong, next)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return api.Errorf(api.Internal, "that passphrase is wrong, and the try cannot be written down: %s", err).WithHint("make room, then try again")
	}
	return api.Errorf(api.Denied, "that is not the passphrase which the agent is locked with").WithHint("try again, or to begin anew type: cardea logout")
}

// Unlock removes the lock of an agent, whatever its passphrase: for who signs out, and leaves
// nothing that could be used. A running agent learns of it by SignInChanged.
func (p Paths) Unlock() error {
	err := os.Remove(filepath.Join(p.State, lockFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lockUp locks the agent and forgets what could be used: keys, and files with keys.
func (a *Agent) lockUp(passphrase string) error {
	if err := a.lock.close(passphrase); err != nil {
		return err
	}
	a.ids.clear()
	a.prepared.clear()
	a.endLoans()
	a.log.Info("the agent is locked")
	return nil
}

func (a *Agent) unlock(passphrase string) error {
	err := a.lock.open(passphrase)
	if err != nil {
		a.log.Warn("not unlocked", "error", err)
		return err
	}
	a.log.Info("the agent is unlocked")
	return nil
}

func (a *Agent) locked() bool { return a.lock.locked() }

// whileUnlocked refuses what a locked agent does for nobody.
func (a *Agent) whileUnlocked() error {
	if !a.lock.locked() {
		return nil
	}
	return api.Errorf(api.Denied, "the local agent is locked").WithHint("type: cardea agent unlock")
}

// turn locks or unlocks, as ssh-add -x and -X ask. Nobody may who speaks for a connection:
// the host at its other end could lock the user out.
func (s *session) turn(msg []byte) []byte {
	var req struct {
		Passphrase string `sshtype:"22|23"`
	}
	if err := ssh.Unmarshal(msg, &req); err != nil {
		return []byte{msgFailure}
	}
	if s.binding.bound || s.binding.refused || s.ids.owns(s.pid) {
		s.report("an ssh asked to lock or unlock the agent")
		return []byte{msgFailure}
	}
	turn := s.guard.unlock
	if msg[0] == msgLock {
		turn = s.guard.lockUp
	}
	if err := turn(req.Passphrase); err != nil {
		s.report(err.Error())
		return []byte{msgFailure}
	}
	return []byte{msgSuccess}
}

// Lock locks the agent: it signs nothing, lends nothing and opens no connection until Unlock
// is given the same passphrase. Connections that there are stay.
func (c *Control) Lock(ctx context.Context, passphrase string) error {
	_, err := c.ask(ctx, request{Verb: verbLock, Passphrase: passphrase})
	return err
}

// Unlock is its opposite.
func (c *Control) Unlock(ctx context.Context, passphrase string) error {
	_, err := c.ask(ctx, request{Verb: verbUnlock, Passphrase: passphrase})
	return err
}
