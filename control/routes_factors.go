package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/web"
	"github.com/cardea-ssh/cardea/store"
)

// ownAccount stands in the place of a device's request where a person signs in to see to
// his own second factors.
const ownAccount = "account"

// scriptPolicy is pagePolicy for the pages that speak to a passkey: with one script, a
// file of ours.
const scriptPolicy = pagePolicy + "; script-src 'self'"

// factorRoutes are the pages of second factors, and their reset.
func factorRoutes(t *table, p *pages) {
	s := t.server.signin
	handle(t, route{Method: "POST", Path: "/v1/users/{user}/reset-factors", Access: Admin, Doc: "Take all second factors from a user who lost them"},
		func(ctx context.Context, by caller.Caller, in *struct {
			User string `path:"user"`
		}) (*api.Named, error) {
			return s.ResetFactors(ctx, by, in.User)
		})
	add := func(method, path, doc string, do func(http.ResponseWriter, *http.Request) error) {
		t.plain(route{Method: method, Path: path, Access: Public, Doc: doc}, do, p.fail)
	}
	add("GET", "/factor", "Asks for a second factor", p.factor)
	add("POST", "/factor", "Takes a second factor", p.form(p.showFactor))
	add("GET", "/account", "A person's own second factors", p.account)
	add("POST", "/account/totp", "Makes a secret for an authenticator program", p.form(p.beginTOTP))
	add("POST", "/account/totp/confirm", "Takes its first code", p.form(p.addTOTP))
	add("POST", "/account/passkey", "Asks for a new passkey", p.form(p.beginPasskey))
	add("POST", "/account/passkey/confirm", "Takes the new passkey", p.form(p.addPasskey))
	add("POST", "/account/recovery", "Makes recovery codes", p.form(p.recovery))
	add("GET", "/account/password", "Asks for the present password and another one", p.newPassword)
	add("POST", "/account/password", "Takes a person's own new password", p.form(p.changePassword))
	add("POST", "/account/remove", "Removes a second factor", p.form(p.removeFactor))
}

// about is what a page is shown for: a device's request of this browser, or nothing but
// the person's own account.
func (p *pages) about(r *http.Request, id string) (signin.Request, error) {
	if id == ownAccount {
		return signin.Request{ID: ownAccount}, nil
	}
	return p.signin.Show(r.Context(), id, p.browser(r))
}

// after is where a person goes who has signed in.
func after(id, needs string) string {
	switch {
	case needs == store.NeedsFactor:
		return "/factor"
	case needs == store.NeedsEnrolment, id == ownAccount:
		return "/account"
	}
	return "/confirm"
}

// factor asks for a second factor.
func (p *pages) factor(w http.ResponseWriter, r *http.Request) error {
	return p.askFactor(w, r, r.URL.Query().Get("request"), nil)
}

func (p *pages) askFactor(w http.ResponseWriter, r *http.Request, id string, problem *api.Error) error {
	req, err := p.about(r, id)
	if err != nil {
		return err
	}
	b := p.browser(r)
	at, ok, err := p.signin.Sitting(r.Context(), b)
	switch {
	case err != nil:
		return err
	case !ok:
		return p.to(w, r, "/signin", req.ID)
	case at.Needs != store.NeedsFactor:
		return p.to(w, r, after(req.ID, at.Needs), req.ID)
	}
	factors, codes, err := p.signin.Factors(r.Context(), at)
	if err != nil {
		return err
	}
	v := web.Factor{Team: p.team(r), Request: req.ID, User: at.User.Name, Codes: codes > 0}
	for _, f := range factors {
		v.TOTP = v.TOTP || f.Kind == store.FactorTOTP
	}
	if v.Passkey, err = p.signin.AskPasskey(r.Context(), b); err != nil {
		return err
	}
	status := http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
		pageProblem(w, problem)
	}
	return p.showScript(w, status, func(w io.Writer) error { return p.web.Factor(w, v) })
}

