package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/login"
	"github.com/cardea-ssh/cardea/sshcert"
)

// asksAgain is a scene whose project asks for people after ten minutes.
func asksAgain(t *testing.T) *scene {
	return newScene(t, func(p *api.ProjectSettings) { p.ReauthSeconds = 600 })
}

// shows has a person show in a browser who he is, for a project, and returns the code.
func (d *device) shows(b *browser, name, project string) string {
	d.s.t.Helper()
	d.query.Set("project", project)
	defer d.query.Del("project")
	page := b.open(d.link())
	id := request(d.s.t, page)
	if !strings.Contains(page.body, `type="password"`) {
		d.s.t.Fatalf("%s is not asked who he is: %s", name, page.body)
	}
	page = b.post("/signin", url.Values{"request": {id}, "name": {name}, "password": {secret}})
	if !strings.Contains(page.body, "approve") || !strings.Contains(page.body, project) {
		d.s.t.Fatalf("%s was not asked to confirm: %s", name, page.body)
	}
	return sentBack(d.s.t, b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}})).Get("code")
}

func (d *device) touch(code, project string) api.TouchRequest {
	return api.TouchRequest{Project: project, Code: code, CodeVerifier: d.verifier, RedirectURI: callback}
}

// connect is a request of its own key.
func connectTo(t testing.TB, server string) api.Connect {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return api.Connect{Server: server, PublicKey: sshcert.Line(key)}
}

func TestAProjectAsksAgainWhoSomebodyIs(t *testing.T) {
	s := asksAgain(t)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	s.wait(10*time.Minute - time.Second)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	s.wait(time.Second)
	// It is the API itself that refuses; the page is only the way to satisfy it.
	e := denied(t, s.alice, api.SignIn, "POST", "/v1/connect", connectTo(t, "web-1"))
	if e.Reauth != "web" || e.Hint != "type: cardea login --project web" {
		t.Errorf("refused with %+v", e)
	}
	rows := s.events(audit.Connect)
	if last := rows[len(rows)-1]; last.Outcome != audit.Denied || last.Reason != "reauth" || last.User != s.alice.session.User {
		t.Errorf("audited: %+v", last)
	}
	if c := must[api.Catalog](t, s.alice, "GET", "/v1/catalog?wait=0", nil); len(c.Servers) != 1 {
		t.Error("the server has left the list")
	}
	if why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); why.Allow || !strings.Contains(why.Reason, "asks who you are") {
		t.Errorf("why: %+v", why)
	}
	if why := must[api.Why](t, s.admin, "GET", "/v1/why?server=web-1&user=alice", nil); !why.Allow {
		t.Errorf("why, for an administrator who asks about her: %+v", why)
	}

	code := s.alice.shows(s.browser(0), "alice", "web")
	got := must[api.Touched](t, s.alice, "POST", "/v1/touch", s.alice.touch(code, "web"))
	if !got.Until.Equal(s.now().Add(10 * time.Minute)) {
		t.Errorf("touched: %+v at %s", got, s.now())
	}
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	if rows := s.events(audit.Touch); len(rows) != 1 || rows[0].Actor != s.alice.session.User || rows[0].Project != s.project.ID {
		t.Errorf("audited: %+v", rows)
	}
	denied(t, s.alice, api.Gone, "POST", "/v1/touch", s.alice.touch(code, "web")) // once
	s.wait(10 * time.Minute)
	denied(t, s.alice, api.SignIn, "POST", "/v1/connect", connectTo(t, "web-1"))
}

