package control

import (
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// linked is a provider with a connector whose users' externalId is its claim oid.
func linked(t *testing.T) (f *federation, d *device) {
	f = newFederation(t)
	got := must[api.ScimToken](t, f.admin, "POST", "/v1/scim-clients", api.NewScimClient{Name: "op", Provider: "op", LinkClaim: "oid"})
	f.provider.Claims(func(c map[string]any) { c["oid"] = "id-1" })
	return f, &device{s: f.stack, bearer: got.Token}
}

func TestWhoWasProvisionedSignsInAsHimselfOnce(t *testing.T) {
	t.Parallel()
	f, d := linked(t)
	id := d.made("Users", `{"userName":"ally@example.com","externalId":"id-1","displayName":"Ally"}`)
	if got := f.run().back("op"); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	u := must[api.User](t, f.admin, "GET", "/v1/users/ally", nil)
	if u.ID != id || u.Issuer != f.provider.URL() || u.Subject == id {
		t.Errorf("the user is %+v", u)
	}
	if e := f.events(audit.UserLink); len(e) != 1 || e[0].User != id {
		t.Errorf("audit: %+v", e)
	}
	if got := f.run().back("op"); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	if e := f.events(audit.UserLink); len(e) != 1 {
		t.Error("he was linked again")
	}
	// Somebody else of whom the provider says the same is not him.
	f.provider.Claims(func(c map[string]any) {
		c["oid"], c["sub"], c["preferred_username"], c["email"] = "id-1", "another", "ally", "ally@example.com"
	})
	r := f.run()
	r.refused(t, r.back("op"), "taken")
	// The client goes on keeping him, and he is let in no more.
	f.provider.Claims(func(c map[string]any) { c["oid"] = "id-1" })
	expectScim(t, d.scim(0, "PATCH", "/Users/"+id, patch(deactivate)), 200, "")
	r = f.run()
	r.refused(t, r.back("op"), "disabled")
}

func TestTheLinkMayStandInTheProvidersUserInfoAlone(t *testing.T) {
	t.Parallel()
	f, d := linked(t)
	id := d.made("Users", `{"userName":"ally@example.com","externalId":"id-1"}`)
	sub := ""
	f.provider.Claims(func(c map[string]any) { sub, _ = c["sub"].(string) })
	f.provider.Token("n") // tells the claims
	f.provider.UserInfo(map[string]any{"sub": sub, "oid": "id-1"})
	if got := f.run().back("op"); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	if e := f.events(audit.UserLink); len(e) != 1 || e[0].User != id {
		t.Errorf("audit: %+v", e)
	}
}

func TestNobodyIsLinkedByChance(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*federation, *device){
		"nobody has the id": func(_ *federation, d *device) { d.made("Users", `{"userName":"x@example.com","externalId":"id-2"}`) },
		"the name and address are the same, the id is not": func(_ *federation, d *device) {
			d.made("Users", `{"userName":"alice.x@example.com","externalId":"ID-1","emails":[{"value":"alice@example.com"}]}`)
		},
		"two have it": func(_ *federation, d *device) {
			d.made("Users", `{"userName":"x@example.com","externalId":"id-1"}`)
			d.made("Users", `{"userName":"y@example.com","externalId":"id-1"}`)
		},
		"a client of no provider has it": func(f *federation, _ *device) {
			_, other := (&scene{stack: f.stack, admin: f.admin}).connector("other")
			other.made("Users", `{"userName":"x@example.com","externalId":"id-1"}`)
		},
		"the client is disabled": func(f *federation, d *device) {
			d.made("Users", `{"userName":"x@example.com","externalId":"id-1"}`)
			must[api.ScimClient](f.t, f.admin, "PATCH", "/v1/scim-clients/op", api.ScimClientPatch{State: ptr(store.Disabled)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, d := linked(t)
			prepare(f, d)
			if got := f.run().back("op"); got.StatusCode != 200 {
				t.Fatal(got.body)
			}
			if e := f.events(audit.UserLink); len(e) != 0 {
				t.Errorf("linked: %+v", e)
			}
		})
	}
}

func TestClaimsThatPeopleChangeLinkNobody(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	for _, in := range []api.NewScimClient{{Name: "a", Provider: "op", LinkClaim: "email"}, {Name: "a", Provider: "op", LinkClaim: "preferred_username"},
		{Name: "a", Provider: "op", LinkClaim: "nickname"}, {Name: "a", Provider: "op", LinkClaim: "upn"}, {Name: "a", Provider: "op", LinkClaim: `"email"`}, {Name: "a", Provider: "op", LinkClaim: "address.formatted"},
		{Name: "a", LinkClaim: "sub"}, {Name: "A b"}, {Name: "a", Provider: "op", LinkClaim: "a\nb"}} {
		denied(t, f.admin, api.Invalid, "POST", "/v1/scim-clients", in)
	}
	denied(t, f.admin, api.NotFound, "POST", "/v1/scim-clients", api.NewScimClient{Name: "a", Provider: "nobody"})
	must[api.ScimToken](t, f.admin, "POST", "/v1/scim-clients", api.NewScimClient{Name: "a", Provider: "op"})
	denied(t, f.admin, api.Conflict, "DELETE", "/v1/providers/op", nil)
}

// Who is taken out of a group by the client while he signs in, is out, whatever the provider says
// in its token: what counts is asked when a certificate is made.
func TestWhatTheClientSaysCountsWhenACertificateIsMade(t *testing.T) {
	t.Parallel()
	f, d := linked(t)
	id := d.made("Users", `{"userName":"ally@example.com","externalId":"id-1"}`)
	group := d.made("Groups", `{"displayName":"Web Users","members":[{"value":"`+id+`"}]}`)
	f.provider.Claims(func(c map[string]any) { c["oid"], c["groups"] = "id-1", []string{"Web Users", "web-users"} })
	s := &scene{stack: f.stack, admin: f.admin}
	must[api.Project](t, f.admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
	must[api.Grant](t, f.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "web-users", Role: "user"})
	s.confirm(s.newServer("web", "web-1", nil))
	for _, at := range []string{"at the provider", "before the yes", "before the code is traded"} {
		expectScim(t, d.scim(0, "PATCH", "/Groups/"+group, patch(`{"op":"add","path":"members","value":[{"value":"`+id+`"}]}`)), 200, "")
		out := func(now string) {
			if now == at {
				expectScim(t, d.scim(1, "PATCH", "/Groups/"+group, patch(`{"op":"remove","path":"members[value eq \"`+id+`\"]"}`)), 200, "")
			}
		}
		r := f.run()
		out("at the provider")
		if got := r.back("op"); got.StatusCode != 200 {
			t.Fatal(got.body)
		}
		out("before the yes")
		code := sentBack(t, r.browser.says(r.request, "approve")).Get("code")
		out("before the code is traded")
		in, err := r.device.api(1).Redeem(t.Context(), r.device.form(code))
		if err != nil {
			t.Fatal(err)
		}
		r.device.token = in.AccessToken
		denied(t, r.device, api.NotFound, "POST", "/v1/connect", connectTo(t, "web-1"))
	}
}
