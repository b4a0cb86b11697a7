package control

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// pilotSize is how many were there before SCIM; pilotSample of them are gone through step by
// step, all with CARDEA_SCIM=all.
const pilotSize, pilotSample = 200, 8

// pilot is a team that has signed in at a provider for months when its connector comes.
type pilot struct {
	*federation
	scim   *device
	people []api.User
	before int // how many users there were
}

func (p *pilot) users(t *testing.T) int {
	rows, _, err := p.store.Users(t.Context(), store.Page{Limit: 2 * pilotSize})
	if err != nil {
		t.Fatal(err)
	}
	return len(rows)
}

func newPilot(t *testing.T, claim string) *pilot {
	t.Helper()
	p := &pilot{federation: newFederation(t)}
	for i := range pilotSize {
		name := fmt.Sprint("p", i)
		u := store.User{ID: ident.New(ident.User), Issuer: p.provider.URL(), Subject: "s-" + name, Name: name, Login: name}
		made, err := p.store.CreateUser(t.Context(), u, "", store.Meta{Now: p.now()})
		if err != nil {
			t.Fatal(err)
		}
		p.people = append(p.people, api.User{ID: made.ID, Name: name, UID: made.UID, Subject: made.Subject})
	}
	p.scim, p.before = p.client("op", claim), p.users(t)
	return p
}

// client makes a client of the provider op.
func (f *federation) client(name, claim string) *device {
	f.t.Helper()
	got := must[api.ScimToken](f.t, f.admin, "POST", "/v1/scim-clients", api.NewScimClient{Name: name, Provider: "op", LinkClaim: claim})
	return &device{s: f.stack, bearer: got.Token}
}

// sample are some of the people, spread over all.
func (p *pilot) sample() (out []api.User) {
	n := pilotSample
	if os.Getenv(scimVariable) == "all" {
		n = pilotSize
	}
	for i := range n {
		out = append(out, p.people[i*pilotSize/n])
	}
	return out
}

// kept checks that the people are still who they were, and nobody else came.
func (p *pilot) kept(t *testing.T, people []api.User) {
	t.Helper()
	if n := p.users(t); n != p.before {
		t.Errorf("there are %d users, and were %d", n, p.before)
	}
	for _, was := range people {
		now := must[api.User](t, p.admin, "GET", "/v1/users/"+was.Name, nil)
		if now.ID != was.ID || now.UID != was.UID || now.KeptBy != api.KeptByScim || now.KeeperName != "op" || now.Status != store.Active {
			t.Errorf("%s was %+v and is %+v", was.Name, was, now)
		}
	}
}

// A team ran a pilot of 200 people, and turns SCIM on. Each of them is kept by it from then on.
func TestAPilotComesUnderOkta(t *testing.T) {
	t.Parallel()
	p := newPilot(t, "")
	people := p.sample()
	for _, u := range people {
		tell(t, p.scim, "testdata/pilot/okta.txt", map[string]string{"login": u.Name, "id": u.ID, "subject": u.Subject})
	}
	p.kept(t, people)
	if got := p.events(audit.UserAdopt); len(got) != len(people) || got[0].Detail["client_name"] != "op" || got[0].Detail["name"] == "" || got[0].Detail["user_name"] == "" {
		t.Errorf("audit: %+v", got)
	}
	if waiting := p.waiting(t, "op"); len(waiting) != 0 {
		t.Errorf("some wait: %+v", waiting)
	}
}

func (f *federation) waiting(t *testing.T, client string) []api.ScimWaiting {
	t.Helper()
	return must[api.List[api.ScimWaiting]](t, f.admin, "GET", "/v1/scim-clients/"+client+"/waiting", nil).Items
}

