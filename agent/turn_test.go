package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// lockAgent is an agent of which only the lock is used.
func lockAgent(t *testing.T, now func() time.Time) *Agent {
	dir := t.TempDir()
	a := newAgent(Options{Paths: Paths{Run: dir, State: dir, SSH: dir}, Now: now})
	a.lock.load()
	return a
}

func turnMessage(kind byte, passphrase string) []byte {
	return append([]byte{kind}, ssh.Marshal(struct{ P string }{passphrase})...)
}

// A host to which the user forwarded the socket could lock him out with a passphrase of its
// own, or try words.
func TestNobodyLocksOrUnlocksThroughAConnection(t *testing.T) {
	b := newBench(t)
	a := lockAgent(t, nil)
	key, blob := b.host(ident.New(ident.Server))
	b.add(ident.New(ident.Server), "alice", ourPID)
	bound, refused, old := b.session(0), b.session(0), b.session(ourPID)
	bound.answer(bindFor(t, key, blob, "session", false).wire())
	refused.answer(bindFor(t, key, blob, "session", true).wire())
	for name, s := range map[string]*session{"bound": bound, "forwarded": refused, "an ssh that says nothing": old} {
		s.guard = a
		if out := s.answer(turnMessage(msgLock, "word")); out[0] != msgFailure || a.locked() {
			t.Errorf("%s: answer %d", name, out[0])
		}
	}
	local := b.session(0)
	local.guard = a
	if out := local.answer(turnMessage(msgLock, "word")); out[0] != msgSuccess || !a.locked() {
		t.Errorf("ssh-add -x: answer %d", out[0])
	}
	if out := bound.answer(turnMessage(msgUnlock, "word")); out[0] != msgFailure || !a.locked() {
		t.Errorf("the right word through a connection: answer %d", out[0])
	}
	for _, msg := range [][]byte{{msgUnlock}, append(turnMessage(msgUnlock, "word"), 0), {msgUnlock, 0, 0, 0, 9, 'x'}} {
		if out := local.answer(msg); out[0] != msgFailure || !a.locked() {
			t.Errorf("%v: answer %d", msg, out[0])
		}
	}
}

// An ssh that says where it goes while the agent is locked must not count as one that never
// said so when it is open again.
func TestWhatIsBoundWhileLockedStaysBound(t *testing.T) {
	b := newBench(t)
	a := lockAgent(t, func() time.Time { return b.now })
	web := ident.New(ident.Server)
	id := b.add(web, "alice", 0)
	if err := a.lockUp("word"); err != nil {
		t.Fatal(err)
	}
	key, blob := b.host(web)
	other, otherBlob := b.host(ident.New(ident.Server))
	good, elsewhere, forwarded := b.session(0), b.session(0), b.session(0)
	for s, m := range map[*session]bindMessage{good: bindFor(t, key, blob, "session", false), elsewhere: bindFor(t, other, otherBlob, "session", false), forwarded: bindFor(t, key, blob, "session", true)} {
		s.guard = a
		s.answer(m.wire())
		if len(offers(t, s)) != 0 {
			t.Error("a locked agent offers an identity")
		}
		if out := s.answer(signRequest(id.blob, authRequest(id, nil))); out[0] != msgFailure {
			t.Error("a locked agent signs")
		}
	}
	if err := a.unlock("word"); err != nil {
		t.Fatal(err)
	}
	if len(offers(t, good)) != 1 || len(offers(t, elsewhere)) != 0 || len(offers(t, forwarded)) != 0 {
		t.Error("a bind while locked was forgotten")
	}
}

func TestWordsForTheLockAreTriedSlowly(t *testing.T) {
	now := time.Now()
	a := lockAgent(t, func() time.Time { return now })
	if err := a.lockUp("word"); err != nil {
		t.Fatal(err)
	}
	for i, pause := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause} {
		if err := a.unlock("wrong"); err == nil || !strings.Contains(err.Error(), "not the passphrase") {
			t.Fatalf("try %d: %v", i, err)
		}
		now = now.Add(pause - 1)
		if err := a.unlock("word"); err == nil || !a.locked() {
			t.Errorf("try %d: the next one was looked at after %s", i, pause-1)
		}
		now = now.Add(1)
	}
	a.lock.wrong = 40
	if err := a.unlock("wrong"); err == nil || a.lock.next.Sub(now) != maxPause {
		t.Errorf("the pause is %s after many, want %s", a.lock.next.Sub(now), maxPause)
	}
	now = now.Add(maxPause)
	a.lock.turning.Lock()
	if err := a.unlock("word"); err != errBusy {
		t.Errorf("two at once: %v", err)
	}
	a.lock.turning.Unlock()
	if err := a.unlock("word"); err != nil || a.locked() {
		t.Error(err)
	}
}
