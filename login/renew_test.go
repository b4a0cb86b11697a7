//go:build !windows

package login

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// hasSession saves one at s with the key in file, that is over after left.
func hasSession(t *testing.T, s *apitest.Server, h *Home, file string, left time.Duration) Saved {
	t.Helper()
	if file == "" {
		hasKey(t, h)
	}
	v := Saved{URL: s.URL, Team: "demo", KeyFile: file}
	key, err := h.KeyOf(v)
	must(t, err)
	v.Token, v.Session = s.SignIn(key.Thumbprint())
	v.Session.ExpiresAt = time.Now().Add(left)
	v.Session.CreatedAt = v.Session.ExpiresAt.Add(-time.Hour)
	if left <= 0 {
		s.Revoke(v.Token)
	}
	must(t, h.Save(v))
	return v
}

func TestAServiceUserSignsInAgainByItself(t *testing.T) {
	for name, c := range map[string]struct {
		left  time.Duration
		file  string // "" for the device key
		spoil func(*Saved)
		want  bool
	}{
		"whose session is over":             {0, "deploy.pem", nil, true},
		"whose session was over a week ago": {-7 * 24 * time.Hour, "deploy.pem", nil, true},
		"in the last minutes":               {renewBefore - 10*time.Second, "deploy.pem", nil, true},
		"not before":                        {renewBefore + time.Minute, "deploy.pem", nil, false},
		"not as another user":               {0, "deploy.pem", func(v *Saved) { v.Session.User = ident.New(ident.User) }, false},
		"nor a job, whose token is gone":    {0, "job-0123456789abcdef.pem", nil, false},
		"nor a person":                      {0, "", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := apitest.New(t)
			h, _, _ := home(t)
			file := c.file
			if file != "" {
				file = filepath.Join(h.Dir, file)
				_, err := dpop.LoadOrCreate(file)
				must(t, err)
			}
			old := hasSession(t, s, h, file, c.left)
			if c.spoil != nil {
				c.spoil(&old)
				must(t, h.Save(old))
			}
			a := &Account{Home: h}
			a.Rotate(t.Context()) // what it says is for a log
			got, err := h.Load()
			must(t, err)
			if renewed := got.Session.ID != old.Session.ID; renewed != c.want || got.KeyFile != file || got.Session.User != old.Session.User {
				t.Fatalf("has %+v", got)
			}
			if c.want {
				uses(t, a)
			}
		})
	}
}

// Many processes find the session over at once: they sign in once.
func TestManyProcessesSignInAgainOnce(t *testing.T) {
	s := apitest.New(t)
	h, ring, _ := home(t)
	file := filepath.Join(h.Dir, "deploy.pem")
	_, err := dpop.LoadOrCreate(file)
	must(t, err)
	hasSession(t, s, h, file, 0)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			a := &Account{Home: &Home{Dir: h.Dir, keyring: ring}}
			if err := a.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(s.Calls("POST", "/oauth/token")); n != 1 {
		t.Errorf("%d sign-ins", n)
	}
	uses(t, &Account{Home: h})
}
