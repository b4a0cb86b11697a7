package cli

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func requestRuleColumns() []column[api.RequestRule] {
	return []column[api.RequestRule]{
		{"project", func(r api.RequestRule) string { return r.ProjectName }},
		{"group", func(r api.RequestRule) string { return r.GroupName }},
		{"longest", func(r api.RequestRule) string { return lasting(r.Seconds) }},
		{"who may ask", func(r api.RequestRule) string {
			switch {
			case r.Askers == "":
				return "everybody"
			case r.AskersName == "":
				return r.Askers
			}
			return r.AskersName
		}},
		{"who answers", func(r api.RequestRule) string { return r.ApproversName }},
		{"you may ask", func(r api.RequestRule) string { return yesNo(r.MayAsk) }},
		{"you may answer", func(r api.RequestRule) string { return yesNo(r.MayAnswer) }},
		{"id", func(r api.RequestRule) string { return r.ID }},
	}
}

func requestRulesVerb(a *app, use, short string) *cobra.Command {
	cmd := listVerb(a, "/v1/request-rules", short, requestRuleColumns(), nil)
	if use != "list" {
		cmd.Use, cmd.Aliases = use, nil
	}
	return cmd
}

func adminRequestRules(a *app) *cobra.Command {
	return noun("request-rules", "Who may ask for access for a time, and who may give it",
		requestRulesVerb(a, "list", "List request rules"), requestRuleCreate(a),
		deleteVerb(a, "request-rules", "ID", "Delete a rule; what was given by it lasts to its end"))
}

func requestRuleCreate(a *app) *cobra.Command {
	var in api.NewRequestRule
	var longest time.Duration
	cmd := &cobra.Command{
		Use: "create PROJECT", Aliases: []string{"add"}, Short: "Let people ask to be in a group for a time", Args: cobra.ExactArgs(1),
		Long: `Let people ask to be in a group for a time. The group should have a grant in the project
and be made for this alone: who is let in gets all that its grants give.`,
		Example: "  cardea admin groups create web-oncall\n  cardea admin grants create web web-oncall --role admin\n  cardea admin request-rules create web --group web-oncall --askers engineers --approvers leads --longest 8h",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Seconds, err = requestSeconds(longest); err != nil {
				return &usageError{"--longest is 1m to 720h, in whole seconds", "for example: --longest 8h"}
			}
			path, err := pathOf("projects", args[0], "request-rules")
			if err != nil {
				return err
			}
			r, err := call[api.RequestRule](cmd.Context(), a, "POST", path, in)
			if err != nil {
				return err
			}
			if err := showOne(a, r, requestRuleColumns()); err != nil {
				return err
			}
			a.noteNoGrant(cmd.Context(), args[0], r)
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", "the group to be in, by name or id")
	cmd.Flags().StringVar(&in.Askers, "askers", "", "the group whose members may ask (default everybody)")
	cmd.Flags().StringVar(&in.Approvers, "approvers", "", "the group whose members may answer, beside administrators")
	span.Var(cmd.Flags(), &longest, "longest", 8*time.Hour, "the longest time that may be asked for")
	mustBeGiven(cmd, "group", "approvers")
	return cmd
}

// noteNoGrant warns of a group that leads nowhere: who asks to be in it would be let in, and
// into nothing. The rule is there in any case, so no error comes of it.
func (a *app) noteNoGrant(ctx context.Context, project string, r api.RequestRule) {
	path, err := pathOf("projects", project, "grants")
	if err != nil {
		return
	}
	c, err := a.client(ctx)
	if err != nil {
		return
	}
	grants, err := api.All[api.Grant](ctx, c, path, nil)
	if err == nil && !slices.ContainsFunc(grants, func(g api.Grant) bool { return g.Group == r.Group }) {
		a.say("group %s has no grant in project %s yet; to give it one type: cardea admin grants create %s %s", r.GroupName, r.ProjectName, r.ProjectName, r.GroupName)
	}
}

func preauthorizationColumns() []column[api.Preauthorization] {
	return []column[api.Preauthorization]{
		{"user", func(p api.Preauthorization) string { return p.UserName }},
		{"project", func(p api.Preauthorization) string { return p.ProjectName }},
		{"group", func(p api.Preauthorization) string { return p.GroupName }},
		{"longest", func(p api.Preauthorization) string { return lasting(p.Seconds) }},
		{"until", func(p api.Preauthorization) string { return stamp(p.Until) }},
		{"given by", func(p api.Preauthorization) string { return p.ByName }},
		{"id", func(p api.Preauthorization) string { return p.ID }},
	}
}

func preauthorizations(a *app) *cobra.Command {
	return noun("preauthorizations", "Requests that are approved at once, because somebody said yes in advance",
		preauthorizationList(a), preauthorizationCreate(a),
		deleteVerb(a, "preauthorizations", "ID", "Take one back"))
}

func preauthorizationList(a *app) *cobra.Command {
	mine := false
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List those that you could have given, or your own", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if mine {
				q.Set("mine", "true")
			}
			return listRows(cmd.Context(), a, "/v1/preauthorizations", q, preauthorizationColumns())
		},
	}
	cmd.Flags().BoolVar(&mine, "mine", false, "those by which your own requests are approved")
	return cmd
}

func preauthorizationCreate(a *app) *cobra.Command {
	var in api.NewPreauthorization
	var longest time.Duration
	until := untilFlag{now: a.now}
	cmd := &cobra.Command{
		Use: "create USER", Aliases: []string{"add"}, Short: "Say yes in advance to what somebody may ask for", Args: cobra.ExactArgs(1),
		Example: "  cardea requests preauthorizations create alice --rule rqr_… --for 4h --until 168h",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.User, in.Until = args[0], until.time
			if in.Seconds, err = requestSeconds(longest); err != nil {
				return err
			}
			p, err := call[api.Preauthorization](cmd.Context(), a, "POST", "/v1/preauthorizations", in)
			if err != nil {
				return err
			}
			return showOne(a, p, preauthorizationColumns())
		},
	}
	cmd.Flags().StringVar(&in.Rule, "rule", "", "the rule, by id: see requests rules")
	span.Var(cmd.Flags(), &longest, "for", time.Hour, "the longest request that is approved at once")
	cmd.Flags().Var(&until, "until", "when this ends: 8h, 2026-12-31, or a time, at most 90 days from now")
	mustBeGiven(cmd, "rule", "until")
	return cmd
}
