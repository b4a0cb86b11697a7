package control

import (
	"errors"
	"io"
	"net/http"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/web"
	"github.com/cardea-ssh/cardea/store"
)

// setupRoutes are the page on which the first administrator chooses his password. The
// code is typed, and is no part of an address: those are kept in histories and logs.
func setupRoutes(t *table, p *pages) {
	add := func(method, path, doc string, do func(http.ResponseWriter, *http.Request) error) {
		t.plain(route{Method: method, Path: path, Access: Public, Doc: doc}, do, p.fail)
	}
	add("GET", "/setup", "Asks for a set-up code and a new password", func(w http.ResponseWriter, r *http.Request) error {
		return p.askSetup(w, r, "", nil)
	})
	add("POST", "/setup", "Takes a set-up code and a new password", p.form(p.setup))
}

// askSetup asks for the code, and then for the password of its user: who holds the code reads
// whose it is before he chooses.
func (p *pages) askSetup(w http.ResponseWriter, r *http.Request, user string, problem *api.Error) error {
	v := web.Setup{Team: p.team(r), User: user, Code: r.PostForm.Get("code")}
	status := http.StatusOK
	if problem != nil {
		v.Problem, status = sentence(problem), problem.StatusCode
		pageProblem(w, problem)
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.Setup(w, v) })
}

func (p *pages) setup(w http.ResponseWriter, r *http.Request) error {
	u, err := p.invited(r)
	if err == nil && !r.PostForm.Has("password") {
		return p.askSetup(w, r, u.Name, nil)
	}
	if err == nil {
		err = p.setPassword(r, u)
	}
	var told *api.Error
	switch {
	case errors.As(err, &told):
		return p.askSetup(w, r, u.Name, told)
	case err != nil:
		return err
	}
	return p.show(w, http.StatusOK, "", func(w io.Writer) error {
		return p.web.Message(w, web.Message{
			Team: p.team(r), Title: "The control plane is yours", Text: "The password of " + u.Name + " is set.",
			Hint: "In a terminal, type: cardea login " + p.server.options.PublicURL,
		})
	})
}

// invited is whose password the holder of the code may choose.
func (p *pages) invited(r *http.Request) (store.User, error) {
	b := p.browser(r)
	now, source := p.server.options.Now(), sourceKey(b.Source)
	wrong := p.server.limits.passwords
	if wrong.empty(source, now) {
		return store.User{}, tooMany("too many wrong codes from your address")
	}
	u, err := p.signin.Invited(r.Context(), r.PostForm.Get("code"), b)
	if api.KindOf(err) == api.Gone {
		wrong.take(source, now)
	}
	return u, err
}

// setPassword takes the password, once the code was good: a stranger costs no hash.
func (p *pages) setPassword(r *http.Request, u store.User) error {
	form := r.PostForm
	if err := chosen(form, u.Name); err != nil {
		return err
	}
	return p.signin.Accept(r.Context(), form.Get("code"), form.Get("password"), u, p.browser(r))
}
