package control

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/web"
	"github.com/cardea-ssh/cardea/store"
)

// federationPath and the name of a provider lead there. It is a link and no form: browsers
// apply form-action to every redirect that follows, and nobody knows where a provider
// sends people on to. What it begins belongs to the browser's own request, and gives
// nobody anything before the person has confirmed the device.
const federationPath = "/sso/"

// federate sends the browser to a provider.
func (p *pages) federate(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("request")
	redirect, err := p.signin.Federate(r.Context(), id, r.PathValue("provider"), p.browser(r))
	if err != nil {
		return p.otherWays(w, r, id, err)
	}
	http.Redirect(w, r, redirect, http.StatusSeeOther)
	return nil
}

// federated takes what a provider sent back.
func (p *pages) federated(w http.ResponseWriter, r *http.Request) error {
	answer, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return api.Errorf(api.Invalid, "the answer of the identity provider is broken").WithHint("type: cardea login")
	}
	b := p.browser(r)
	login, id, err := p.signin.Federated(r.Context(), r.PathValue("provider"), answer, b)
	if err != nil {
		return p.otherWays(w, r, id, err)
	}
	// Whoever was signed in here before is not any more.
	if err := p.signin.Forget(r.Context(), b); err != nil {
		return err
	}
	p.setCookie(w, loginCookie, login, int(signin.BrowserLife.Seconds()))
	return p.onward(w, r, id, store.NeedsNothing, login)
}

// otherWays says what went wrong above the other ways to sign in, if the request is still
// there for them.
func (p *pages) otherWays(w http.ResponseWriter, r *http.Request, id string, err error) error {
	var told *api.Error
	if id == "" || !errors.As(err, &told) || told.Kind == api.Gone {
		return err
	}
	if _, gone := p.signin.Show(r.Context(), id, p.browser(r)); gone != nil {
		return err
	}
	return p.askPassword(w, r, id, "", p.server.public(r.Context(), p.caller(r), told))
}

// providers are the buttons of the sign-in page.
func (p *pages) providers(r *http.Request, id string) ([]web.Provider, error) {
	if id == ownAccount { // who signs in at a provider has his factors there
		return nil, nil
	}
	active, err := p.signin.Providers(r.Context())
	if err != nil {
		return nil, err
	}
	var out []web.Provider
	for _, v := range active {
		out = append(out, web.Provider{Title: v.Title, Path: federationPath + v.Name + "?" + url.Values{"request": {id}}.Encode()})
	}
	return out, nil
}
