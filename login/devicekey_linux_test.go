package login

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/login/tpm/tpmtest"
)

func TestTheKeyGoesToTheBestPlaceThatThereIs(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, tc := range []struct {
		name    string
		change  func(*Home, *fakeRing)
		tpm     bool
		want    string
		warned  bool
		refused bool
	}{
		{"a TPM and a keyring", func(*Home, *fakeRing) {}, true, KeyInTPM, false, false},
		{"a keyring alone", func(*Home, *fakeRing) {}, false, KeyInKeyring, false, false},
		{"neither", func(_ *Home, r *fakeRing) { r.broken = true }, false, KeyInFile, true, false},
		{"a keyring that is not wanted", func(h *Home, _ *fakeRing) { h.NoKeyring = true }, false, KeyInFile, false, false},
		{"a file is asked for", func(h *Home, _ *fakeRing) { h.KeyKind = KeyInFile }, true, KeyInFile, false, false},
		{"a keyring is asked for", func(h *Home, _ *fakeRing) { h.KeyKind = KeyInKeyring }, true, KeyInKeyring, false, false},
		{"a TPM is asked for that is not there", func(h *Home, _ *fakeRing) { h.KeyKind = KeyInTPM }, false, "", false, true},
		{"a keyring is asked for that is not there", func(h *Home, r *fakeRing) { h.KeyKind, r.broken = KeyInKeyring, true }, false, "", false, true},
		{"an enclave is asked for", func(h *Home, _ *fakeRing) { h.KeyKind = KeyInEnclave }, true, "", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, ring, warned := home(t)
			if h.TPM = none; tc.tpm {
				h.TPM = tpmtest.Start(t).Path
			}
			tc.change(h, ring)
			must(t, h.Check())
			d, err := h.Device()
			if tc.refused {
				if api.KindOf(err) != api.Invalid {
					t.Errorf("made %s, %v", d.Kind, err)
				}
				if _, err := os.Stat(filepath.Join(h.Dir, keyFile)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a key file is there: %v", err)
				}
				return
			}
			must(t, err)
			if d.Kind != tc.want || (len(*warned) > 0) != tc.warned {
				t.Errorf("it is in %s, warned %q", d.Kind, *warned)
			}
			proves(t, d.Key)
			again, err := (&Home{Dir: h.Dir, TPM: h.TPM, keyring: ring}).Device()
			if err != nil || again.Kind != tc.want || again.Key.Thumbprint() != d.Key.Thumbprint() {
				t.Errorf("another process gets %+v, %v", again, err)
			}
		})
	}
}

func TestAKeyStaysWhereItIs(t *testing.T) {
	h, ring, _ := home(t)
	h.KeyKind = KeyInFile
	first, err := h.Device()
	must(t, err)
	h = &Home{Dir: h.Dir, TPM: tpmtest.Start(t).Path, KeyKind: KeyInTPM, keyring: ring}
	again, err := h.Device()
	if err != nil || again.Kind != KeyInFile || again.Key.Thumbprint() != first.Key.Thumbprint() {
		t.Errorf("a better place took the key away: %+v, %v", again, err)
	}
	if better := h.Better(KeyInFile); !slices.ContainsFunc(better, func(s string) bool { return strings.HasPrefix(s, "tpm: there was none") }) {
		t.Errorf("nobody is told of the TPM: %q", better)
	}
	if len(ring.tokens) != 0 {
		t.Errorf("looking left %d entries in the keyring", len(ring.tokens))
	}
}

// Mallory copies every file of alice, to a machine that has a TPM too.
func TestACopiedFolderIsWorthlessWithoutItsTPM(t *testing.T) {
	h, ring, _ := home(t)
	h.TPM = tpmtest.Start(t).Path
	_, err := h.Device()
	must(t, err)
	for name, path := range map[string]string{"another TPM": tpmtest.Start(t).Path, "no TPM": filepath.Join(t.TempDir(), "none")} {
		key, err := (&Home{Dir: h.Dir, TPM: path, keyring: ring}).DeviceKey()
		must(t, err)
		if proof, err := key.Proof("GET", "https://access.example.com/v1/session", "", ""); api.KindOf(err) != api.SignIn {
			t.Errorf("with %s: %q, %v", name, proof, err)
		}
	}
}

func TestAKeyringThatGivesAnotherKeyIsNotBelieved(t *testing.T) {
	h, ring, _ := home(t)
	h.KeyKind = KeyInKeyring
	_, err := h.Device()
	must(t, err)
	other, err := dpop.NewKey()
	must(t, err)
	text, err := other.MarshalPEM()
	must(t, err)
	for name, change := range map[string]func(entry string){
		"another key": func(entry string) { ring.tokens[entry] = string(text) },
		"no key":      func(entry string) { ring.tokens[entry] = "x" },
		"nothing":     func(entry string) { delete(ring.tokens, entry) },
	} {
		for entry := range ring.tokens {
			before := ring.tokens[entry]
			change(entry)
			if d, err := (&Home{Dir: h.Dir, keyring: ring}).Device(); api.KindOf(err) != api.SignIn || d.Key != nil {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
			ring.tokens[entry] = before
		}
	}
	if _, err := (&Home{Dir: h.Dir, keyring: ring}).Device(); err != nil {
		t.Errorf("the right one is refused: %v", err)
	}
}

func TestProcessesThatMakeAKeyAtOnceGetOne(t *testing.T) {
	h, ring, _ := home(t)
	path := tpmtest.Start(t).Path
	// One in the TPM alone: this one has room for three keys, and nothing that shares it out.
	kinds := []string{KeyInTPM, KeyInKeyring, KeyInFile}
	const many = 9
	got := make([]Device, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			var err error
			got[i], err = (&Home{Dir: h.Dir, TPM: path, KeyKind: kinds[min(i, 1+i%2)], keyring: ring}).Device()
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for _, d := range got {
		if d.Key.Thumbprint() != got[0].Key.Thumbprint() || d.Kind != got[0].Kind {
			t.Fatalf("two keys: in %s and in %s", d.Kind, got[0].Kind)
		}
	}
	want := 0
	if got[0].Kind == KeyInKeyring {
		want = 1
	}
	if len(ring.tokens) != want {
		t.Errorf("%d entries in the keyring, want %d", len(ring.tokens), want)
	}
}
