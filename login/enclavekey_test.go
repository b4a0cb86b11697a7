//go:build !windows

package login

import (
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/login/enclave"
)

// fakeEnclave is a Secure Enclave that keeps its keys badly.
type fakeEnclave struct {
	fileVault
	refuses error
}

func (e fakeEnclave) create() ([]byte, error) {
	if e.refuses != nil {
		return nil, e.refuses
	}
	text, err := e.fileVault.create()
	return pem.EncodeToMemory(&pem.Block{Type: enclave.PEMType, Bytes: text}), err
}

func (e fakeEnclave) open(text []byte) (*dpop.Key, error) {
	block, _ := pem.Decode(text)
	return e.fileVault.open(block.Bytes)
}

// onAMac is a home on a machine without a TPM.
func onAMac(t *testing.T, e vault) (h *Home, ring *fakeRing, warned *[]string) {
	h, ring, warned = home(t)
	h.TPM, h.enclave = filepath.Join(t.TempDir(), "none"), e
	return h, ring, warned
}

func TestTheSecureEnclaveIsTakenBeforeTheKeyring(t *testing.T) {
	h, ring, warned := onAMac(t, fakeEnclave{})
	d, err := h.Device()
	must(t, err)
	if d.Kind != KeyInEnclave || len(*warned) != 0 || len(ring.tokens) != 0 {
		t.Errorf("it is in %s, warned %q", d.Kind, *warned)
	}
	proves(t, d.Key)
	if better := h.Better(KeyInKeyring); len(better) == 0 || better[len(better)-1] != "enclave: there was none when the key was made" {
		t.Errorf("nobody is told of the Secure Enclave: %q", better)
	}

	// A cardea that was built without it must not say that the key is there.
	d, err = (&Home{Dir: h.Dir, TPM: h.TPM, keyring: ring}).Device()
	if api.KindOf(err) != api.SignIn || d != (Device{}) || !strings.Contains(err.Error(), "there is no Secure Enclave") {
		t.Errorf("without it: %+v, %v", d, err)
	}
}

// Whatever a rule of a project demands is judged by the place that the key is in then.
func TestASecureEnclaveThatRefusesIsToldOf(t *testing.T) {
	refusal := errors.New("make a key: macOS refuses it (-34018)")
	for _, tc := range []struct {
		name     string
		change   func(*Home, *fakeRing)
		want     string
		warnings int
	}{
		{"there is a keyring", func(*Home, *fakeRing) {}, KeyInKeyring, 1},
		{"there is no keyring", func(_ *Home, r *fakeRing) { r.broken = true }, KeyInFile, 2},
		{"the keyring is not wanted", func(h *Home, _ *fakeRing) { h.NoKeyring = true }, KeyInFile, 1},
		{"nobody listens", func(h *Home, _ *fakeRing) { h.Warn = nil }, KeyInKeyring, 0},
	} {
		h, ring, warned := onAMac(t, fakeEnclave{refuses: refusal})
		tc.change(h, ring)
		d, err := h.Device()
		must(t, err)
		if d.Kind != tc.want || len(*warned) != tc.warnings {
			t.Errorf("%s: it is in %s, warned %q", tc.name, d.Kind, *warned)
		}
		for _, w := range *warned {
			if !strings.Contains(w, refusal.Error()) {
				t.Errorf("%s: warned %q", tc.name, w)
			}
		}
	}

	h, _, _ := onAMac(t, fakeEnclave{refuses: refusal})
	h.KeyKind = KeyInEnclave
	if d, err := h.Device(); api.KindOf(err) != api.Invalid || !strings.Contains(err.Error(), refusal.Error()) {
		t.Errorf("asked for: it is in %s, %v", d.Kind, err)
	}
	if _, err := os.Stat(filepath.Join(h.Dir, keyFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("asked for: a key file is there: %v", err)
	}
}

func TestNobodyReadsOfPlacesThatHisSystemNeverHas(t *testing.T) {
	for _, goos := range []string{"linux", "windows", "darwin"} {
		mac := goos == "darwin"
		if foreign(goos, KeyInTPM) != mac || foreign(goos, KeyInEnclave) == mac || foreign(goos, KeyInKeyring) {
			t.Errorf("on %s the wrong places are foreign", goos)
		}
	}
	h, ring, warned := onAMac(t, nil)
	ring.broken = true
	_, err := h.Device()
	must(t, err)
	for _, said := range []string{strings.Join(*warned, "\n"), strings.Join(h.Better(KeyInFile), "\n")} {
		for _, kind := range KeyKinds()[:2] {
			if strings.Contains(said, kind+":") == foreign(runtime.GOOS, kind) {
				t.Errorf("of %s is told here: %q", kind, said)
			}
		}
	}
}
