package control

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/store"
)

// demands changes what the team demands, by an administrator.
func (s *stack) demands(in api.TeamPatch) *device {
	s.t.Helper()
	admin := s.admin()
	must[api.TeamSettings](s.t, admin, "PATCH", "/v1/team/settings", in)
	return admin
}

// byCode is a stack whose team lets devices sign in by a typed code.
func byCode(t *testing.T) *stack {
	s := newStack(t)
	on := true
	s.demands(api.TeamPatch{DeviceCode: &on})
	return s
}

func (d *device) asksCode(i int) (api.DeviceCode, error) {
	return d.api(i).AskDeviceCode(d.s.t.Context(), url.Values{"client_id": {api.ClientID}, "device_name": {"build"}})
}

// hasCode is a device that waits.
func (s *stack) hasCode() (*device, api.DeviceCode) {
	s.t.Helper()
	d := s.device("")
	c, err := d.asksCode(0)
	if err != nil {
		s.t.Fatal(err)
	}
	return d, c
}

// polls asks once, when the device may ask again, and returns OAuth's word for why not.
func (d *device) polls(i int, c api.DeviceCode) (in api.SignedIn, word string) {
	d.s.t.Helper()
	d.s.wait(time.Duration(c.Interval) * time.Second)
	return d.pollsNow(i, c)
}

func (d *device) pollsNow(i int, c api.DeviceCode) (in api.SignedIn, word string) {
	d.s.t.Helper()
	in, err := d.api(i).Redeem(d.s.t.Context(), url.Values{"grant_type": {api.DeviceGrantType}, "client_id": {api.ClientID}, "device_code": {c.DeviceCode}})
	var e *api.Error
	if err != nil && !errors.As(err, &e) {
		d.s.t.Fatal(err)
	}
	if e == nil {
		return in, ""
	}
	return in, e.OAuth
}

// typesCode goes from the code to the page that asks for a yes.
func (b *browser) typesCode(code, name string) (id string, page reply) {
	b.s.t.Helper()
	page = b.post("/device", url.Values{"code": {code}})
	id = request(b.s.t, page)
	if !strings.Contains(page.body, `type="password"`) {
		b.s.t.Fatalf("%s is not asked who he is: %d %s", name, page.StatusCode, page.body)
	}
	page = b.post("/signin", url.Values{"request": {id}, "name": {name}, "password": {secret}})
	return id, page
}

func (b *browser) says(id, decision string) reply {
	b.s.t.Helper()
	return b.post("/confirm", url.Values{"request": {id}, "decision": {decision}})
}

func TestADeviceWithoutABrowserSignsIn(t *testing.T) {
	s := byCode(t)
	s.user("alice")
	d, c := s.hasCode()
	if c.VerificationURI != publicURL+"/device" || c.ExpiresIn != 600 || c.Interval != 5 || strings.Contains(c.VerificationURI, c.UserCode) {
		t.Errorf("the device is told %+v", c)
	}
	if _, word := d.polls(1, c); word != api.AuthorizationPending {
		t.Errorf("before: %q", word)
	}
	b := s.browser(1)
	if page := b.open("/device?user_code=" + c.UserCode); strings.Contains(page.body, c.UserCode) {
		t.Error("a link brings the code along")
	}
	// In small letters and without the dash, as people type.
	id, page := b.typesCode(strings.ToLower(strings.ReplaceAll(c.UserCode, "-", " ")), "alice")
	for _, want := range []string{"build", "127.0.0.1", "alice", "will act as you", "approve"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page does not show %q: %s", want, page.body)
		}
	}
	if _, word := d.polls(0, c); word != api.AuthorizationPending {
		t.Errorf("typed, and nobody said yes: %q", word)
	}
	shown := s.now()
	if page := b.says(id, "approve"); !strings.Contains(page.body, "Signed in") {
		t.Errorf("after the yes: %d %s", page.StatusCode, page.body)
	}
	in, word := d.polls(1, c)
	if word != "" || in.Session.UserName != "alice" || in.Session.DeviceTag != "build" || in.TokenType != "DPoP" || in.ExpiresIn != 12*3600 {
		t.Fatalf("%q %+v", word, in)
	}
	d.token = in.AccessToken
	if got := must[api.Session](t, d, "GET", "/v1/session", nil); got.ID != in.Session.ID {
		t.Errorf("the session is %+v", got)
	}
	if v, err := s.store.Session(t.Context(), in.Session.ID); err != nil || v.AuthenticatedAt.After(shown) {
		t.Errorf("she showed who she is at %s, not %s (%v)", shown, v.AuthenticatedAt, err)
	}
	e := s.events(audit.SignIn)
	if last := e[len(e)-1]; last.Actor != in.Session.User || last.Detail["way"] != "typed code" || last.Detail["device"] != "build" {
		t.Errorf("audited: %+v", last)
	}
	d.token = ""
	if _, word := d.polls(0, c); word != "expired_token" {
		t.Errorf("a second session of one code: %q", word)
	}
	if page := b.says(id, "approve"); page.StatusCode != 410 {
		t.Errorf("a second yes: %d", page.StatusCode)
	}
}

