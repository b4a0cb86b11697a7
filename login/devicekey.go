package login

import (
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/login/enclave"
	"github.com/cardea-ssh/cardea/login/tpm"
)

// Where the device key can be, best first. In the first two it can be used on this
// machine and never copied; from the keyring it is read by who is logged in to the
// desktop; a file is as safe as the disk.
const (
	KeyInTPM     = "tpm"
	KeyInEnclave = "enclave"
	KeyInKeyring = "keyring"
	KeyInFile    = "file"
)

// KeyKinds are all of them, best first.
func KeyKinds() []string { return []string{KeyInTPM, KeyInEnclave, KeyInKeyring, KeyInFile} }

// Device is what this device knows of its key.
type Device struct {
	Key  *dpop.Key
	Kind string // KeyInTPM, …
	Path string // of the file that holds the key, or what leads to it
}

// vault is a place that keeps device keys. What create returns goes into the key file,
// as one PEM block, whose type names the place.
type vault interface {
	create() (text []byte, err error)
	open(text []byte) (*dpop.Key, error)
	discard(text []byte) // a key that another process was quicker to make
}

// errNoVault is wrapped by the error of a vault that this machine does not have.
var errNoVault = errors.New("there is none here")

// pemTypes are those of the kinds.
func pemTypes() map[string]string {
	return map[string]string{
		tpm.PEMType: KeyInTPM, enclave.PEMType: KeyInEnclave, keyringPEM: KeyInKeyring, dpop.PEMType: KeyInFile,
	}
}

func (h *Home) vault(kind string) vault {
	switch kind {
	case KeyInTPM:
		path := h.TPM
		if path == "" {
			path = tpm.DefaultPath
		}
		return tpmVault{path}
	case KeyInEnclave:
		if h.enclave != nil {
			return h.enclave
		}
		return enclaveVault{}
	case KeyInKeyring:
		return keyringVault{h.ring()}
	default:
		return fileVault{}
	}
}

// DeviceKey is the key that this device signs its requests with. It is made
// when it is first needed.
func (h *Home) DeviceKey() (*dpop.Key, error) {
	d, err := h.Device()
	return d.Key, err
}

// Device is DeviceKey with what is known of it.
func (h *Home) Device() (Device, error) {
	d, err := h.Look()
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if err := h.makeKey(h.KeyPath()); err != nil {
		return d, err
	}
	return h.Look()
}

// Look is Device for who makes no key: fs.ErrNotExist if there is none.
func (h *Home) Look() (Device, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := h.KeyPath()
	// Another process may have replaced it: what lives all day must not go on with the old one.
	now, _ := look(path)
	if h.device.Key != nil && now.same(h.deviceStamp) {
		return h.device, nil
	}
	d, err := h.openKey(path)
	if err == nil {
		h.device, h.deviceStamp = d, now
	}
	return d, err
}

// KeyOf is the key that a session is bound to. One that is gone is not made anew: to the control
// plane that would be a copy of the session in the hands of somebody who lacks its key.
func (h *Home) KeyOf(s Saved) (*dpop.Key, error) {
	if s.KeyFile != "" {
		return dpop.Load(s.KeyFile)
	}
	d, err := h.Look()
	if errors.Is(err, fs.ErrNotExist) {
		err = unusable(h.KeyPath(), errors.New("it is gone"), newKey)
	}
	return d.Key, err
}

// newKey is what to type where a key cannot be had back.
const newKey = "to sign in with a new key type: cardea device replace"

// unusable says of the key in a place why it does not sign.
func unusable(place string, err error, cure string) error {
	return api.Errorf(api.SignIn, "the device key (%s) cannot be used: %s", place, err).WithHint("%s", cure).WithCause(err)
}

// openKey reads the key file, and the key from where that says it is.
func (h *Home) openKey(path string) (Device, error) {
	text, err := dpop.ReadFile(path)
	if err != nil {
		return Device{}, err
	}
	kind := KeyInFile // whose parser says what is wrong
	if block, _ := pem.Decode(text); block != nil && pemTypes()[block.Type] != "" {
		kind = pemTypes()[block.Type]
	}
	key, err := h.vault(kind).open(text)
	if err == nil {
		return Device{key, kind, path}, nil
	}
	cure := newKey
	if kind == KeyInKeyring {
		cure = "unlock the keyring; if it is gone, " + cure
	}
	return Device{}, unusable(kind, err, cure)
}

