package issue

import (
	"context"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/store"
)

// Last reads the newest rows of the log, or the newest before a row, in order.
func (s *Service) Last(ctx context.Context, before int64, count int) (*api.List[api.AuditEvent], error) {
	rows, err := s.Store.LastAuditRows(ctx, before, min(count, api.MaxPageSize))
	if err != nil {
		return nil, err
	}
	return lookup.List(rows, "", eventOf), nil
}

// maxSkew is how far rows may be out of the order of their times: instances have
// a clock each, and commits are not in the order of their beginnings.
const maxSkew = 2 * time.Minute

// Since returns the row after which those from a time on stand, and perhaps some
// that are older by maxSkew. It halves what is left by the primary key: 20 reads
// for a million rows, and no index for a question that is rarely asked.
func (s *Service) Since(ctx context.Context, at time.Time) (after int64, err error) {
	at = at.Add(-maxSkew)
	newest, err := s.Store.LastAuditRows(ctx, 0, 1)
	if err != nil || len(newest) == 0 {
		return 0, err
	}
	low, high := int64(0), newest[0].ID // of rows after low, the first young one is at most high+1
	for low < high {
		middle := low + (high-low)/2
		rows, err := s.Store.AuditRows(ctx, middle, 1)
		switch {
		case err != nil:
			return 0, err
		case len(rows) == 0 || !rows[0].At.Before(at):
			high = middle
		default:
			low = rows[0].ID
		}
	}
	return low, nil
}

// Audit reads the log after a row. With a wait it returns as soon as there is
// something, and nil if nothing came.
func (s *Service) Audit(ctx context.Context, after int64, limit int, wait time.Duration) (*api.List[api.AuditEvent], error) {
	limit = lookup.Page(api.Page{Limit: limit}).Limit
	topics := []string{store.AuditTopic}
	found, err := lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*api.List[api.AuditEvent], []string, error) {
		rows, err := s.Store.AuditRows(ctx, after, limit)
		if err != nil || len(rows) == 0 {
			return nil, topics, err
		}
		next := ""
		if len(rows) == limit {
			next = strconv.FormatInt(rows[len(rows)-1].ID, 10)
		}
		return lookup.List(rows, next, eventOf), nil, nil
	})
	if err == nil && found == nil && wait <= 0 {
		found = &api.List[api.AuditEvent]{Items: []api.AuditEvent{}}
	}
	return found, err
}

// unreadable is the action of a row that is not what we wrote. It is shown,
// because a log that skips what it cannot read hides it.
const unreadable = "unreadable"

func eventOf(r store.AuditRow) api.AuditEvent {
	e, err := audit.Decode(r.Payload)
	if err != nil {
		e = audit.Event{Action: unreadable, Outcome: audit.Failed, Reason: "the row does not decode", Time: r.At}
	}
	return api.AuditEvent{
		Seq: r.ID, Instance: r.Instance, At: e.Time, Action: e.Action, Outcome: e.Outcome, Reason: e.Reason,
		Actor: e.Actor, Session: e.Session, Source: e.Source, User: e.User, Server: e.Server, Project: e.Project,
		Gateway: e.Gateway, Detail: e.Detail,
	}
}
