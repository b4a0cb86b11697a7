package login

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardea-ssh/cardea/login/tpm/tpmtest"
)

func TestANewKeyTakesTheOldOnesPlaceWithItsSession(t *testing.T) {
	h, old := inHome(t)
	text, err := os.ReadFile(old.Path)
	must(t, err)
	agent := &Home{Dir: h.Dir, TPM: h.TPM} // which lives all day
	_, err = agent.Device()
	must(t, err)

	next, err := h.Next()
	must(t, err)
	if now, err := h.Device(); err != nil || now.Key.Thumbprint() != old.Key.Thumbprint() {
		t.Fatalf("the key is another before the sign-in: %v", err)
	}
	if s, err := h.Load(); err != nil || s.Token != "before" {
		t.Fatalf("the session before: %+v, %v", s, err)
	}
	aside, err := h.Replace(session("after"), next)
	must(t, err)
	if got, err := os.ReadFile(aside); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the key before is not in %q: %v", aside, err)
	}
	for name, h := range map[string]*Home{"this process": h, "one that lives on": agent, "one that begins": {Dir: h.Dir, TPM: h.TPM}} {
		d, err := h.Device()
		if err != nil || d.Key.Thumbprint() != next.Key.Thumbprint() {
			t.Errorf("%s has another key than the new one: %v", name, err)
		}
		if s, err := h.Load(); err != nil || s.Token != "after" {
			t.Errorf("%s has the session %+v, %v", name, s, err)
		}
	}
	if _, err := os.Stat(filepath.Join(h.Dir, nextKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left of the replacement: %v", err)
	}
}

// Whoever is killed, loses the network or says no types the same again.
func TestAReplacementThatCameToNothingGoesOnWithTheSameKey(t *testing.T) {
	h, old := inHome(t)
	first, err := h.Next()
	must(t, err)
	again := &Home{Dir: h.Dir, NoKeyring: true, TPM: h.TPM}
	next, err := again.Next()
	if err != nil || next.Key.Thumbprint() != first.Key.Thumbprint() {
		t.Fatalf("the second try has another key: %v", err)
	}
	// Killed when the key was in place and the session not yet written.
	if _, err := again.setAside(next); err != nil {
		t.Fatal(err)
	}
	d, err := h.Device()
	s, err2 := h.Load()
	if err != nil || d.Key.Thumbprint() != next.Key.Thumbprint() || err2 != nil || s.Token != "before" {
		t.Errorf("after that: %v, %+v, %v", err, s, err2)
	}
	// Another process, which had the same key in hand, comes after.
	if aside, err := h.Replace(session("after"), first); err != nil || aside != "" {
		t.Errorf("the second that ends: %q, %v", aside, err)
	}
	third, err := h.Next()
	if err != nil || third.Key.Thumbprint() == next.Key.Thumbprint() || third.Key.Thumbprint() == old.Key.Thumbprint() {
		t.Errorf("a replacement after that has a key of before: %v", err)
	}
	// The control plane lets that one in no more; one that is not in hand stays.
	must(t, h.Refused(first))
	if same, err := h.Next(); err != nil || same.Key.Thumbprint() != third.Key.Thumbprint() {
		t.Errorf("a key that was not refused is gone: %v", err)
	}
	must(t, h.Refused(third))
	fourth, err := h.Next()
	if err != nil || fourth.Key.Thumbprint() == third.Key.Thumbprint() {
		t.Errorf("a key that was refused is tried for ever: %v", err)
	}
	// A better place was asked for since.
	chip := tpmtest.Start(t)
	better, err := (&Home{Dir: h.Dir, NoKeyring: true, TPM: chip.Path, KeyKind: KeyInTPM}).Next()
	if err != nil || better.Kind != KeyInTPM {
		t.Errorf("the key is in %s: %v", better.Kind, err)
	}
}

func TestAKeyThatCannotBeUsedIsKnownAndReplaced(t *testing.T) {
	chip := tpmtest.Start(t)
	for name, tc := range map[string]struct {
		make  func(*Home) // of the key, and what became of it
		known bool
	}{
		"a TPM that is gone": {func(h *Home) { h.TPM = chip.Path; h.Device(); h.TPM = filepath.Join(h.Dir, "none") }, true},
		"a keyring that has lost it": {func(h *Home) {
			h.KeyKind = KeyInKeyring
			h.Device()
			h.keyring, h.KeyKind = &fakeRing{broken: true}, ""
		}, true},
		"a file that is damaged":  {func(h *Home) { os.WriteFile(filepath.Join(h.Dir, keyFile), []byte("x"), 0o600) }, false},
		"a file that others read": {func(h *Home) { os.WriteFile(filepath.Join(h.Dir, keyFile), []byte("x"), 0o644) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, ring, _ := home(t)
			h.TPM = filepath.Join(h.Dir, "none")
			tc.make(h)
			h = &Home{Dir: h.Dir, TPM: h.TPM, KeyKind: KeyInFile, keyring: h.keyring}
			if h.keyring == nil {
				h.keyring = ring
			}
			if key, err := h.Known(); (err == nil) != tc.known || tc.known && len(key) != 43 {
				t.Errorf("it is known as %q, %v", key, err)
			}
			next, err := h.Next()
			must(t, err)
			aside, err := h.Replace(session("after"), next)
			must(t, err)
			if _, err := os.Stat(aside); err != nil {
				t.Errorf("the key before is not set aside: %v", err)
			}
			d, err := h.Device()
			must(t, err)
			proves(t, d.Key)
		})
	}
}

func TestWhoLooksMakesNoKey(t *testing.T) {
	h, ring, _ := home(t)
	h.TPM = tpmtest.Start(t).Path
	for _, look := range []func() error{
		func() error { _, err := h.Look(); return err },
		func() error { _, err := h.Known(); return err },
	} {
		if err := look(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("looking says %v", err)
		}
	}
	if files, err := os.ReadDir(h.Dir); err != nil || len(files) != 0 || len(ring.tokens) != 0 {
		t.Errorf("looking left %v, %v, %v", files, ring.tokens, err)
	}
}
