package control

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// serviceForm is what a program sends that signs in by its key.
func serviceForm() url.Values {
	return url.Values{"grant_type": {api.GrantServiceKey}, "client_id": {api.ClientID}}
}

// program is a service user in the group, with one key.
func program(t testing.TB, s *stack, admin *device, name string) (*device, api.ServiceKey) {
	t.Helper()
	must[api.ServiceUser](t, admin, "POST", "/v1/service-users", api.NewServiceUser{Name: name})
	d := s.device("")
	return d, registered(t, admin, name, d)
}

func registered(t testing.TB, admin *device, name string, d *device) api.ServiceKey {
	t.Helper()
	return must[api.ServiceKey](t, admin, "POST", "/v1/service-users/"+name+"/keys", api.NewServiceKey{Name: "build-1", Thumbprint: d.key.Thumbprint()})
}

func (d *device) enter(t testing.TB, form url.Values) error {
	t.Helper()
	in, err := d.api(0).Redeem(t.Context(), form)
	d.token, d.session = in.AccessToken, in.Session
	return err
}

func TestAProgramSignsInByItsKey(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	d, k := program(t, s, admin, "deploy")
	if err := d.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	if d.session.UserName != "deploy" || d.session.Admin || d.session.DeviceTag != "build-1" || d.session.ExpiresAt.Sub(d.session.CreatedAt) != time.Hour {
		t.Errorf("signed in: %+v", d.session)
	}
	// The other instance knows the session, and that it is no administrator's.
	if err := d.api(1).Send(t.Context(), "GET", "/v1/session", nil, nil); err != nil {
		t.Error(err)
	}
	if got := s.send(1, d.request(1, "GET", "/v1/users", "")); got.StatusCode != http.StatusForbidden {
		t.Errorf("a program lists users: %d", got.StatusCode)
	}
	if e := s.events(audit.SignInService); len(e) != 1 || e[0].User != d.session.User || e[0].Detail["key"] != k.Thumbprint {
		t.Errorf("audit: %+v", e)
	}
	if u := must[api.ServiceUser](t, admin, "GET", "/v1/service-users/deploy", nil); len(u.Keys) != 1 || u.Keys[0].UsedAt.IsZero() {
		t.Errorf("the key was not used: %+v", u)
	}
}

func TestTwoKeysTakeTurns(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	old, k := program(t, s, admin, "deploy")
	next, third := s.device(""), s.device("")
	registered(t, admin, "deploy", next)
	for _, d := range []*device{old, next} {
		if err := d.enter(t, serviceForm()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := try[api.ServiceKey](t, admin, "POST", "/v1/service-users/deploy/keys", api.NewServiceKey{Name: "x", Thumbprint: third.key.Thumbprint()})
	if api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), "remove-key deploy") {
		t.Errorf("a third key: %v", err)
	}
	must[any](t, admin, "DELETE", "/v1/service-users/deploy/keys/"+k.ID, nil)
	if got := s.send(1, old.request(1, "GET", "/v1/session", "")); got.StatusCode != 401 && got.StatusCode != 403 {
		t.Errorf("the session of a key that is gone: %d", got.StatusCode)
	}
	if err := old.enter(t, serviceForm()); err == nil {
		t.Error("a key that is gone signs in")
	}
	if err := next.enter(t, serviceForm()); err != nil {
		t.Error(err)
	}
	if _, err := try[api.ServiceKey](t, admin, "POST", "/v1/service-users/deploy/keys", api.NewServiceKey{Name: "x", Thumbprint: old.key.Thumbprint()}); api.KindOf(err) != api.Conflict {
		t.Errorf("a key that was taken away comes back: %v", err)
	}
}

