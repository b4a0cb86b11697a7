package control

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/web"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// maxForm bounds what a page may post, in bytes: a password of 1,024 and an id.
const maxForm = 8 << 10

// pagePolicy is the content security policy of pages. What a form may be sent
// to is added to it: browsers apply form-action to the redirect that follows,
// too, so the page that sends the browser back to the device has to name it.
const pagePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"

// pages are what a person sees in a browser.
type pages struct {
	server *Server
	signin *signin.Service
	web    *web.Pages
	mux    *http.ServeMux // knows all routes, also those that are no pages
}

// pageRoutes registers them. They are public in the sense of Access: who sits
// there is shown by cookies, which count here and nowhere else.
func pageRoutes(t *table) {
	p := &pages{server: t.server, signin: t.server.signin, web: t.server.web, mux: t.mux}
	t.server.pages = p
	add := func(method, path, doc string, do func(http.ResponseWriter, *http.Request) error) {
		t.plain(route{Method: method, Path: path, Access: Public, Doc: doc}, do, p.fail)
	}
	begin := func(path, doc string, do func(http.ResponseWriter, *http.Request) error) {
		t.plain(route{Method: "GET", Path: path, Access: Public, Begins: true, Doc: doc}, do, p.fail)
	}
	add("GET", "/{$}", "What this is", p.home)
	add("GET", "/static/", "Style", p.static)
	begin("/oauth/authorize", "A device sends the browser here (RFC 6749 section 4.1.1)", p.authorize)
	add("GET", "/signin", "Asks for name and password", p.signIn)
	add("POST", "/signin", "Takes name and password", p.form(p.password))
	add("GET", "/confirm", "Asks whether to sign the device in", p.confirm)
	add("POST", "/confirm", "Takes yes or no", p.form(p.decide))
	add("POST", "/signout", "Signs the person out of this browser", p.form(p.signOut))
	begin(federationPath+"{provider}", "Sends the browser to an identity provider", p.federate)
	add("GET", api.CallbackPath+"{provider}", "An identity provider sends the browser back (RFC 6749 section 4.1.2)", p.federated)
	factorRoutes(t, p)
	deviceCodeRoutes(t, p)
	setupRoutes(t, p)
	t.mux.HandleFunc("/", p.nothing)
}

// nothing answers what no route takes, to programs in their way.
func (p *pages) nothing(w http.ResponseWriter, r *http.Request) {
	by, _ := caller.From(r.Context())
	err := p.server.within(w, r, route{Access: Public}, func(context.Context) error {
		missing := api.Errorf(api.NotFound, "there is no %s", ident.Text(short(r.Method+" "+r.URL.Path)))
		if allowed := p.allowed(r); allowed != "" {
			w.Header().Set("Allow", allowed)
			missing.StatusCode, missing.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
			missing = missing.WithHint("this path takes %s", allowed)
		}
		return missing
	})
	if strings.HasPrefix(r.URL.Path, api.PathPrefix+"/") || strings.HasPrefix(r.URL.Path, "/oauth/") {
		writeProblem(w, p.server.public(r.Context(), by, err))
		return
	}
	p.fail(w, r, err)
}

// methods are those that some route takes.
var methods = [...]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// allowed are the methods that there are for a path, "" for a path that there is
// not. What catches everything else is in the way of the mux's own answer.
func (p *pages) allowed(r *http.Request) string {
	var out []string
	for _, m := range methods {
		other := http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := p.mux.Handler(&other); pattern != "/" {
			out = append(out, m)
		}
	}
	return strings.Join(out, ", ")
}

// short is as much of what somebody sent as an answer repeats.
func short(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most]
	}
	return s
}

func (p *pages) static(w http.ResponseWriter, r *http.Request) error {
	f, ok := p.web.Static(r.URL.Path)
	if !ok {
		return api.Errorf(api.NotFound, "there is no such page")
	}
	w.Header().Set("Content-Type", f.Type)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // the path has the hash
	_, err := w.Write(f.Body)
	return err
}

// authorize takes a device's request and begins a sign-in in this browser.
func (p *pages) authorize(w http.ResponseWriter, r *http.Request) error {
	b := p.browser(r)
	if b.Token == "" {
		b.Token = signin.NewSecret()
		p.setCookie(w, browserCookie, b.Token, 0)
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return api.Errorf(api.Invalid, "the link is broken").WithHint("type: cardea login")
	}
	id, err := p.signin.Begin(r.Context(), q, b)
	var refusal *signin.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Redirect != "":
		http.Redirect(w, r, refusal.Redirect, http.StatusSeeOther)
		return nil
	case errors.As(err, &refusal):
		return api.Errorf(api.Invalid, "%s", refusal.Reason).WithHint("open no links of others; in a terminal type: cardea login")
	case err != nil:
		return err
	}
	return p.to(w, r, "/confirm", id)
}

