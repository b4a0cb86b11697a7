package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const ruleColumns = "r.id, r.cloud, r.account, r.regions, r.identities, r.within_seconds, r.project_id, r.server_name, r.labels, r.created_at"

func ruleInto(r *ruleRow) []any {
	return []any{&r.ID, &r.Cloud, &r.Account, &r.Regions, &r.Identities, &r.seconds, &r.Project, &r.ServerName, &r.Labels, &r.CreatedAt}
}

// ruleRow is a rule as it is kept.
type ruleRow struct {
	store.EnrolmentRule
	seconds int64
}

func enrolmentRules(rows []ruleRow) []store.EnrolmentRule {
	out := make([]store.EnrolmentRule, 0, len(rows))
	for _, r := range rows {
		r.Within = time.Duration(r.seconds) * time.Second
		out = append(out, r.EnrolmentRule)
	}
	return out
}

// CreateEnrolmentRule implements store.Enrolments.
func (s *Store) CreateEnrolmentRule(ctx context.Context, r store.EnrolmentRule, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		// Held, so that the project is not deleted beside it.
		if _, err := t.lockProject(r.Project); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO enrolment_rules (id, cloud, account, regions, identities, within_seconds, project_id, server_name, labels, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.ID, r.Cloud, r.Account, r.Regions, r.Identities, int64(r.Within/time.Second), r.Project, r.ServerName, r.Labels, created(r.CreatedAt, t))
		return err
	})
}

// EnrolmentRules implements store.Enrolments.
func (s *Store) EnrolmentRules(ctx context.Context, p store.Page) ([]store.EnrolmentRule, string, error) {
	rows, next, err := list[ruleRow]{
		query: `SELECT ` + ruleColumns + ` FROM enrolment_rules r WHERE true`,
		order: "r.created_at", id: "r.id", into: ruleInto,
		key: func(r *ruleRow) (any, string) { return r.CreatedAt, r.ID },
	}.page(ctx, s, p)
	return enrolmentRules(rows), next, err
}

// EnrolmentRulesOf implements store.Enrolments.
func (s *Store) EnrolmentRulesOf(ctx context.Context, cloud, account string) ([]store.EnrolmentRule, error) {
	rows, err := all(s.reader(ctx), ruleInto, `SELECT `+ruleColumns+` FROM enrolment_rules r WHERE r.cloud = ? AND r.account = ? ORDER BY r.created_at, r.id`, cloud, account)
	return enrolmentRules(rows), err
}

// DeleteEnrolmentRule implements store.Enrolments.
func (s *Store) DeleteEnrolmentRule(ctx context.Context, id string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		return t.must(store.ErrNotFound, `DELETE FROM enrolment_rules WHERE id = ?`, id)
	})
}

// EnrolInstance implements store.Enrolments.
func (s *Store) EnrolInstance(ctx context.Context, in store.InstanceEnrolment, v store.Server, c store.Credential, m store.Meta) (store.Server, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Server, error) {
		if _, err := t.lockProject(v.Project); err != nil {
			return v, err
		}
		var project string
		if err := one(t, []any{&project}, `SELECT r.project_id FROM enrolment_rules r WHERE r.id = ? /*share*/`, in.Rule); err != nil {
			return v, fmt.Errorf("enrolment rule: %w", err)
		}
		if project != v.Project {
			return v, fmt.Errorf("the rule is for another project: %w", store.ErrDenied)
		}
		err := t.must(store.ErrReplayed, `INSERT INTO nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT (nonce) DO NOTHING`, in.Challenge, in.ChallengeEnds)
		if err != nil {
			return v, err
		}
		err = t.must(store.ErrUsed, `INSERT INTO instances (instance, server_id, created_at) VALUES (?, ?, ?) ON CONFLICT (instance) DO NOTHING`, in.Instance, v.ID, t.now)
		if err != nil {
			return v, err
		}
		return t.insertServer(v, in.Instance, c)
	})
}

// EnrolAgain implements store.Enrolments.
func (s *Store) EnrolAgain(ctx context.Context, way string, c store.Credential, m store.Meta) (store.Server, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Server, error) {
		var id string
		err := one(t, []any{&id}, `SELECT s.id FROM servers s JOIN credentials k ON k.owner = s.id
			WHERE k.kind = ? AND k.thumbprint = ? AND s.enrolled_by = ? AND s.enrolled_by <> '' AND s.created_at > ?`,
			store.KindServer, c.Thumbprint, way, t.now.Add(-store.AgainWithin))
		if err != nil {
			return store.Server{}, fmt.Errorf("server: %w", err)
		}
		err = t.must(store.ErrNotFound, `UPDATE credentials SET token_hash = ?, expires_at = ? WHERE kind = ? AND owner = ? AND thumbprint = ?`,
			c.TokenHash, c.ExpiresAt, store.KindServer, id, c.Thumbprint)
		if err != nil {
			return store.Server{}, err
		}
		return server(t, id, "")
	})
}

// tokenID is the id of the token with this secret, whose row is locked.
func (t *tx) tokenID(secretHash []byte) (string, error) {
	e, err := enrolmentToken(t, secretHash, "")
	return e.ID, err
}
