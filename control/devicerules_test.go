package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
)

// says signs a device of a user in again, saying this of itself.
func (d *device) says(name, report string) {
	d.s.t.Helper()
	form := d.form(d.approve(d.s.browser(0), name).Get("code"))
	form.Set("device_report", report)
	in, err := d.api(0).Redeem(d.s.t.Context(), form)
	if err != nil {
		d.s.t.Fatal(err)
	}
	d.token, d.session = in.AccessToken, in.Session
}

// the facts of why that are of this kind.
func ofKind(chain []api.WhyFact, kind string) api.WhyFact {
	i := slices.IndexFunc(chain, func(f api.WhyFact) bool { return f.Kind == kind })
	if i < 0 {
		return api.WhyFact{}
	}
	return chain[i]
}

func TestAProjectDemandsThatDevicesAreInOrderByTheirOwnWord(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) {
		p.DeviceRules = []string{"screen-lock", "disk-encryption", "screen-lock"}
	})
	if got := must[api.Project](t, s.admin, "GET", "/v1/projects/web", nil).DeviceRules; !slices.Equal(got, []string{"disk-encryption", "screen-lock"}) {
		t.Errorf("it demands %v", got)
	}
	e := denied(t, s.alice, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))
	if !strings.Contains(e.Detail, "whose disk is encrypted, and this one has said nothing of itself") {
		t.Errorf("refused with %q", e.Detail)
	}
	rows := s.events(audit.Connect)
	if last := rows[len(rows)-1]; last.Outcome != audit.Denied || last.Reason != "device-posture" || last.User != s.alice.session.User {
		t.Errorf("audited: %+v", last)
	}
	if c := must[api.Catalog](t, s.alice, "GET", "/v1/catalog?wait=0", nil); len(c.Servers) != 1 {
		t.Error("the server has left the list")
	}
	for report, want := range map[string]string{
		`{"disk_encryption":"yes","screen_lock":"no"}`:      "whose screen locks itself, and this one says of itself that it is not so",
		`{"disk_encryption":"unknown","screen_lock":"yes"}`: "whose disk is encrypted, and this one does not know that of itself",
		`{"screen_lock":"yes"}`:                             "whose disk is encrypted, and this one does not know that of itself",
		`{"disk_encryption":"YES","screen_lock":"yes"}`:     "whose disk is encrypted, and this one does not know that of itself",
		``: "this one has said nothing of itself",
	} {
		s.wait(time.Second)
		s.alice.says("alice", report)
		if e := denied(t, s.alice, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1")); !strings.Contains(e.Detail, want) {
			t.Errorf("%s: refused with %q", report, e.Detail)
		}
	}
	s.wait(time.Second)
	s.alice.says("alice", `{"disk_encryption":"yes","screen_lock":"yes","key":"file"}`)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil)
	if f := ofKind(why.Chain, "device-posture"); !why.Allow || !f.Holds || !strings.Contains(f.Text, "by its own word") || len(f.Under) != 2 || f.Under[0].Text != "by the device's own word: yes" {
		t.Errorf("why: %+v", why)
	}
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web", api.ProjectPatch{DevicePatch: api.DevicePatch{DeviceRules: &[]string{"antivirus"}}})
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{DevicePatch: api.DevicePatch{DeviceRules: &[]string{"hardware-key"}}})
	denied(t, s.alice, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))
	s.wait(time.Second)
	s.alice.says("alice", `{"key":"tpm"}`)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{DevicePatch: api.DevicePatch{DeviceRules: &[]string{}}})
	s.wait(time.Second)
	s.alice.says("alice", "")
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
}

func TestWhatADeviceSaysOfItselfIsAsYoungAsItsToken(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.DeviceRules = []string{"screen-lock"} })
	s.alice.says("alice", `{"screen_lock":"yes"}`)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	renew := func(body any) {
		t.Helper()
		s.wait(signin.NextTokenEvery)
		var token api.Token
		if err := s.alice.api(0).Send(t.Context(), "POST", "/v1/session/token", body, &token); err != nil {
			t.Fatal(err)
		}
		s.alice.token = token.AccessToken
	}
	renew(nil) // as older clients do: what it said stays
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	for _, tc := range []struct{ report, why string }{
		{`{"screen_lock":"no"}`, "says of itself that it is not so"},
		{`{"screen_lock":"unknown"}`, "does not know that of itself"},
		{`{"screen_lock":"YES","os":"x"}`, "does not know that of itself"},
		{`garbage`, "has said nothing of itself"},
	} {
		renew(api.NextToken{DeviceReport: tc.report})
		if e := denied(t, s.alice, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1")); !strings.Contains(e.Detail, tc.why) {
			t.Errorf("%s: refused with %q", tc.report, e.Detail)
		}
	}
	renew(api.NextToken{DeviceReport: `{"screen_lock":"yes"}`})
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
}

