package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/store"
)

// certified is a real, certified identity provider in a process of its own.
type certified struct {
	t      *testing.T
	issuer string
	in     io.WriteCloser
	out    *bufio.Scanner
	cmd    *exec.Cmd
}

// startCertified skips the test where the provider is missing. redirects are the URIs that
// it sends browsers back to.
func startCertified(t *testing.T, redirects ...string) *certified {
	t.Helper()
	dir, err := buildtest.Brought("oidc-provider", filepath.Join("testdata", "oidcprovider"), "server.js", "package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil || missing != nil {
		t.Skipf("SKIPPED: no identity provider in %s; packaging/install-test-needs brings it", dir)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	p := &certified{t: t, issuer: "http://127.0.0.1:" + port}
	p.cmd = exec.Command(node, append([]string{filepath.Join(dir, "server.js"), port}, redirects...)...)
	var log strings.Builder
	p.cmd.Stderr = &log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the provider says: %s", log.String())
		}
	})
	p.answer("listening")
	return p
}

// answer waits for a line.
func (p *certified) answer(want string) {
	p.t.Helper()
	for p.out.Scan() {
		if p.out.Text() == want {
			return
		}
	}
	p.t.Fatalf("the provider ended: %v", p.out.Err())
}

func (p *certified) order(v any) {
	p.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(raw, '\n')); err != nil {
		p.t.Fatal(err)
	}
	p.answer("done")
}

// account is what the provider says of an account from now on.
func (p *certified) account(name string, claims map[string]any) {
	p.t.Helper()
	p.order(map[string]any{"account": name, "claims": claims})
}

func (p *certified) stop() {
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// signOn is a stack with a provider, and the clock that the provider has.
type signOn struct {
	*stack
	admin    *device
	provider *certified
	url      string // of the control plane, where it really is
}

func newSignOn(t *testing.T) *signOn {
	t.Helper()
	s := newStack(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	public := "http://localhost:" + fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	on := &signOn{stack: s, url: public, provider: startCertified(t, public+api.CallbackPath+"op")}
	o := s.options
	o.PublicURL, o.Now, o.Issuers = public, time.Now, sso.New(sso.Options{LoopbackHTTP: true})
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: server.Handler()}
	go h.Serve(listener)
	t.Cleanup(func() { h.Close() })
	on.admin = on.visitor("admin").enter(browse.Person{Name: "admin", Password: secret})
	must[api.Provider](t, on.admin, "POST", "/v1/providers", api.NewProvider{Name: "op", Issuer: on.provider.issuer, ClientSecret: "the secret of the client",
		ProviderSettings: api.ProviderSettings{Title: "The Provider", ClientID: "cardea", Create: true, GroupsClaim: "groups"}})
	return on
}

// visitor is a device at the server where it really is.
type visitor struct {
	*device
	on      *signOn
	answers chan url.Values
}

// visitor makes a device whose listener takes the answer.
func (on *signOn) visitor(name string) *visitor {
	on.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		on.t.Fatal(err)
	}
	v := &visitor{device: on.device(name), on: on, answers: make(chan url.Values, 1)}
	v.at = on.url
	v.query.Set("redirect_uri", "http://"+listener.Addr().String()+"/callback")
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case v.answers <- r.URL.Query():
		default:
		}
	})}
	go h.Serve(listener)
	on.t.Cleanup(func() { h.Close() })
	return v
}

// enter signs the device in by what this person does.
func (v *visitor) enter(p browse.Person) *device {
	v.on.t.Helper()
	if page, err := p.Visit(v.on.t.Context(), v.on.url+v.link()); err != nil {
		v.on.t.Fatalf("%v; the page is %q", err, page.Text)
	}
	v.redeem(<-v.answers)
	return v.device
}

