package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

// recent is how many events a person sees who says nothing of how many: the
// morning of a small team, and no flood of a large one's year.
const recent = 50

// maxLast bounds --last: the newest are fetched before the first can be printed.
const maxLast = 10_000

type auditOptions struct {
	after  int64
	since  sinceFlag
	limit  int
	last   int
	follow bool
}

func adminAudit(a *app) *cobra.Command {
	o := auditOptions{since: sinceFlag{now: a.now}}
	cmd := &cobra.Command{
		Use: "audit", Short: "Read what happened, oldest first", Args: cobra.NoArgs,
		Long: fmt.Sprintf(`Read what happened, oldest first: who did what, and how it ended. Where a name is
known it stands for the id. A person who does not say where to begin sees the last
%d events; with -o json it is all of them, and each is one line that holds all that
was recorded: every id, key and serial number too.`, recent),
		Example: "  cardea admin audit\n  cardea admin audit --follow\n  cardea admin audit --since 24h\n  cardea admin audit --from 1000 --limit 20 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			begin := cmd.Flags().Changed
			switch {
			case begin("last") && (o.last < 1 || o.last > maxLast):
				return usageErrorf(cmd, "--last is %d; give 1 to %d", o.last, maxLast)
			case o.limit < 0 || o.after < 0:
				return usageErrorf(cmd, "a number is negative")
			case !begin("last") && !begin("from") && !begin("after") && !begin("since") && !begin("limit") && a.output != asJSON:
				o.last = recent
			}
			return a.audit(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.last, "last", 0, fmt.Sprintf("the newest so many (default %d for a table)", recent))
	f.Int64Var(&o.after, "from", 0, "events after this number; 0 for all")
	f.Int64Var(&o.after, "after", 0, "as --from")
	f.Var(&o.since, "since", "events from this time on: 8h, 2026-12-31, or a time")
	f.IntVar(&o.limit, "limit", 0, "at most this many of those, the oldest (default all)")
	f.BoolVarP(&o.follow, "follow", "f", false, "wait for more until interrupted")
	f.MarkHidden("after")
	cmd.MarkFlagsMutuallyExclusive("last", "from", "after")
	cmd.MarkFlagsMutuallyExclusive("last", "since")
	cmd.MarkFlagsMutuallyExclusive("last", "limit")
	return cmd
}

// audit prints the newest events if that was asked for; without, and to follow
// them, it reads on until there is nothing more, or for ever.
func (a *app) audit(ctx context.Context, o auditOptions) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	out := newEventPrinter(a, client)
	if o.last == 0 {
		return a.auditOn(ctx, client, out, o)
	}
	events, err := lastEvents(ctx, client, o.last)
	if err != nil {
		return err
	}
	if err := out.print(ctx, events); err != nil {
		return err
	}
	if len(events) == o.last && o.last == recent && events[0].Seq > 1 {
		a.say("note: these are the last %d; for all type: cardea admin audit --from 0", recent)
	}
	if !o.follow {
		return nil
	}
	if len(events) > 0 {
		o.after = events[len(events)-1].Seq
	}
	return a.auditOn(ctx, client, out, o)
}

// lastEvents reads pages backward, and returns the events in order.
func lastEvents(ctx context.Context, client *api.Client, n int) (events []api.AuditEvent, err error) {
	before := int64(0)
	for len(events) < n {
		q := url.Values{"last": {strconv.Itoa(pageOf(n, len(events)))}}
		if before > 0 {
			q.Set("before", strconv.FormatInt(before, 10))
		}
		var page api.List[api.AuditEvent]
		if _, err := client.Get(ctx, "/v1/audit", q, &page); err != nil {
			return nil, err
		}
		if len(page.Items) == 0 || before > 0 && page.Items[0].Seq >= before {
			break
		}
		before = page.Items[0].Seq
		events = slices.Concat(page.Items, events)
		if before <= 1 {
			break
		}
	}
	return events, nil
}

// auditOn reads forward.
func (a *app) auditOn(ctx context.Context, client *api.Client, out *eventPrinter, o auditOptions) error {
	for shown := 0; ; {
		q := url.Values{"after": {strconv.FormatInt(o.after, 10)}, "limit": {strconv.Itoa(pageOf(o.limit, shown))}}
		if o.follow {
			q.Set("wait", strconv.Itoa(int(api.LongPoll/time.Second)))
		}
		if o.after == 0 && !o.since.time.IsZero() { // later pages know where they begin
			q.Set("since", o.since.time.Format(time.RFC3339))
		}
		var page api.List[api.AuditEvent]
		if _, err := client.Get(ctx, "/v1/audit", q, &page); err != nil {
			return err
		}
		events := o.since.cut(page.Items)
		if err := out.print(ctx, events); err != nil {
			return err
		}
		for _, e := range page.Items {
			o.after = max(o.after, e.Seq)
		}
		shown += len(events)
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

// sinceFlag is a moment that is over: a date, a time, or how long ago.
type sinceFlag struct {
	now  func() time.Time
	time time.Time
}

func (s *sinceFlag) Type() string { return "time" }

func (s *sinceFlag) String() string {
	if s.time.IsZero() {
		return ""
	}
	return s.time.Format(time.RFC3339)
}

func (s *sinceFlag) Set(text string) error {
	if d, err := span.Parse(text); err == nil && d > 0 {
		s.time = s.now().Add(-d).UTC().Truncate(time.Second)
		return nil
	}
	t, err := moment(text)
	s.time = t
	return err
}

// cut leaves out what is older: the control plane finds the beginning by the
// order of the log, which is nearly that of time.
func (s *sinceFlag) cut(events []api.AuditEvent) []api.AuditEvent {
	if s.time.IsZero() {
		return events
	}
	return slices.DeleteFunc(slices.Clone(events), func(e api.AuditEvent) bool { return e.At.Before(s.time) })
}
