package control

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

func opened(page reply) bool { return strings.Contains(page.body, "Waiting for you") }

// A person comes back from his provider to the page that he wanted, and with the provider
// ends what was opened by its word.
func TestAProviderOpensTheDashboard(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	r := &run{f: f, browser: f.browser(0)}
	r.request = request(t, r.browser.open("/requests"))
	r.answer = f.provider.Visit(r.sent("op"))
	if page := r.back("op"); !opened(page) || !strings.Contains(page.body, "alice") {
		t.Fatalf("back from the provider: %d %s", page.StatusCode, page.body)
	}
	// The answer in another browser opens nothing there.
	mallory := &run{f: f, browser: f.browser(0)}
	mallory.request = request(t, mallory.browser.open("/requests"))
	r.browser.post("/dashboard/signout", nil)
	r.request = request(t, r.browser.open("/requests"))
	mallory.answer = f.provider.Visit(r.sent("op"))
	if page := mallory.back("op"); opened(page) || page.StatusCode != 410 {
		t.Errorf("in another browser: %d %s", page.StatusCode, page.body)
	}
	mallory.browser.out("another's answer")
	again := &run{f: f, browser: f.browser(0)}
	again.request = request(t, again.browser.open("/requests"))
	again.answer = f.provider.Visit(again.sent("op"))
	if page := again.back("op"); !opened(page) {
		t.Fatalf("once more: %d %s", page.StatusCode, page.body)
	}
	must[api.Provider](t, f.admin, "PATCH", "/v1/providers/op", map[string]string{"state": "disabled"})
	again.browser.out("the provider was disabled")
}

func TestTheDashboardAsksForASecondFactor(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	_, program, _ := s.enrolled("bob")
	s.wait(30 * time.Second)
	b := s.browser(0)
	id := request(t, b.open("/requests"))
	page := b.password(id, "bob")
	if opened(page) || !strings.Contains(page.body, "one-time-code") {
		t.Fatalf("after the password: %d %s", page.StatusCode, page.body)
	}
	b.post("/confirm", url.Values{"request": {id}, "decision": {"dashboard"}})
	b.out("half a sign-in")
	if page := b.post("/factor", with(id, "code", program.code(s.now()))); !opened(page) {
		t.Fatalf("with the code: %d %s", page.StatusCode, page.body)
	}
	// Another factor ends what began with fewer.
	s.wait(30 * time.Second)
	c := s.browser(0)
	if !opened(c.enter("carol")) {
		t.Fatal("carol is not let in")
	}
	s.enrolled("carol")
	c.out("a factor was added elsewhere")
	s.wait(30 * time.Second)
	// Who must have one adds it first.
	admin := s.signIn("admin")
	who := store.FactorAll
	must[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", api.TeamPatch{SecondFactor: &who})
	d := s.browser(0)
	page = d.enter("dave")
	if opened(page) || !strings.Contains(page.body, "Your team demands a second factor") {
		t.Fatalf("without a factor: %d %s", page.StatusCode, page.body)
	}
	id = request(t, page)
	d.post("/confirm", url.Values{"request": {id}, "decision": {"dashboard"}})
	d.out("without the factor that the team demands")
	page = d.post("/account/totp", of(id))
	page = d.post("/account/totp/confirm", with(id, "name", "telephone", "code", scan(t, page).code(s.now())))
	if !strings.Contains(page.body, "/confirm?request="+id) {
		t.Fatalf("enrolled: %d %s", page.StatusCode, page.body)
	}
	page = d.open("/confirm?request=" + id)
	if page = d.post("/confirm", url.Values{"request": {request(t, page)}, "decision": {"dashboard"}}); !opened(page) {
		t.Errorf("with it: %d %s", page.StatusCode, page.body)
	}
}
