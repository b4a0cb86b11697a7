package control

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/store"
)

// next asks for the next token of d's session and returns d with it.
func (d *device) next(i int) *device {
	d.s.t.Helper()
	var token api.Token
	if err := d.api(i).Send(d.s.t.Context(), "POST", "/v1/session/token", nil, &token); err != nil {
		d.s.t.Fatal(err)
	}
	if token.AccessToken == "" || token.AccessToken == d.token || token.TokenType != "DPoP" {
		d.s.t.Fatalf("next token %+v", token)
	}
	n := *d
	n.token = token.AccessToken
	return &n
}

// status is that of a plain call with d's token at an instance.
func (d *device) status(i int) int {
	d.s.t.Helper()
	return d.s.send(i, d.request(i, "GET", "/v1/session", "")).StatusCode
}

func TestATokenIsGoodUntilTheNextOneWasUsedAndAMomentLonger(t *testing.T) {
	s := newStack(t)
	alice := s.signIn("alice")
	for round := range 3 {
		s.wait(2 * time.Hour)
		next := alice.next(round % 2)
		// The answer may be lost, or could not be written down: that costs nothing, for
		// however long.
		s.wait(time.Hour)
		if got := alice.status(0); got != 200 {
			t.Fatalf("round %d: the old token, before the new one was used: %d", round, got)
		}
		if got := next.status(1); got != 200 {
			t.Fatalf("round %d: the new token: %d", round, got)
		}
		s.wait(tokenGrace - time.Second)
		if a, b := alice.status(0), next.status(0); a != 200 || b != 200 {
			t.Fatalf("round %d: within the grace the old token gives %d, the new one %d", round, a, b)
		}
		alice = next
	}
	if n := len(s.events(audit.SessionReuse)); n != 0 {
		t.Errorf("%d alarms, for an honest client", n)
	}
}

func TestATokenThatWasNeverUsedIsReplacedByALaterOne(t *testing.T) {
	s := newStack(t)
	alice := s.signIn("alice")
	lost := alice.next(0)
	denied(t, alice, api.Limited, "POST", "/v1/session/token", nil)
	s.wait(signin.NextTokenEvery)
	next := alice.next(1)
	if got := next.status(0); got != 200 {
		t.Fatalf("the second: %d", got)
	}
	denied(t, alice, api.Conflict, "POST", "/v1/session/token", nil) // it has a newer one
	if got := lost.status(0); got != 200 {
		t.Fatalf("the first, which came late: %d", got)
	}
}

// A thief copied the folder of the session, its key too, and uses it while the owner goes on.
func TestAReplacedTokenEndsTheWholeSessionOnEveryInstance(t *testing.T) {
	for _, first := range []string{"the owner rotates first", "the thief rotates first"} {
		t.Run(first, func(t *testing.T) { reuseToken(t, newStack(t), first == "the thief rotates first") })
	}
}

func reuseToken(t *testing.T, s *stack, thiefFirst bool) {
	owner := s.signIn("alice")
	thief := *owner
	other := s.signIn("alice")
	rotated, stale := owner, &thief
	if thiefFirst {
		rotated, stale = &thief, owner
	}
	rotated = rotated.next(0)
	if got := rotated.status(0); got != 200 {
		t.Fatal(got)
	}
	s.wait(tokenGrace)
	got := s.send(1, stale.request(1, "GET", "/v1/session", ""))
	if got.StatusCode != 401 || !strings.Contains(got.body, "cardea login") {
		t.Errorf("the old token: %d %s", got.StatusCode, got.body)
	}
	for i := range s.instances {
		if a, b := rotated.status(i), stale.status(i); a != 401 || b != 401 {
			t.Errorf("instance %d: %d and %d, want nobody to have a session", i, a, b)
		}
	}
	if got := other.status(0); got != 200 {
		t.Errorf("her other session: %d", got)
	}
	alarms := s.events(audit.SessionReuse)
	if len(alarms) != 1 || alarms[0].User != owner.session.User || alarms[0].Session != owner.session.ID || alarms[0].Source == "" {
		t.Errorf("alarms %+v", alarms)
	}
}

