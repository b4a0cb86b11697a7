package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func adminWhatIf(a *app) *cobra.Command {
	var o whyOptions
	at := untilFlag{now: a.now}
	cmd := &cobra.Command{
		Use: "what-if", Short: "Tell whether somebody may enter a server, now or at a time to come, and why", Args: cobra.NoArgs,
		Long: `Tell whether somebody may enter a server, now or at a time to come, and why, as if he were
signed in on an approved device that is all that a project may demand; on a device of his with
--device, or on one that lacks something with --without. What has an end is over by then; all else is as it is now. It ends with code 0
if he may and 5 if not.`,
		Example: "  cardea admin what-if --user bob --server web-1\n  cardea admin what-if --user bob --server web-1 --at 2h --login bob",
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.whatIf(cmd.Context(), o, at.time)
			if err != nil {
				return err
			}
			return a.showWhy(w)
		},
	}
	cmd.Flags().StringVar(&o.user, "user", "", "who, by name or id")
	cmd.Flags().StringVar(&o.server, "server", "", "where to, by name, project/name or id")
	cmd.Flags().StringVar(&o.login, "login", "", "the Unix account (default the one that is given)")
	cmd.Flags().Var(&at, "at", "when: 2h from now, 2026-12-31, or a time (default now)")
	cmd.Flags().StringVar(&o.device, "device", "", "which device of his, by id (default one in good order)")
	cmd.Flags().StringSliceVar(&o.without, "without", nil, "what the device is without: disk-encryption, screen-lock, hardware-key, approval")
	mustBeGiven(cmd, "user", "server")
	return cmd
}

// whatIf asks about somebody; a zero time is now.
func (a *app) whatIf(ctx context.Context, o whyOptions, at time.Time) (w api.Why, err error) {
	q, err := o.query()
	if err != nil {
		return w, err
	}
	if o.device != "" {
		q.Set("device", o.device)
	}
	if len(o.without) > 0 {
		q.Set("without", strings.Join(o.without, ","))
	}
	if !at.IsZero() {
		q.Set("at", at.UTC().Format(time.RFC3339))
	}
	client, err := a.client(ctx)
	if err != nil {
		return w, err
	}
	_, err = client.Get(ctx, "/v1/what-if", q, &w)
	return w, err
}
