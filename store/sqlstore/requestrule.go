package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const (
	requestRuleColumns = "r.id, r.project_id, r.group_id, r.askers, r.approvers, r.longest_seconds, r.created_by, r.created_at, " +
		"(SELECT name FROM projects WHERE id = r.project_id), (SELECT name FROM user_groups WHERE id = r.group_id), " +
		"(SELECT name FROM user_groups WHERE id = r.askers), (SELECT name FROM user_groups WHERE id = r.approvers)"

	preauthorizationColumns = "p.id, p.rule_id, p.user_id, p.given_by, p.longest_seconds, p.until, p.created_at, " +
		"(SELECT name FROM users WHERE id = p.user_id), (SELECT name FROM users WHERE id = p.given_by), " +
		"(SELECT name FROM projects WHERE id = r.project_id), (SELECT name FROM user_groups WHERE id = r.group_id)"
	preauthorizationsFrom = ` FROM preauthorizations p JOIN request_rules r ON r.id = p.rule_id WHERE `
)

func requestRuleInto(r *store.RequestRule) []any {
	return []any{&r.ID, &r.Project, &r.Group, &r.Askers, &r.Approvers, (*seconds)(&r.Longest), &r.CreatedBy, &r.CreatedAt,
		&r.ProjectName, &r.GroupName, &r.AskersName, &r.ApproversName}
}

func preauthorizationInto(p *store.Preauthorization) []any {
	return []any{&p.ID, &p.Rule, &p.User, &p.By, (*seconds)(&p.Longest), &p.Until, &p.CreatedAt, &p.UserName, &p.ByName, &p.ProjectName, &p.GroupName}
}

func requestRule(db querier, id, lock string) (r store.RequestRule, err error) {
	if err = one(db, requestRuleInto(&r), `SELECT `+requestRuleColumns+` FROM request_rules r WHERE r.id = ? `+lock, id); err != nil {
		return r, fmt.Errorf("request rule: %w", err)
	}
	return r, nil
}

