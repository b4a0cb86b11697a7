package control

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
)

// changes has a program register the key of another device as its next one.
func changes(t *testing.T, d, next *device) (api.ServiceKey, error) {
	t.Helper()
	return try[api.ServiceKey](t, d, "POST", "/v1/service-keys/next", api.NextServiceKey{Thumbprint: next.key.Thumbprint()})
}

func TestAProgramChangesItsKey(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	old, first := program(t, s, admin, "deploy")
	if err := old.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	next := s.device("")
	k, err := changes(t, old, next)
	if err != nil || k.Replaces != first.ID || k.Name != first.Name {
		t.Fatalf("%+v, %v", k, err)
	}
	if err := next.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{first.ID, ""} { // who lost the answer asks again
		if got := must[api.RetiredServiceKey](t, next, "POST", "/v1/service-keys/retire", nil); got.ID != want {
			t.Errorf("retired %+v, want %q", got, want)
		}
	}
	// What the old key began goes on; the key itself signs in no more, here and elsewhere.
	if got := s.send(1, old.request(1, "GET", "/v1/session", "")); got.StatusCode != http.StatusOK {
		t.Errorf("the session that it had begun: %d", got.StatusCode)
	}
	if got := s.redeemAt(1, old, serviceForm()); got.StatusCode != 400 || !strings.Contains(got.body, "another key took the place of this one") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	e := s.events(audit.ServiceKeyReuse)
	if len(e) != 1 || e[0].Outcome != audit.Denied || e[0].User != next.session.User || e[0].Detail["service_key"] != first.ID || e[0].Detail["next"] != k.ID {
		t.Errorf("no alarm: %+v", e)
	}
	if len(s.events(audit.ServiceKeyNext)) != 1 || len(s.events(audit.ServiceKeyRetire)) != 1 {
		t.Error("the change is not on record")
	}
	// mallory copied the folder before the change, with its session, and changes the key herself.
	if _, err := changes(t, old, s.device("")); api.KindOf(err) != api.Denied {
		t.Errorf("a copy of the folder changes the key: %v", err)
	}
	if _, err := try[any](t, old, "POST", "/v1/service-keys/retire", nil); api.KindOf(err) == "" && len(must[api.ServiceUser](t, admin, "GET", "/v1/service-users/deploy", nil).Keys) != 1 {
		t.Error("a copy of the folder retired the key")
	}
	if u := must[api.ServiceUser](t, admin, "GET", "/v1/service-users/deploy", nil); len(u.Keys) != 1 || u.Keys[0].ID != k.ID {
		t.Errorf("%+v", u)
	}
}

func TestWhoHasNoKeyChangesNone(t *testing.T) {
	j := newJobs(t)
	job := j.device("")
	if err := job.enter(t, jobForm(j.token(nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := changes(t, job, j.device("")); api.KindOf(err) != api.Denied {
		t.Errorf("a job: %v", err)
	}
	if _, err := changes(t, j.signIn("alice"), j.device("")); api.KindOf(err) != api.Invalid {
		t.Errorf("a person: %v", err)
	}
	d := j.device("")
	registered(t, j.admin, "deploy", d)
	registered(t, j.admin, "deploy", j.device(""))
	if err := d.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	if _, err := changes(t, d, j.device("")); api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), "remove-key deploy") {
		t.Errorf("a third key: %v", err)
	}
}

func TestAdministratorsSeeWhichKeysAreOld(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	program(t, s, admin, "deploy")
	show := func() api.ServiceUser { return must[api.ServiceUser](t, admin, "GET", "/v1/service-users/deploy", nil) }
	hour := api.ServiceUserPatch{KeySeconds: int(time.Hour / time.Second)}
	if u := must[api.ServiceUser](t, admin, "PATCH", "/v1/service-users/deploy", hour); u.KeySeconds != 3600 || u.Keys[0].Old {
		t.Errorf("%+v", u)
	}
	s.wait(time.Hour + time.Second)
	if u := show(); !u.Keys[0].Old {
		t.Errorf("%+v", u)
	}
	for _, seconds := range []int{-1, 1, 3599, 10*365*24*3600 + 1} {
		if _, err := try[any](t, admin, "PATCH", "/v1/service-users/deploy", api.ServiceUserPatch{KeySeconds: seconds}); api.KindOf(err) != api.Invalid {
			t.Errorf("%d: %v", seconds, err)
		}
	}
	if u := must[api.ServiceUser](t, admin, "PATCH", "/v1/service-users/deploy", api.ServiceUserPatch{}); u.KeySeconds != 0 || u.Keys[0].Old {
		t.Errorf("%+v", u)
	}
	if e := s.events(audit.ServiceKeyAge); len(e) != 2 || e[0].Detail["seconds"] != "3600" {
		t.Errorf("audit: %+v", e)
	}
}