// showFactor takes one.
func (p *pages) showFactor(w http.ResponseWriter, r *http.Request) error {
	id, b := r.PostForm.Get("request"), p.browser(r)
	if _, err := p.about(r, id); err != nil {
		return err
	}
	now, source := p.server.options.Now(), sourceKey(b.Source)
	wrong := p.server.limits.passwords
	if wrong.empty(source, now) {
		return tooMany("too many wrong codes from your address")
	}
	var login string
	var err error
	if answer := r.PostForm.Get("passkey"); answer != "" {
		login, err = p.signin.ShowPasskey(r.Context(), answer, b)
	} else {
		login, err = p.signin.ShowCode(r.Context(), r.PostForm.Get("code"), b)
	}
	var told *api.Error
	switch {
	case errors.As(err, &told):
		if told.Kind == api.SignIn {
			wrong.take(source, now)
		}
		return p.askFactor(w, r, id, told)
	case err != nil:
		return err
	}
	if err := p.signedIn(w, r, login); err != nil {
		return err
	}
	return p.onward(w, r, id, store.NeedsNothing, login)
}

// signedIn gives the browser of somebody who has shown a second factor its login secret, and
// remembers it.
func (p *pages) signedIn(w http.ResponseWriter, r *http.Request, login string) error {
	p.setCookie(w, loginCookie, login, int(signin.BrowserLife.Seconds()))
	b := p.browser(r)
	b.Login = login
	known, err := p.signin.Know(r.Context(), b)
	if known != "" {
		p.setCookie(w, knownCookie, known, int(signin.KnownLife.Seconds()))
	}
	return err
}

// account shows a person's own second factors.
func (p *pages) account(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("request")
	if id == "" {
		id = ownAccount
	}
	return p.showAccount(w, r, id, nil)
}

// mayChange is who sits there, if he may change his own account now; onward is the page that he
// has to go to first, empty for none.
func (p *pages) mayChange(r *http.Request) (at signin.Sitting, onward string, err error) {
	at, ok, err := p.signin.Sitting(r.Context(), p.browser(r))
	switch {
	case err != nil:
		return at, "", err
	case !ok, at.Needs != store.NeedsFactor && !p.signin.Fresh(at):
		return at, "/signin", nil
	case at.Needs == store.NeedsFactor:
		return at, "/factor", nil
	}
	return at, "", signin.MayHaveFactors(at)
}

func (p *pages) showAccount(w http.ResponseWriter, r *http.Request, id string, problem *api.Error) error {
	req, err := p.about(r, id)
	if err != nil {
		return err
	}
	at, onward, err := p.mayChange(r)
	if err != nil {
		return err
	}
	if onward != "" {
		return p.to(w, r, onward, req.ID)
	}
	factors, codes, err := p.signin.Factors(r.Context(), at)
	if err != nil {
		return err
	}
	v := web.Account{
		Team: p.team(r), Request: req.ID, User: at.User.Name, Device: req.DeviceName,
		Must: at.Needs == store.NeedsEnrolment, Codes: codes, Passkeys: p.signin.HasPasskeys(),
	}
	for _, f := range factors {
		used := "never"
		if !f.UsedAt.IsZero() {
			used = stamp(f.UsedAt)
		}
		v.Factors = append(v.Factors, web.AccountFactor{ID: f.ID, Name: f.Name, Passkey: f.Kind == store.FactorPasskey, Since: stamp(f.CreatedAt), Used: used})
	}
	status := http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
		pageProblem(w, problem)
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.Account(w, v) })
}

// orAccount shows what the person may read of an error on his account's page, or sends
// him to sign in if that is what it needs.
func (p *pages) orAccount(w http.ResponseWriter, r *http.Request, id string, err error) error {
	var told *api.Error
	if !errors.As(err, &told) {
		return err
	}
	if told.Kind == api.SignIn {
		return p.to(w, r, "/signin", id)
	}
	return p.showAccount(w, r, id, told)
}

