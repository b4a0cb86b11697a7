package control

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/store"
)

func TestWhoHoldsTheCodeSetsUpTheControlPlane(t *testing.T) {
	s := newStack(t)
	u := s.user("alice")
	code, v := signin.NewInvitation(u.ID, s.now())
	if err := s.store.Invite(t.Context(), v, store.Meta{Now: s.now()}); err != nil {
		t.Fatal(err)
	}
	b := s.browser(1)
	post := func(code, password, again string) reply {
		return b.post("/setup", url.Values{"code": {code}, "password": {password}, "again": {again}})
	}
	const fresh = "staple battery horse"
	if page := b.open("/setup"); page.StatusCode != 200 || !strings.Contains(page.body, `name="code"`) {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	for name, c := range map[string]struct {
		code, password, again string
		want                  int
	}{
		"another code":        {signin.NewSecret(), fresh, fresh, 410},
		"no code":             {"", fresh, fresh, 410},
		"a short password":    {code, "short", "short", 422},
		"two passwords":       {code, fresh, fresh + "x", 422},
		"her name's password": {code, "alice", "alice", 422},
	} {
		if got := post(c.code, c.password, c.again); got.StatusCode != c.want {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	// Whose password it is, who has the code reads, and nobody else.
	if page := b.post("/setup", url.Values{"code": {code}}); page.StatusCode != 200 || !strings.Contains(page.body, "administrator <strong>alice</strong>") || !strings.Contains(page.body, `type="password"`) {
		t.Errorf("with the code: %d %s", page.StatusCode, page.body)
	}
	if page := b.post("/setup", url.Values{"code": {signin.NewSecret()}}); page.StatusCode != 410 || strings.Contains(page.body, "alice") || strings.Contains(page.body, `type="password"`) {
		t.Errorf("with another one: %d %s", page.StatusCode, page.body)
	}
	if page := b.open("/setup"); strings.Contains(page.body, "alice") {
		t.Errorf("without one: %s", page.body)
	}
	got := b.post("/setup", url.Values{"code": {code}, "password": {fresh}, "again": {fresh}}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if got.StatusCode != 403 {
		t.Errorf("a form of another site: %d", got.StatusCode)
	}
	if got := post(" "+strings.ToUpper(code)+" ", fresh, fresh); got.StatusCode != 200 || !strings.Contains(got.body, "cardea login") {
		t.Fatalf("the code: %d %s", got.StatusCode, got.body)
	}
	if got := post(code, fresh+"2", fresh+"2"); got.StatusCode != 410 {
		t.Errorf("once more: %d", got.StatusCode)
	}
	page := s.browser(0).post("/signin", with(ownAccount, "name", "alice", "password", fresh))
	if !strings.Contains(page.body, "second factors") {
		t.Errorf("the new password: %d %s", page.StatusCode, page.body)
	}
	if page := s.browser(0).password(ownAccount, "alice"); page.StatusCode != 401 {
		t.Errorf("the old one: %d", page.StatusCode)
	}
	if rows := s.events(audit.UserPassword); len(rows) != 1 || rows[0].User != u.ID {
		t.Errorf("audited: %+v", rows)
	}
}

func TestASetUpCodeIsOverAfterADayAndGuessesAreLimited(t *testing.T) {
	s := newStack(t)
	code, v := signin.NewInvitation(s.user("alice").ID, s.now())
	if err := s.store.Invite(t.Context(), v, store.Meta{Now: s.now()}); err != nil {
		t.Fatal(err)
	}
	const fresh = "staple battery horse"
	post := func(code string) int {
		return s.browser(0).post("/setup", url.Values{"code": {code}, "password": {fresh}, "again": {fresh}}).StatusCode
	}
	s.wait(signin.InvitationLife)
	if got := post(code); got != 410 {
		t.Errorf("after a day: %d", got)
	}
	limited := false
	for range passwordBurst + 10 {
		limited = limited || post("x") == 429
	}
	if !limited {
		t.Error("anybody may guess for ever")
	}
}
