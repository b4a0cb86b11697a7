package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const (
	workloadIssuerColumns = "w.id, w.name, w.issuer, w.audience, w.state, w.created_at, w.keys, w.keys_at"
	workloadRuleColumns   = "r.id, r.issuer_id, r.user_id, u.name, r.claims, r.session_seconds, r.created_at"
	workloadRuleQuery     = `SELECT ` + workloadRuleColumns + ` FROM workload_rules r JOIN users u ON u.id = r.user_id WHERE `
)

func workloadIssuerInto(w *store.WorkloadIssuer) []any {
	return []any{&w.ID, &w.Name, &w.Issuer, &w.Audience, &w.State, &w.CreatedAt, &w.Keys, &w.KeysAt}
}

func workloadRuleInto(r *store.WorkloadRule) []any {
	return []any{&r.ID, &r.Issuer, &r.User, &r.UserName, &r.Claims, &r.SessionSeconds, &r.CreatedAt}
}

// CreateWorkloadIssuer implements store.Workloads.
func (s *Store) CreateWorkloadIssuer(ctx context.Context, w store.WorkloadIssuer, m store.Meta) (store.WorkloadIssuer, error) {
	return get(ctx, s, m, false, func(t *tx) (store.WorkloadIssuer, error) {
		w.CreatedAt, w.KeysAt = created(w.CreatedAt, t), time.Time{}
		if w.Keys != "" {
			w.KeysAt = w.CreatedAt
		}
		_, err := t.exec(`INSERT INTO workload_issuers (id, name, issuer, audience, state, created_at, keys, keys_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			w.ID, w.Name, w.Issuer, w.Audience, w.State, w.CreatedAt, w.Keys, w.KeysAt)
		return w, err
	})
}

// WorkloadIssuer implements store.Workloads.
func (s *Store) WorkloadIssuer(ctx context.Context, id string) (store.WorkloadIssuer, error) {
	return s.workloadIssuer(ctx, "id", id)
}

// WorkloadIssuerByName implements store.Workloads.
func (s *Store) WorkloadIssuerByName(ctx context.Context, name string) (store.WorkloadIssuer, error) {
	return s.workloadIssuer(ctx, "name", name)
}

// WorkloadIssuerByURL implements store.Workloads.
func (s *Store) WorkloadIssuerByURL(ctx context.Context, issuer string) (store.WorkloadIssuer, error) {
	return s.workloadIssuer(ctx, "issuer", issuer)
}

func (s *Store) workloadIssuer(ctx context.Context, column, value string) (w store.WorkloadIssuer, err error) {
	err = one(s.reader(ctx), workloadIssuerInto(&w), `SELECT `+workloadIssuerColumns+` FROM workload_issuers w WHERE w.`+column+` = ?`, value)
	return w, err
}

// WorkloadIssuers implements store.Workloads: by name.
func (s *Store) WorkloadIssuers(ctx context.Context, p store.Page) ([]store.WorkloadIssuer, string, error) {
	return list[store.WorkloadIssuer]{
		query: `SELECT ` + workloadIssuerColumns + ` FROM workload_issuers w WHERE true`,
		order: "w.name", id: "w.id", into: workloadIssuerInto,
		key: func(w *store.WorkloadIssuer) (any, string) { return w.Name, w.ID },
	}.page(ctx, s, p)
}

// SetWorkloadIssuerState implements store.Workloads.
func (s *Store) SetWorkloadIssuerState(ctx context.Context, id, state string, m store.Meta) (store.WorkloadIssuer, error) {
	return get(ctx, s, m, true, func(t *tx) (store.WorkloadIssuer, error) {
		w, err := t.holdWorkloadIssuer(id, "/*lock*/")
		if err != nil {
			return w, err
		}
		w.State = state
		if _, err := t.exec(`UPDATE workload_issuers SET state = ? WHERE id = ?`, state, id); err != nil || state == store.Active {
			return w, err
		}
		rules, err := all(t, func(id *string) []any { return []any{id} }, `SELECT id FROM workload_rules WHERE issuer_id = ? ORDER BY id`, id)
		for _, r := range rules {
			if err == nil {
				err = t.endRule(r)
			}
		}
		return w, err
	})
}

// SetWorkloadIssuerKeys implements store.Workloads.
func (s *Store) SetWorkloadIssuerKeys(ctx context.Context, id, keys string, m store.Meta) (store.WorkloadIssuer, error) {
	return get(ctx, s, m, false, func(t *tx) (store.WorkloadIssuer, error) {
		w, err := t.holdWorkloadIssuer(id, "/*lock*/")
		if err != nil {
			return w, err
		}
		w.Keys, w.KeysAt = keys, moment(micros(t.now))
		_, err = t.exec(`UPDATE workload_issuers SET keys = ?, keys_at = ? WHERE id = ?`, w.Keys, w.KeysAt, id)
		return w, err
	})
}

func (t *tx) holdWorkloadIssuer(id, how string) (w store.WorkloadIssuer, err error) {
	err = one(t, workloadIssuerInto(&w), `SELECT `+workloadIssuerColumns+` FROM workload_issuers w WHERE w.id = ? `+how, id)
	return w, err
}

// endRule ends the sessions that a rule brought, and what was begun with them.
func (t *tx) endRule(id string) error {
	users, err := all(t, func(id *string) []any { return []any{id} }, `UPDATE sessions SET revoked_at = ? WHERE rule_id = ? AND revoked_at = 0 RETURNING user_id`, t.now, id)
	if err != nil {
		return err
	}
	for _, u := range users {
		t.touch(store.UserTopic(u))
	}
	if err := t.revokeLive(`i.session_id IN (SELECT id FROM sessions WHERE rule_id = ?)`, id); err != nil {
		return err
	}
	return t.orderEnd(endSession, `user_session IN (SELECT id FROM sessions WHERE rule_id = ?)`, id)
}

// DeleteWorkloadIssuer implements store.Workloads.
func (s *Store) DeleteWorkloadIssuer(ctx context.Context, id string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		if _, err := t.holdWorkloadIssuer(id, "/*lock*/"); err != nil {
			return err
		}
		var used bool
		if err := one(t, []any{&used}, `SELECT EXISTS (SELECT 1 FROM workload_rules WHERE issuer_id = ?)`, id); err != nil {
			return err
		}
		if used {
			return store.ErrInUse
		}
		return t.must(store.ErrNotFound, `DELETE FROM workload_issuers WHERE id = ?`, id)
	})
}

// CreateWorkloadRule implements store.Workloads.
func (s *Store) CreateWorkloadRule(ctx context.Context, r store.WorkloadRule, m store.Meta) (store.WorkloadRule, error) {
	return get(ctx, s, m, false, func(t *tx) (store.WorkloadRule, error) {
		if err := t.holdServiceUser(r.User); err != nil { // before the issuer, as SignInWorkload
			return r, err
		}
		if _, err := t.holdWorkloadIssuer(r.Issuer, "/*lock*/"); err != nil {
			return r, err
		}
		var has int
		if err := one(t, []any{&has, &r.UserName}, `SELECT (SELECT count(*) FROM workload_rules WHERE issuer_id = ?), u.name FROM users u WHERE u.id = ?`, r.Issuer, r.User); err != nil {
			return r, err
		}
		if has >= store.MaxWorkloadRules {
			return r, store.ErrTooMany
		}
		r.CreatedAt = created(r.CreatedAt, t)
		_, err := t.exec(`INSERT INTO workload_rules (id, issuer_id, user_id, claims, session_seconds, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
			r.ID, r.Issuer, r.User, r.Claims, r.SessionSeconds, r.CreatedAt)
		return r, err
	})
}

// WorkloadRule implements store.Workloads.
func (s *Store) WorkloadRule(ctx context.Context, id string) (r store.WorkloadRule, err error) {
	err = one(s.reader(ctx), workloadRuleInto(&r), workloadRuleQuery+`r.id = ?`, id)
	return r, err
}

// WorkloadRules implements store.Workloads.
func (s *Store) WorkloadRules(ctx context.Context, issuer string) ([]store.WorkloadRule, error) {
	return all(s.reader(ctx), workloadRuleInto, workloadRuleQuery+`r.issuer_id = ? ORDER BY r.created_at, r.id`, issuer)
}

// DeleteWorkloadRule implements store.Workloads.
func (s *Store) DeleteWorkloadRule(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if err := t.must(store.ErrNotFound, `DELETE FROM workload_rules WHERE id = ?`, id); err != nil {
			return err
		}
		return t.endRule(id)
	})
}

