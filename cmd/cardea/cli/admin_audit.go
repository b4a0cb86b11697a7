package cli

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

type auditOptions struct {
	after  int64
	limit  int
	follow bool
}

func adminAudit(a *app) *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use: "audit", Short: "Read what happened, oldest first", Args: cobra.NoArgs,
		Long: `Read what happened, oldest first: who did what, and how it ended. Where a name is
known it stands for the id. With -o json each event is one line that holds all that
was recorded: every id, key and serial number too.`,
		Example: "  cardea admin audit | tail\n  cardea admin audit --follow\n  cardea admin audit --after 1000 --limit 20 -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.audit(cmd.Context(), o) },
	}
	cmd.Flags().Int64Var(&o.after, "after", 0, "events after this number alone")
	cmd.Flags().IntVar(&o.limit, "limit", 0, "at most this many (default all)")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "wait for more until interrupted")
	return cmd
}

// audit reads pages until there is nothing more, or for ever.
func (a *app) audit(ctx context.Context, o auditOptions) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	out := newEventPrinter(a, client)
	for shown := 0; ; {
		q := url.Values{"after": {strconv.FormatInt(o.after, 10)}, "limit": {strconv.Itoa(pageOf(o.limit, shown))}}
		if o.follow {
			q.Set("wait", strconv.Itoa(int(api.LongPoll/time.Second)))
		}
		var page api.List[api.AuditEvent]
		if _, err := client.Get(ctx, "/v1/audit", q, &page); err != nil {
			return err
		}
		if err := out.print(ctx, page.Items); err != nil {
			return err
		}
		for _, e := range page.Items {
			o.after = max(o.after, e.Seq)
		}
		shown += len(page.Items)
		done := len(page.Items) == 0 && !o.follow
		if done || o.limit > 0 && shown >= o.limit {
			return nil
		}
	}
}

// pageOf is how many rows to ask for.
func pageOf(limit, shown int) int {
	if limit <= 0 {
		return api.MaxPageSize
	}
	return min(limit-shown, api.MaxPageSize)
}
