package cli

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
	"github.com/cardea-ssh/cardea/policy"
)

func breakGlassColumns() []column[api.BreakGlass] {
	return []column[api.BreakGlass]{
		{"project", func(b api.BreakGlass) string { return b.Project }},
		{"group", func(b api.BreakGlass) string {
			if b.GroupName == "" {
				return b.Group
			}
			return b.GroupName
		}},
		{"role", func(b api.BreakGlass) string { return b.Role }},
		{"state", func(b api.BreakGlass) string {
			switch {
			case b.InForce:
				return "in force"
			case b.EndedBy != "":
				return "ended early"
			}
			return "over"
		}},
		{"began", func(b api.BreakGlass) string { return stamp(b.BeganAt) }},
		{"until", func(b api.BreakGlass) string {
			if b.EndedBy != "" {
				return stamp(b.EndedAt)
			}
			return stamp(b.Until)
		}},
		{"by", func(b api.BreakGlass) string { return b.BeganBy }},
		{"reason", func(b api.BreakGlass) string { return b.Reason }},
		{"id", func(b api.BreakGlass) string { return b.ID }},
	}
}

// breakGlassLine says of one that is in force what it changes; "" for none.
func breakGlassLine(b *api.BreakGlass) string {
	if b == nil {
		return ""
	}
	group := cmp.Or(b.GroupName, b.Group)
	return "in force until " + stamp(b.Until) + ": group " + group + " alone may enter (" + b.Role + "), directly, and nothing is recorded; reason: " + b.Reason
}

func adminBreakGlass(a *app) *cobra.Command {
	return noun("break-glass", "Let one group alone into a project, without gateways, for a time",
		breakGlassBegin(a), breakGlassEnd(a), listVerb(a, "/v1/break-glass", "List all that there were, newest first", breakGlassColumns(), nil))
}

func breakGlassBegin(a *app) *cobra.Command {
	var in api.NewBreakGlass
	var life time.Duration
	cmd := &cobra.Command{
		Use: "begin PROJECT", Short: "Suspend all other grants, and let the group in directly", Args: cobra.ExactArgs(1),
		Long: `While it lasts the group's members alone may enter the project's servers. They go there
directly, and nothing is recorded. All other grants are suspended, and count again when its
time is over. Each connection says so in the audit log.`,
		Example: `  cardea admin break-glass begin web --group sre --for 4h --role admin --reason "all gateways are down"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if life%time.Second != 0 || life < api.MinBreakGlass || life > api.MaxBreakGlass {
				return &usageError{"a break-glass lasts 1m to 72h, in whole seconds", "for example: --for 4h"}
			}
			if err := checkReason(in.Reason); err != nil {
				return err
			}
			path, err := pathOf("projects", args[0], "break-glass")
			if err != nil {
				return err
			}
			in.Seconds = int(life / time.Second)
			if err := a.showBreakGlass(cmd.Context(), "POST", path, in); err != nil {
				return err
			}
			a.noteNobody(cmd.Context(), args[0], in.Group)
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", "the group that may enter, by name or id")
	span.Var(cmd.Flags(), &life, "for", 0, "how long, 1m to 72h")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, on one line; everybody concerned reads it")
	oneOf(cmd, cmd.Flags(), &in.Role, "role", "", []string{string(policy.RoleUser), string(policy.RoleAdmin)}, "user, or admin, who may run everything by sudo")
	mustBeGiven(cmd, "group", "for", "reason")
	return cmd
}

func breakGlassEnd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "end PROJECT", Short: "End it before its time", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("projects", args[0], "break-glass")
			if err != nil {
				return err
			}
			return a.showBreakGlass(cmd.Context(), "DELETE", path, nil)
		},
	}
}

func (a *app) showBreakGlass(ctx context.Context, method, path string, in any) error {
	b, err := call[api.BreakGlass](ctx, a, method, path, in)
	if err != nil {
		return err
	}
	return showNamed(ctx, a, b, breakGlassColumns())
}

// noteNobody warns of a group without members: everybody is out then, and who reads the
// answer alone takes the project for open. It began in any case, so no error comes of it.
func (a *app) noteNobody(ctx context.Context, project, group string) {
	path, err := pathOf("groups", group, "members")
	if err != nil {
		return
	}
	c, err := a.client(ctx)
	if err != nil {
		return
	}
	if members, err := api.All[api.Member](ctx, c, path, nil); err == nil && len(members) == 0 {
		a.say("nobody may enter project %s now: group %s has no members; to let somebody in type: cardea admin groups members add %s USER", project, group, group)
	}
}

// noteBreakGlass tells of each break-glass that concerns servers of a list, once.
func (a *app) noteBreakGlass(rows []api.CatalogEntry) {
	told := map[string]bool{}
	for _, s := range rows {
		b := s.BreakGlass
		if b == nil || told[b.ID] || !a.now().Before(b.Until) {
			continue
		}
		told[b.ID] = true
		if b.Suspended {
			a.say("project %s: your access is suspended by break-glass until %s (%s)", s.ProjectName, stamp(b.Until), b.Reason)
		} else {
			a.say("project %s: break-glass access until %s, without gateways (%s)", s.ProjectName, stamp(b.Until), b.Reason)
		}
	}
}