func (p *pages) beginTOTP(w http.ResponseWriter, r *http.Request) error {
	id := r.PostForm.Get("request")
	secret, err := p.signin.BeginTOTP(r.Context(), p.browser(r))
	if err != nil {
		return p.orAccount(w, r, id, err)
	}
	return p.showTOTP(w, r, id, secret, nil)
}

func (p *pages) showTOTP(w http.ResponseWriter, r *http.Request, id string, secret signin.TOTP, problem *api.Error) error {
	v := web.TOTP{Team: p.team(r), Request: id, Secret: secret.Text, URI: secret.URI}
	status := http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.TOTP(w, v) })
}

func (p *pages) addTOTP(w http.ResponseWriter, r *http.Request) error {
	id, b := r.PostForm.Get("request"), p.browser(r)
	login, err := p.signin.AddTOTP(r.Context(), r.PostForm.Get("name"), r.PostForm.Get("code"), b)
	var told *api.Error
	if errors.As(err, &told) && told.Kind == api.Invalid {
		secret, pending := p.signin.PendingTOTP(r.Context(), b)
		if pending == nil {
			return p.showTOTP(w, r, id, secret, told)
		}
	}
	return p.added(w, r, id, login, err)
}

// added shows recovery codes to who has a factor now and had none before.
func (p *pages) added(w http.ResponseWriter, r *http.Request, id, login string, err error) error {
	if err != nil {
		return p.orAccount(w, r, id, err)
	}
	if err := p.signedIn(w, r, login); err != nil {
		return err
	}
	b := p.browser(r)
	b.Login = login
	at, _, err := p.signin.Sitting(r.Context(), b)
	if err != nil {
		return err
	}
	if _, codes, err := p.signin.Factors(r.Context(), at); err != nil || codes > 0 {
		return errors.Join(err, p.to(w, r, "/account", id))
	}
	return p.showRecovery(w, r, id, b)
}

func (p *pages) beginPasskey(w http.ResponseWriter, r *http.Request) error {
	id := r.PostForm.Get("request")
	options, err := p.signin.BeginPasskey(r.Context(), p.browser(r))
	if err != nil {
		return p.orAccount(w, r, id, err)
	}
	return p.showScript(w, http.StatusOK, func(w io.Writer) error {
		return p.web.Passkey(w, web.Passkey{Team: p.team(r), Request: id, Options: options})
	})
}

func (p *pages) addPasskey(w http.ResponseWriter, r *http.Request) error {
	id := r.PostForm.Get("request")
	login, err := p.signin.AddPasskey(r.Context(), r.PostForm.Get("name"), r.PostForm.Get("passkey"), p.browser(r))
	return p.added(w, r, id, login, err)
}

func (p *pages) recovery(w http.ResponseWriter, r *http.Request) error {
	return p.showRecovery(w, r, r.PostForm.Get("request"), p.browser(r))
}

func (p *pages) showRecovery(w http.ResponseWriter, r *http.Request, id string, b signin.Browser) error {
	codes, err := p.signin.NewRecoveryCodes(r.Context(), b)
	if err != nil {
		return p.orAccount(w, r, id, err)
	}
	return p.show(w, http.StatusOK, "", func(w io.Writer) error {
		return p.web.Recovery(w, web.Recovery{Team: p.team(r), Request: id, Next: after(id, store.NeedsNothing), Codes: codes})
	})
}

func (p *pages) removeFactor(w http.ResponseWriter, r *http.Request) error {
	id := r.PostForm.Get("request")
	if err := p.signin.RemoveFactor(r.Context(), r.PostForm.Get("factor"), p.browser(r)); err != nil {
		return p.orAccount(w, r, id, err)
	}
	return p.to(w, r, "/account", id)
}

// showScript is show for a page with the script that speaks to passkeys.
func (p *pages) showScript(w http.ResponseWriter, status int, render func(io.Writer) error) error {
	var page strings.Builder
	if err := render(&page); err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", scriptPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if _, err := io.WriteString(w, page.String()); err != nil {
		p.server.options.Logger.Debug("a browser left", "error", err)
	}
	return nil
}
