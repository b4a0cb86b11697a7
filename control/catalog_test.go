package control

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

func TestWhoeverWaitsForHisListHearsThatHisSessionEnded(t *testing.T) {
	s := newScene(t)
	known := must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil)
	if len(known.Servers) == 0 {
		t.Fatal("alice reaches nothing")
	}
	answer := make(chan error, 1)
	go func() {
		var got api.Catalog
		found, err := s.alice.api(0).Get(t.Context(), "/v1/catalog", url.Values{"version": {known.Version}, "wait": {"30"}}, &got)
		if err == nil && found {
			t.Errorf("a list of %d servers came", len(got.Servers))
		}
		answer <- err
	}()
	time.Sleep(300 * time.Millisecond) // the call waits by now; if not it is refused at the door, which is no failure
	if err := s.alice.api(1).Send(t.Context(), "POST", "/v1/logout", nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		if api.KindOf(err) != api.SignIn {
			t.Errorf("got %v, want a word on signing in", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the call still waits")
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
