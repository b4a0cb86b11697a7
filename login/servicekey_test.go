//go:build !windows

package login

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/dpop"
)

// registry is what a control plane knows of the keys of one service user: which sign in,
// and whose place each took.
type registry struct {
	*apitest.Server
	mu       sync.Mutex
	replaces map[string]string // guarded by mu
	used     map[string]bool   // guarded by mu
	over     map[string]bool   // guarded by mu
}

func newRegistry(t *testing.T, first string) *registry {
	r := &registry{Server: apitest.New(t), replaces: map[string]string{first: ""}, used: map[string]bool{}, over: map[string]bool{}}
	r.On("POST", "/oauth/token", r.enter)
	r.On("POST", "/v1/service-keys/next", r.next)
	r.On("POST", "/v1/service-keys/retire", r.retire)
	return r
}

func (r *registry) enter(c apitest.Call) (any, error) {
	r.mu.Lock()
	_, known := r.replaces[c.Thumbprint]
	r.used[c.Thumbprint] = true
	r.mu.Unlock()
	if !known {
		return nil, api.Errorf(api.Denied, "this key may not sign in")
	}
	token, session := r.SignIn(c.Thumbprint)
	return api.SignedIn{Token: api.Token{AccessToken: token, TokenType: "DPoP", ExpiresIn: 3600}, Session: session}, nil
}

func (r *registry) next(c apitest.Call) (any, error) {
	var in api.NextServiceKey
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, of := range r.replaces {
		if of == c.Thumbprint && key != in.Thumbprint && !r.used[key] {
			delete(r.replaces, key)
			r.over[key] = true
		}
	}
	_, again := r.replaces[in.Thumbprint]
	switch {
	case r.over[in.Thumbprint]:
		return nil, api.Errorf(api.Gone, "the next key was taken away before")
	case !again && len(r.replaces) >= 2:
		return nil, api.Errorf(api.Conflict, "there are two keys")
	}
	r.replaces[in.Thumbprint] = c.Thumbprint
	return api.ServiceKey{ID: "sky_next", Thumbprint: in.Thumbprint}, nil
}

func (r *registry) retire(c apitest.Call) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.replaces[c.Thumbprint]
	if _, there := r.replaces[before]; before == "" || !there {
		return api.RetiredServiceKey{}, nil
	}
	delete(r.replaces, before)
	r.over[before] = true
	return api.RetiredServiceKey{ID: "sky_before", Thumbprint: before}, nil
}

// keys are the thumbprints of those that sign in.
func (r *registry) keys() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.replaces)
}

// changing is a flow with the key in file.
func (r *registry) changing(t *testing.T, file string) Flow {
	t.Helper()
	key, err := dpop.Load(file)
	must(t, err)
	return Flow{URL: r.URL, Key: key, HTTP: r.HTTP()}
}

// firstKey is a file with a key, and a control plane that knows it.
func firstKey(t *testing.T) (*registry, string, *dpop.Key) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	must(t, os.Mkdir(dir, 0o700))
	file := filepath.Join(dir, "deploy.pem")
	key, err := dpop.LoadOrCreate(file)
	must(t, err)
	return newRegistry(t, key.Thumbprint()), file, key
}

// settled fails unless the file holds a key that signs in and no other does, and nothing
// else of the change is left.
func settled(t *testing.T, r *registry, file string, before *dpop.Key) {
	t.Helper()
	f := r.changing(t, file)
	if _, err := f.Program(t.Context(), ServiceKeyForm()); err != nil {
		t.Errorf("the key in the file does not sign in: %v", err)
	}
	if f.Key.Thumbprint() == before.Thumbprint() || r.keys() != 1 {
		t.Errorf("%d keys sign in, the file has the old one: %v", r.keys(), f.Key.Thumbprint() == before.Thumbprint())
	}
	if _, err := os.Lstat(file + nextKeySuffix); err == nil {
		t.Error("the next key is still there")
	}
}

func TestAKeyIsChangedForANewOne(t *testing.T) {
	r, file, old := firstKey(t)
	out, err := r.changing(t, file).ChangeKey(t.Context(), file)
	if err != nil || out.By != ChangedHere || out.Late != nil || out.Saved.Token == "" {
		t.Fatalf("%+v, %v", out, err)
	}
	settled(t, r, file, old)
	if now := r.changing(t, file).Key.Thumbprint(); out.Saved.Thumbprint != now {
		t.Error("the session is bound to another key than the file has")
	}
	if _, err := (Flow{URL: r.URL, Key: old, HTTP: r.HTTP()}).Program(t.Context(), ServiceKeyForm()); api.KindOf(err) != api.Denied {
		t.Errorf("the old key: %v", err)
	}
}