func TestAProjectDemandsThatDevicesAreApproved(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.DeviceApproval = true })
	e := denied(t, s.alice, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))
	if want := "cardea admin devices approve " + s.alice.session.Device; !strings.Contains(e.Hint, want) {
		t.Errorf("the hint is %q, want %q in it", e.Hint, want)
	}
	must[api.Session](t, s.alice, "GET", "/v1/session", nil) // it is active all the same
	denied(t, s.alice, api.Denied, "POST", "/v1/devices/"+s.alice.session.Device+"/approve", nil)
	got := must[api.Device](t, s.admin, "POST", "/v1/devices/"+s.alice.session.Device+"/approve", nil)
	if got.State != "active" || !got.ApprovedAt.Equal(s.now()) {
		t.Errorf("approved: %+v", got)
	}
	must[api.Connection](t, s.alice, "POST", "/v1/connect", connectTo(t, "web-1"))
	denied(t, s.admin, api.Conflict, "POST", "/v1/devices/"+s.alice.session.Device+"/approve", nil)
	other := s.signIn("alice")
	denied(t, other, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))

	fleet := must[api.EnrolmentToken](t, s.admin, "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: "device"})
	d := s.device("of the fleet")
	form := d.form(d.approve(s.browser(0), "alice").Get("code"))
	form.Set("enrolment_token", fleet.Secret)
	in, err := d.api(0).Redeem(t.Context(), form)
	if err != nil {
		t.Fatal(err)
	}
	d.token = in.AccessToken
	must[api.Connection](t, d, "POST", "/v1/connect", connectTo(t, "web-1"))
}

func TestWhatIfSupposesADevice(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.DeviceRules, p.DeviceApproval = []string{"disk-encryption"}, true })
	ask := func(more ...string) api.Why {
		t.Helper()
		return must[api.Why](t, s.admin, "GET", "/v1/what-if"+query(append([]string{"user", "alice", "server", "web-1"}, more...)...), nil)
	}
	if why := ask(); !why.Allow || !strings.HasPrefix(ofKind(why.Chain, "device-posture").Text, "assumed: ") || !strings.HasPrefix(ofKind(why.Chain, "device-approval").Text, "assumed: ") {
		t.Errorf("on a device in good order: %+v", why)
	}
	for without, code := range map[string]string{"approval": "device-unapproved", "disk-encryption": "device-posture", "screen-lock": "allowed", "screen-lock,hardware-key,disk-encryption": "device-posture"} {
		if why := ask("without", without); why.Code != code {
			t.Errorf("without %s: %+v", without, why)
		}
	}
	if why := ask("device", s.alice.session.Device); why.Code != "device-unapproved" {
		t.Errorf("on the device that she has: %+v", why)
	}
	must[api.Device](t, s.admin, "POST", "/v1/devices/"+s.alice.session.Device+"/approve", nil)
	s.wait(time.Second)
	s.alice.says("alice", `{"disk_encryption":"yes"}`)
	if why := ask("device", s.alice.session.Device); !why.Allow || strings.HasPrefix(ofKind(why.Chain, "device-posture").Text, "assumed") {
		t.Errorf("when it is in order: %+v", why)
	}
	later := s.now().Add(25 * time.Hour).Format(time.RFC3339)
	if why := ask("device", s.alice.session.Device, "at", later); why.Code != "device-posture" || !strings.Contains(why.Reason, "older than 25h") {
		t.Errorf("25 hours later: %+v", why)
	}
	for _, wrong := range [][]string{{"without", "antivirus"}, {"without", "approval", "device", s.alice.session.Device}} {
		denied(t, s.admin, api.Invalid, "GET", "/v1/what-if"+query(append([]string{"user", "alice", "server", "web-1"}, wrong...)...), nil)
	}
	for _, device := range []string{"dev_none", s.bob.session.Device} {
		denied(t, s.admin, api.NotFound, "GET", "/v1/what-if"+query("user", "alice", "server", "web-1", "device", device), nil)
	}
}