// signIn asks for name and password.
func (p *pages) signIn(w http.ResponseWriter, r *http.Request) error {
	return p.askPassword(w, r, r.URL.Query().Get("request"), "", nil)
}

// askPassword shows the form, after a failed try with what went wrong.
func (p *pages) askPassword(w http.ResponseWriter, r *http.Request, id, name string, problem *api.Error) error {
	req, err := p.about(r, id)
	if err != nil {
		return err
	}
	providers, err := p.providers(r, req.ID)
	if err != nil {
		return err
	}
	v := web.SignIn{Team: p.team(r), Request: req.ID, Device: req.DeviceName, Code: req.Code, Name: name, Project: req.Project, Dashboard: req.Dashboard, Replaces: req.Replaces, Providers: providers}
	status := http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
		pageProblem(w, problem)
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.SignIn(w, v) })
}

// password takes name and password.
func (p *pages) password(w http.ResponseWriter, r *http.Request) error {
	id, name := r.PostForm.Get("request"), r.PostForm.Get("name")
	b := p.browser(r)
	if _, err := p.about(r, id); err != nil {
		return err // no request of this browser: not one password is looked at
	}
	login, needs, err := p.check(r, name, b)
	var told *api.Error
	switch {
	case errors.As(err, &told):
		return p.askPassword(w, r, id, name, told)
	case err != nil:
		return err
	}
	// Whoever was signed in here before is not any more.
	if err := p.signin.Forget(r.Context(), b); err != nil {
		return err
	}
	p.setCookie(w, loginCookie, login, int(signin.BrowserLife.Seconds()))
	return p.onward(w, r, id, needs, login)
}

// check checks a password within the limit of its source.
func (p *pages) check(r *http.Request, name string, b signin.Browser) (login, needs string, err error) {
	now, source := p.server.options.Now(), sourceKey(b.Source)
	wrong := p.server.limits.passwords
	if wrong.empty(source, now) {
		return "", "", tooMany("too many wrong passwords from your address")
	}
	login, needs, err = p.signin.Password(r.Context(), name, r.PostForm.Get("password"), b, source)
	if api.KindOf(err) == api.SignIn {
		wrong.take(source, now)
	}
	return login, needs, err
}

// confirm shows what is about to happen.
func (p *pages) confirm(w http.ResponseWriter, r *http.Request) error {
	b := p.browser(r)
	req, err := p.signin.Show(r.Context(), r.URL.Query().Get("request"), b)
	if err != nil {
		return err
	}
	user, since, ok, err := p.signin.Person(r.Context(), b)
	if err != nil {
		return err
	}
	if ok && req.Grant {
		if err := p.signin.TurnAway(r.Context(), req.ID, user, b); err != nil {
			return err
		}
	}
	if !ok || !req.Rests(since) {
		return p.to(w, r, "/signin", req.ID)
	}
	if req.Dashboard {
		return p.confirmDashboard(w, r, req, user)
	}
	old, missing, err := p.signin.InPlaceOf(r.Context(), req, user)
	if err != nil {
		return err
	}
	return p.show(w, http.StatusOK, req.Redirect, func(w io.Writer) error {
		return p.web.Confirm(w, web.Confirm{
			Team: p.team(r), Request: req.ID, User: user.Name, Login: user.Login,
			Device: req.DeviceName, Source: req.Source, Code: req.Code, Project: req.Project,
			Replaces: req.Replaces, InPlaceOf: old, Missing: capital(missing),
			Origin: req.Origin, Elsewhere: req.Origin != "" && elsewhere(req.Origin, req.Source),
		})
	})
}

// decide takes yes or no and sends the browser back to the device. Anything
// but a clear yes is no.
func (p *pages) decide(w http.ResponseWriter, r *http.Request) error {
	id := r.PostForm.Get("request")
	if r.PostForm.Get("decision") == "dashboard" {
		return p.openDashboard(w, r, id, p.browser(r))
	}
	redirect, err := p.signin.Decide(r.Context(), id, p.browser(r), r.PostForm.Get("decision") == "approve")
	if api.KindOf(err) == api.SignIn {
		return p.to(w, r, "/signin", id)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, redirect, http.StatusSeeOther)
	return nil
}

// signOut lets another person sign in, for the same request.
func (p *pages) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := p.signin.Forget(r.Context(), p.browser(r)); err != nil {
		return err
	}
	p.setCookie(w, loginCookie, "", -1)
	return p.to(w, r, "/signin", r.PostForm.Get("request"))
}