// CreateRequestRule implements store.Requests.
func (s *Store) CreateRequestRule(ctx context.Context, r store.RequestRule, m store.Meta) (store.RequestRule, error) {
	return get(ctx, s, m, true, func(t *tx) (store.RequestRule, error) {
		if _, err := t.lockProject(r.Project); err != nil {
			return r, err
		}
		for _, g := range []string{r.Group, r.Askers, r.Approvers} {
			if g == "" && g == r.Askers {
				continue
			}
			if err := t.lockGroup(g); err != nil {
				return r, err
			}
		}
		if err := t.byHand(r.Group); err != nil {
			return r, err
		}
		if r.Group == r.Approvers {
			return r, fmt.Errorf("who is let in could let others in: %w", store.ErrDenied)
		}
		if err := t.roomFor(store.MaxRequestRules, `SELECT count(*) FROM request_rules`); err != nil {
			return r, err
		}
		_, err := t.exec(`INSERT INTO request_rules (id, project_id, group_id, askers, approvers, longest_seconds, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			r.ID, r.Project, r.Group, r.Askers, r.Approvers, wholeSeconds(r.Longest), r.CreatedBy, created(r.CreatedAt, t))
		if err != nil {
			return r, err
		}
		return requestRule(t, r.ID, "")
	})
}

// roomFor is ErrTooMany where a count has reached its bound.
func (t *tx) roomFor(bound int, count string, vs ...any) error {
	n := 0
	err := one(t, []any{&n}, count, vs...)
	if err == nil && n >= bound {
		err = fmt.Errorf("there are %d: %w", n, store.ErrTooMany)
	}
	return err
}

// RequestRule implements store.Requests.
func (s *Store) RequestRule(ctx context.Context, id string) (store.RequestRule, error) {
	return requestRule(s.reader(ctx), id, "")
}

// RequestRules implements store.Requests.
func (s *Store) RequestRules(ctx context.Context, p store.Page) ([]store.RequestRule, string, error) {
	return list[store.RequestRule]{
		query: `SELECT ` + requestRuleColumns + ` FROM request_rules r WHERE true`,
		order: "r.created_at", id: "r.id", into: requestRuleInto,
		key: func(r *store.RequestRule) (any, string) { return r.CreatedAt, r.ID },
	}.page(ctx, s, p)
}

// RequestRulesFor implements store.Requests.
func (s *Store) RequestRulesFor(ctx context.Context, user string, now time.Time) ([]store.RequestRule, error) {
	return all(s.reader(ctx), requestRuleInto, `SELECT `+requestRuleColumns+` FROM request_rules r
		WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = ? AND u.status = 'active' AND u.issuer <> 'service')
		AND (r.askers = '' OR EXISTS (SELECT 1 FROM members m WHERE m.group_id = r.askers AND m.user_id = ? AND `+inForce+`))
		AND EXISTS (SELECT 1 FROM user_groups g WHERE g.id = r.group_id AND g.source = '')
		ORDER BY r.created_at, r.id`, user, user, now)
}

// DeleteRequestRule implements store.Requests.
func (s *Store) DeleteRequestRule(ctx context.Context, id, by string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := requestRule(t, id, "/*lock*/"); err != nil {
			return err
		}
		return t.dropRules(`r.id = ?`, id)
	})
}

// dropRules deletes the rules of a condition, with what rests on them.
func (t *tx) dropRules(condition string, vs ...any) error {
	rules, err := texts(t, `SELECT r.id FROM request_rules r WHERE `+condition, vs...)
	if err != nil {
		return err
	}
	for _, id := range rules {
		waiting, err := texts(t, `UPDATE access_requests SET state = ?, answered_at = ?, answer = ? WHERE rule_id = ? AND state = 'pending' RETURNING id`,
			store.RequestCancelled, t.now, "its rule was deleted", id)
		if err != nil {
			return err
		}
		for _, r := range waiting {
			t.touch(store.RequestTopic(r))
		}
		for _, q := range []string{`DELETE FROM preauthorizations WHERE rule_id = ?`, `DELETE FROM request_rules WHERE id = ?`} {
			if _, err := t.exec(q, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func preauthorization(db querier, condition string, vs ...any) (p store.Preauthorization, err error) {
	if err = one(db, preauthorizationInto(&p), `SELECT `+preauthorizationColumns+preauthorizationsFrom+condition, vs...); err != nil {
		return p, fmt.Errorf("preauthorization: %w", err)
	}
	return p, nil
}

// CreatePreauthorization implements store.Requests.
func (s *Store) CreatePreauthorization(ctx context.Context, v store.Preauthorization, m store.Meta) (store.Preauthorization, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Preauthorization, error) {
		rule, err := requestRule(t, v.Rule, "/*share*/")
		if err != nil {
			return v, err
		}
		status := ""
		err = one(t, []any{&status}, `SELECT status FROM users WHERE id = ? /*share*/`, v.User)
		if err == nil && status == store.Deleted {
			err = store.ErrNotFound
		}
		if err != nil {
			return v, fmt.Errorf("user: %w", err)
		}
		if err := t.mayAnswer(v.Rule, v.By, v.User); err != nil {
			return v, err
		}
		if v.Longest <= 0 || v.Longest > rule.Longest || !v.Until.After(t.now) {
			return v, fmt.Errorf("%s by a rule for at most %s: %w", v.Longest, rule.Longest, store.ErrDenied)
		}
		if _, err := t.exec(`DELETE FROM preauthorizations WHERE rule_id = ? AND user_id = ? AND until <= ?`, v.Rule, v.User, t.now); err != nil {
			return v, err
		}
		if err := t.roomFor(store.MaxPreauthorizations, `SELECT count(*) FROM preauthorizations WHERE rule_id = ?`, v.Rule); err != nil {
			return v, err
		}
		_, err = t.exec(`INSERT INTO preauthorizations (id, rule_id, user_id, given_by, longest_seconds, until, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			v.ID, v.Rule, v.User, v.By, wholeSeconds(v.Longest), v.Until, t.now)
		if err != nil {
			return v, err
		}
		return preauthorization(t, `p.id = ?`, v.ID)
	})
}

// Preauthorization implements store.Requests.
func (s *Store) Preauthorization(ctx context.Context, id string) (store.Preauthorization, error) {
	return preauthorization(s.reader(ctx), `p.id = ?`, id)
}

// Preauthorizations implements store.Requests.
func (s *Store) Preauthorizations(ctx context.Context, f store.RequestFilter, p store.Page) ([]store.Preauthorization, string, error) {
	q, vs := `SELECT `+preauthorizationColumns+preauthorizationsFrom+`p.until > ?`, []any{f.At}
	if f.User != "" {
		q, vs = q+` AND p.user_id = ?`, append(vs, f.User)
	}
	if f.Approver != "" {
		q, vs = q+` AND `+mayAnswer, append(vs, f.Approver, f.At)
	}
	return list[store.Preauthorization]{
		query: q, order: "p.created_at", id: "p.id", into: preauthorizationInto,
		key: func(v *store.Preauthorization) (any, string) { return v.CreatedAt, v.ID },
	}.page(ctx, s, p, vs...)
}

// DeletePreauthorization implements store.Requests.
func (s *Store) DeletePreauthorization(ctx context.Context, id, by string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		v, err := preauthorization(t, `p.id = ?`, id)
		if err != nil {
			return err
		}
		if err := t.answers(v.Rule, by); err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM preauthorizations WHERE id = ?`, id)
		return err
	})
}