func (v *visitor) redeem(answer url.Values) {
	v.on.t.Helper()
	form := v.form(answer.Get("code"))
	form.Set("redirect_uri", v.query.Get("redirect_uri"))
	in, err := v.api(0).Redeem(v.on.t.Context(), form)
	if err != nil {
		v.on.t.Fatalf("%v: %v", answer, err)
	}
	v.token, v.session = in.AccessToken, in.Session
}

// through is a person with this account at the provider.
func through(account string) browse.Person {
	return browse.Person{Name: account, Password: "anything", Follow: "Continue with The Provider"}
}

// groupsOf are the names of a user's groups.
func (on *signOn) groupsOf(user string) []string {
	on.t.Helper()
	names := []string{}
	for _, g := range must[api.List[api.Group]](on.t, on.admin, "GET", "/v1/groups", nil).Items {
		for _, m := range must[api.List[api.Member]](on.t, on.admin, "GET", "/v1/groups/"+g.Name+"/members", nil).Items {
			if m.UserName == user {
				names = append(names, g.Name)
			}
		}
	}
	return names
}

func TestPeopleSignInAtACertifiedProvider(t *testing.T) {
	on := newSignOn(t)
	on.provider.account("00u1", map[string]any{"preferred_username": "alice", "name": "Alice Ang", "email": "alice@example.com", "email_verified": true, "groups": []string{"SRE Team", "unknown"}})
	must[api.Group](t, on.admin, "POST", "/v1/groups", api.NewGroup{Name: "sre", Provider: "op", External: "SRE Team"})
	must[api.Group](t, on.admin, "POST", "/v1/groups", api.NewGroup{Name: "dev", Provider: "op"})
	must[api.Group](t, on.admin, "POST", "/v1/groups", api.NewGroup{Name: "unknown"})

	alice := on.visitor("laptop").enter(through("00u1"))
	if alice.session.UserName != "alice" || alice.session.Login != "alice" || alice.session.Admin {
		t.Errorf("signed in: %+v", alice.session)
	}
	u := must[api.User](t, on.admin, "GET", "/v1/users/alice", nil)
	if u.Issuer != on.provider.issuer || u.Subject != "00u1" || u.FullName != "Alice Ang" || u.Email != "alice@example.com" {
		t.Errorf("the user is %+v", u)
	}
	if got := on.groupsOf("alice"); !slices.Equal(got, []string{"sre"}) {
		t.Errorf("groups %v", got)
	}
	e := on.events(audit.SignInFederated)
	if len(e) != 1 || e[0].User != u.ID || e[0].Detail["auth_time"] != "unknown" || e[0].Detail["amr"] != "unknown" { // it need not tell, unasked
		t.Errorf("audit: %+v", e)
	}

	t.Run("a change of groups at the provider is seen at the next sign-in", func(t *testing.T) {
		denied(t, on.admin, api.Conflict, "PUT", "/v1/groups/dev/members/alice", api.NewMember{})
		on.provider.account("00u1", map[string]any{"preferred_username": "renamed", "name": "Alice Ang-Berg", "groups": []string{"dev"}})
		if again := on.visitor("second").enter(through("00u1")); again.session.User != u.ID {
			t.Errorf("another user: %+v", again.session)
		}
		if got := on.groupsOf("alice"); !slices.Equal(got, []string{"dev"}) {
			t.Errorf("groups %v", got)
		}
		if got := must[api.User](t, on.admin, "GET", "/v1/users/alice", nil).FullName; got != "Alice Ang-Berg" {
			t.Errorf("the name is %q", got)
		}
	})
	t.Run("a new key at the provider needs nothing", func(t *testing.T) {
		on.provider.order(map[string]any{"rotate": true})
		on.visitor("third").enter(through("00u1"))
	})
	t.Run("a name that somebody has makes no account, and the page says what an administrator types", func(t *testing.T) {
		on.user("bob")
		on.provider.account("b0b", map[string]any{"preferred_username": "bob"})
		page, err := through("b0b").Visit(t.Context(), on.url+on.visitor("bob's").link())
		if err == nil || !strings.Contains(page.Text, "cardea admin users create OTHER-NAME --provider op --subject b0b") {
			t.Errorf("%v: %s", err, page.Text)
		}
		must[api.CreatedUser](t, on.admin, "POST", "/v1/users", api.NewUser{Name: "bob-op", Provider: "op", Subject: "b0b"})
		if bob := on.visitor("bob's").enter(through("b0b")); bob.session.UserName != "bob-op" {
			t.Errorf("signed in: %+v", bob.session)
		}
	})
	t.Run("disabled here means out, whatever the provider says", func(t *testing.T) {
		status := store.Disabled
		must[api.CreatedUser](t, on.admin, "PATCH", "/v1/users/bob-op", api.UserPatch{Status: &status})
		if page, err := through("b0b").Visit(t.Context(), on.url+on.visitor("bob's").link()); err == nil || !strings.Contains(page.Text, "disabled") {
			t.Errorf("%v: %s", err, page.Text)
		}
	})
	t.Run("the provider says of itself what is asked of it", func(t *testing.T) {
		got := must[api.ProviderTest](t, on.admin, "POST", "/v1/providers/op/test", nil)
		if !got.Works || got.Keys != 1 || len(got.Problems) != 0 || got.RedirectURI != on.url+api.CallbackPath+"op" {
			t.Errorf("test: %+v", got)
		}
	})
	t.Run("while the provider is down who is signed in goes on, and a local administrator enters", func(t *testing.T) {
		on.provider.stop()
		if got := must[api.Session](t, alice, "GET", "/v1/session", nil); got.UserName != "alice" {
			t.Errorf("session %+v", got)
		}
		// Who begins within seconds of the last one is still sent there.
		link := on.visitor("late").link()
		told := func() bool {
			page, _ := browse.Person{Follow: "Continue with The Provider"}.Visit(t.Context(), on.url+link)
			return strings.Contains(strings.Join(page.Seen, " "), "The Provider: the identity provider does not answer as it should")
		}
		for end := time.Now().Add(time.Minute); !told(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the page never says that the provider is down")
			}
		}
		if got := on.visitor("desk").enter(browse.Person{Name: "admin", Password: secret}); !got.session.Admin {
			t.Errorf("signed in: %+v", got.session)
		}
		if got := must[api.ProviderTest](t, on.admin, "POST", "/v1/providers/op/test", nil); got.Works || len(got.Problems) == 0 {
			t.Errorf("test: %+v", got)
		}
	})
}

