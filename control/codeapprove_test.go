package control

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
)

// typesHere types a code on a device that is signed in.
func (d *device) typesHere(code string) api.WaitingDevice {
	d.s.t.Helper()
	return must[api.WaitingDevice](d.s.t, d, "POST", "/v1/device-codes", api.TypedCode{Code: code})
}

// showsFor has a person show in a browser who he is, for a device that waits.
func (d *device) showsFor(b *browser, name, waits string) (code string, page reply) {
	d.s.t.Helper()
	d.query.Set("device_request", waits)
	defer d.query.Del("device_request")
	page = b.open(d.link())
	id := request(d.s.t, page)
	if !strings.Contains(page.body, `type="password"`) {
		d.s.t.Fatalf("%s is not asked who he is: %d %s", name, page.StatusCode, page.body)
	}
	page = b.post("/signin", url.Values{"request": {id}, "name": {name}, "password": {secret}})
	return sentBack(d.s.t, b.says(id, "approve")).Get("code"), page
}

func (d *device) approves(code string) api.ApproveWaiting {
	return api.ApproveWaiting{Code: code, CodeVerifier: d.verifier, RedirectURI: callback}
}

func TestACodeIsTypedOnASignedInDevice(t *testing.T) {
	s := byCode(t)
	alice := s.signIn("alice")
	d, c := s.hasCode()
	w := alice.typesHere(strings.ToLower(c.UserCode))
	if w.Device != "build" || w.Origin != "127.0.0.1" || w.Source != "127.0.0.1" || w.Elsewhere || !w.ExpiresAt.After(s.now()) {
		t.Errorf("she is shown %+v", w)
	}
	if again := alice.typesHere(c.UserCode); again.Request != w.Request {
		t.Error("typed twice, it is another request")
	}
	if _, word := d.polls(0, c); word != api.AuthorizationPending {
		t.Errorf("typed, and nobody said yes: %q", word)
	}
	// She is signed in there, and that is not enough.
	b := s.browser(0)
	alice.approve(b, "alice")
	s.wait(time.Second)
	shown := s.now()
	code, page := alice.showsFor(b, "alice", w.Request)
	for _, want := range []string{"build", "127.0.0.1", "alice", "will act as you", "Compare this code"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page does not show %q: %s", want, page.body)
		}
	}
	must[api.Named](t, alice, "POST", "/v1/device-codes/"+w.Request+"/approve", alice.approves(code))
	in, word := d.polls(1, c)
	if word != "" || in.Session.UserName != "alice" || in.Session.DeviceTag != "build" {
		t.Fatalf("%q %+v", word, in)
	}
	if v, err := s.store.Session(t.Context(), in.Session.ID); err != nil || v.AuthenticatedAt.Before(shown) {
		t.Errorf("she showed who she is at %s, not %s (%v)", shown, v.AuthenticatedAt, err)
	}
	denied(t, alice, api.Gone, "POST", "/v1/device-codes/"+w.Request+"/approve", alice.approves(code))
	var yes []audit.Event
	for _, e := range s.events(audit.SignInApprove) {
		if e.Detail["way"] == "typed code" {
			yes = append(yes, e)
		}
	}
	if len(yes) != 1 || yes[0].Actor != alice.session.User || yes[0].Detail["device"] != "build" || yes[0].Detail["from"] != "127.0.0.1" {
		t.Errorf("audited: %+v", yes)
	}
}

func TestYesesToATypedCodeThatAreNone(t *testing.T) {
	s := byCode(t)
	alice, bob := s.signIn("alice"), s.signIn("bob")
	d, c := s.hasCode()
	w := alice.typesHere(c.UserCode)
	path := "/v1/device-codes/" + w.Request
	fresh := func() string {
		code, _ := alice.showsFor(s.browser(0), "alice", w.Request)
		return code
	}
	t.Run("another device of hers", func(t *testing.T) {
		other := s.signIn("alice")
		denied(t, other, api.NotFound, "POST", path+"/approve", other.approves(fresh()))
		denied(t, other, api.NotFound, "POST", path+"/refuse", nil)
	})
	t.Run("another person who typed it too", func(t *testing.T) {
		denied(t, bob, api.NotFound, "POST", "/v1/device-codes", api.TypedCode{Code: c.UserCode})
	})
	t.Run("another person's yes in the browser", func(t *testing.T) {
		code, _ := alice.showsFor(s.browser(0), "bob", w.Request)
		denied(t, alice, api.Gone, "POST", path+"/approve", alice.approves(code))
	})
	t.Run("the code of a sign-in", func(t *testing.T) {
		code := alice.approve(s.browser(0), "alice").Get("code")
		denied(t, alice, api.Gone, "POST", path+"/approve", alice.approves(code))
	})
	t.Run("no code", func(t *testing.T) {
		denied(t, alice, api.Invalid, "POST", path+"/approve", alice.approves("x"))
	})
	t.Run("the code is no sign-in and no touch", func(t *testing.T) {
		code := fresh()
		if _, err := alice.api(0).Redeem(t.Context(), alice.form(code)); err == nil {
			t.Error("it gave a session")
		}
	})
	t.Run("shown for another device", func(t *testing.T) {
		_, c2 := s.hasCode()
		w2 := alice.typesHere(c2.UserCode)
		code, _ := alice.showsFor(s.browser(0), "alice", w2.Request)
		denied(t, alice, api.Gone, "POST", path+"/approve", alice.approves(code))
	})
	for _, query := range []url.Values{{"device_request": {"req_x y"}}, {"device_request": {w.Request}, "project": {"web"}}, {"project": {"device " + w.Request}}} {
		for k, v := range query {
			alice.query[k] = v
		}
		if page := s.browser(0).open(alice.link()); !strings.Contains(page.Header.Get("Location"), "error=invalid_request") {
			t.Errorf("%v: %d %s", query, page.StatusCode, page.Header.Get("Location"))
		}
		for k := range query {
			alice.query.Del(k)
		}
	}
	if _, word := d.polls(0, c); word != api.AuthorizationPending {
		t.Errorf("after all those: %q", word)
	}
	must[api.Named](t, alice, "POST", path+"/refuse", nil)
	if _, word := d.polls(0, c); word != "access_denied" {
		t.Errorf("after a no: %q", word)
	}
	denied(t, alice, api.Gone, "POST", path+"/refuse", nil)
}

func TestCodesAreNotGuessedOnASignedInDevice(t *testing.T) {
	s := byCode(t)
	alice := s.signIn("alice")
	_, c := s.hasCode()
	for i := range signin.CodeTries {
		denied(t, alice, api.NotFound, "POST", "/v1/device-codes", api.TypedCode{Code: "BBBB-BBC" + string("CDFGH"[i])})
	}
	for range 3 {
		denied(t, alice, api.Limited, "POST", "/v1/device-codes", api.TypedCode{Code: c.UserCode})
	}
	if page := s.browser(0).post("/device", url.Values{"code": {c.UserCode}}); page.StatusCode != 429 {
		t.Errorf("the page counts by itself: %d", page.StatusCode)
	}
	s.wait(signin.TryWindow)
	_, c = s.hasCode()
	admin := s.admin()
	if e := denied(t, admin, api.Denied, "POST", "/v1/device-codes", api.TypedCode{Code: c.UserCode}); !strings.Contains(e.Detail, "administrator") {
		t.Errorf("an administrator: %v", e)
	}
	no := false
	s.demands(api.TeamPatch{DeviceCode: &no})
	denied(t, alice, api.Denied, "POST", "/v1/device-codes", api.TypedCode{Code: c.UserCode})
}
