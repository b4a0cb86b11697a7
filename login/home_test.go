//go:build !windows

package login

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// fakeRing is a keyring in memory; broken as where there is none.
type fakeRing struct {
	mu     sync.Mutex
	tokens map[string]string
	broken bool
}

var errNoRing = errors.New("no keyring here")

func (r *fakeRing) get(session string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token, ok := r.tokens[session]; ok && !r.broken {
		return token, nil
	}
	return "", errNoRing
}

func (r *fakeRing) set(session, token string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return errNoRing
	}
	r.tokens[session] = token
	return nil
}

func (r *fakeRing) remove(session string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tokens, session)
	return nil
}

// home is an empty one, and what it warned of.
func home(t *testing.T) (h *Home, ring *fakeRing, warned *[]string) {
	t.Helper()
	ring = &fakeRing{tokens: map[string]string{}}
	warned = &[]string{}
	h = &Home{Dir: filepath.Join(t.TempDir(), "cardea"), keyring: ring}
	h.Warn = func(s string) { *warned = append(*warned, s) }
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	return h, ring, warned
}

func session(token string) Saved {
	return Saved{URL: "https://access.example.com", Team: "demo", Token: token,
		Session: api.Session{ID: ident.New(ident.Session), UserName: "alice", ExpiresAt: time.Now().Add(time.Hour).UTC()}}
}

func TestTokenLiesInTheKeyringAndNotInTheFile(t *testing.T) {
	h, ring, warned := home(t)
	if err := h.Save(session("secret-1")); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(h.Path()); bytes.Contains(text, []byte("secret-1")) {
		t.Error("the token is in the file")
	}
	if s, err := h.Load(); err != nil || s.Token != "secret-1" || s.Session.UserName != "alice" {
		t.Errorf("loaded %+v, %v", s, err)
	}
	if err := h.Save(session("secret-2")); err != nil {
		t.Fatal(err)
	}
	if len(ring.tokens) != 1 {
		t.Errorf("%d tokens in the keyring, want the newest alone", len(ring.tokens))
	}
	if err := h.Forget(); err != nil {
		t.Fatal(err)
	}
	s, err := h.Load()
	if len(ring.tokens) != 0 || api.KindOf(err) != api.SignIn || s.URL != "https://access.example.com" {
		t.Errorf("after signing out: %d tokens, %+v, %v; want no token, and the URL remembered", len(ring.tokens), s, err)
	}
	if len(*warned) != 0 {
		t.Errorf("warned of %q", *warned)
	}
}

