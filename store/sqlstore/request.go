package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// requestsKept is how long requests can be read; the audit log tells of them for ever.
const requestsKept = 90 * 24 * time.Hour

const (
	accessColumns = "r.id, r.rule_id, r.project_id, r.group_id, r.user_id, r.server_id, r.for_seconds, r.reason, r.state, r.created_at, r.expires_at, " +
		"r.answered_by, r.answered_at, r.answer, r.given_seconds, r.until, r.preauthorization, " +
		"(SELECT name FROM projects WHERE id = r.project_id), (SELECT name FROM user_groups WHERE id = r.group_id), (SELECT name FROM users WHERE id = r.user_id), " +
		"(SELECT name FROM servers WHERE id = r.server_id), (SELECT name FROM users WHERE id = r.answered_by)"

	// inForce is for a membership m; its parameter is the time.
	inForce = `(m.until = 0 OR m.until > ?)`
	// mayAnswer is for the rule r; its parameters are the user and the time. Two people are
	// demanded, and who asks may have the key of a program.
	mayAnswer = `EXISTS (SELECT 1 FROM users b WHERE b.id = ? AND b.status = 'active' AND b.issuer <> 'service' AND (b.admin OR EXISTS (
		SELECT 1 FROM members m WHERE m.group_id = r.approvers AND m.user_id = b.id AND ` + inForce + `)))`
	// samePerson has the two as parameters, twice.
	samePerson = `SELECT EXISTS (SELECT 1 FROM devices a JOIN devices b ON b.thumbprint = a.thumbprint WHERE a.user_id = ? AND b.user_id = ?)
		OR EXISTS (SELECT 1 FROM users a JOIN users b ON lower(b.email) = lower(a.email) WHERE a.id = ? AND b.id = ? AND a.email <> '')`
)

// seconds reads whole seconds.
type seconds time.Duration

func (s *seconds) Scan(src any) error {
	n, err := number(src)
	*s = seconds(time.Duration(n) * time.Second)
	return err
}

func wholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

func accessInto(r *store.AccessRequest) []any {
	return []any{&r.ID, &r.Rule, &r.Project, &r.Group, &r.User, &r.Server, (*seconds)(&r.For), &r.Reason, &r.State, &r.CreatedAt, &r.ExpiresAt,
		&r.AnsweredBy, &r.AnsweredAt, &r.Answer, (*seconds)(&r.Given), &r.Until, &r.Preauthorization,
		&r.ProjectName, &r.GroupName, &r.UserName, &r.ServerName, &r.AnsweredByName}
}

func request(db querier, id, lock string) (r store.AccessRequest, err error) {
	if err = one(db, accessInto(&r), `SELECT `+accessColumns+` FROM access_requests r WHERE r.id = ? `+lock, id); err != nil {
		return r, fmt.Errorf("request: %w", err)
	}
	return r, nil
}

// CreateRequest implements store.Requests.
func (s *Store) CreateRequest(ctx context.Context, v store.AccessRequest, m store.Meta) (store.AccessRequest, error) {
	return get(ctx, s, m, true, func(t *tx) (store.AccessRequest, error) {
		rule, err := t.asks(v.Rule, v.User)
		if err != nil {
			return v, err
		}
		if v.For <= 0 || v.For > rule.Longest || v.For%time.Second != 0 {
			return v, fmt.Errorf("%s by a rule for at most %s: %w", v.For, rule.Longest, store.ErrDenied)
		}
		if err := t.roomForRequest(v.User); err != nil {
			return v, err
		}
		// What is over does not stand in the way of the next one.
		if err := t.expire(`r.rule_id = ? AND r.user_id = ?`, v.Rule, v.User); err != nil {
			return v, err
		}
		v.CreatedAt = t.now
		_, err = t.exec(`INSERT INTO access_requests (id, rule_id, project_id, group_id, user_id, server_id, for_seconds, reason, state, created_at, expires_at,
			answered_by, answered_at, answer, given_seconds, until, preauthorization) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, '', 0, 0, '')`,
			v.ID, rule.ID, rule.Project, rule.Group, v.User, v.Server, wholeSeconds(v.For), v.Reason, store.RequestPending, t.now, t.now.Add(store.RequestLife))
		if err != nil {
			return v, err
		}
		t.touch(store.RequestTopic(v.ID))
		if v, err = request(t, v.ID, ""); err != nil {
			return v, err
		}
		return t.preapprove(v)
	})
}

