package control

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
)

// Alice was given a password by an administrator, and chooses one of her own. Mallory finds her
// browser open, and guesses.
func TestAPersonChangesHisOwnPassword(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	laptop := s.signIn("alice")
	elsewhere := s.dashboard(1, "alice")
	b := s.browser(0)
	const fresh = "staple battery horse"
	change := func(present, password, again string, also ...func(*http.Request)) reply {
		return b.post("/account/password", with(ownAccount, "present", present, "password", password, "again", again), also...)
	}
	if page := change(secret, fresh, fresh); !strings.Contains(page.body, `action="/signin"`) {
		t.Fatalf("nobody is signed in: %d %s", page.StatusCode, page.body)
	}
	if page := b.open("/account/password"); !strings.Contains(page.body, `action="/signin"`) {
		t.Fatalf("nobody is asked for a password of his: %s", page.body)
	}
	if page := b.password(ownAccount, "alice"); !strings.Contains(page.body, "/account/password?request=account") {
		t.Fatalf("her account: %d %s", page.StatusCode, page.body)
	}
	if page := b.open("/account/password"); page.StatusCode != 200 || !strings.Contains(page.body, `name="present"`) {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	for name, c := range map[string]struct {
		present, password, again string
		want                     int
	}{
		"a wrong present one": {secret + "x", fresh, fresh, 403},
		"no present one":      {"", fresh, fresh, 403},
		"a short one":         {secret, "short", "short", 422},
		"two":                 {secret, fresh, fresh + "x", 422},
		"the same":            {secret, secret, secret, 422},
	} {
		if got := change(c.present, c.password, c.again); got.StatusCode != c.want || !strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	if got := change(secret, fresh, fresh, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); got.StatusCode != 403 || !strings.Contains(got.body, "another site") {
		t.Errorf("a form of another site: %d %s", got.StatusCode, got.body)
	}
	// A guess there is one at the sign-in: their tries are counted together.
	for range signin.Tries - 2 {
		change("a guess", fresh, fresh)
	}
	if got := change(secret, fresh, fresh); got.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after %d guesses: %d %s", signin.Tries, got.StatusCode, got.body)
	}
	if got := s.browser(0).password(ownAccount, "alice"); got.StatusCode != http.StatusTooManyRequests {
		t.Errorf("and at the sign-in: %d %s", got.StatusCode, got.body)
	}
	must[api.Session](t, laptop, "GET", "/v1/session", nil)

	s.wait(signin.TryWindow)
	if got := change(secret, fresh, fresh); !strings.Contains(got.body, `action="/signin"`) {
		t.Errorf("who signed in long ago: %d %s", got.StatusCode, got.body)
	}
	b.password(ownAccount, "alice")
	got := change(secret, fresh, fresh)
	if got.StatusCode != 200 || !strings.Contains(got.body, "Your password is changed") {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	denied(t, laptop, api.SignIn, "GET", "/v1/session", nil)
	elsewhere.out("a new password")
	if page := b.open("/account"); !strings.Contains(page.body, "Your second factors") {
		t.Errorf("she is signed out where she changed it: %s", page.body)
	}
	rows := s.events(audit.UserPassword)
	if last := rows[len(rows)-1]; last.Outcome != audit.Allowed || last.User != laptop.session.User || last.Detail["by"] != "himself" || rows[0].Outcome != audit.Denied {
		t.Errorf("audited: %+v", rows)
	}
	if got := s.browser(0).password(ownAccount, "alice"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("the one before: %d %s", got.StatusCode, got.body)
	}
	if got := s.browser(0).post("/signin", with(ownAccount, "name", "alice", "password", fresh)); !strings.Contains(got.body, "Your second factors") {
		t.Errorf("the new one: %d %s", got.StatusCode, got.body)
	}
}