func TestACopiedTokenIsWorthlessAndRaisesOneAlarm(t *testing.T) {
	s := newStack(t)
	alice := s.signIn("alice")
	old := *alice
	alice = alice.next(0)
	alice.status(0)
	for name, token := range map[string]string{"the current token": alice.token, "one before it": old.token} {
		thief := s.device("")
		thief.token = token
		for i := range 6 {
			if got := thief.status(i % 2); got != 401 {
				t.Errorf("%s: %d", name, got)
			}
		}
	}
	if n := len(s.events(audit.SessionCopied)); n != 1 {
		t.Errorf("%d alarms, want one", n)
	}
	if got := alice.status(1); got != 200 {
		t.Errorf("the owner: %d", got)
	}
	s.wait(copiedWindow)
	thief := s.device("")
	thief.token = alice.token
	thief.status(0)
	alarms := s.events(audit.SessionCopied)
	if len(alarms) != 2 || alarms[1].User != alice.session.User || alarms[1].Session != alice.session.ID || alarms[1].Actor != "" || alarms[1].Detail["key"] != thief.key.Thumbprint() {
		t.Errorf("an hour later: %+v", alarms)
	}
}

// Revoked on one instance, a session is refused on the other with its next call.
func TestARevokedSessionIsRefusedWithEachOfItsTokensEverywhere(t *testing.T) {
	endTokens(t, newStack(t))
}

func endTokens(t *testing.T, s *stack) {
	alice := s.signIn("alice")
	used := alice.next(0)
	used.status(0)
	s.wait(signin.NextTokenEvery)
	offered := used.next(0)
	began := time.Now()
	must[api.Named](t, s.admin(), "POST", "/v1/sessions/"+alice.session.ID+"/revoke", nil)
	for i := range s.instances {
		for name, d := range map[string]*device{"replaced": alice, "current": used, "next": offered} {
			if got := s.send(i, d.request(i, "GET", "/v1/session", "")); got.StatusCode != 401 || !strings.Contains(got.body, "was ended at") {
				t.Errorf("instance %d, %s token: %d %s", i, name, got.StatusCode, got.body)
			}
		}
	}
	t.Logf("refused on every instance %s after the revocation began", time.Since(began))
	if n := len(s.events(audit.SessionReuse)); n != 0 {
		t.Errorf("%d alarms", n)
	}
}

func TestManyProcessesUseTheNextTokenAtOnce(t *testing.T) { useNextToken(t, newStack(t)) }