// SignInWorkload implements store.Workloads. User, rule and issuer are held until the commit,
// in this order, which is that of who deletes them: so no session begins beside their end.
func (s *Store) SignInWorkload(ctx context.Context, v store.WorkloadSignIn, m store.Meta) (store.Subject, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Subject, error) {
		user, err := t.holdRule(v.Rule)
		if errors.Is(err, store.ErrNotFound) {
			err = store.ErrDenied
		}
		if err != nil {
			return store.Subject{}, err
		}
		var key string
		err = one(t, []any{&key}, `INSERT INTO workload_tokens (token_hash, thumbprint, expires_at) VALUES (?, ?, ?)
			ON CONFLICT (token_hash) DO UPDATE SET thumbprint = workload_tokens.thumbprint RETURNING thumbprint`,
			v.TokenHash, v.Session.Thumbprint, v.TokenExpires)
		if err == nil && key != v.Session.Thumbprint {
			err = store.ErrUsed
		}
		if err != nil {
			return store.Subject{}, err
		}
		who, err := t.beginSession(user, v.Session.Thumbprint, v.Device, nil, v.Session)
		if err != nil {
			return who, err
		}
		_, err = t.exec(`UPDATE sessions SET rule_id = ? WHERE id = ?`, v.Rule, who.Session.ID)
		return who, err
	})
}

// holdRule holds a rule, its active user and its active issuer, and returns the user. A rule
// is of one user and one issuer for ever.
func (t *tx) holdRule(id string) (user string, err error) {
	const find = `SELECT r.user_id, r.issuer_id FROM workload_rules r WHERE r.id = ?`
	var issuer string
	if err := one(t, []any{&user, &issuer}, find, id); err != nil {
		return "", err
	}
	if _, err := t.activeUser(user); err != nil {
		return "", err
	}
	if err := one(t, []any{&user, &issuer}, find+` /*share*/`, id); err != nil {
		return "", err
	}
	w, err := t.holdWorkloadIssuer(issuer, "/*share*/")
	if err == nil && w.State != store.Active {
		err = store.ErrDenied
	}
	return user, err
}

// WorkloadTokenUsed implements store.Workloads.
func (s *Store) WorkloadTokenUsed(ctx context.Context, tokenHash []byte) (used bool, err error) {
	err = one(s.reader(ctx), []any{&used}, `SELECT EXISTS (SELECT 1 FROM workload_tokens WHERE token_hash = ?)`, tokenHash)
	return used, err
}