// makeKey makes a key in the place that was asked for, or in the best one that this
// machine has.
func (h *Home) makeKey(path string) error {
	if h.KeyKind != "" {
		err := h.makeKeyIn(h.KeyKind, path)
		if err != nil && !errors.Is(err, dpop.ErrKeyFile) {
			return api.Errorf(api.Invalid, "no device key can be made (%s): %s", h.KeyKind, err).WithHint("%s", whatHelps(h.KeyKind, err)).WithCause(err)
		}
		return err
	}
	var why []string
	for _, kind := range KeyKinds() {
		if kind == KeyInKeyring && h.NoKeyring {
			continue
		}
		if kind == KeyInFile && !h.NoKeyring && h.Warn != nil {
			h.Warn(fmt.Sprintf("the device key is kept in the file %s: %s", h.KeyPath(), strings.Join(why, "; ")))
		}
		err := h.makeKeyIn(kind, path)
		if err == nil || kind == KeyInFile || errors.Is(err, dpop.ErrKeyFile) {
			return err
		}
		if kind == KeyInEnclave && !errors.Is(err, errNoVault) && h.Warn != nil { // it was built for that
			h.Warn("the device key is not kept in the Secure Enclave: " + err.Error())
		}
		if !errors.Is(err, errNoVault) || !foreign(runtime.GOOS, kind) {
			why = append(why, kind+": "+err.Error())
		}
	}
	return nil
}

func (h *Home) makeKeyIn(kind, path string) error {
	v := h.vault(kind)
	text, err := v.create()
	if err != nil {
		return err
	}
	err = dpop.CreateFile(path, text)
	if err != nil {
		v.discard(text)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was quicker: its key counts
	}
	return err
}

// Better says of each place that is better than kind why a key could not be made there
// now, or that it could.
func (h *Home) Better(kind string) []string {
	var out []string
	for _, k := range KeyKinds() {
		if k == kind {
			break
		}
		v := h.vault(k)
		text, err := v.create()
		switch {
		case err == nil:
			v.discard(text)
			out = append(out, k+": there was none when the key was made")
		case !errors.Is(err, errNoVault) || !foreign(runtime.GOOS, k):
			out = append(out, k+": "+err.Error())
		}
	}
	return out
}

// whatHelps is what a person can do who wants a key of that kind.
func whatHelps(kind string, err error) string {
	switch {
	case kind == KeyInTPM && errors.Is(err, fs.ErrPermission):
		return "to be let to the TPM type: sudo usermod -aG tss $USER, and log in to the machine again"
	case kind == KeyInKeyring:
		return "unlock the keyring"
	}
	return "choose another place: cardea login --device-key file"
}

type fileVault struct{}

func (fileVault) create() ([]byte, error) {
	key, err := dpop.NewKey()
	if err != nil {
		return nil, err
	}
	return key.MarshalPEM()
}

func (fileVault) open(text []byte) (*dpop.Key, error) { return dpop.ParseKey(text) }
func (fileVault) discard([]byte)                      {}

type tpmVault struct{ path string }

func (v tpmVault) create() ([]byte, error) {
	text, err := tpm.Create(v.path)
	if errors.Is(err, tpm.ErrAbsent) {
		return nil, fmt.Errorf("%w: %w", errNoVault, err)
	}
	return text, err
}

func (v tpmVault) open(text []byte) (*dpop.Key, error) {
	key, err := tpm.Parse(v.path, text)
	if err != nil {
		return nil, err
	}
	return dpop.FromSigner(hinting{key})
}

// hinting says what to do where a chip does not sign: the file may have been copied
// from another machine, or the chip been cleared.
type hinting struct{ crypto.Signer }

func (h hinting) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := h.Signer.Sign(random, digest, opts)
	if err != nil {
		hint := "this key is good on the machine that made it alone, until its TPM is cleared; to sign in with a new one type: cardea device replace"
		if errors.Is(err, fs.ErrPermission) {
			hint = whatHelps(KeyInTPM, err)
		}
		return nil, api.Errorf(api.SignIn, "the device key cannot be used: %s", err).WithHint("%s", hint).WithCause(err)
	}
	return signature, nil
}

func (tpmVault) discard([]byte) {} // the TPM keeps nothing