// A real browser must follow a link from our strict page to the provider on another site,
// and back with our cookies.
func TestARealBrowserSignsInAtAProvider(t *testing.T) {
	c := startChromium(t)
	on := newSignOn(t)
	v := on.visitor("laptop")
	c.visit(on.url + v.link())
	c.at("a.button")
	if got := c.js(`getComputedStyle(document.querySelector("a.button")).textAlign`); got != "center" {
		t.Error("the style sheet is not in force")
	}
	c.js(`document.querySelector("a.button").click()`)
	c.at("input[name=login]")
	if at := fmt.Sprint(c.js(`location.origin`)); at != on.provider.issuer {
		t.Fatalf("the browser is at %s", at)
	}
	c.js(`document.querySelector("input[name=login]").value = "carol"; document.querySelector("input[name=password]").value = "x"; document.querySelector("form").submit()`)
	c.at("button[value=approve]")
	if got := fmt.Sprint(c.js(`document.body.textContent`)); !strings.Contains(got, "carol") {
		t.Errorf("the page says %s", got)
	}
	c.js(`document.querySelector("button[value=approve]").click()`)
	select {
	case answer := <-v.answers:
		v.redeem(answer)
	case <-time.After(30 * time.Second):
		t.Fatalf("the browser did not come back; it is at %v", c.js("location.href"))
	}
	if v.session.UserName != "carol" {
		t.Errorf("signed in: %+v", v.session)
	}
}
