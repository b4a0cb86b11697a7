package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

// defaultRequest is long enough for most work, and short enough to be given without thought.
const defaultRequest = time.Hour

func newRequest(a *app) *cobra.Command {
	var in api.NewAccessRequest
	var life time.Duration
	wait := false
	cmd := &cobra.Command{
		Use: "request SERVER|PROJECT", GroupID: groupAccess,
		Short: "Ask for access to a server or a project, for a time",
		Long: `Ask for access to a server or a project, for a time. Who may answer is told by a rule of
your administrators. With --wait it ends when there is an answer: with code 0 if it is yes, and 5 if not.`,
		Example:           "  cardea request web-1 --for 2h --reason 'the disk is full'\n  cardea request web --for 30m --reason INC-42 --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Target = args[0]
			if in.Seconds, err = requestSeconds(life); err != nil {
				return err
			}
			if err := checkLine(in.Reason, true); err != nil {
				return err
			}
			r, err := call[api.AccessRequest](cmd.Context(), a, "POST", "/v1/requests", in)
			if err != nil {
				return a.unlessIn(cmd.Context(), in, err)
			}
			if wait {
				return a.awaitAnswer(cmd.Context(), r)
			}
			if err := showOne(a, r, requestColumns()); err != nil {
				return err
			}
			if r.State == api.RequestPending {
				a.say("it waits for an answer; to wait with it type: cardea requests show %s --wait", r.ID)
				return nil
			}
			a.letIn(cmd.Context(), r)
			return nil
		},
	}
	span.Var(cmd.Flags(), &life, "for", defaultRequest, "how long")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, on one line, for who answers")
	cmd.Flags().StringVar(&in.Group, "group", "", "the group to be in, where there is more than one way")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the answer")
	mustBeGiven(cmd, "reason")
	return cmd
}

// unlessIn has who may enter already what he asks for told so. Where no rule leads there he
// hears from the control plane what everybody hears: that there is nothing to ask for.
func (a *app) unlessIn(ctx context.Context, in api.NewAccessRequest, err error) error {
	if api.KindOf(err) != api.NotFound || in.Group != "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	c, _, unknown := a.catalog(ctx)
	if unknown != nil || len(meant(c.Servers, in.Target)) != 1 {
		return err
	}
	return api.Errorf(api.Conflict, "you may enter server %s already, and no rule gives more", in.Target).WithHint("type: cardea ssh %s", in.Target)
}

// requestSeconds is what the wire carries: whole ones.
func requestSeconds(d time.Duration) (int, error) {
	if d%time.Second != 0 || d < api.MinRequest || d > api.MaxRequest {
		return 0, &usageError{"--for is 1m to 720h, in whole seconds", "for example: --for 2h"}
	}
	return int(d / time.Second), nil
}

// checkLine finds what the control plane would not take either.
func checkLine(reason string, needed bool) error {
	if needed && reason == "" || len(reason) > api.MaxRequestReason {
		return &usageError{fmt.Sprintf("a reason is one line of 1 to %d bytes", api.MaxRequestReason), "give another --reason"}
	}
	return nil
}

// lasting is a number of seconds as people say it.
func lasting(seconds int) string {
	if seconds == 0 {
		return ""
	}
	return span.Text(time.Duration(seconds) * time.Second)
}

// requestColumns show one request, all of it.
func requestColumns() []column[api.AccessRequest] {
	return []column[api.AccessRequest]{
		{"id", func(r api.AccessRequest) string { return r.ID }},
		{"state", func(r api.AccessRequest) string { return r.State }},
		{"user", func(r api.AccessRequest) string { return r.UserName }},
		{"for", func(r api.AccessRequest) string { return lasting(r.Seconds) }},
		{"access to", accessTo},
		{"group", func(r api.AccessRequest) string { return r.GroupName }},
		{"reason", func(r api.AccessRequest) string { return r.Reason }},
		{"asked", func(r api.AccessRequest) string { return stamp(r.CreatedAt) }},
		{"waits until", func(r api.AccessRequest) string {
			if r.State != api.RequestPending {
				return ""
			}
			return stamp(r.ExpiresAt)
		}},
		{"answered by", func(r api.AccessRequest) string {
			if r.Preauthorization != "" {
				return r.AnsweredByName + ", in advance (" + r.Preauthorization + ")"
			}
			return r.AnsweredByName
		}},
		{"answer", func(r api.AccessRequest) string { return r.Answer }},
		{"until", func(r api.AccessRequest) string { return stamp(r.Until) }},
	}
}

// accessTo is what was asked for by name.
func accessTo(r api.AccessRequest) string {
	if r.Server == "" {
		return r.ProjectName
	}
	name := r.ServerName
	if name == "" {
		name = r.Server
	}
	return r.ProjectName + "/" + name
}

// awaitAnswer waits until a request is answered, and shows it.
func (a *app) awaitAnswer(ctx context.Context, r api.AccessRequest) error {
	if r.State == api.RequestPending {
		a.say("waiting for an answer to %s, until %s; Ctrl-C ends the waiting, and not the request", r.ID, stamp(r.ExpiresAt))
	}
	path, err := pathOf("requests", r.ID)
	if err != nil {
		return err
	}
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	q := url.Values{"state": {api.RequestPending}, "wait": {strconv.Itoa(int(api.LongPoll / time.Second))}}
	for r.State == api.RequestPending {
		if _, err := client.Get(ctx, path, q, &r); err != nil {
			return err
		}
	}
	if err := showOne(a, r, requestColumns()); err != nil {
		return err
	}
	if r.State != api.RequestApproved {
		return silentError{ExitDenied}
	}
	a.letIn(ctx, r)
	return nil
}