func TestCodesOfDevicesAreNotGuessed(t *testing.T) {
	s := byCode(t)
	_, c := s.hasCode()
	b := s.browser(0)
	for i := range 200 {
		page := b.post("/device", url.Values{"code": {fmt.Sprintf("BBBB-BB%c%c", "CDFGHJKLMNPQRSTVWXZB"[i%20], "CDFGHJKLMNPQRSTVWXZB"[i/20])}})
		want := 404
		if i >= signin.CodeTries {
			want = 429
			b = s.browser(i % 2) // another browser and instance, at the same address
		}
		if page.StatusCode != want {
			t.Fatalf("guess %d: %d %s", i, page.StatusCode, page.body)
		}
	}
	if page := b.post("/device", url.Values{"code": {c.UserCode}}); page.StatusCode != 429 {
		t.Errorf("the right one after all those: %d", page.StatusCode)
	}
	if e := s.events(audit.SignInLimited); len(e) != 1 {
		t.Errorf("%d alarms", len(e))
	}
	s.wait(signin.TryWindow)
	for _, typed := range []string{"", "BBBB", c.UserCode + "B", "AAAA-AAAA", strings.Repeat("-", 4000)} {
		if page := s.browser(0).post("/device", url.Values{"code": {typed}}); page.StatusCode != 404 {
			t.Errorf("%.20q: %d", typed, page.StatusCode)
		}
	}
}

func TestADeviceThatAsksTooOftenWaitsLonger(t *testing.T) {
	s := byCode(t)
	d, c := s.hasCode()
	for i, step := range []struct {
		after time.Duration
		word  string
	}{
		{0, api.AuthorizationPending}, {4 * time.Second, api.SlowDown}, {9 * time.Second, api.SlowDown},
		{15 * time.Second, api.AuthorizationPending}, {10 * time.Minute, "expired_token"},
	} {
		s.wait(step.after)
		if _, word := d.pollsNow(i%2, c); word != step.word {
			t.Errorf("poll %d after %s: %q, want %q", i, step.after, word, step.word)
		}
	}
	c.DeviceCode = signin.NewSecret()
	if _, word := d.polls(0, c); word != "expired_token" {
		t.Errorf("a code that nobody gave: %q", word)
	}
}

func TestWhoMayNotSignInByATypedCode(t *testing.T) {
	off := newStack(t)
	var e *api.Error
	if _, err := off.device("").asksCode(0); !errors.As(err, &e) || e.OAuth != "unauthorized_client" {
		t.Errorf("by default: %v", err)
	}

	s := byCode(t)
	s.user("alice")
	d, c := s.hasCode()
	thief := s.device("")
	if _, word := thief.polls(0, c); word != "access_denied" {
		t.Errorf("another key: %q", word)
	}
	b := s.browser(0)
	id, _ := b.typesCode(c.UserCode, "admin")
	if page := b.says(id, "approve"); page.StatusCode != 410 {
		t.Errorf("an administrator, whom the page before has turned away: %d %s", page.StatusCode, page.body)
	}
	if page := s.browser(0).post("/device", url.Values{"code": {c.UserCode}}); page.StatusCode != 404 {
		t.Errorf("in another browser: %d", page.StatusCode)
	}
	if _, word := d.polls(0, c); word != "access_denied" {
		t.Errorf("after that: %q", word)
	}

	// A sitting that began before the code was typed does not count.
	b = s.browser(0)
	s.device("laptop").approve(b, "alice")
	s.wait(time.Second)
	_, c = s.hasCode()
	b.typesCode(c.UserCode, "alice")

	s.wait(signin.TryWindow)
	no, c := s.hasCode()
	id, _ = b.typesCode(c.UserCode, "alice")
	if page := b.says(id, "cancel"); !strings.Contains(page.body, "told no") {
		t.Errorf("a no: %s", page.body)
	}
	if _, word := no.polls(0, c); word != "access_denied" {
		t.Errorf("after a no: %q", word)
	}

	// The team changes its mind between the yes and the poll.
	late, c := s.hasCode()
	id, _ = b.typesCode(c.UserCode, "alice")
	b.says(id, "approve")
	no2 := false
	s.demands(api.TeamPatch{DeviceCode: &no2})
	if in, word := late.polls(0, c); word != "access_denied" || in.AccessToken != "" {
		t.Errorf("the team says no: %q %+v", word, in)
	}
}

