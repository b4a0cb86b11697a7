package control

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/web"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// dashboardHome is where the dashboard begins.
const dashboardHome = "/requests"

// dashboardCookie holds the token of a session of the dashboard. It opens nothing but the
// dashboard's pages, and no other cookie and no token of a device opens those.
const dashboardCookie = "dashboard"

// browserCookieLife is how long a browser is known again in which somebody had the
// dashboard open, in seconds: by it a person is found out who answers his own request by a
// second account. It is as long as browsers keep any.
const browserCookieLife = 400 * 24 * 60 * 60

// dashboard adds a route of the dashboard: for who is signed in there. What changes
// something takes a form of one of our own pages, and nothing else.
func (p *pages) dashboard(t *table, r route, do func(w http.ResponseWriter, r *http.Request, by caller.Caller) error) {
	r.Access = Dashboard
	seated := func(w http.ResponseWriter, req *http.Request) error {
		by, err := p.visitor(req)
		if api.KindOf(err) == api.SignIn {
			return p.toSignIn(w, req, err)
		}
		if err != nil {
			return err
		}
		if !r.Background {
			p.server.seeDashboard(req.Context(), by)
		}
		return do(w, req, by)
	}
	if r.mutates() {
		seated = p.form(seated)
	}
	t.plain(r, seated, p.fail)
}

// visitor is who has the dashboard open in this browser now.
func (p *pages) visitor(r *http.Request) (caller.Caller, error) {
	by, _ := caller.From(r.Context())
	who, err := p.signin.Dashboard(r.Context(), p.dashboardToken(r))
	if errors.Is(err, store.ErrNotFound) {
		return by, api.Errorf(api.SignIn, "this needs a sign-in")
	}
	if err != nil {
		return by, err
	}
	if refused := p.server.allowDashboard(who, p.server.options.Now()); refused != nil {
		return by, refused
	}
	by.Subject = who
	return by, nil
}

// dashboardToken is what the browser sent; "" for none of our making.
func (p *pages) dashboardToken(r *http.Request) string {
	if c, err := r.Cookie(p.cookieName(dashboardCookie)); err == nil && len(c.Value) == signin.SecretLen {
		return c.Value
	}
	return ""
}

// toSignIn has who is not signed in to the dashboard (any more) sign in, and come back to
// the page that he wanted. What a form was to change is not done by that.
func (p *pages) toSignIn(w http.ResponseWriter, r *http.Request, _ error) error {
	to := dashboardHome
	if id := r.PathValue("request"); ident.Check(id, ident.AccessRequest) == nil {
		to += "/" + id
	}
	return p.beginDashboard(w, r, to, "")
}

// beginDashboard begins a sign-in to the dashboard in this browser; project as in
// signin.BeginDashboard.
func (p *pages) beginDashboard(w http.ResponseWriter, r *http.Request, to, project string) error {
	b := p.browser(r)
	// It leaves a row of somebody whom nobody knows.
	if !p.server.limits.begins.take(sourceKey(b.Source), p.server.options.Now()) {
		return tooMany("too many calls from your address")
	}
	if b.Token == "" {
		b.Token = signin.NewSecret()
		p.setCookie(w, browserCookie, b.Token, 0)
	}
	id, err := p.signin.BeginDashboard(r.Context(), to, project, b)
	if err != nil {
		return err
	}
	return p.to(w, r, "/confirm", id)
}

// onward sends somebody on who has just shown who he is. login is the browser's new secret.
func (p *pages) onward(w http.ResponseWriter, r *http.Request, id, needs, login string) error {
	if id == ownAccount || needs != store.NeedsNothing {
		return p.to(w, r, after(id, needs), id)
	}
	b := p.browser(r)
	b.Login = login
	req, err := p.signin.Show(r.Context(), id, b)
	if err != nil {
		return err
	}
	if !req.Dashboard {
		return p.to(w, r, after(id, needs), id)
	}
	return p.openDashboard(w, r, id, b)
}

// openDashboard ends a sign-in to the dashboard.
func (p *pages) openDashboard(w http.ResponseWriter, r *http.Request, id string, b signin.Browser) error {
	opened, err := p.signin.OpenDashboard(r.Context(), id, r.UserAgent(), p.dashboardToken(r), b)
	if api.KindOf(err) == api.SignIn {
		return p.to(w, r, "/signin", id)
	}
	if err != nil {
		return err
	}
	p.setCookie(w, dashboardCookie, opened.Token, int(opened.Life.Seconds()))
	p.setCookie(w, browserCookie, b.Token, browserCookieLife)
	http.Redirect(w, r, opened.To, http.StatusSeeOther)
	return nil
}

// confirmDashboard asks who signed in at this browser a while ago, for something else,
// whether he wants the dashboard: no link of somebody else opens it.
func (p *pages) confirmDashboard(w http.ResponseWriter, r *http.Request, req signin.Request, user store.User) error {
	return p.show(w, http.StatusOK, "", func(w io.Writer) error {
		return p.web.Enter(w, web.Enter{Team: p.team(r), Request: req.ID, User: user.Name})
	})
}

// leave signs out of the dashboard.
func (p *pages) leave(w http.ResponseWriter, r *http.Request, by caller.Caller) error {
	if err := p.signin.CloseDashboard(r.Context(), by, p.browser(r)); err != nil {
		return err
	}
	p.setCookie(w, dashboardCookie, "", -1)
	p.setCookie(w, loginCookie, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// home is the first page: what this is, or the dashboard for who has it open.
func (p *pages) home(w http.ResponseWriter, r *http.Request) error {
	switch _, err := p.visitor(r); {
	case err == nil:
		http.Redirect(w, r, dashboardHome, http.StatusSeeOther)
		return nil
	case api.KindOf(err) != api.SignIn && api.KindOf(err) != api.Denied:
		return err
	}
	return p.show(w, http.StatusOK, "", func(w io.Writer) error {
		return p.web.Message(w, web.Message{
			Team: p.team(r), Title: "This is Cardea", Text: "Reach your servers by SSH with the identity you already have.",
			Hint: "In a terminal, type: cardea login " + p.server.options.PublicURL,
			Path: dashboardHome, Link: "Requests for access",
		})
	})
}

// again has who wants to let others into a project show once more who he is, where it
// demands that, and come back to the request.
func (p *pages) again(w http.ResponseWriter, r *http.Request, _ caller.Caller) error {
	id, project := r.PathValue("request"), r.PostForm.Get("project")
	if ident.Check(id, ident.AccessRequest) != nil || ident.ProjectName(project) != nil {
		return api.Errorf(api.NotFound, "there is no such page")
	}
	return p.beginDashboard(w, r, dashboardHome+"/"+url.PathEscape(id), project)
}
