package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/web"
)

// deviceCodeRoutes sign in devices without a browser (RFC 8628).
func deviceCodeRoutes(t *table, p *pages) {
	add := func(method, path, doc string, do func(http.ResponseWriter, *http.Request) error) {
		t.plain(route{Method: method, Path: path, Access: Public, Doc: doc}, do, p.fail)
	}
	add("GET", "/device", "Asks for the code that a device without a browser shows (RFC 8628 section 3.3)", p.typeCode)
	add("POST", "/device", "Takes the code", p.form(p.typedCode))
	add("GET", "/device/done", "Says what came of it", p.deviceDone)
	askRoute(t)
	typedRoutes(t)
}

// typedRoutes are for who types the code on a device of his that is signed in.
func typedRoutes(t *table) {
	s := t.server.signin
	handle(t, route{Method: "POST", Path: "/v1/device-codes", Access: User, Doc: "Type the code of a device without a browser, and see what waits"},
		func(ctx context.Context, by caller.Caller, in *body[api.TypedCode]) (*api.WaitingDevice, error) {
			out, err := s.TypeCodeHere(ctx, by, in.Body.Code, sourceKey(by.Source))
			if err == nil {
				out.Elsewhere = elsewhere(out.Origin, out.Source)
			}
			return out, err
		})
	handle(t, route{Method: "POST", Path: "/v1/device-codes/{waiting}/approve", Access: User, Doc: "Let it sign in as the caller"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Waiting string `path:"waiting"`
			Body    api.ApproveWaiting
		}) (*api.Named, error) {
			return nil, s.ApproveHere(ctx, by, in.Waiting, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/device-codes/{waiting}/refuse", Access: User, Doc: "Say no to it"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Waiting string `path:"waiting"`
		}) (*api.Named, error) {
			return nil, s.RefuseHere(ctx, by, in.Waiting)
		})
}

// askRoute takes a form and answers in OAuth's shape, as the token endpoint does.
func askRoute(t *table) {
	r := route{Method: "POST", Path: "/oauth/device", Access: Proof, Begins: true, Doc: "Ask for a code that a person types in a browser elsewhere (RFC 8628 section 3.1)"}
	s := t.server.signin
	oauthRoute(t, r, func(ctx context.Context, by caller.Caller, form url.Values) (api.DeviceCode, error) {
		return s.AskCode(ctx, by, form, sourceKey(by.Source))
	})
	t.document(r, "application/x-www-form-urlencoded", &huma.Schema{
		Type: huma.TypeObject, Required: []string{"client_id"},
		Properties: map[string]*huma.Schema{"client_id": {Type: huma.TypeString}, "device_name": {Type: huma.TypeString}, "session": {Type: huma.TypeString}},
	}, reflect.TypeFor[api.DeviceCode](), oauthErrorType)
}

// typeCode asks for the code. It takes none out of the address: who is sent a link must
// still type what his own device shows.
func (p *pages) typeCode(w http.ResponseWriter, r *http.Request) error {
	user, _, ok, err := p.signin.Person(r.Context(), p.browser(r))
	if err != nil {
		return err
	}
	if ok && user.Admin { // before he types what would be in vain
		return p.askCode(w, r, signin.NotForAdmins(nil))
	}
	return p.askCode(w, r, nil)
}

func (p *pages) askCode(w http.ResponseWriter, r *http.Request, problem *api.Error) error {
	v, status := web.Device{Team: p.team(r)}, http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
		pageProblem(w, problem)
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.Device(w, v) })
}

func (p *pages) typedCode(w http.ResponseWriter, r *http.Request) error {
	b := p.browser(r)
	if b.Token == "" {
		b.Token = signin.NewSecret()
		p.setCookie(w, browserCookie, b.Token, 0)
	}
	id, err := p.signin.TypeCode(r.Context(), r.PostForm.Get("code"), b, sourceKey(b.Source))
	var told *api.Error
	switch {
	case errors.As(err, &told):
		return p.askCode(w, r, told)
	case err != nil:
		return err
	}
	return p.to(w, r, "/confirm", id)
}

func (p *pages) deviceDone(w http.ResponseWriter, r *http.Request) error {
	v := web.Message{Team: p.team(r), Title: "Signed in", Text: "The device acts as you from now on.", Hint: "You may close this page and go back to the device."}
	if r.URL.RequestURI() != signin.DoneYes {
		v.Title, v.Text, v.Hint = "Not signed in", "The device was told no.", "You may close this page."
	}
	return p.show(w, http.StatusOK, "", func(w io.Writer) error { return p.web.Message(w, v) })
}

// Networks within which two addresses are taken for one place: the smallest that are
// routed by themselves.
const place4, place6 = 24, 48

// elsewhere tells whether two addresses are in different networks. What cannot be told is
// elsewhere.
func elsewhere(a, b string) bool {
	x, err1 := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	if err1 != nil || err2 != nil {
		return true
	}
	x, y = x.Unmap().WithZone(""), y.Unmap().WithZone("")
	bits := place6
	if x.Is4() {
		bits = place4
	}
	p, err := x.Prefix(bits)
	return err != nil || !p.Contains(y)
}