// letIn has the local agent hear of it now, so that plain ssh knows the server, and says
// what to type.
func (a *app) letIn(ctx context.Context, r api.AccessRequest) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	a.local.Refresh(ctx) // one that runs hears of it by itself a moment later; none need run
	if r.ServerName != "" {
		a.say("to enter it type: cardea ssh %s", r.ServerName)
	}
}

// newRequests are the verbs about requests, one's own and those to answer.
func newRequests(a *app) *cobra.Command {
	cmd := noun("requests", "Access that was asked for: your own requests, and those that you may answer",
		listVerb(a, "/v1/requests", "List your own requests, newest first", requestListColumns(false), nil),
		requestShow(a), requestCancel(a), requestEnd(a),
		requestRulesVerb(a, "rules", "List what you may ask for, and by which rules you may answer"),
		pendingVerb(a), requestApprove(a), requestDeny(a), preauthorizations(a))
	cmd.GroupID = groupAccess
	cmd.Long = "Access that was asked for: your own requests, and those that you may answer.\n" +
		"At a terminal this alone opens a screen where you see and answer them; all that it does the verbs below do, too."
	cmd.Example = "  cardea requests\n  cardea requests pending\n  cardea requests approve rqs_… --for 30m"
	onScreen(a, cmd, func(cmd *cobra.Command, in, out *os.File) error { return a.requestsScreen(cmd.Context(), in, out) })
	return cmd
}

func requestListColumns(others bool) []column[api.AccessRequest] {
	columns := []column[api.AccessRequest]{
		{"id", func(r api.AccessRequest) string { return r.ID }},
		{"state", func(r api.AccessRequest) string { return r.State }},
		{"access to", accessTo},
		{"group", func(r api.AccessRequest) string { return r.GroupName }},
		{"for", func(r api.AccessRequest) string { return lasting(r.Seconds) }},
		{"asked", func(r api.AccessRequest) string { return stamp(r.CreatedAt) }},
		{"until", func(r api.AccessRequest) string { return stamp(r.Until) }},
		{"answered by", func(r api.AccessRequest) string { return r.AnsweredByName }},
		{"reason", func(r api.AccessRequest) string { return r.Reason }},
	}
	if others {
		columns[1] = column[api.AccessRequest]{"user", func(r api.AccessRequest) string { return r.UserName }}
		columns[6] = column[api.AccessRequest]{"waits until", func(r api.AccessRequest) string { return stamp(r.ExpiresAt) }}
		columns = append(columns[:7], columns[8])
	}
	return columns
}

func requestShow(a *app) *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one request", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("requests", args[0])
			if err != nil {
				return err
			}
			r, err := call[api.AccessRequest](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			if wait {
				return a.awaitAnswer(cmd.Context(), r)
			}
			return showOne(a, r, requestColumns())
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the answer; it ends with code 5 if that is no")
	return cmd
}

func requestCancel(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "Take back a request of your own that waits", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.answer(cmd.Context(), args[0], "cancel", nil)
		},
	}
}

func requestEnd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "end ID", Short: "End what was given before its time: your own, or what you may answer", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.answer(cmd.Context(), args[0], "end", nil)
		},
	}
}

// answer changes a request, and shows what became of it.
func (a *app) answer(ctx context.Context, id, verb string, in any) error {
	path, err := pathOf("requests", id, verb)
	if err != nil {
		return err
	}
	r, err := call[api.AccessRequest](ctx, a, "POST", path, in)
	if err != nil {
		return err
	}
	return showOne(a, r, requestColumns())
}

func pendingVerb(a *app) *cobra.Command {
	cmd := listVerb(a, "/v1/requests/pending", "List the requests that wait for your answer", requestListColumns(true), nil)
	cmd.Use, cmd.Aliases = "pending", nil
	return cmd
}

func requestApprove(a *app) *cobra.Command {
	var in api.NewRequestAnswer
	var life time.Duration
	cmd := &cobra.Command{
		Use: "approve ID", Short: "Let somebody in who asked for it", Args: cobra.ExactArgs(1),
		Example: "  cardea requests approve rqs_… --for 30m --reason 'until the change is done'",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if cmd.Flags().Changed("for") {
				if in.Seconds, err = requestSeconds(life); err != nil {
					return err
				}
			}
			if err := checkLine(in.Reason, false); err != nil {
				return err
			}
			return a.answer(cmd.Context(), args[0], "approve", in)
		},
	}
	span.Var(cmd.Flags(), &life, "for", 0, "how long, if shorter than what was asked for")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "a line for who asked")
	return cmd
}

func requestDeny(a *app) *cobra.Command {
	var in api.NewRequestAnswer
	cmd := &cobra.Command{
		Use: "deny ID", Short: "Say no to somebody who asked", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLine(in.Reason, true); err != nil {
				return err
			}
			return a.answer(cmd.Context(), args[0], "deny", in)
		},
	}
	cmd.Flags().StringVar(&in.Reason, "reason", "", "a line for who asked")
	mustBeGiven(cmd, "reason")
	return cmd
}