// Entra says in sub something that it says to nobody else. So it is not known who somebody is
// before he has signed in once more, or an administrator says so.
func TestAPilotComesUnderEntra(t *testing.T) {
	t.Parallel()
	p := newPilot(t, "oid")
	people := p.sample()
	says := func(u api.User) map[string]string {
		return map[string]string{"login": u.Name, "id": u.ID, "object": "o-" + u.Name, "status": "409"}
	}
	for _, u := range people {
		tell(t, p.scim, "testdata/pilot/entra.txt", says(u))
	}
	waiting := p.waiting(t, "op")
	if len(waiting) != len(people) {
		t.Fatalf("%d wait", len(waiting))
	}
	for _, w := range waiting {
		if c := w.Candidates; len(c) != 1 || c[0].Standing != api.StandingConfirm || strings.Join(c[0].Same, " ") != "login" {
			t.Errorf("%s: %+v", w.UserName, c)
		}
	}
	// The first one signs in before the next cycle; the others are an administrator's work.
	p.provider.Claims(func(c map[string]any) { c["sub"], c["oid"] = people[0].Subject, "o-"+people[0].Name })
	if got := p.run().back("op"); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	first := says(people[0])
	first["status"] = "201"
	tell(t, p.scim, "testdata/pilot/entra.txt", first)
	for _, u := range people[1:] {
		in := api.ScimAdopt{UserName: u.Name + "@example.com", User: u.Name, DryRun: true}
		if got := must[api.ScimAdoption](t, p.admin, "POST", "/v1/scim-clients/op/adopt", in); got.Done || got.Text == "" {
			t.Errorf("it was to be tried: %+v", got)
		}
		if now := must[api.User](t, p.admin, "GET", "/v1/users/"+u.Name, nil); now.KeptBy != api.KeptByProvider {
			t.Errorf("a try did it: %+v", now)
		}
		in.DryRun = false
		for range 2 { // a list may be gone through twice
			if got := must[api.ScimAdoption](t, p.admin, "POST", "/v1/scim-clients/op/adopt", in); !got.Done {
				t.Errorf("not done: %+v", got)
			}
		}
	}
	for _, u := range people {
		tell(t, p.scim, "testdata/pilot/entra-kept.txt", says(u))
	}
	p.kept(t, people)
	if left := p.waiting(t, "op"); len(left) != 0 {
		t.Errorf("some wait: %+v", left)
	}
	if got := p.events(audit.UserAdopt); len(got) != len(people) || got[1].Detail["by"] != "admin" || got[1].Actor != p.user("admin").ID {
		t.Errorf("audit: %+v", got)
	}
}

// post is what a client says of somebody.
func post(userName, externalID, address string) string {
	return fmt.Sprintf(`{"userName":%q,"externalId":%q,"active":true,"emails":[{"value":%q,"primary":true}]}`, userName, externalID, address)
}

// Somebody stole the token of a connector, and wants to rule those who were there before it.
func TestWhomAClientDoesNotTakeOver(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	d, other := f.client("op", ""), f.client("second", "")
	hand := must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "hand", Email: "hand@example.com"})
	chief := must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "chief", Provider: "op", Subject: "s-chief", Admin: true})
	theirs := other.made("Users", post("theirs@example.com", "s-theirs", "theirs@example.com"))
	admin := must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "boss", Email: "boss@example.com", Admin: true})
	for name, body := range map[string]string{
		"the local administrator by his name":     post("boss@example.com", "x", "boss@example.com"),
		"and by his id":                           post("boss@example.com", admin.ID, ""),
		"an administrator who signs in there":     post("chief@example.com", "s-chief", ""),
		"and under another name":                  post("somebody@example.com", "s-chief", ""),
		"another connector's user by name":        post("theirs@example.com", "s-theirs", ""),
		"somebody made by hand by name":           post("hand@example.com", "x", ""),
		"and by name and address":                 post("HAND@example.com", hand.ID, "hand@example.com"),
		"and in letters that only look like his":  post("hand@example.com", "S-CHIEF", "hand@example.com"),
		"a user of two identities, at the latter": post("hand@example.com", "s-chief", ""),
	} {
		got := d.scim(0, "POST", "/Users", body)
		if expectScim(t, got, 409, "uniqueness"); !strings.Contains(got.body, "type") || !strings.Contains(got.body, "cardea admin scim waiting op") {
			t.Errorf("%s: %s", name, got.body)
		}
	}
	// With the address of somebody, but a name of his own, he is a new person.
	stranger := d.made("Users", post("stranger@example.com", "x", "hand@example.com"))
	for _, id := range []string{admin.ID, hand.ID, chief.ID, theirs} {
		if got := d.scim(0, "GET", "/Users/"+id, ""); got.StatusCode != 404 || id == stranger {
			t.Errorf("%s: %d %s", id, got.StatusCode, got.body)
		}
	}
	if now := f.user("boss"); now.Keeper != "" || now.Status != store.Active || now.Email != admin.Email {
		t.Errorf("the administrator is %+v", now)
	}
	// Nor by an administrator's mistake.
	for userName, user := range map[string]string{"boss@example.com": "boss", "theirs@example.com": "theirs", "hand@example.com": "boss"} {
		denied(t, f.admin, api.Denied, "POST", "/v1/scim-clients/op/adopt", api.ScimAdopt{UserName: userName, User: user})
	}
	if got := f.events(audit.UserAdopt); len(got) != 3 || got[0].Outcome != audit.Denied || got[0].Reason == "" {
		t.Errorf("audit: %+v", got)
	}
	denied(t, f.admin, api.NotFound, "POST", "/v1/scim-clients/op/adopt", api.ScimAdopt{UserName: "never-tried@example.com", User: "hand"})
	denied(t, f.admin, api.NotFound, "POST", "/v1/scim-clients/op/adopt", api.ScimAdopt{UserName: "", User: "hand"})
	// His word is enough for one who signs in there. It is the client's rule then.
	must[api.ScimAdoption](t, f.admin, "POST", "/v1/scim-clients/op/adopt", api.ScimAdopt{UserName: "chief@example.com", User: "chief"})
	expectScim(t, d.scim(0, "PATCH", "/Users/"+chief.ID, patch(deactivate)), 200, "")
}