// An administrator begins a sign-in by a typed code: he is told as soon as it is known who he
// is, and the device that waits with its next poll.
func TestAnAdministratorIsTurnedAwayBeforeHeTypesACode(t *testing.T) {
	s := byCode(t)
	admin, alice := s.admin(), s.signIn("alice")
	asks := func(d *device, session string) (api.DeviceCode, error) {
		return d.api(0).AskDeviceCode(t.Context(), url.Values{"client_id": {api.ClientID}, "session": {session}})
	}
	if _, err := asks(admin, admin.session.ID); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "type: cardea login") {
		t.Errorf("at his own device: %v", err)
	}
	for name, d := range map[string]*device{"of another key": alice, "of nobody yet": s.device("")} {
		if _, err := asks(d, admin.session.ID); err != nil {
			t.Errorf("with the id of a session %s: %v", name, err)
		}
	}
	if _, err := asks(alice, alice.session.ID); err != nil {
		t.Error(err)
	}
	hears := func(what string, d *device, c api.DeviceCode) {
		t.Helper()
		d.s.wait(time.Duration(c.Interval) * time.Second)
		_, err := d.api(0).Redeem(t.Context(), url.Values{"grant_type": {api.DeviceGrantType}, "client_id": {api.ClientID}, "device_code": {c.DeviceCode}})
		var e *api.Error
		if !errors.As(err, &e) || e.OAuth != "access_denied" || !strings.Contains(e.Detail, "administrator") || !strings.Contains(e.Detail, "type: cardea login") {
			t.Errorf("%s: the device that waits hears %v", what, err)
		}
	}

	// He shows who he is for it: the page that would ask for his yes tells him.
	d, c := s.hasCode()
	b := s.browser(0)
	if _, page := b.typesCode(c.UserCode, "admin"); page.StatusCode != 403 || !strings.Contains(page.body, "type: cardea login") {
		t.Errorf("the page says: %d %s", page.StatusCode, page.body)
	}
	hears("a password", d, c)
	// He is signed in at this browser: the page that asks for a code tells him, and so does who
	// takes it.
	if page := b.open("/device"); page.StatusCode != 403 || !strings.Contains(page.body, "administrator") {
		t.Errorf("before he types: %d %s", page.StatusCode, page.body)
	}
	d, c = s.hasCode()
	if page := b.post("/device", url.Values{"code": {c.UserCode}}); page.StatusCode != 403 || !strings.Contains(page.body, "administrator") {
		t.Errorf("when he types: %d %s", page.StatusCode, page.body)
	}
	hears("a code at the page", d, c)
	// On a device of his.
	d, c = s.hasCode()
	denied(t, admin, api.Denied, "POST", "/v1/device-codes", api.TypedCode{Code: c.UserCode})
	hears("a code on his device", d, c)
	rows := s.events(audit.SignInApprove)
	n := 0
	for _, e := range rows {
		if e.Outcome == audit.Denied && e.Actor == admin.session.User && e.Detail["way"] == "typed code" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d refusals are on record: %+v", n, rows)
	}
}

