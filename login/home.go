package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// Names in the folder.
const (
	keyFile     = "device.pem"
	sessionFile = "session.json"
)

// MaxSessionFile bounds the session file, in bytes. A real one has about 700;
// what is larger is no session, and must not fill memory.
const MaxSessionFile = 64 << 10

// ErrUnsafe is wrapped by every refusal to use a file or folder because
// somebody else could read it, or could have written it.
var ErrUnsafe = errors.New("not safe to use")

// Saved is the session at rest. After signing out URL, Team and CAFile stay, so
// that a plain `cardea login` knows where to go.
type Saved struct {
	URL    string `json:"url"`
	Team   string `json:"team,omitempty"`
	CAFile string `json:"ca_file,omitempty"`
	// Keyring says that the token lies in the keyring, under the session's id;
	// else it is Token.
	Keyring bool        `json:"keyring,omitempty"`
	Token   string      `json:"token,omitempty"`
	Session api.Session `json:"session,omitzero"`
	// RotatedAt is when Token took the place of another one; Rotating says that a process
	// is about to do so, or was killed at it: then Token may change without this file.
	RotatedAt time.Time `json:"rotated_at,omitzero"`
	Rotating  bool      `json:"rotating,omitempty"`
	// KeyFile is the key that a program signed in with, where that is not the device key.
	KeyFile string `json:"key_file,omitempty"`
	// Thumbprint is of the key in KeyFile that the session is bound to: another program
	// may have changed the key since.
	Thumbprint string `json:"thumbprint,omitempty"`
}

// SignedIn reports whether there is a session, good or over.
func (s Saved) SignedIn() bool { return s.Session.ID != "" }

// Home keeps the device key and the session in one folder. Any number of
// processes may use one folder at once. The zero values of the optional fields
// work.
type Home struct {
	// Dir is the folder, [ConfigDir] as a rule.
	Dir string
	// NoKeyring keeps the session, and a new device key that no chip holds, in files
	// although there is a keyring.
	NoKeyring bool
	// KeyKind is where a new device key goes: KeyInTPM, …; empty for the best place that
	// there is.
	KeyKind string
	// TPM is the path of the TPM; empty for the system's own.
	TPM string
	// Warn is told, once per folder, that the session or the device key lies in a
	// file because there is no better place; nil to be told nothing.
	Warn func(sentence string)

	keyring keyring // nil means the operating system's
	enclave vault   // nil means the machine's
	mu      sync.Mutex
	device  Device // guarded by mu
	// deviceStamp is of the key file that device was read from; guarded by mu.
	deviceStamp stamp
}

// Path is where the session file is.
func (h *Home) Path() string { return filepath.Join(h.Dir, sessionFile) }

// KeyPath is where the file of the device key is, once there is one.
func (h *Home) KeyPath() string { return filepath.Join(h.Dir, keyFile) }

// Check makes the folder if it is missing, and returns an error if a session
// could not be saved there: to be called before a person is sent to a browser.
func (h *Home) Check() error {
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for the session: %w", err)
	}
	_, err := h.Load()
	if api.KindOf(err) == api.SignIn {
		return nil
	}
	return err
}

// Load reads the session with its token. The error is of kind SignIn if there
// is none or it cannot be read any more, and wraps ErrUnsafe if it must not be;
// URL is set in the first case too, if it is known.
func (h *Home) Load() (Saved, error) {
	s, err := h.read()
	switch {
	case err != nil:
		return s, err
	case !s.SignedIn():
		return s, needed("not signed in")
	case s.Keyring:
		s.Token, err = h.ring().get(s.Session.ID)
		if err != nil {
			if now, again := h.read(); again == nil && now.SignedIn() && now.Session.ID != s.Session.ID {
				return h.Load() // another process renewed it in between, and took this token away
			}
			return s, needed("the session cannot be read from the keyring").WithCause(err).
				WithHint("unlock it, or to do without type: cardea login --no-keyring")
		}
	}
	if s.Token == "" {
		return s, needed("the session file %s is damaged", h.Path())
	}
	return s, nil
}

// Peek is Load without the token, and so without asking the keyring; a session
// that has no token left looks good to it.
func (h *Home) Peek() (Saved, error) {
	s, err := h.read()
	if err == nil && !s.SignedIn() {
		err = needed("not signed in")
	}
	s.Token = ""
	return s, err
}

// Save writes the session: the token to the keyring, the rest to the file.
func (h *Home) Save(s Saved) error {
	return h.locked(func() error { return h.save(s) })
}

// save is for who holds the lock.
func (h *Home) save(s Saved) error {
	old, err := h.read()
	if err != nil && api.KindOf(err) != api.SignIn {
		return err
	}
	s.Keyring = false
	if s.SignedIn() && !h.NoKeyring {
		if err := h.ring().set(s.Session.ID, s.Token); err == nil {
			s.Keyring, s.Token = true, ""
		} else if h.Warn != nil && (!old.SignedIn() || old.Keyring) {
			h.Warn("no keyring can be used here; the session is kept in " + h.Path())
		}
	}
	// The token is in the keyring before the file names it, and the old token
	// leaves after: killed in between, one or the other session is whole.
	if err := h.write(s); err != nil {
		return err
	}
	if old.Keyring && old.Session.ID != s.Session.ID {
		h.ring().remove(old.Session.ID) // an orphan is of no use to anybody, and dies by itself
	}
	return nil
}

// write replaces the file, which has no token that is in the keyring.
func (h *Home) write(s Saved) error {
	if s.Keyring {
		s.Token = ""
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		_, err = atomicfile.Write(h.Path(), append(text, '\n'), atomicfile.Options{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	return nil
}

// Forget removes the session and keeps what a later sign-in needs.
func (h *Home) Forget() error {
	old, err := h.read()
	if err != nil && api.KindOf(err) != api.SignIn {
		return err
	}
	if !old.SignedIn() && err == nil {
		return nil
	}
	return h.Save(Saved{URL: old.URL, Team: old.Team, CAFile: old.CAFile})
}

// read reads the file alone.
func (h *Home) read() (Saved, error) {
	if err := checkDir(h.Dir); err != nil {
		return Saved{}, err
	}
	f, err := openFile(h.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return Saved{}, needed("not signed in")
	}
	if err != nil {
		return Saved{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSessionFile+1))
	if err != nil {
		return Saved{}, fmt.Errorf("read the session: %w", err)
	}
	if len(text) > MaxSessionFile {
		return Saved{}, unsafe(h.Path(), "is larger than a session", "move it away")
	}
	var s Saved
	if err := json.Unmarshal(text, &s); err != nil {
		return Saved{}, needed("the session file %s is damaged", h.Path()).WithCause(err)
	}
	return s, nil
}

// unsafe says what is wrong with a path, and what to do about it.
func unsafe(path, what, cure string) error {
	return fmt.Errorf("%w: %s %s; %s", ErrUnsafe, path, what, cure)
}
