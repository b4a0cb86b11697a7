package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/tui"
	"github.com/cardea-ssh/cardea/tui/draw"
)

// requestsEvery is how often the screen of requests asks for what is new.
const requestsEvery = 5 * time.Second

// onScreen gives a verb that groups others a screen: at a terminal it shows that, elsewhere
// its help as before.
func onScreen(a *app, cmd *cobra.Command, show func(cmd *cobra.Command, in, out *os.File) error) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownVerb(cmd, args[0])
		}
		in, out, ok := a.screen()
		if !ok {
			return cmd.Help()
		}
		return show(cmd, in, out)
	}
}

// screen is the whole terminal, if both ends of it are there and it can draw.
func (a *app) screen() (in, out *os.File, ok bool) {
	in, isFile := a.in.(*os.File)
	out, isFile2 := a.out.(*os.File)
	if !isFile || !isFile2 || a.output == asJSON || a.env("TERM") == "dumb" {
		return nil, nil, false
	}
	return in, out, term.IsTerminal(in) && term.IsTerminal(out)
}

// requestsScreen shows the screen. Each of its calls reads the session anew: another
// process may have renewed it while the screen stood open.
func (a *app) requestsScreen(ctx context.Context, in, out *os.File) error {
	if _, err := a.client(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	screen := tui.NewRequests(ctx, tui.Wires{
		Load: a.requestLists, Act: a.actOnRequest, Every: requestsEvery, Comment: api.MaxRequestReason, Now: a.now,
	})
	return a.show(ctx, screen, in, out)
}

func (a *app) requestLists(ctx context.Context) (tui.Lists, error) {
	client, err := a.client(ctx)
	if err != nil {
		return tui.Lists{}, problem(err)
	}
	waiting, err := api.All[api.AccessRequest](ctx, client, "/v1/requests/pending", nil)
	if err != nil {
		return tui.Lists{}, problem(err)
	}
	mine, err := call[api.List[api.AccessRequest]](ctx, a, "GET", "/v1/requests", nil) // the newest
	if err != nil {
		return tui.Lists{}, problem(err)
	}
	var lists tui.Lists
	for _, r := range waiting {
		row := requestRow(r)
		row.Spans, row.Verbs = requestSpans(r.Seconds), []tui.Verb{tui.Approve, tui.Deny}
		lists.Waiting = append(lists.Waiting, row)
	}
	for _, r := range mine.Items {
		row := requestRow(r)
		switch {
		case r.State == api.RequestPending:
			row.Verbs = []tui.Verb{tui.Cancel}
		case r.State == api.RequestApproved && r.Until.After(a.now()):
			row.Verbs = []tui.Verb{tui.End}
		}
		lists.Mine = append(lists.Mine, row)
	}
	return lists, nil
}

func requestRow(r api.AccessRequest) tui.Request {
	until := r.Until
	if r.State == api.RequestPending {
		until = r.ExpiresAt
	}
	return tui.Request{
		ID: r.ID, State: r.State, User: r.UserName, To: accessTo(r), Group: r.GroupName, Rule: r.Rule, For: lasting(r.Seconds), Reason: r.Reason,
		Asked: r.CreatedAt, Until: stamp(until), By: r.AnsweredByName, Answer: r.Answer,
	}
}

// requestSpans are what was asked for, and the usual times that are shorter.
func requestSpans(asked int) []tui.Span {
	spans := []tui.Span{{Seconds: asked, Text: lasting(asked)}}
	for _, d := range []time.Duration{168 * time.Hour, 72 * time.Hour, 24 * time.Hour, 12 * time.Hour, 8 * time.Hour, 4 * time.Hour, 2 * time.Hour, time.Hour, 30 * time.Minute, 15 * time.Minute, 5 * time.Minute} {
		if s := int(d / time.Second); s < asked {
			spans = append(spans, tui.Span{Seconds: s, Text: lasting(s)})
		}
	}
	return spans
}

func (a *app) actOnRequest(ctx context.Context, c tui.Choice) error {
	path, err := pathOf("requests", c.ID, string(c.Verb))
	if err != nil {
		return problem(err)
	}
	var in any
	if c.Verb == tui.Approve || c.Verb == tui.Deny {
		in = api.NewRequestAnswer{Seconds: c.Seconds, Reason: c.Comment}
	}
	_, err = call[api.AccessRequest](ctx, a, "POST", path, in)
	return problem(err)
}

// problem is an error as a screen shows it.
func problem(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return &draw.Problem{Text: e.Detail, Hint: e.Hint}
	}
	return err
}
