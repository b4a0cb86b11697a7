package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/jit"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/control/web"
)

// How many rows the first page shows; who has more finds them with the CLI.
const (
	maxWaiting  = 50
	maxMine     = 10
	maxAnswered = 10
)

// askedAnew is how often the first page loads itself anew, in seconds: who answers leaves
// it open. That is no use of the session.
const askedAnew = 60

// answering are the dashboard's pages of requests. They show what the domain says and hand
// on what a person decided; who may what is decided there alone.
type answering struct {
	*pages
	jit *jit.Service
}

// dashboardRoutes are the dashboard.
func dashboardRoutes(t *table, s *jit.Service) {
	p := answering{t.server.pages, s}
	add := func(method, path, doc string, do func(http.ResponseWriter, *http.Request, caller.Caller) error) {
		p.dashboard(t, route{Method: method, Path: path, Doc: doc}, do)
	}
	add("GET", dashboardHome, "Requests that wait for one's answer, and one's own", p.requests)
	p.dashboard(t, route{Method: "GET", Path: "/requests/anew", Background: true, Doc: "The same, loaded by the page itself"}, p.requests)
	add("GET", "/requests/{request}", "One request", p.request)
	add("POST", "/requests/{request}/approve", "Takes a yes", p.answer(true))
	add("POST", "/requests/{request}/deny", "Takes a no", p.answer(false))
	add("POST", "/requests/{request}/cancel", "Takes one's own request back", p.change(s.Cancel))
	add("POST", "/requests/{request}/end", "Ends what was given before its time", p.change(s.End))
	add("POST", "/requests/{request}/again", "Has a person show once more who he is", p.again)
	for _, form := range []string{"approve", "deny", "cancel", "end", "again"} {
		add("GET", "/requests/{request}/"+form, "Leads to the request who opens again what a form's answer had in the address bar", p.back)
	}
	add("POST", "/dashboard/signout", "Signs out of the dashboard", p.leave)
}

// requests shows all that concerns the caller.
func (p answering) requests(w http.ResponseWriter, r *http.Request, by caller.Caller) error {
	ctx := r.Context()
	waiting, err := p.jit.Pending(ctx, by, api.Page{Limit: maxWaiting})
	if err != nil {
		return err
	}
	mine, err := p.jit.Mine(ctx, by, api.Page{Limit: maxMine})
	if err != nil {
		return err
	}
	answered, err := p.jit.Answered(ctx, by, maxAnswered)
	if err != nil {
		return err
	}
	v := web.Requests{Frame: p.frame(r, by), Anew: askedAnew, More: waiting.Next != ""}
	v.Waiting, v.Mine, v.Answered = p.rows(waiting.Items), p.rows(mine.Items), p.rows(answered)
	return p.show(w, http.StatusOK, "", func(w io.Writer) error { return p.web.Requests(w, v) })
}

func (p answering) frame(r *http.Request, by caller.Caller) web.Frame {
	return web.Frame{Team: p.team(r), User: by.User.Name}
}

func (p answering) rows(from []api.AccessRequest) []web.Request {
	out := make([]web.Request, 0, len(from))
	for _, r := range from {
		out = append(out, p.row(r))
	}
	return out
}

// row is a request in words.
func (p answering) row(r api.AccessRequest) web.Request {
	now := p.server.options.Now()
	v := web.Request{
		ID: r.ID, State: r.State, User: r.UserName, To: r.ProjectName, Group: r.GroupName, Rule: r.Rule, For: lookup.Span(time.Duration(r.Seconds) * time.Second), Reason: r.Reason,
		Asked: stamp(r.CreatedAt), Since: roughly(now.Sub(r.CreatedAt)), By: r.AnsweredByName, Answer: r.Answer, InAdvance: r.Preauthorization != "",
	}
	if r.Server != "" {
		name := r.ServerName
		if name == "" {
			name = r.Server
		}
		v.To += "/" + name
	}
	switch {
	case r.State == api.RequestPending:
		v.Until = stamp(r.ExpiresAt)
	case !r.Until.IsZero():
		v.Until = stamp(r.Until)
	case r.State == api.RequestApproved:
		v.Until = "no end"
	}
	if r.State == api.RequestApproved && !r.Until.IsZero() && !now.Before(r.Until) {
		v.State = "over"
	}
	return v
}