func TestNewDevicesWaitForApproval(t *testing.T) {
	s := newStack(t)
	old := s.signIn("alice")
	on := true
	admin := s.demands(api.TeamPatch{DeviceApproval: &on})
	must[api.Session](t, old, "GET", "/v1/session", nil)
	d := s.signIn("alice")
	e := denied(t, d, api.Denied, "GET", "/v1/catalog?wait=0", nil)
	if d.session.DeviceState != store.Pending {
		t.Errorf("the sign-in says that the device is %q", d.session.DeviceState)
	}
	denied(t, d, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))
	if want := "cardea admin devices approve " + d.session.Device; !strings.Contains(e.Hint, want) {
		t.Errorf("the hint is %q, want %q in it", e.Hint, want)
	}
	denied(t, old, api.Denied, "POST", "/v1/devices/"+d.session.Device+"/approve", nil)
	if got := must[api.Device](t, admin, "POST", "/v1/devices/"+d.session.Device+"/approve", nil); got.State != "active" {
		t.Errorf("approved: %+v", got)
	}
	must[api.Session](t, d, "GET", "/v1/session", nil)
	if rows := s.events(audit.DeviceApprove); len(rows) != 1 || rows[0].Actor != admin.session.User || rows[0].User != d.session.User || rows[0].Detail["device"] != d.session.Device {
		t.Errorf("audited: %+v", rows)
	}
	denied(t, admin, api.Conflict, "POST", "/v1/devices/"+d.session.Device+"/approve", nil)
	must[api.Device](t, admin, "POST", "/v1/devices/"+d.session.Device+"/revoke", nil)
	denied(t, admin, api.Conflict, "POST", "/v1/devices/"+d.session.Device+"/approve", nil)
	denied(t, admin, api.NotFound, "POST", "/v1/devices/dev_none/approve", nil)

	// One of the fleet is spared it, once for each use of the token.
	token := must[api.EnrolmentToken](t, admin, "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: "device"})
	for i, want := range []api.Kind{"", api.Denied} {
		d := s.device(fmt.Sprint("fleet ", i))
		form := d.form(d.approve(s.browser(0), "alice").Get("code"))
		form.Set("enrolment_token", token.Secret)
		form.Set("device_report", `{"key":"tpm","disk_encryption":"maybe"}`)
		in, err := d.api(0).Redeem(t.Context(), form)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range must[api.List[api.Device]](t, admin, "GET", "/v1/devices?user=alice", nil).Items {
			if v.ID == in.Session.Device && (v.Report == nil || *v.Report != (api.DeviceReport{Key: "tpm"}) || !v.ReportedAt.Equal(s.now())) {
				t.Errorf("it says of itself %+v at %s", v.Report, v.ReportedAt)
			}
		}
		d.token = in.AccessToken
		if _, err := d.api(0).Get(t.Context(), "/v1/session", nil, nil); api.KindOf(err) != want {
			t.Errorf("device %d of the fleet: %v", i, err)
		}
	}
	denied(t, admin, api.Invalid, "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: "device", Project: "web"})
}

func TestElsewhereIsAnotherNetwork(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"192.0.2.1", "192.0.2.254", false}, {"192.0.2.1", "192.0.3.1", true}, {"2001:db8:1::1", "2001:db8:1:ffff::1", false},
		{"2001:db8:1::1", "2001:db8:2::1", true}, {"192.0.2.1", "2001:db8::1", true}, {"::ffff:192.0.2.1", "192.0.2.7", false}, {"", "", true}, {"x", "192.0.2.1", true},
	} {
		if got := elsewhere(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

func TestACodeOfADeviceIsGoodOnceEverywhere(t *testing.T) { raceDeviceCode(t, newStack(t)) }

// Browsers type one code at once, people say yes twice at once, and the device asks on all
// instances at once.
func raceDeviceCode(t *testing.T, s *stack) {
	on := true
	admin := s.demands(api.TeamPatch{DeviceCode: &on, DeviceApproval: &on})
	fleet := must[api.EnrolmentToken](t, admin, "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: store.KindDevice, Uses: 1})
	s.user("alice")
	d, c := s.hasCode()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var have []*browser
	for i := range signin.CodeTries {
		wg.Go(func() {
			b := s.browser(i % 2)
			if page := b.post("/device", url.Values{"code": {c.UserCode}}); page.StatusCode == 200 {
				mu.Lock()
				have = append(have, b)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(have) != 1 {
		t.Fatalf("%d browsers have the code", len(have))
	}
	b := have[0]
	id := b.at.Query().Get("request")
	b.password(id, "alice")
	var yes, active atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			if got := s.browserFrom(b, i%2).says(id, "approve"); strings.Contains(got.body, "Signed in") {
				yes.Add(1)
			}
		})
	}
	wg.Wait()
	s.wait(time.Minute)
	poll := url.Values{"grant_type": {api.DeviceGrantType}, "client_id": {api.ClientID}, "device_code": {c.DeviceCode}, "enrolment_token": {fleet.Secret}}
	sessions := map[string]bool{}
	got := func(d *device, form url.Values, i int) {
		in, err := d.api(i).Redeem(t.Context(), form)
		if err != nil {
			return
		}
		mu.Lock()
		sessions[in.Session.ID] = true
		mu.Unlock()
		mine := &device{s: s, key: d.key, token: in.AccessToken}
		if _, err := mine.api(i).Get(t.Context(), "/v1/session", nil, nil); err == nil {
			active.Add(1)
		}
	}
	// Others of the fleet bring the same token, which is good for one.
	for i := range 3 {
		other := s.device("other")
		form := other.form(other.approve(s.browser(0), "alice").Get("code"))
		form.Set("enrolment_token", fleet.Secret)
		wg.Go(func() { got(other, form, i%2) })
	}
	for i := range 6 {
		wg.Go(func() { got(d, poll, i%2) })
	}
	wg.Wait()
	if yes.Load() != 1 || len(sessions) != 3+1 || active.Load() != 1 {
		t.Errorf("%d times yes, %d sessions, %d active devices of one token", yes.Load(), len(sessions), active.Load())
	}
}