var errKilled = errors.New("killed")

func TestAChangeOfKeysThatIsKilledAnywhereLosesNoKey(t *testing.T) {
	for _, at := range []string{"written", "registered", "signed in", "in place"} {
		t.Run(at, func(t *testing.T) {
			r, file, old := firstKey(t)
			f := r.changing(t, file)
			f.interrupt = func(step string) error {
				if step == at {
					return errKilled
				}
				return nil
			}
			if _, err := f.ChangeKey(t.Context(), file); !errors.Is(err, errKilled) {
				t.Fatalf("it was not killed: %v", err)
			}
			if _, err := r.changing(t, file).Program(t.Context(), ServiceKeyForm()); err != nil {
				t.Fatalf("after the kill the program does not sign in: %v", err)
			}
			out, err := r.changing(t, file).ChangeKey(t.Context(), file)
			if want := map[bool]string{true: ChangedBefore, false: ChangedHere}[at == "in place"]; err != nil || out.By != want {
				t.Fatalf("the next call: %+v, %v", out, err)
			}
			settled(t, r, file, old)
		})
	}
}

// Somebody has thrown away the next key that was registered; later an administrator takes
// another such one away.
func TestANextKeyThatIsLostOrTakenAwayIsNoEnd(t *testing.T) {
	r, file, old := firstKey(t)
	killed := func(step string) error {
		if step == "registered" {
			return errKilled
		}
		return nil
	}
	f := r.changing(t, file)
	f.interrupt = killed
	if _, err := f.ChangeKey(t.Context(), file); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	must(t, os.Remove(file+nextKeySuffix))
	f = r.changing(t, file)
	f.interrupt = killed
	if _, err := f.ChangeKey(t.Context(), file); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	next := r.changing(t, file+nextKeySuffix).Key.Thumbprint()
	r.mu.Lock()
	delete(r.replaces, next)
	r.over[next] = true
	r.mu.Unlock()
	if out, err := r.changing(t, file).ChangeKey(t.Context(), file); err != nil || out.By != ChangedHere {
		t.Fatalf("%+v, %v", out, err)
	}
	settled(t, r, file, old)
}

func TestProgramsThatShareAKeyChangeItOnce(t *testing.T) {
	r, file, old := firstKey(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	by := map[string]int{}
	flows := make([]Flow, 5)
	for i := range flows {
		flows[i] = r.changing(t, file)
	}
	for _, f := range flows {
		all.Go(func() {
			out, err := f.ChangeKey(t.Context(), file)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			by[out.By]++
		})
	}
	all.Wait()
	if by[ChangedHere] != 1 || by[ChangedMeanwhile] != len(flows)-1 {
		t.Errorf("changed %v", by)
	}
	settled(t, r, file, old)
}

// mallory has copied the folder, in the middle of a change too, and changes the key on her
// machine after the program has.
func TestACopyOfTheFolderChangesNoKeyAfterTheProgram(t *testing.T) {
	r, file, old := firstKey(t)
	copied := filepath.Join(t.TempDir(), "copy")
	f := r.changing(t, file)
	f.interrupt = func(step string) error {
		if step == "registered" {
			must(t, os.CopyFS(copied, os.DirFS(filepath.Dir(file))))
			must(t, os.Chmod(copied, 0o700))
			for _, name := range []string{"deploy.pem", "deploy.pem" + nextKeySuffix} {
				must(t, os.Chmod(filepath.Join(copied, name), 0o600))
			}
		}
		return nil
	}
	_, err := f.ChangeKey(t.Context(), file)
	must(t, err)
	stolen := filepath.Join(copied, "deploy.pem")
	if _, err := r.changing(t, stolen).ChangeKey(t.Context(), stolen); api.KindOf(err) != api.Denied {
		t.Errorf("the copy changed the key: %v", err)
	}
	settled(t, r, file, old)
}

// Two programs share a key and not the folder of the session: one changes the key, and the
// session of the other one is bound to the old one.
func TestAProgramWhoseKeyAnotherOneChangedSignsInAgain(t *testing.T) {
	r, file, _ := firstKey(t)
	h, _, _ := home(t)
	saved, err := r.changing(t, file).Program(t.Context(), ServiceKeyForm())
	must(t, err)
	saved.KeyFile = file
	must(t, h.Save(saved))
	_, err = r.changing(t, file).ChangeKey(t.Context(), file)
	must(t, err)
	a := &Account{Home: h}
	must(t, a.Rotate(t.Context()))
	now, err := h.Load()
	must(t, err)
	if now.Session.ID == saved.Session.ID || now.Thumbprint != r.changing(t, file).Key.Thumbprint() {
		t.Errorf("its session is %+v", now)
	}
}
