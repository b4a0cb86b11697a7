package control

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/directory"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/web"
)

// newPassword asks a person for his present password and another one.
func (p *pages) newPassword(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("request")
	if id == "" {
		id = ownAccount
	}
	return p.askNewPassword(w, r, id, nil)
}

func (p *pages) askNewPassword(w http.ResponseWriter, r *http.Request, id string, problem *api.Error) error {
	if _, err := p.about(r, id); err != nil {
		return err
	}
	at, onward, err := p.mayChange(r)
	if err != nil {
		return err
	}
	if onward != "" {
		return p.to(w, r, onward, id)
	}
	v := web.Password{Team: p.team(r), Request: id, User: at.User.Name}
	status := http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
		pageProblem(w, problem)
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.Password(w, v) })
}

// changePassword takes both.
func (p *pages) changePassword(w http.ResponseWriter, r *http.Request) error {
	id := r.PostForm.Get("request")
	req, err := p.about(r, id)
	if err != nil {
		return err
	}
	login, err := p.tryPassword(r)
	var told *api.Error
	switch {
	case errors.As(err, &told) && told.Kind == api.SignIn:
		return p.to(w, r, "/signin", id)
	case errors.As(err, &told):
		return p.askNewPassword(w, r, id, told)
	case err != nil:
		return err
	}
	p.setCookie(w, loginCookie, login, int(signin.BrowserLife.Seconds()))
	p.setCookie(w, dashboardCookie, "", -1)
	v := web.Message{
		Team: p.team(r), Title: "Your password is changed", Text: "Your other sign-ins have ended, on your devices too.",
		Hint: "In a terminal, type: cardea login " + p.server.options.PublicURL, Path: "/account", Link: "Your account",
	}
	if req.DeviceName != "" {
		v.Hint, v.Path, v.Link = "", "/confirm?"+url.Values{"request": {id}}.Encode(), "Go on to sign in "+req.DeviceName
	}
	return p.show(w, http.StatusOK, "", func(w io.Writer) error { return p.web.Message(w, v) })
}

// tryPassword changes it, within the limit of the source. What is wrong with the new one costs
// no try at the present one.
func (p *pages) tryPassword(r *http.Request) (login string, err error) {
	b, form := p.browser(r), r.PostForm
	at, ok, err := p.signin.Sitting(r.Context(), b)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", api.Errorf(api.SignIn, "you are not signed in here any more")
	}
	if err := chosen(form, at.User.Name); err != nil {
		return "", err
	}
	if form.Get("password") == form.Get("present") {
		return "", api.Errorf(api.Invalid, "that is the present password").WithHint("choose another one")
	}
	now, source := p.server.options.Now(), sourceKey(b.Source)
	wrong := p.server.limits.passwords
	if wrong.empty(source, now) {
		return "", tooMany("too many wrong passwords from your address")
	}
	login, err = p.signin.ChangePassword(r.Context(), form.Get("present"), form.Get("password"), b, source)
	if api.KindOf(err) == api.Denied {
		wrong.take(source, now)
	}
	return login, err
}

// chosen judges a password that somebody chose, and typed twice.
func chosen(form url.Values, name string) error {
	if form.Get("password") != form.Get("again") {
		return api.Errorf(api.Invalid, "the two passwords differ").WithHint("type the same twice")
	}
	if err := directory.CheckPassword(form.Get("password"), name); err != nil {
		return api.Errorf(api.Invalid, "%s", err)
	}
	return nil
}