// asks reads the rule by which an active user may ask now, and holds both. A program does not:
// whoever has its key, and is an approver, would answer himself. What a provider
// keeps since the rule was made nobody may ask for: it would put him out again.
func (t *tx) asks(rule, user string) (store.RequestRule, error) {
	r, err := requestRule(t, rule, "/*share*/")
	if err == nil {
		err = t.byHand(r.Group)
	}
	if err != nil {
		return r, err
	}
	may := false
	err = one(t, []any{&may}, `SELECT u.status = 'active' AND u.issuer <> 'service' AND (? = '' OR EXISTS (SELECT 1 FROM members m WHERE m.group_id = ? AND m.user_id = u.id AND `+inForce+`))
		FROM users u WHERE u.id = ? /*share*/`, r.Askers, r.Askers, t.now, user)
	if err == nil && !may {
		err = store.ErrDenied
	}
	if err != nil {
		return r, fmt.Errorf("who asks: %w", err)
	}
	return r, nil
}

// roomForRequest counts what somebody asked for.
func (t *tx) roomForRequest(user string) error {
	var waiting, today int
	err := one(t, []any{&waiting, &today}, `SELECT
		(SELECT count(*) FROM access_requests r WHERE r.user_id = ? AND r.state = 'pending' AND r.expires_at > ?),
		(SELECT count(*) FROM access_requests r WHERE r.user_id = ? AND r.created_at > ?)`, user, t.now, user, t.now.Add(-24*time.Hour))
	if err == nil && (waiting >= store.MaxPendingRequests || today >= store.MaxRequestsADay) {
		err = fmt.Errorf("%d requests wait, %d were made today: %w", waiting, today, store.ErrTooMany)
	}
	return err
}

// preapprove approves a request at once if somebody has said yes in advance who could say
// it now.
func (t *tx) preapprove(v store.AccessRequest) (store.AccessRequest, error) {
	p, err := preauthorization(t, `p.rule_id = ? AND p.user_id = ? AND p.until > ?`, v.Rule, v.User, t.now)
	if errors.Is(err, store.ErrNotFound) || err == nil && v.For > p.Longest {
		return v, nil
	}
	if err == nil {
		err = t.mayAnswer(v.Rule, p.By, v.User)
	}
	if errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrSamePerson) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Preauthorization, v.AnsweredBy, v.Given = p.ID, p.By, v.For
	if v, err = t.admit(v); err != nil {
		return v, err
	}
	e := audit.Event{Time: t.now, Action: audit.RequestApprove, Outcome: audit.Allowed, Reason: "it was authorized in advance", User: v.User, Project: v.Project, Server: v.Server,
		Detail: map[string]string{"request": v.ID, "rule": v.Rule, "group": v.Group, "name": v.GroupName, "user_name": v.UserName,
			"preauthorization": p.ID, "authorized_by": p.By, "approver_name": p.ByName, "until": until(v.Until)}}
	t.audit = append(t.audit, audit.Encode(e))
	return v, nil
}

func until(at time.Time) string {
	if at.IsZero() {
		return "no end"
	}
	return at.UTC().Format(time.RFC3339)
}

// answers is ErrDenied for who is no approver of the rule now.
func (t *tx) answers(rule, by string) error {
	may := false
	err := one(t, []any{&may}, `SELECT `+mayAnswer+` FROM request_rules r WHERE r.id = ?`, by, t.now, rule)
	if errors.Is(err, store.ErrNotFound) || err == nil && !may {
		err = store.ErrDenied
	}
	if err != nil {
		return fmt.Errorf("approver: %w", err)
	}
	return nil
}

// mayAnswer is ErrDenied for who is no approver of the rule now, and ErrSamePerson for who
// would answer himself.
func (t *tx) mayAnswer(rule, by, user string) error {
	if err := t.answers(rule, by); err != nil {
		return err
	}
	same := by == user
	if !same {
		if err := one(t, []any{&same}, samePerson, by, user, by, user); err != nil {
			return err
		}
	}
	if !same {
		var err error
		if same, err = t.sharedBrowser(by, user); err != nil {
			return err
		}
	}
	if same {
		return fmt.Errorf("approver: %w", store.ErrSamePerson)
	}
	return nil
}

