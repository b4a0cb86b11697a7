//go:build !windows

package login

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// tokens is a control plane that knows the tokens of one session as the real one does,
// without a grace: it ends the session when it sees one that was replaced.
type tokens struct {
	*httptest.Server
	mu            sync.Mutex
	current, next string
	old           map[string]bool
	n             int
	ended         bool
	asked         func() // before a next token is given out
	given         func() // after
	busy          int    // requests that are being answered
}

func newTokens(t *testing.T) *tokens {
	s := &tokens{current: "token-0", old: map[string]bool{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "DPoP ")
	ask := r.URL.Path == "/v1/session/token"
	s.mu.Lock()
	s.busy++
	asked := s.asked
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.busy--
		s.mu.Unlock()
	}()
	if ask && asked != nil {
		asked()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == s.next && token != "" {
		s.old[s.current] = true
		s.current, s.next = s.next, ""
	}
	if s.old[token] {
		s.ended = true
	}
	if s.ended || token != s.current {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(401)
		json.NewEncoder(w).Encode(api.Errorf(api.SignIn, "no session"))
		return
	}
	out := api.Token{}
	if ask {
		s.n++
		s.next = fmt.Sprintf("token-%d", s.n)
		out = api.Token{AccessToken: s.next, TokenType: "DPoP"}
	}
	json.NewEncoder(w).Encode(out)
	if ask && s.given != nil {
		s.given()
	}
}

// on waits until no request is being answered, and has the next ones do as told.
func (s *tokens) on(when string, do func()) {
	for {
		s.mu.Lock()
		if s.busy == 0 {
			s.asked, s.given = nil, nil
			switch when {
			case "asked":
				s.asked = do
			case "given":
				s.given = do
			}
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// rotating is the account of a session at s that began an hour ago.
func rotating(t *testing.T, s *tokens, h *Home) *Account {
	t.Helper()
	hasKey(t, h)
	must(t, h.Save(Saved{URL: s.URL, Team: "demo", Token: "token-0", Session: api.Session{
		ID: ident.New(ident.Session), CreatedAt: time.Now().Add(-time.Hour), ExpiresAt: time.Now().Add(12 * time.Hour),
	}}))
	return &Account{Home: h}
}

// uses makes a call; the session must be good.
func uses(t *testing.T, a *Account) {
	t.Helper()
	c, err := a.Client(t.Context())
	must(t, err)
	if _, err := c.Get(t.Context(), "/v1/session", nil, nil); err != nil {
		t.Errorf("the session is lost: %v", err)
	}
}

func TestTheTokenIsRenewedEachHalfHour(t *testing.T) {
	for _, noRing := range []bool{false, true} {
		s := newTokens(t)
		h, ring, _ := home(t)
		ring.broken = noRing
		a := rotating(t, s, h)
		now := time.Now()
		a.Now = func() time.Time { return now }
		other := &Account{Home: &Home{Dir: h.Dir, keyring: ring}} // another process
		uses(t, other)
		for want := 1; want <= 3; want++ {
			must(t, a.Rotate(t.Context()))
			now = now.Add(RotateEvery - time.Second)
			must(t, a.Rotate(t.Context())) // not yet
			saved, err := other.Saved(t.Context())
			must(t, err)
			if saved.Token != fmt.Sprintf("token-%d", want) || saved.Rotating || saved.Keyring == noRing {
				t.Fatalf("the other process has %+v", saved)
			}
			uses(t, other)
			uses(t, a)
			now = now.Add(time.Second)
		}
	}
}

// Whoever holds a client while another process renews the token speaks with the new one.
func TestAClientTakesTheTokenAnewForEachCall(t *testing.T) {
	s := newTokens(t)
	h, ring, _ := home(t)
	a := rotating(t, s, h)
	other := &Account{Home: &Home{Dir: h.Dir, keyring: ring}}
	held, err := other.Client(t.Context())
	must(t, err)
	must(t, a.Rotate(t.Context()))
	uses(t, a)
	if _, err := held.Get(t.Context(), "/v1/session", nil, nil); err != nil {
		t.Errorf("a client from before: %v", err)
	}
}

func TestManyProcessesRenewOnceAndLoseNothing(t *testing.T) {
	s := newTokens(t)
	h, ring, _ := home(t)
	rotating(t, s, h)
	var wg sync.WaitGroup
	for range 12 {
		a := &Account{Home: &Home{Dir: h.Dir, keyring: ring}}
		wg.Go(func() {
			for range 3 {
				if err := a.Rotate(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s.n != 1 {
		t.Errorf("%d tokens were made", s.n)
	}
	uses(t, &Account{Home: &Home{Dir: h.Dir, keyring: ring}})
}

// Nothing that goes wrong takes the session away.
func TestARotationThatFailsLosesNothing(t *testing.T) {
	for name, c := range map[string]func(t *testing.T, s *tokens, h *Home, ring *fakeRing) (mend func()){
		"the control plane is gone": func(t *testing.T, s *tokens, _ *Home, _ *fakeRing) func() {
			s.on("asked", func() { panic(http.ErrAbortHandler) })
			return func() { s.on("", nil) }
		},
		"the answer is lost": func(t *testing.T, s *tokens, _ *Home, _ *fakeRing) func() {
			s.on("given", func() { panic(http.ErrAbortHandler) })
			return func() { s.on("", nil) }
		},
		"the keyring is locked when the answer comes": func(t *testing.T, s *tokens, _ *Home, ring *fakeRing) func() {
			s.on("asked", func() { ring.mu.Lock(); ring.broken = true; ring.mu.Unlock() })
			return func() { s.on("", nil); ring.mu.Lock(); ring.broken = false; ring.mu.Unlock() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTokens(t)
			h, ring, _ := home(t)
			a := rotating(t, s, h)
			mend := c(t, s, h, ring)
			if a.Rotate(t.Context()) == nil {
				t.Error("nobody hears of it")
			}
			mend()
			asked := s.n
			must(t, a.Rotate(t.Context()))
			if s.n != asked {
				t.Error("it does not wait before it tries again")
			}
			fresh := &Account{Home: &Home{Dir: h.Dir, keyring: ring}}
			uses(t, fresh)
			uses(t, a)
			must(t, fresh.Rotate(t.Context()))
			uses(t, fresh)
			uses(t, a)
		})
	}
}

// A file that cannot be written, as on a full disk: before, nothing is asked for; after,
// the new token is never used.
func TestARotationOnAFullDiskLosesNothing(t *testing.T) {
	for _, noRing := range []bool{false, true} {
		for _, when := range []string{"before", "after"} {
			t.Run(fmt.Sprint(when, noRing), func(t *testing.T) {
				s := newTokens(t)
				h, ring, _ := home(t)
				ring.broken = noRing
				a := rotating(t, s, h)
				fill := func() { full(t, h.Dir, true) }
				if when == "before" {
					fill()
				} else {
					s.on("given", fill)
				}
				err := a.Rotate(t.Context())
				full(t, h.Dir, false)
				if err == nil {
					t.Error("nobody hears of it")
				}
				s.on("", nil)
				if when == "before" && s.n != 0 {
					t.Error("a token was asked for that could not be kept")
				}
				fresh := &Account{Home: &Home{Dir: h.Dir, keyring: ring}}
				uses(t, fresh)
				uses(t, a)
				must(t, fresh.Rotate(t.Context()))
				uses(t, fresh)
				uses(t, a)
			})
		}
	}
}

// full makes every write of the session fail, for root too: its file cannot be replaced
// while the name it is written under first is taken by folders.
func full(t *testing.T, dir string, yes bool) {
	t.Helper()
	how := "+i"
	if !yes {
		how = "-i"
	}
	if out, err := exec.Command("chattr", how, dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: chattr does not work here: %v %s", err, out)
	}
	if yes {
		t.Cleanup(func() { exec.Command("chattr", "-i", dir).Run() })
	}
}

// A process that is killed at any point of it leaves a session that works.
func TestARotationThatIsKilledLosesNothing(t *testing.T) {
	if dir := os.Getenv("CARDEA_TEST_ROTATE"); dir != "" {
		a := &Account{Home: &Home{Dir: dir, NoKeyring: true}}
		a.Rotate(context.Background())
		return
	}
	for _, when := range []string{"asked", "given"} {
		s := newTokens(t)
		h, _, _ := home(t)
		h.NoKeyring = true
		a := rotating(t, s, h)
		self, err := os.Executable()
		must(t, err)
		child := exec.Command(self, "-test.run=^TestARotationThatIsKilledLosesNothing$")
		child.Env = append(os.Environ(), "CARDEA_TEST_ROTATE="+h.Dir)
		started := make(chan struct{})
		kill := func() { <-started; child.Process.Kill() }
		s.on(when, kill)
		must(t, child.Start())
		close(started)
		child.Wait()
		s.on("", nil)
		uses(t, a)
		must(t, a.Rotate(t.Context()))
		uses(t, a)
		if text, err := os.ReadFile(filepath.Join(h.Dir, sessionFile)); err != nil || strings.Contains(string(text), "rotating") {
			t.Errorf("the file: %s %v", text, err)
		}
	}
}

// Who signs in while another process renews the old session keeps the new one.
func TestASignInIsNotWrittenOver(t *testing.T) {
	s := newTokens(t)
	h, ring, _ := home(t)
	a := rotating(t, s, h)
	fresh := session("new sign-in")
	done := make(chan error, 1)
	s.on("asked", func() { go func() { done <- (&Home{Dir: h.Dir, keyring: ring}).Save(fresh) }() })
	must(t, a.Rotate(t.Context()))
	must(t, <-done)
	got, err := (&Home{Dir: h.Dir, keyring: ring}).Load()
	must(t, err)
	if got.Session.ID != fresh.Session.ID || got.Token != "new sign-in" {
		t.Errorf("kept %+v", got)
	}
}
