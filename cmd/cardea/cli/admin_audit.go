package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
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
		Long:    "Read what happened, oldest first. With -o json each event is one line.",
		Example: "  cardea admin audit --limit 20\n  cardea admin audit --follow -o json",
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
	for shown := 0; ; {
		q := url.Values{"after": {strconv.FormatInt(o.after, 10)}, "limit": {strconv.Itoa(pageOf(o.limit, shown))}}
		if o.follow {
			q.Set("wait", strconv.Itoa(int(api.LongPoll/time.Second)))
		}
		var page api.List[api.AuditEvent]
		if _, err := client.Get(ctx, "/v1/audit", q, &page); err != nil {
			return err
		}
		for _, e := range page.Items {
			if err := a.printEvent(e); err != nil {
				return err
			}
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

// printEvent prints one line; an event stream is no table and no array.
func (a *app) printEvent(e api.AuditEvent) error {
	if a.output == asJSON {
		return json.NewEncoder(a.out).Encode(e)
	}
	words := []string{strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.RFC3339), e.Action, e.Outcome}
	for _, f := range [][2]string{
		{"reason", e.Reason}, {"actor", e.Actor}, {"user", e.User}, {"server", e.Server}, {"project", e.Project},
		{"gateway", e.Gateway}, {"session", e.Session}, {"source", e.Source},
	} {
		if f[1] != "" {
			words = append(words, f[0]+"="+quoted(f[1]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		words = append(words, k+"="+quoted(e.Detail[k]))
	}
	_, err := fmt.Fprintln(a.out, strings.Join(words, " "))
	return err
}

// quoted keeps one word one word.
func quoted(s string) string {
	s = ident.Text(s)
	if strings.ContainsAny(s, " \"=") {
		return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
	}
	return s
}