// admit writes an approval down and makes the member. Who is one for longer stays so.
func (t *tx) admit(v store.AccessRequest) (store.AccessRequest, error) {
	if err := t.byHand(v.Group); err != nil {
		return v, err
	}
	v.Until = moment(micros(t.now.Add(v.Given)))
	var had time.Time
	err := one(t, []any{&had}, `SELECT until FROM members WHERE group_id = ? AND user_id = ?`, v.Group, v.User)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !had.IsZero() && had.Before(v.Until):
		err = t.putMember(store.Member{Group: v.Group, User: v.User, Until: v.Until})
	case err == nil:
		v.Until = had
	}
	if err != nil {
		return v, err
	}
	v.State = store.RequestApproved
	return t.answered(v)
}

// answered writes down what became of a request that waits.
func (t *tx) answered(v store.AccessRequest) (store.AccessRequest, error) {
	v.AnsweredAt = t.now
	err := t.must(store.ErrUsed, `UPDATE access_requests SET state = ?, answered_by = ?, answered_at = ?, answer = ?, given_seconds = ?, until = ?, preauthorization = ?
		WHERE id = ? AND state = 'pending' AND expires_at > ?`,
		v.State, v.AnsweredBy, v.AnsweredAt, v.Answer, wholeSeconds(v.Given), v.Until, v.Preauthorization, v.ID, t.now)
	if err != nil {
		return v, fmt.Errorf("request: %w", err)
	}
	t.touch(store.RequestTopic(v.ID), store.UserTopic(v.User))
	return request(t, v.ID, "")
}

// AnswerRequest implements store.Requests.
func (s *Store) AnswerRequest(ctx context.Context, a store.RequestAnswer, m store.Meta) (store.AccessRequest, error) {
	return get(ctx, s, m, true, func(t *tx) (store.AccessRequest, error) {
		v, err := request(t, a.Request, "/*lock*/")
		if err != nil {
			return v, err
		}
		if v.StateAt(t.now) != store.RequestPending {
			return v, fmt.Errorf("the request is %s: %w", v.StateAt(t.now), store.ErrUsed)
		}
		if err := t.mayAnswer(v.Rule, a.By, v.User); err != nil {
			return v, err
		}
		v.AnsweredBy, v.Answer = a.By, a.Text
		if !a.Approve {
			v.State = store.RequestDenied
			return t.answered(v)
		}
		if _, err := t.asks(v.Rule, v.User); err != nil {
			return v, err
		}
		v.Given = v.For
		if a.For != 0 {
			v.Given = a.For
		}
		if v.Given <= 0 || v.Given > v.For || v.Given%time.Second != 0 {
			return v, fmt.Errorf("%s of %s: %w", v.Given, v.For, store.ErrDenied)
		}
		return t.admit(v)
	})
}

// CancelRequest implements store.Requests.
func (s *Store) CancelRequest(ctx context.Context, id, user string, m store.Meta) (store.AccessRequest, error) {
	return get(ctx, s, m, true, func(t *tx) (store.AccessRequest, error) {
		v, err := request(t, id, "/*lock*/")
		if err == nil && v.User != user {
			err = fmt.Errorf("request: %w", store.ErrNotFound)
		}
		if err != nil {
			return v, err
		}
		v.State, v.AnsweredBy = store.RequestCancelled, user
		return t.answered(v)
	})
}

// EndRequest implements store.Requests.
func (s *Store) EndRequest(ctx context.Context, id, by string, m store.Meta) (store.AccessRequest, error) {
	return get(ctx, s, m, true, func(t *tx) (store.AccessRequest, error) {
		v, err := request(t, id, "/*lock*/")
		if err != nil {
			return v, err
		}
		if v.User != by {
			if err := t.answers(v.Rule, by); err != nil {
				return v, err
			}
		}
		if v.State != store.RequestApproved || !v.Until.After(t.now) {
			return v, fmt.Errorf("the request is %s: %w", v.State, store.ErrUsed)
		}
		if err := t.byHand(v.Group); err != nil {
			return v, err
		}
		var has time.Time
		err = one(t, []any{&has}, `SELECT until FROM members WHERE group_id = ? AND user_id = ? /*lock*/`, v.Group, v.User)
		if errors.Is(err, store.ErrNotFound) || err == nil && !has.Equal(v.Until) {
			err = fmt.Errorf("the membership is not the request's any more: %w", store.ErrUsed)
		}
		if err != nil {
			return v, err
		}
		if err := t.removeMember(v.Group, v.User); err != nil {
			return v, err
		}
		t.touch(store.RequestTopic(id))
		if _, err := t.exec(`UPDATE access_requests SET state = ?, until = ? WHERE id = ?`, store.RequestEnded, t.now, id); err != nil {
			return v, err
		}
		return request(t, id, "")
	})
}