// One touch is for all servers of the project at once, as ansible enters them.
func TestOneTouchCoversABurst(t *testing.T) {
	s := asksAgain(t)
	s.wait(time.Hour)
	code := s.alice.shows(s.browser(0), "alice", "web")
	must[api.Touched](t, s.alice, "POST", "/v1/touch", s.alice.touch(code, "web"))
	n := 40
	if os.Getenv("SOAK") != "" {
		n = 300
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range n {
		in := connectTo(t, "web-1")
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := s.alice.api(i%2).Send(t.Context(), http.MethodPost, "/v1/connect", in, nil); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if asked := len(s.events(audit.Touch)); asked != 1 {
		t.Errorf("she was asked %d times", asked)
	}
}

func TestATouchIsOfOneDeviceAndOneProject(t *testing.T) {
	s := asksAgain(t)
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "allowed", ReauthSeconds: 600}})
	must[api.Grant](t, s.admin, "POST", "/v1/projects/db/grants", api.NewGrant{Group: "ops", Role: "user"})
	s.confirm(s.newServer("db", "db-1", nil))
	other := s.signIn("alice")
	s.wait(time.Hour)
	code := s.alice.shows(s.browser(0), "alice", "web")
	must[api.Touched](t, s.alice, "POST", "/v1/touch", s.alice.touch(code, "web"))
	denied(t, s.alice, api.SignIn, "POST", "/v1/connect", connectTo(t, "db-1"))
	denied(t, other, api.SignIn, "POST", "/v1/connect", connectTo(t, "web-1"))
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
}

func TestTouchesThatAreNot(t *testing.T) {
	s := asksAgain(t)
	s.wait(time.Hour)
	fresh := func() string { return s.alice.shows(s.browser(0), "alice", "web") }
	t.Run("another person's yes", func(t *testing.T) {
		code := s.alice.shows(s.browser(0), "bob", "web")
		denied(t, s.alice, api.Gone, "POST", "/v1/touch", s.alice.touch(code, "web"))
	})
	t.Run("a project that she may not enter", func(t *testing.T) {
		must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
		code := s.alice.shows(s.browser(0), "alice", "db")
		one := denied(t, s.alice, api.NotFound, "POST", "/v1/touch", s.alice.touch(code, "db"))
		none := denied(t, s.alice, api.NotFound, "POST", "/v1/touch", s.alice.touch(code, "xx"))
		if strings.ReplaceAll(one.Error(), "db", "") != strings.ReplaceAll(none.Error(), "xx", "") {
			t.Errorf("%q is told from %q", one, none)
		}
	})
	t.Run("for another project", func(t *testing.T) {
		code := s.alice.shows(s.browser(0), "alice", "elsewhere")
		denied(t, s.alice, api.Gone, "POST", "/v1/touch", s.alice.touch(code, "web"))
	})
	t.Run("another device", func(t *testing.T) {
		other := s.signIn("alice")
		denied(t, other, api.Gone, "POST", "/v1/touch", s.alice.touch(fresh(), "web"))
	})
	t.Run("another verifier", func(t *testing.T) {
		in := s.alice.touch(fresh(), "web")
		in.CodeVerifier = strings.Repeat("w", 43)
		denied(t, s.alice, api.Gone, "POST", "/v1/touch", in)
	})
	t.Run("the code is no sign-in", func(t *testing.T) {
		code := fresh()
		if _, err := s.alice.api(0).Redeem(t.Context(), s.alice.form(code)); err == nil {
			t.Error("it gave a session")
		}
	})
	t.Run("the code of a sign-in", func(t *testing.T) {
		code := s.alice.approve(s.browser(0), "alice").Get("code")
		denied(t, s.alice, api.Gone, "POST", "/v1/touch", s.alice.touch(code, "web"))
	})
	t.Run("no code at all", func(t *testing.T) {
		denied(t, s.alice, api.Invalid, "POST", "/v1/touch", s.alice.touch("x", "web"))
	})
	denied(t, s.alice, api.SignIn, "POST", "/v1/connect", connectTo(t, "web-1"))
}

