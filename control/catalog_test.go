package control

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Each hears what cures it: a person signs in, a program does as it did before, and for a device
// that was revoked a sign-in, which is refused to it, is not the cure.
func TestWhoeverWaitsForHisListHearsThatHisSessionEnded(t *testing.T) {
	s := newScene(t)
	laptop := s.signIn("alice")
	job, _ := program(t, s.stack, s.admin, "deploy")
	if err := job.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	waits := []struct {
		who           *device
		ender         *device
		path          string
		kind          api.Kind
		detail, typed string
		heard         chan error
	}{
		{s.alice, s.alice, "/v1/logout", api.SignIn, "this session is over", "type: cardea login", nil},
		{laptop, s.admin, "/v1/devices/" + laptop.session.Device + "/revoke", api.Denied, "this device was revoked or replaced", "type: cardea device replace", nil},
		{job, s.admin, "/v1/sessions/" + job.session.ID + "/revoke", api.SignIn, "this session is over", "type: cardea login --service-key FILE, or in a job: cardea login --workload", nil},
	}
	for i := range waits {
		w := &waits[i]
		known := must[api.Catalog](t, w.who, "GET", "/v1/catalog", nil)
		if w.who != job && len(known.Servers) == 0 {
			t.Fatal("alice reaches nothing")
		}
		w.heard = make(chan error, 1)
		go func() {
			var got api.Catalog
			found, err := w.who.api(0).Get(t.Context(), "/v1/catalog", url.Values{"version": {known.Version}, "wait": {"30"}}, &got)
			if err == nil && found {
				t.Errorf("a list of %d servers came", len(got.Servers))
			}
			w.heard <- err
		}()
	}
	time.Sleep(300 * time.Millisecond) // the calls wait by now; if not they are refused at the door, which is no failure
	for _, w := range waits {
		if err := w.ender.api(1).Send(t.Context(), "POST", w.path, nil, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-w.heard:
			var e *api.Error
			if errors.As(err, &e) && strings.HasPrefix(e.Detail, "this session was ended at") {
				continue // at the door
			}
			if e == nil || e.Kind != w.kind || !strings.HasPrefix(e.Detail, w.detail) || !strings.HasSuffix(e.Hint, w.typed) {
				t.Errorf("after %s got %v, want %s and %q", w.path, err, w.detail, w.typed)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("after %s the call still waits", w.path)
		}
	}
}

// Who was just given a grant in a project without servers sees that he was, for as long as it
// is in force.
func TestAProjectWithoutServersIsInTheList(t *testing.T) {
	s := newScene(t)
	for name, until := range map[string]time.Time{"empty": {}, "soon-over": s.now().Add(time.Hour)} {
		must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: name, ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
		must[api.Grant](t, s.admin, "POST", "/v1/projects/"+name+"/grants", api.NewGrant{Group: "ops", Role: "user", Until: until})
	}
	listed := func(who *device) (names []string, version string) {
		c := must[api.Catalog](t, who, "GET", "/v1/catalog", nil)
		for _, p := range c.Projects {
			names = append(names, p.Name)
		}
		return names, c.Version
	}
	got, version := listed(s.alice)
	if !slices.Equal(got, []string{"empty", "soon-over", "web"}) {
		t.Errorf("alice reads %q", got)
	}
	if got, _ := listed(s.bob); len(got) > 0 {
		t.Errorf("bob reads %q", got)
	}
	s.wait(time.Hour)
	if got, now := listed(s.alice); !slices.Equal(got, []string{"empty", "web"}) || now == version {
		t.Errorf("after the end of a grant she reads %q", got)
	}
}