// form lets in what one of our own pages sent, and nothing else: the browser
// says so itself, by Sec-Fetch-Site or at least by Origin. A request with
// neither is no browser's, or an old one's that cannot be told from an attack.
func (p *pages) form(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !p.ownOrigin(r) {
			return api.Errorf(api.Denied, "this form was sent by another site").WithHint("type: cardea login")
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || media != "application/x-www-form-urlencoded" || r.ParseForm() != nil {
			return api.Errorf(api.Invalid, "the form could not be read").WithHint("go back and try again")
		}
		bodyRead(w)
		return next(w, r)
	}
}

func (p *pages) ownOrigin(r *http.Request) bool {
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	switch {
	case len(site) == 0 && len(origin) == 0, len(site) > 1, len(origin) > 1:
		return false
	case len(site) == 1 && site[0] != "same-origin":
		return false
	}
	return len(origin) == 0 || origin[0] == p.server.origin
}

// show writes a page. redirect is where its form's answer will lead; empty for
// forms that stay here.
func (p *pages) show(w http.ResponseWriter, status int, redirect string, render func(io.Writer) error) error {
	policy := pagePolicy
	switch u, err := url.Parse(redirect); {
	case redirect == "" || err != nil:
	case strings.HasPrefix(u.Host, "["):
		policy += " http:" // a policy cannot name an IPv6 address
	default:
		policy += " http://" + u.Host
	}
	var page strings.Builder
	if err := render(&page); err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err := io.WriteString(w, page.String())
	if err != nil {
		p.server.options.Logger.Debug("a browser left", "error", err)
	}
	return nil
}

func (p *pages) caller(r *http.Request) caller.Caller {
	by, _ := caller.From(r.Context())
	return by
}

// fail is a page for an error.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := p.server.public(r.Context(), p.caller(r), err)
	pageProblem(w, e)
	title := map[api.Kind]string{
		api.Gone: "This sign-in is over", api.Denied: "That is not allowed", api.Limited: "Too many tries",
		api.NotFound: "There is nothing here", api.Internal: "Something went wrong", api.Unavailable: "Try again in a moment",
	}[e.Kind]
	if title == "" {
		title = "That did not work"
	}
	m := web.Message{Team: p.team(r), Title: title, Text: capital(e.Detail) + ".", Hint: capital(e.Hint)}
	if e.Kind == api.Internal {
		m.ID = e.ID
	}
	if err := p.show(w, e.StatusCode, "", func(w io.Writer) error { return p.web.Message(w, m) }); err != nil {
		panic(err) // a template of ours that does not fit its model
	}
}

// pageProblem sets what HTTP says about an error, without the challenge: no
// browser could answer it.
func pageProblem(w http.ResponseWriter, e *api.Error) {
	problemHeaders(w.Header().Set, e)
	w.Header().Del("WWW-Authenticate")
}

// to sends the browser to another of our pages.
func (p *pages) to(w http.ResponseWriter, r *http.Request, path, request string) error {
	http.Redirect(w, r, path+"?"+url.Values{"request": {request}}.Encode(), http.StatusSeeOther)
	return nil
}

// team is the team's name for the top of a page; a page that tells of a broken
// store has none.
func (p *pages) team(r *http.Request) string {
	team, err := p.server.options.Store.Team(r.Context())
	if err != nil {
		return ""
	}
	return team.Name
}

// sentence is an error as a page says it.
func sentence(e *api.Error) string {
	s := capital(e.Detail) + "."
	if e.Hint != "" {
		s += " " + capital(e.Hint) + "."
	}
	return s
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// The cookies. The browser's is from before anybody signed in, and ties a
// request to the browser that began it; the login's is new at each sign-in. By the third one
// a browser is known in which somebody has shown a second factor; it opens nothing.
const (
	browserCookie = "browser"
	loginCookie   = "login"
	knownCookie   = "known"
)

// cookieName has the prefix that keeps other hosts of the domain from setting
// it, where there is TLS; without TLS browsers do not take it.
func (p *pages) cookieName(kind string) string {
	name := "cardea-" + kind
	if p.server.secure() {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie for maxAge seconds, until the browser is closed for
// 0, or removes it for -1.
func (p *pages) setCookie(w http.ResponseWriter, kind, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: p.cookieName(kind), Value: value, Path: "/", MaxAge: maxAge,
		Secure: p.server.secure(), HttpOnly: true,
		// Lax, not Strict: the link from a terminal must find the browser's cookie.
		SameSite: http.SameSiteLaxMode,
	})
}

// browser reads what the browser sent. A value that is not of our making
// counts as none.
func (p *pages) browser(r *http.Request) signin.Browser {
	by, _ := caller.From(r.Context())
	b := signin.Browser{Source: by.Source, From: sourceKey(by.Source)}
	for kind, to := range map[string]*string{browserCookie: &b.Token, loginCookie: &b.Login, knownCookie: &b.Known} {
		if c, err := r.Cookie(p.cookieName(kind)); err == nil && len(c.Value) == signin.SecretLen {
			*to = c.Value
		}
	}
	return b
}