func useNextToken(t *testing.T, s *stack) {
	alice := s.signIn("alice")
	next := alice.next(0)
	var wg sync.WaitGroup
	for i := range 16 {
		d := alice
		if i%2 == 0 {
			d = next
		}
		req := d.request(i%2, http.MethodGet, "/v1/session", "")
		wg.Go(func() {
			if got := s.send(i%2, req); got.StatusCode != 200 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	wg.Wait()
}

func TestTheTeamSaysHowLongASignInLasts(t *testing.T) {
	s := newStack(t)
	admin, before := s.admin(), s.signIn("alice")
	if got := must[api.TeamSettings](t, admin, "GET", "/v1/team/settings", nil); got.SessionSeconds != 12*3600 || got.IdleSeconds != 0 {
		t.Errorf("at first: %+v", got)
	}
	for seconds, ok := range map[int]bool{3599: false, 3600: true, 25 * 3600: true, 25*3600 + 1: false} {
		_, err := try[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", map[string]int{"session_seconds": seconds})
		if (err == nil) != ok {
			t.Errorf("%d seconds: %v", seconds, err)
		}
	}
	must[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", map[string]int{"session_seconds": 3600})
	alice := s.signIn("alice")
	if life := alice.session.ExpiresAt.Sub(s.now()); life != time.Hour {
		t.Errorf("a new session lives %s", life)
	}
	s.wait(time.Hour - time.Second)
	if got := alice.status(0); got != 200 {
		t.Errorf("in its last second: %d", got)
	}
	s.wait(time.Second)
	if a, b := alice.status(1), before.status(1); a != 401 || b != 200 {
		t.Errorf("at its end: %d; one from before: %d", a, b)
	}
	last := s.events(audit.TeamUpdate)
	if len(last) != 3 || last[0].Actor != admin.session.User {
		t.Errorf("audited: %+v", last)
	}
}

func TestASessionThatNobodyUsesIsOver(t *testing.T) {
	s := newStack(t)
	admin, alice, bob := s.admin(), s.signIn("alice"), s.signIn("bob")
	for seconds, ok := range map[int]bool{899: false, 900: true, 0: true} {
		_, err := try[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", map[string]int{"idle_seconds": seconds})
		if (err == nil) != ok {
			t.Errorf("%d seconds: %v", seconds, err)
		}
	}
	must[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", map[string]int{"idle_seconds": 3600})
	for range 3 {
		s.wait(time.Hour - seeEvery)
		// What programs do by themselves is no use of a session.
		if got := s.send(0, bob.request(0, "GET", "/v1/catalog?wait=0", "")); got.StatusCode != 200 && !strings.Contains(got.body, "not used since") {
			t.Fatal(got.StatusCode, got.body)
		}
		s.send(0, bob.request(0, "POST", "/v1/session/token", ""))
		if got := alice.status(0); got != 200 {
			t.Fatalf("alice, who is at work: %d", got)
		}
	}
	got := s.send(1, bob.request(1, "GET", "/v1/session", ""))
	if got.StatusCode != 401 || !strings.Contains(got.body, "not used since") {
		t.Errorf("bob, who went home: %d %s", got.StatusCode, got.body)
	}
	for _, seen := range must[api.List[api.Session]](t, alice, "GET", "/v1/sessions/mine", nil).Items {
		if seen.SeenAt.IsZero() {
			t.Errorf("no last use: %+v", seen)
		}
	}
}

func TestABurstOfCallsIsOneUseOfItsSession(t *testing.T) {
	w := newWorld(t, func(t *table) {
		doors(t)
		handle(t, route{Method: "GET", Path: "/v1/poll", Access: User, Poll: true, Doc: "x"}, echo)
		handle(t, route{Method: "GET", Path: "/v1/background", Access: User, Background: true, Doc: "x"}, echo)
	})
	p := w.join(store.KindUser, "u", nil)
	uses := func(path string, calls, want int) {
		t.Helper()
		var wg sync.WaitGroup
		for range calls {
			req := p.request("GET", path, "")
			wg.Go(func() {
				if got := w.send(req); got.StatusCode != 200 {
					t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
				}
			})
		}
		wg.Wait()
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		if w.store.seen != want {
			t.Errorf("%s: %d uses are noted, want %d", path, w.store.seen, want)
		}
	}
	uses("/v1/poll", 3, 0)
	uses("/v1/background", 3, 0)
	uses("/v1/user", 20, 1)
	w.now = w.now.Add(seeEvery - time.Second)
	uses("/v1/user", 5, 1)
	w.now = w.now.Add(time.Second)
	w.store.broken = errors.New("the disk is full")
	uses("/v1/user", 1, 2) // it is told all the same, and tried again with the next call
	w.store.broken = nil
	uses("/v1/user", 5, 3)
}

func TestSightingsAreBounded(t *testing.T) {
	var v sightings
	now := time.Unix(1000, 0)
	for i := range 2*maxSightings + 10 {
		if !v.first(strconv.Itoa(i), now) {
			t.Fatal(i)
		}
		if len(v.at) > maxSightings {
			t.Fatalf("%d are kept", len(v.at))
		}
	}
	if v.first(strconv.Itoa(2*maxSightings+9), now) {
		t.Error("the last is not known")
	}
}