// roughly is how long ago something was, as people say it.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + "d"
}

// request shows one.
func (p answering) request(w http.ResponseWriter, r *http.Request, by caller.Caller) error {
	return p.showRequest(w, r, by, nil)
}

// showRequest shows one as it is now, after a change that failed with what went wrong.
func (p answering) showRequest(w http.ResponseWriter, r *http.Request, by caller.Caller, problem *api.Error) error {
	is, err := p.jit.Show(r.Context(), by, r.PathValue("request"), "", 0)
	if err != nil {
		return err
	}
	v := web.RequestPage{Frame: p.frame(r, by), Request: p.row(*is)}
	waits, own := is.State == api.RequestPending, is.User == by.User.ID
	v.Answers, v.Cancels = waits && !own, waits && own
	v.Ends = v.Request.State == api.RequestApproved && !is.Until.IsZero()
	v.Own = own
	if v.Answers {
		v.Spans = spans(is.Seconds)
		not, err := p.jit.NotFromHere(r.Context(), by, is.Project)
		if err != nil {
			return err
		}
		if not != nil {
			v.NotHere = capital(not.Detail) + "."
		}
	}
	status := http.StatusOK
	if problem != nil {
		v.Problem, v.Again, status = capital(problem.Detail)+".", problem.Reauth, problem.StatusCode
		v.Comment = r.PostForm.Get("comment")
		pageProblem(w, problem)
	}
	return p.show(w, status, "", func(w io.Writer) error { return p.web.Request(w, v) })
}

// back leads to the page of the request. Nothing is looked up: that page tells whether there
// is one.
func (p answering) back(w http.ResponseWriter, r *http.Request, _ caller.Caller) error {
	http.Redirect(w, r, dashboardHome+"/"+url.PathEscape(r.PathValue("request")), http.StatusSeeOther)
	return nil
}

// spans are the times that may be given instead of what was asked for.
func spans(asked int) []web.Span {
	var out []web.Span
	for _, d := range []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 24 * time.Hour, 72 * time.Hour, 168 * time.Hour} {
		if s := int(d / time.Second); s < asked {
			out = append(out, web.Span{Seconds: s, Text: lookup.Span(d)})
		}
	}
	return out
}

// answer takes a yes or a no.
func (p answering) answer(approve bool) func(http.ResponseWriter, *http.Request, caller.Caller) error {
	return func(w http.ResponseWriter, r *http.Request, by caller.Caller) error {
		in := api.NewRequestAnswer{Reason: strings.TrimSpace(r.PostForm.Get("comment"))}
		if text := r.PostForm.Get("seconds"); approve && text != "" {
			var err error
			if in.Seconds, err = strconv.Atoi(text); err != nil {
				return p.changed(w, r, by, api.Errorf(api.Invalid, "the time is no number of seconds"))
			}
		}
		_, err := p.jit.Answer(r.Context(), by, r.PathValue("request"), approve, in)
		return p.changed(w, r, by, err)
	}
}

// change is a button without anything to say.
func (p answering) change(do func(context.Context, caller.Caller, string) (*api.AccessRequest, error)) func(http.ResponseWriter, *http.Request, caller.Caller) error {
	return func(w http.ResponseWriter, r *http.Request, by caller.Caller) error {
		_, err := do(r.Context(), by, r.PathValue("request"))
		return p.changed(w, r, by, err)
	}
}

// changed shows the request as it is after a change. Of what is not the caller's business
// he hears here as little as everywhere.
func (p answering) changed(w http.ResponseWriter, r *http.Request, by caller.Caller, err error) error {
	var told *api.Error
	switch {
	case err == nil:
		http.Redirect(w, r, dashboardHome+"/"+r.PathValue("request"), http.StatusSeeOther)
		return nil
	case !errors.As(err, &told), told.Kind == api.NotFound:
		return err
	}
	return p.showRequest(w, r, by, p.server.public(r.Context(), by, told))
}