// Who is signed in to the pages already is asked all the same, also if he posts the yes
// without having been asked.
func TestAYesForAProjectNeedsWhatWasShownForIt(t *testing.T) {
	s := asksAgain(t)
	b := s.browser(0)
	s.alice.approve(b, "alice") // b is signed in from now on
	s.wait(time.Second)
	s.alice.query.Set("project", "web")
	page := b.open(s.alice.link())
	if !strings.Contains(page.body, `type="password"`) {
		t.Fatalf("not asked: %s", page.body)
	}
	got := b.post("/confirm", url.Values{"request": {request(t, page)}, "decision": {"approve"}})
	if !strings.Contains(got.body, `type="password"`) {
		t.Errorf("the yes was taken: %d %s", got.StatusCode, got.body)
	}
	s.alice.query.Set("project", "../web")
	if got := b.open(s.alice.link()); got.StatusCode != http.StatusSeeOther || !strings.Contains(got.Header.Get("Location"), "error=invalid_request") {
		t.Errorf("a project that is none: %d %s", got.StatusCode, got.Header.Get("Location"))
	}
}

// The program's own way, through its listener on loopback.
func TestTouchByTheProgram(t *testing.T) {
	s := asksAgain(t)
	s.wait(time.Hour)
	hc := &http.Client{Transport: s.client(0)}
	flow := login.Flow{URL: publicURL, Key: s.alice.key, HTTP: hc, DeviceName: "laptop", Project: "web", Open: func(u string) error {
		b := s.browser(0)
		page := b.open(strings.TrimPrefix(u, publicURL))
		id := request(t, page)
		b.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}})
		res, err := http.Get(b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}}).Header.Get("Location"))
		if err == nil {
			res.Body.Close()
		}
		return err
	}}
	if _, err := flow.Touch(t.Context(), s.alice.api(0)); err != nil {
		t.Fatal(err)
	}
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
}

// A password that was typed before the project asked is none that was typed for it, though the
// second factor comes after.
func TestAProjectWantsThePasswordAnewAndNotTheFactorAlone(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	_, p, _ := s.enrolled("alice")
	admin := s.admin()
	must[api.Project](t, admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none", ReauthSeconds: 600}})
	s.wait(time.Minute)
	_, b, _ := s.halfway("alice")
	s.wait(5 * time.Minute)
	d := s.device("desk")
	d.query.Set("project", "web")
	page := b.open(d.link())
	id := request(t, page)
	b.post("/factor", with(id, "code", p.code(s.now())))
	got := b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}})
	if strings.Contains(got.Header.Get("Location"), "code=") {
		t.Error("the old password was enough")
	}
}

// What an approver reads to type when he is asked who he is works for him: with a grant in
// the project or by the rule alone. And before he types a password it is known whether it does.
func TestWhoeverMayAnswerMayShowWhoHeIs(t *testing.T) {
	s := newAskScene(t)
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "empty", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
	must[api.Grant](t, s.admin, "POST", "/v1/projects/empty/grants", api.NewGrant{Group: "devs", Role: "user"})
	for _, c := range []struct {
		who     *device
		project string
	}{{s.carol, "web"}, {s.admin, "web"}, {s.alice, "web"}, {s.admin, "empty"}, {s.bob, "empty"}} {
		must[api.Named](t, c.who, "GET", "/v1/touch/"+c.project, nil)
		code := c.who.shows(s.browser(0), c.who.session.UserName, c.project)
		must[api.Touched](t, c.who, "POST", "/v1/touch", c.who.touch(code, c.project))
	}
	// Who may only ask, or has nothing to do with it, hears what he hears of none.
	for _, c := range []struct {
		who     *device
		project string
	}{{s.bob, "web"}, {s.mallory, "web"}, {s.carol, "empty"}} {
		is := denied(t, c.who, api.NotFound, "GET", "/v1/touch/"+c.project, nil)
		none := denied(t, c.who, api.NotFound, "GET", "/v1/touch/nothere", nil)
		if strings.ReplaceAll(is.Error(), c.project, "nothere") != none.Error() {
			t.Errorf("%q is told from %q", is, none)
		}
	}
}
