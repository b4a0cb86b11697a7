package control

import (
	"net/url"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// replaces signs name in on a new device, in the place of the one that field names.
func (s *stack) replaces(name, field, ref string) (*device, error) {
	s.t.Helper()
	d := s.device("new laptop")
	form := d.form(d.approve(s.browser(0), name).Get("code"))
	form.Set(field, ref)
	in, err := d.api(0).Redeem(s.t.Context(), form)
	d.token, d.session = in.AccessToken, in.Session
	return d, err
}

func TestANewDeviceComesInThePlaceOfALostOne(t *testing.T) {
	s := newStack(t)
	on := true
	old, stays := s.signIn("alice"), s.signIn("alice")
	admin := s.demands(api.TeamPatch{DeviceApproval: &on})
	must[api.Device](t, admin, "POST", "/v1/devices/"+old.session.Device+"/approve", nil)

	d, err := s.replaces("alice", "replaces", old.session.Device)
	if err != nil || d.session.DeviceState != store.Pending {
		t.Fatalf("%v, %+v", err, d.session)
	}
	// Nothing that the old one was trusted with goes over.
	denied(t, d, api.Denied, "GET", "/v1/catalog?wait=0", nil)
	if e := denied(t, old, api.Denied, "GET", "/v1/session", nil); !strings.Contains(e.Detail, "revoked or replaced") || e.Hint != "to come back as a new device type: cardea device replace" {
		t.Errorf("the old one hears %q; %q", e.Detail, e.Hint)
	}
	must[api.Session](t, stays, "GET", "/v1/session", nil)
	if got := s.redeem(old, old.form(old.approve(s.browser(0), "alice").Get("code"))); !strings.Contains(got.body, api.LockedOut) || !strings.Contains(got.body, "replaced") {
		t.Errorf("the old key signs in: %d %s", got.StatusCode, got.body)
	}
	rows := s.events(audit.DeviceReplace)
	if len(rows) != 1 || rows[0].Detail["device"] != d.session.Device || rows[0].Detail["replaces"] != old.session.Device || rows[0].Actor != d.session.User {
		t.Errorf("audited: %+v", rows)
	}
	if n := len(s.events(audit.DeviceRevoke)); n != 0 {
		t.Errorf("and %d times as a device that is revoked", n)
	}
	must[api.Device](t, admin, "POST", "/v1/devices/"+d.session.Device+"/approve", nil)
	must[api.Session](t, d, "GET", "/v1/session", nil)

	// By its name, and by its own key, as a machine does that knows no more of itself.
	if _, err := s.replaces("alice", "replaces", "new laptop"); err != nil {
		t.Error(err)
	}
	denied(t, d, api.Denied, "GET", "/v1/session", nil)
	if _, err := s.replaces("alice", "replaces_key", stays.key.Thumbprint()); err != nil {
		t.Error(err)
	}
	denied(t, stays, api.Denied, "GET", "/v1/session", nil)
	// What was lost before, and a key that never signed in, are no obstacle.
	for field, ref := range map[string]string{"replaces": old.session.Device, "replaces_key": newKey(t).Thumbprint()} {
		if _, err := s.replaces("alice", field, ref); err != nil {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Mallory names alice's device, and tries to learn what devices she has.
func TestADeviceIsReplacedByItsOwnUserAlone(t *testing.T) {
	s := newStack(t)
	alice, second := s.signIn("alice"), s.signIn("alice")
	s.user("mallory")
	for _, ref := range []string{alice.session.Device, "alice's laptop", "dev_none"} {
		_, err := s.replaces("mallory", "replaces", ref)
		if api.KindOf(err) != api.Invalid || !strings.Contains(err.Error(), "you have no device") || strings.Contains(err.Error(), second.session.Device) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := s.replaces("mallory", "replaces_key", alice.key.Thumbprint()); err != nil {
		t.Error(err)
	}
	must[api.Session](t, alice, "GET", "/v1/session", nil)

	// The names are told to whoever shows a good code, and not to who knows its request.
	d := s.device("guess")
	code := d.approve(s.browser(0), "alice").Get("code")
	forged := d.form(code[:len(code)-1] + "x")
	forged.Set("replaces", "alice's laptop")
	if got := s.redeem(d, forged); !strings.Contains(got.body, "invalid_grant") || strings.Contains(got.body, alice.session.Device) {
		t.Errorf("a forged code: %d %s", got.StatusCode, got.body)
	}
	form := d.form(code)
	form.Set("replaces", "alice's laptop") // which are two
	if got := s.redeem(d, form); !strings.Contains(got.body, "you have 2 devices named") || !strings.Contains(got.body, alice.session.Device) || !strings.Contains(got.body, second.session.Device) {
		t.Errorf("a name of two: %d %s", got.StatusCode, got.body)
	}
	form.Set("replaces", second.session.Device) // and the code is good still
	if got := s.redeem(d, form); got.StatusCode != 200 {
		t.Errorf("the id after that: %d %s", got.StatusCode, got.body)
	}
	for _, form := range []url.Values{{"replaces": {"a", "b"}}, {"replaces": {"a"}, "replaces_key": {"b"}}, {"replaces_key": {alice.key.Thumbprint()}}, {"replaces": {alice.session.Device}}} {
		f := alice.form(alice.approve(s.browser(0), "alice").Get("code"))
		for k, v := range form {
			f[k] = v
		}
		if got := s.redeem(alice, f); got.StatusCode != 400 || !strings.Contains(got.body, "invalid_request") {
			t.Errorf("%v: %d %s", form, got.StatusCode, got.body)
		}
	}
	must[api.Session](t, alice, "GET", "/v1/session", nil)
	if n := len(s.events(audit.DeviceReplace)); n != 1 {
		t.Errorf("%d replacements are on record", n)
	}
}

// Alice reads in the browser what a yes does to her other device, and of a device that she has
// not before she says it.
func TestThePageSaysWhichDeviceIsReplaced(t *testing.T) {
	s := newStack(t)
	old := s.signIn("alice")
	s.user("mallory")
	ask := func(name, field, ref string) (*device, *browser, string, reply) {
		t.Helper()
		d, b := s.device("new laptop"), s.browser(0)
		d.query.Set(field, ref)
		page := b.open(d.link())
		if !strings.Contains(page.body, "in the place of another one") {
			t.Errorf("the sign-in does not say what for: %s", page.body)
		}
		id := request(t, page)
		return d, b, id, b.post("/signin", url.Values{"request": {id}, "name": {name}, "password": {secret}})
	}
	for _, by := range [][2]string{{"replaces", "alice's laptop"}, {"replaces_key", old.key.Thumbprint()}} {
		field, ref := by[0], by[1]
		d, b, id, page := ask("alice", field, ref)
		if !strings.Contains(page.body, "("+old.session.Device+") will be locked out for ever") {
			t.Errorf("%s: %s", field, page.body)
		}
		code := sentBack(t, b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}})).Get("code")
		// What the page said holds: no other device is replaced by that yes, and not none.
		for _, other := range []string{"", "dev_other"} {
			form := d.form(code)
			form.Set("replaces", other)
			if got := s.redeem(d, form); got.StatusCode != 400 || !strings.Contains(got.body, "the page named another device") {
				t.Errorf("%s, redeemed for %q: %d %s", field, other, got.StatusCode, got.body)
			}
		}
		if field == "replaces" {
			continue // the other one does it
		}
		form := d.form(code)
		form.Set(field, ref)
		if got := s.redeem(d, form); got.StatusCode != 200 {
			t.Errorf("%s: %d %s", field, got.StatusCode, got.body)
		}
		denied(t, old, api.Denied, "GET", "/v1/session", nil)
	}
	// A name that she has not, and her device's id in the hands of another.
	for name, ref := range map[string]string{"alice": "no-laptop", "mallory": old.session.Device} {
		_, b, id, page := ask(name, "replaces", ref)
		if !strings.Contains(page.body, "You have no device") || strings.Contains(page.body, `value="approve"`) || strings.Contains(page.body, "for ever") {
			t.Errorf("%s: %s", name, page.body)
		}
		if got := b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}}); got.StatusCode != 400 && got.StatusCode != 422 {
			t.Errorf("%s says yes all the same: %d %s", name, got.StatusCode, got.body)
		}
		back := sentBack(t, b.post("/confirm", url.Values{"request": {id}, "decision": {"cancel"}}))
		if back.Get("error") != api.NoSuchDevice || !strings.Contains(back.Get("error_description"), "you have no device "+ref) {
			t.Errorf("%s is sent back with %v", name, back)
		}
	}
	for what, set := range map[string]url.Values{
		"two": {"replaces": {"a", "b"}}, "both": {"replaces": {"a"}, "replaces_key": {old.key.Thumbprint()}}, "none": {"replaces": {""}},
		"a long one": {"replaces": {strings.Repeat("a", 129)}}, "no key": {"replaces_key": {"x"}}, "for a project": {"replaces": {"a"}, "project": {"web"}},
	} {
		d := s.device("new laptop")
		for k, v := range set {
			d.query[k] = v
		}
		if back := sentBack(t, s.browser(0).open(d.link())); back.Get("error") != "invalid_request" {
			t.Errorf("%s: %v", what, back)
		}
	}
}