// A local account that an administrator gives to a client is let in by the provider from then
// on, as the same user; released he has his password again, and the client does not get him back.
func TestALocalAccountGoesToTheProviderAndBack(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	d := f.client("op", "oid")
	made := must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "alice-jones", Password: "correct horse battery"})
	f.provider.Claims(func(c map[string]any) { c["oid"] = "o-1" })
	expectScim(t, d.scim(0, "POST", "/Users", post("alice.jones@example.com", "o-1", "")), 409, "uniqueness")
	got := must[api.ScimAdoption](t, f.admin, "POST", "/v1/scim-clients/op/adopt", api.ScimAdopt{UserName: "Alice.Jones@example.com", User: "alice-jones"})
	if !strings.Contains(got.Text, "no more with a password") {
		t.Errorf("what follows is not told: %s", got.Text)
	}
	b := f.browser(0)
	r := request(t, b.open(f.device("laptop").link()))
	if page := b.post("/signin", url.Values{"request": {r}, "name": {"alice-jones"}, "password": {"correct horse battery"}}); page.StatusCode != 401 && page.StatusCode != 403 {
		t.Errorf("the password is good: %d", page.StatusCode)
	}
	if page := f.run().back("op"); page.StatusCode != 200 {
		t.Fatal(page.body)
	}
	if e := f.events(audit.UserLink); len(e) != 1 || e[0].User != made.ID {
		t.Errorf("audit: %+v", e)
	}
	group := d.made("Groups", `{"displayName":"Web Users","members":[{"value":"`+made.ID+`"}]}`)
	must[api.Named](t, f.admin, "POST", "/v1/scim-clients/op/release", api.ScimRelease{User: "alice-jones"})
	denied(t, f.admin, api.NotFound, "POST", "/v1/scim-clients/op/release", api.ScimRelease{User: "alice-jones"})
	if e := f.events(audit.UserRelease); len(e) == 0 || e[0].Detail["name"] != "alice-jones" || e[0].Detail["by"] != "admin" {
		t.Errorf("audit: %+v", e)
	}
	expectScim(t, d.scim(1, "GET", "/Users/"+made.ID, ""), 404, "")
	if got := d.scim(1, "GET", "/Groups/"+group, ""); field(t, got.body, "members") != "" {
		t.Errorf("he is in the group: %s", got.body)
	}
	// It is certain who he is, and he was taken from the client all the same.
	expectScim(t, d.scim(0, "POST", "/Users", post("alice.jones@example.com", "o-1", "")), 409, "uniqueness")
	if w := f.waiting(t, "op"); len(w) != 1 || len(w[0].Candidates) != 1 || w[0].Candidates[0].Standing != api.StandingConfirm {
		t.Errorf("who waits: %+v", w)
	}
	if page := f.run().back("op"); page.StatusCode != 200 {
		t.Errorf("he does not sign in where he did: %s", page.body)
	}
}

// An administrator disables somebody in a hurry. A provider that goes on saying of him that he
// is active does not undo it, in whatever order it says so, and others see who did it.
func TestWhatAnAdministratorDisabledStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com"}`)
	is := func(status, by string) {
		t.Helper()
		u := must[api.User](t, s.admin, "GET", "/v1/users/carol", nil)
		if u.Status != status || u.DisabledByName != by {
			t.Fatalf("she is %s by %q, want %s by %q", u.Status, u.DisabledByName, status, by)
		}
	}
	say := func(active string) {
		t.Helper()
		expectScim(t, d.scim(0, "PATCH", "/Users/"+id, patch(`{"op":"replace","path":"active","value":`+active+`}`)), 200, "")
	}
	hand := func(status string) {
		t.Helper()
		must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/carol", api.UserPatch{Status: &status})
	}
	is(store.Active, "")
	say("false")
	is(store.Disabled, "okta")
	say("true")
	is(store.Active, "")
	hand(store.Disabled)
	is(store.Disabled, "admin")
	say("true")
	say("false")
	say("true")
	is(store.Disabled, "admin")
	if e := s.events(audit.UserEnable); len(e) != 1 {
		t.Errorf("audit: %+v", e)
	}
	hand(store.Active)
	say("false")
	hand(store.Disabled) // over what the client did
	say("true")
	is(store.Disabled, "admin")
	hand(store.Active)
	is(store.Active, "")
}
