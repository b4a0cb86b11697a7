package control

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/store"
)

// Every secret that is given to somebody opens what it is for, and is nothing anywhere else.
func TestASecretOpensItsOwnDoorAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, scim := s.connector("okta")
	must[api.TeamSettings](t, s.admin, "PATCH", "/v1/team/settings", api.TeamPatch{DeviceCode: ptr(true)})
	waiting := s.device("waiting")
	code := waiting.approve(s.browser(0), "alice").Get("code")
	_, grant := s.hasCode()
	page := s.browser(0)
	s.device("x").approve(page, "alice")
	invitation, v := signin.NewInvitation(s.user("alice").ID, s.now())
	if err := s.store.Invite(t.Context(), v, store.Meta{Now: s.now()}); err != nil {
		t.Fatal(err)
	}
	server := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-9", Address: "10.0.0.9:22"}).Secret
	gateway := s.token(api.NewEnrolmentToken{Kind: store.KindGateway, Name: "gw-9", Address: "gw-9.example.com:7234", Egress: []string{"198.51.100.9"}}).Secret
	fleet := s.token(api.NewEnrolmentToken{Kind: store.KindDevice}).Secret
	type door = string
	secrets := map[string]struct {
		value string
		opens []door
	}{
		"an administrator's session":    {s.admin.token, []door{"the API"}},
		"a token of SCIM":               {scim.bearer, []door{"SCIM"}},
		"a server's enrolment token":    {server, []door{"a server's enrolment"}},
		"a gateway's enrolment token":   {gateway, []door{"a gateway's enrolment"}},
		"a device's enrolment token":    {fleet, nil},
		"a server's credential":         {s.server.token, []door{"a server's state"}},
		"a gateway's credential":        {s.gateway.token, []door{"a gateway's watch"}},
		"a code":                        {code, nil},
		"a device's code":               {grant.DeviceCode, nil},
		"a code to type":                {grant.UserCode, nil},
		"a cookie of a login":           {page.cookies()["__Host-cardea-login"], []door{"a page"}},
		"the cookie of a browser":       {page.cookies()["__Host-cardea-browser"], nil},
		"a set-up code":                 {invitation, nil},
		"the id of a session":           {s.admin.session.ID, nil},
		"the thumbprint of a key":       {s.admin.key.Thumbprint(), nil},
		"nothing at all":                {"", nil},
		"what finds everything in LIKE": {"%", nil},
	}
	// Each is tried with the key of whoever it was given to, where there is one: a stranger's
	// would be refused for that alone.
	keys := map[string]*device{"a server's credential": s.server.device, "a gateway's credential": s.gateway.device, "a code": waiting}
	call := func(d *device, method, path, scheme, token string) reply {
		was := d.token
		defer func() { d.token = was }()
		d.token = token
		req := d.request(0, method, path, "")
		if req.Header.Del("Authorization"); token != "" {
			req.Header.Set("Authorization", scheme+" "+token)
		}
		return s.send(0, req)
	}
	enrols := func(path string) func(d *device, token string) bool {
		return func(_ *device, token string) bool {
			d := s.device("")
			_, err := try[map[string]any](t, d, "POST", path, map[string]string{"secret": token})
			return err == nil
		}
	}
	doors := map[door]func(d *device, token string) bool{
		"the API": func(d *device, token string) bool {
			return call(d, "GET", "/v1/users", "DPoP", token).StatusCode == 200
		},
		"the API as a bearer": func(d *device, token string) bool {
			return call(d, "GET", "/v1/users", "Bearer", token).StatusCode == 200
		},
		"SCIM": func(d *device, token string) bool {
			return call(d, "GET", "/scim/v2/Users", "Bearer", token).StatusCode == 200
		},
		"SCIM with a proof": func(d *device, token string) bool {
			return call(d, "GET", "/scim/v2/Users", "DPoP", token).StatusCode == 200
		},
		"a server's state": func(d *device, token string) bool {
			return call(d, "GET", "/v1/agent/state?wait=0", "DPoP", token).StatusCode == 200
		},
		"a gateway's watch": func(d *device, token string) bool {
			return call(d, "GET", "/v1/gateway/watch?after=0&wait=0", "DPoP", token).StatusCode == 200
		},
		"a server's enrolment":  enrols("/v1/servers/enrol"),
		"a gateway's enrolment": enrols("/v1/gateways/enrol"),
		"the token endpoint": func(d *device, token string) bool {
			form := d.form(token)
			form.Set("code_verifier", strings.Repeat("w", 43))
			_, err := d.api(0).Redeem(t.Context(), form)
			return err == nil
		},
		"a device's poll": func(d *device, token string) bool {
			_, err := d.api(0).Redeem(t.Context(), url.Values{"grant_type": {api.DeviceGrantType}, "client_id": {api.ClientID}, "device_code": {token}})
			return err == nil
		},
		"a page": func(_ *device, token string) bool {
			b := s.browser(0)
			b.http.Jar.SetCookies(b.at, []*http.Cookie{{Name: "__Host-cardea-login", Value: token, Secure: true, Path: "/"}})
			return !strings.Contains(b.open("/account").body, `type="password"`)
		},
		"the set-up": func(_ *device, token string) bool {
			return token != invitation && s.browser(0).post("/setup", url.Values{"code": {token}, "password": {"staple battery horse"}, "again": {"staple battery horse"}}).StatusCode == 200
		},
	}
	for what, v := range secrets {
		want := map[door]bool{}
		for _, d := range v.opens {
			want[d] = true
		}
		for name, opens := range doors {
			d := keys[what]
			if d == nil {
				d = s.admin
			}
			if opens(d, v.value) != want[name] {
				t.Errorf("%s, at the door of %s: %v", what, name, !want[name])
			}
		}
	}
}