func TestTokenLiesInAFileWhereThereIsNoKeyring(t *testing.T) {
	h, ring, warned := home(t)
	ring.broken = true
	for _, token := range []string{"secret-1", "secret-2"} {
		if err := h.Save(session(token)); err != nil {
			t.Fatal(err)
		}
		if s, err := h.Load(); err != nil || s.Token != token {
			t.Errorf("loaded %+v, %v", s, err)
		}
	}
	if len(*warned) != 1 || !strings.Contains((*warned)[0], h.Path()) {
		t.Errorf("warned %q; want once, with the path", *warned)
	}
	info, err := os.Stat(h.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	ring.broken = false
	h.NoKeyring = true
	if err := h.Save(session("secret-3")); err != nil || len(ring.tokens) != 0 || len(*warned) != 1 {
		t.Errorf("who wants no keyring gets %d tokens there, warnings %q, %v", len(ring.tokens), *warned, err)
	}
}

func TestALockedKeyringMeansToSignInAgain(t *testing.T) {
	h, ring, _ := home(t)
	if err := h.Save(session("secret")); err != nil {
		t.Fatal(err)
	}
	ring.broken = true
	if _, err := h.Load(); api.KindOf(err) != api.SignIn || !errors.Is(err, errNoRing) {
		t.Errorf("error %v; want a sign-in, and the cause kept", err)
	}
}

func TestDamagedSessionMeansToSignInAgain(t *testing.T) {
	good, err := json.Marshal(session("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"truncated":        string(good[:len(good)/2]),
		"not JSON":         "token: x",
		"another shape":    `[1, 2]`,
		"wrong types":      `{"url": 7}`,
		"no session in it": `{"url": "https://access.example.com"}`,
		"no token in it":   `{"session": {"id": "ses_x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			h, _, _ := home(t)
			write(t, h.Path(), text, 0o600)
			if _, err := h.Load(); api.KindOf(err) != api.SignIn || !strings.Contains(err.Error(), "cardea login") {
				t.Errorf("error %v of kind %s", err, api.KindOf(err))
			}
			if err := h.Check(); err != nil {
				t.Errorf("a new sign-in is refused: %v", err)
			}
			if err := h.Save(session("new")); err != nil {
				t.Errorf("a new session is refused: %v", err)
			}
		})
	}
}

func TestSessionFileAtTheLimit(t *testing.T) {
	h, _, _ := home(t)
	good, err := json.Marshal(session("secret"))
	if err != nil {
		t.Fatal(err)
	}
	pad := func(size int) string { return string(good) + strings.Repeat(" ", size-len(good)) }
	write(t, h.Path(), pad(MaxSessionFile), 0o600)
	if s, err := h.Load(); err != nil || s.Token != "secret" {
		t.Errorf("at the limit: %+v, %v", s, err)
	}
	write(t, h.Path(), pad(MaxSessionFile+1), 0o600)
	if _, err := h.Load(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("above the limit: %v", err)
	}
	// Sparse: 2 GiB that nobody may read into memory.
	if err := os.Truncate(h.Path(), 2<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Load(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("2 GiB: %v", err)
	}
}

// Neither reading nor writing may touch what somebody else could have put
// there; the error says what to do.
func TestUnsafePlacesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, h *Home)
		says string
	}{
		{"the folder is open to others", func(t *testing.T, h *Home) { chmod(t, h.Dir, 0o755) }, "chmod 700"},
		{"the folder is open to the group", func(t *testing.T, h *Home) { chmod(t, h.Dir, 0o710) }, "chmod 700"},
		{"the folder is a link", func(t *testing.T, h *Home) {
			must(t, os.Rename(h.Dir, h.Dir+".real"))
			must(t, os.Symlink(h.Dir+".real", h.Dir))
		}, "symbolic link"},
		{"the file is open to others", func(t *testing.T, h *Home) { chmod(t, h.Path(), 0o644) }, "remove it"},
		{"the file is open to the group", func(t *testing.T, h *Home) { chmod(t, h.Path(), 0o640) }, "remove it"},
		{"the file is a link", func(t *testing.T, h *Home) {
			must(t, os.Rename(h.Path(), h.Path()+".real"))
			must(t, os.Symlink(h.Path()+".real", h.Path()))
		}, "symbolic link"},
		{"the file is a link to nothing", func(t *testing.T, h *Home) {
			must(t, os.Remove(h.Path()))
			must(t, os.Symlink(h.Dir+"/planted", h.Path()))
		}, "symbolic link"},
		{"the file is a FIFO", func(t *testing.T, h *Home) {
			must(t, os.Remove(h.Path()))
			must(t, syscall.Mkfifo(h.Path(), 0o600))
		}, "regular file"},
		{"the file is a folder", func(t *testing.T, h *Home) {
			must(t, os.Remove(h.Path()))
			must(t, os.Mkdir(h.Path(), 0o700))
		}, "regular file"},
		{"the file is somebody else's", func(t *testing.T, h *Home) { chown(t, h.Path()) }, "another user"},
		{"the folder is somebody else's", func(t *testing.T, h *Home) { chown(t, h.Dir) }, "another user"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, _, _ := home(t)
			must(t, h.Save(session("old")))
			tc.make(t, h)
			for what, call := range map[string]func() error{
				"load":   func() error { _, err := h.Load(); return err },
				"check":  h.Check,
				"save":   func() error { return h.Save(session("new")) },
				"forget": h.Forget,
			} {
				err := call()
				if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%s gives %v; want a refusal with %q", what, err, tc.says)
				}
			}
			if _, err := os.Stat(h.Dir + "/planted"); err == nil {
				t.Error("a link was followed")
			}
		})
	}
}

// Two sign-ins at once leave one whole session, whose token is its own.
func TestManyProcessesSaveAtOnce(t *testing.T) {
	for _, noKeyring := range []bool{false, true} {
		t.Run(fmt.Sprint("without keyring ", noKeyring), func(t *testing.T) {
			first, ring, _ := home(t)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					h := &Home{Dir: first.Dir, NoKeyring: noKeyring, keyring: ring}
					for range 10 {
						s := session("")
						s.Token = "token of " + s.Session.ID
						if err := h.Save(s); err != nil {
							t.Error(err)
						}
						// Between two others' steps there may be none; never another's.
						if got, err := h.Load(); err == nil && got.Token != "token of "+got.Session.ID {
							t.Errorf("session %s has %s", got.Session.ID, got.Token)
						} else if err != nil && api.KindOf(err) != api.SignIn {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// hasKey makes the device key, as a sign-in does.
func hasKey(t *testing.T, h *Home) {
	t.Helper()
	_, err := h.DeviceKey()
	must(t, err)
}

// A folder that came back from a backup without its key must not look like a thief's.
func TestAKeyThatIsGoneIsNotMadeAnewForItsSession(t *testing.T) {
	s := apitest.New(t)
	h, _, _ := home(t)
	h.NoKeyring = true
	hasSession(t, s, h, "", time.Hour)
	must(t, os.Rename(h.KeyPath(), h.KeyPath()+".away"))
	const says = "cannot be used: it is gone; to sign in with a new key type: cardea device replace"
	if _, err := (&Account{Home: h}).Client(t.Context()); api.KindOf(err) != api.SignIn || !strings.HasSuffix(err.Error(), says) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := os.Lstat(h.KeyPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another key: %v", err)
	}
	must(t, os.Rename(h.KeyPath()+".away", h.KeyPath()))
	uses(t, &Account{Home: h})
}

func TestAccountFollowsTheFile(t *testing.T) {
	h, _, _ := home(t)
	h.NoKeyring = true
	a := &Account{Home: h}
	if _, err := a.Client(t.Context()); api.KindOf(err) != api.SignIn {
		t.Errorf("before signing in: %v", err)
	}
	hasKey(t, h)
	must(t, h.Save(session("one")))
	c1, err := a.Client(t.Context())
	if err != nil || c1.Token != "one" || c1.Prover == nil {
		t.Fatalf("client %+v, %v", c1, err)
	}
	if again, err := a.Client(t.Context()); err != nil || again != c1 {
		t.Errorf("the client, and with it its warm connection, is not kept: %v", err)
	}
	must(t, (&Home{Dir: h.Dir, NoKeyring: true}).Save(session("two")))
	if c2, err := a.Client(t.Context()); err != nil || c2.Token != "two" {
		t.Errorf("after another sign-in: %v, %v", c2, err)
	}
	must(t, h.Forget())
	if _, err := a.Client(t.Context()); api.KindOf(err) != api.SignIn {
		t.Errorf("after signing out: %v", err)
	}
}

func TestConfigDir(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "/x")
	if dir, err := ConfigDir(); err != nil || dir != filepath.FromSlash("/x/cardea") {
		t.Errorf("%q, %v", dir, err)
	}
	// A relative one would put the session below wherever the user stands.
	t.Setenv("XDG_CONFIG_HOME", "x")
	if dir, err := ConfigDir(); err == nil && !filepath.IsAbs(dir) {
		t.Errorf("%q", dir)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), mode))
}

func chmod(t *testing.T, path string, mode os.FileMode) { t.Helper(); must(t, os.Chmod(path, mode)) }

func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give a file away")
	}
	must(t, os.Chown(path, 65534, 65534))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readAll(path string) (string, error) {
	text, err := os.ReadFile(path)
	return string(text), err
}

// proves fails where the control plane would not take the key's proofs.
func proves(t *testing.T, key *dpop.Key) {
	t.Helper()
	const url = "https://access.example.com/v1/session"
	proof, err := key.Proof("GET", url, "", "token")
	must(t, err)
	if _, err := dpop.Check([]string{proof}, dpop.Expect{Method: "GET", URL: url, Token: "token", Thumbprint: key.Thumbprint()}); err != nil {
		t.Errorf("the control plane refuses the proof: %v", err)
	}
}