func TestWhoIsNoProgramDoesNotSignInAsOne(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	d, _ := program(t, s, admin, "deploy")
	if err := d.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	alice := s.signIn("alice")
	for _, c := range []struct {
		name string
		who  *device
		form func(url.Values)
		want string
	}{
		{"a key that nobody registered", s.device(""), func(url.Values) {}, "invalid_grant"},
		{"a person's device", alice, func(url.Values) {}, "invalid_grant"},
		{"no client", d, func(v url.Values) { v.Del("client_id") }, "invalid_request"},
		{"another client", d, func(v url.Values) { v.Set("client_id", "other") }, "invalid_client"},
		{"the client twice", d, func(v url.Values) { v.Add("client_id", api.ClientID) }, "invalid_request"},
		{"the grant type twice", d, func(v url.Values) { v.Add("grant_type", api.GrantServiceKey) }, "invalid_request"},
		{"a grant type that we do not have", d, func(v url.Values) { v.Set("grant_type", "password") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			form := serviceForm()
			c.form(form)
			if got := s.redeem(c.who, form); got.StatusCode != 400 || !strings.Contains(got.body, c.want) || strings.Contains(got.body, "access_token") {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	must[any](t, admin, "PATCH", "/v1/users/deploy", map[string]string{"status": "disabled"})
	if got := s.redeem(d, serviceForm()); got.StatusCode != 400 || !strings.Contains(got.body, "invalid_grant") {
		t.Errorf("a disabled user: %d %s", got.StatusCode, got.body)
	}
	if got := s.send(1, d.request(1, "GET", "/v1/session", "")); got.StatusCode == 200 {
		t.Error("the session of a disabled user goes on")
	}
	if e := s.events(audit.SignInFailed); len(e) != 3 {
		t.Errorf("%d refusals in the audit: %+v", len(e), e)
	}
}

func TestAServiceUserIsNoPerson(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	program(t, s, admin, "deploy")
	alice := s.signIn("alice")
	for name, in := range map[string]map[string]any{"an administrator": {"admin": true}, "a password": {"password": ""}} {
		if _, err := try[any](t, admin, "PATCH", "/v1/users/deploy", in); api.KindOf(err) != api.Denied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page := s.browser(0); strings.Contains(page.post("/signin", url.Values{"request": {request(t, page.open(s.device("x").link()))}, "name": {"deploy"}, "password": {secret}}).body, `value="approve"`) {
		t.Error("a program has a password")
	}
	if _, err := try[any](t, admin, "GET", "/v1/service-users/alice", nil); api.KindOf(err) != api.NotFound {
		t.Errorf("a person among the programs: %v", err)
	}
	if _, err := try[any](t, admin, "POST", "/v1/service-users/alice/keys", api.NewServiceKey{Name: "x", Thumbprint: alice.key.Thumbprint()}); api.KindOf(err) != api.NotFound {
		t.Errorf("a key for a person: %v", err)
	}
	good := s.device("").key.Thumbprint()
	for name, in := range map[string]api.NewServiceKey{
		"no name":                  {Thumbprint: good},
		"a name of 129 bytes":      {Name: strings.Repeat("a", maxKeyNameForTest+1), Thumbprint: good},
		"a name with an escape":    {Name: "a\x1b[2J", Thumbprint: good},
		"no thumbprint":            {Name: "x"},
		"a thumbprint that is cut": {Name: "x", Thumbprint: good[1:]},
		"a padded thumbprint":      {Name: "x", Thumbprint: good + "="},
		"bits that no byte has":    {Name: "x", Thumbprint: good[:len(good)-1] + "B"},
		"an end that is over":      {Name: "x", Thumbprint: good, ExpiresAt: s.now()},
	} {
		if _, err := try[any](t, admin, "POST", "/v1/service-users/deploy/keys", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	longest := api.NewServiceKey{Name: strings.Repeat("a", maxKeyNameForTest), Thumbprint: good, ExpiresAt: s.now().Add(time.Hour)}
	if k := must[api.ServiceKey](t, admin, "POST", "/v1/service-users/deploy/keys", longest); !k.ExpiresAt.Equal(longest.ExpiresAt) {
		t.Errorf("%+v", k)
	}
}

const maxKeyNameForTest = 128

// An administrator registered the key, or made the rule: that is the approval. Nobody is
// there when a job begins who could give another one.
func TestProgramsAndJobsWaitForNoApproval(t *testing.T) {
	j := newJobs(t)
	on := true
	j.demands(api.TeamPatch{DeviceApproval: &on})
	byKey := j.device("")
	registered(t, j.admin, "deploy", byKey)
	for name, c := range map[string]struct {
		d    *device
		form url.Values
	}{
		"by a key":          {byKey, serviceForm()},
		"by the same again": {byKey, serviceForm()},
		"a job":             {j.device(""), jobForm(j.token(nil))},
	} {
		if err := c.d.enter(t, c.form); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := must[api.Session](t, c.d, "GET", "/v1/session", nil); got.DeviceState != store.Active {
			t.Errorf("%s: its device is %q", name, got.DeviceState)
		}
	}
	// People wait as before.
	if d := j.signIn("alice"); d.session.DeviceState != store.Pending {
		t.Errorf("a person's device is %q", d.session.DeviceState)
	}
}

// A project demands of devices what a program cannot have. It stays out until the project
// says that this is for people; that somebody approved it is known from its key.
func TestProjectsThatDemandSomethingOfDevicesAndPrograms(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.DeviceRules, p.DeviceApproval = []string{"disk-encryption"}, true })
	d, _ := program(t, s.stack, s.admin, "deploy")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/deploy", api.NewMember{})
	if err := d.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	e := denied(t, d, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))
	if !strings.Contains(e.Detail, "project web is for devices whose disk is encrypted, and a program has none that could say so") || !strings.Contains(e.Hint, "people-only") {
		t.Errorf("refused with %q, %q", e.Detail, e.Hint)
	}
	rules := []string{"people-only", "disk-encryption"}
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{DevicePatch: api.DevicePatch{DeviceRules: &rules}})
	must[api.Connection](t, d, "POST", "/v1/connect", connectTo(t, "web-1"))
	denied(t, s.alice, api.Denied, "POST", "/v1/connect", connectTo(t, "web-1"))
	why := must[api.Why](t, d, "GET", "/v1/why?server=web-1", nil)
	if f := ofKind(why.Chain, "device-posture"); !why.Allow || !f.Holds || !strings.Contains(f.Text, "for people") {
		t.Errorf("why: %+v", why)
	}
}