// AccessRequest implements store.Requests.
func (s *Store) AccessRequest(ctx context.Context, id string) (store.AccessRequest, error) {
	return request(s.reader(ctx), id, "")
}

// AccessRequests implements store.Requests.
func (s *Store) AccessRequests(ctx context.Context, f store.RequestFilter, p store.Page) ([]store.AccessRequest, string, error) {
	q, vs := `SELECT `+accessColumns+` FROM access_requests r WHERE true`, []any{}
	if f.User != "" {
		q, vs = q+` AND r.user_id = ?`, append(vs, f.User)
	}
	if f.Pending {
		q, vs = q+` AND r.state = 'pending' AND r.expires_at > ?`, append(vs, f.At)
	}
	if f.Approver != "" {
		q += ` AND r.user_id <> ? AND EXISTS (SELECT 1 FROM users b WHERE b.id = ? AND b.status = 'active' AND (b.admin OR EXISTS (
			SELECT 1 FROM request_rules l JOIN members m ON m.group_id = l.approvers WHERE l.id = r.rule_id AND m.user_id = b.id AND ` + inForce + `)))`
		vs = append(vs, f.Approver, f.Approver, f.At)
	}
	return list[store.AccessRequest]{
		query: q, order: "r.created_at", id: "r.id", newest: true, into: accessInto,
		key: func(r *store.AccessRequest) (any, string) { return r.CreatedAt, r.ID },
	}.page(ctx, s, p, vs...)
}

// MayAnswer implements store.Requests.
func (s *Store) MayAnswer(ctx context.Context, rule, user string, now time.Time) (may bool, err error) {
	err = one(s.reader(ctx), []any{&may}, `SELECT `+mayAnswer+` FROM request_rules r WHERE r.id = ?`, user, now, rule)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return may, err
}

// ShownAt implements store.Requests.
func (s *Store) ShownAt(ctx context.Context, device, project string) (at time.Time, err error) {
	err = one(s.reader(ctx), []any{&at}, `SELECT at FROM touches WHERE device_id = ? AND project_id = ?`, device, project)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	return at, err
}

// expire writes down which requests of this condition nobody answered in time.
func (t *tx) expire(condition string, vs ...any) error {
	rows, err := all(t, accessInto, `SELECT `+accessColumns+` FROM access_requests r WHERE r.state = 'pending' AND r.expires_at <= ? AND `+condition+` ORDER BY r.expires_at LIMIT ?`,
		append(append([]any{t.now}, vs...), sweepRows)...)
	if err != nil {
		return err
	}
	for _, v := range rows {
		n, err := t.exec(`UPDATE access_requests SET state = ?, answered_at = ? WHERE id = ? AND state = 'pending'`, store.RequestExpired, v.ExpiresAt, v.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			continue // another instance was first
		}
		t.touch(store.RequestTopic(v.ID))
		t.tell(audit.Event{Action: audit.RequestExpire, User: v.User, Project: v.Project, Server: v.Server,
			Detail: map[string]string{"request": v.ID, "group": v.Group, "name": v.GroupName, "user_name": v.UserName}})
	}
	return nil
}

func (s *Store) sweepRequests(ctx context.Context, r reader, now time.Time) error {
	over := false
	err := one(r, []any{&over}, `SELECT EXISTS (SELECT 1 FROM access_requests r WHERE r.state = 'pending' AND r.expires_at <= ?)`, now)
	if err != nil || !over {
		return err
	}
	return s.doDirectory(ctx, store.Meta{Now: now}, func(t *tx) error { return t.expire(`true`) })
}
