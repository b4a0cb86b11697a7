package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const tokenColumns = "e.id, e.secret_hash, e.kind, e.project_id, e.name, e.address, e.labels, e.egress, e.uses_left, e.expires_at, e.created_at, e.alt_names, e.host_names, e.tls_address"

func tokenInto(e *store.EnrolmentToken) []any {
	return []any{&e.ID, &e.SecretHash, &e.Kind, &e.Project, &e.Name, &e.Address, &e.Labels, &e.Egress, &e.UsesLeft, &e.ExpiresAt, &e.CreatedAt, &e.AltNames, &e.HostNames, &e.TLSAddress}
}

// CreateEnrolmentToken implements store.Fleet.
func (s *Store) CreateEnrolmentToken(ctx context.Context, e store.EnrolmentToken, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if e.Project != "" {
			// Held, so that the project is not deleted beside it.
			if _, err := t.lockProject(e.Project); err != nil {
				return err
			}
		}
		_, err := t.exec(`INSERT INTO enrolment_tokens (id, secret_hash, kind, project_id, name, address, labels, egress, uses_left, expires_at, created_at, alt_names, host_names, tls_address)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			e.ID, e.SecretHash, e.Kind, e.Project, e.Name, e.Address, e.Labels, e.Egress, e.UsesLeft, e.ExpiresAt, created(e.CreatedAt, t), e.AltNames, e.HostNames, e.TLSAddress)
		return err
	})
}

// EnrolmentToken implements store.Fleet.
func (s *Store) EnrolmentToken(ctx context.Context, secretHash []byte, now time.Time) (store.EnrolmentToken, error) {
	e, err := enrolmentToken(s.reader(ctx), secretHash, "")
	if err == nil && !usable(e, now) {
		err = store.ErrUsed
	}
	return e, err
}

func enrolmentToken(db querier, secretHash []byte, lock string) (store.EnrolmentToken, error) {
	var e store.EnrolmentToken
	err := one(db, tokenInto(&e), `SELECT `+tokenColumns+` FROM enrolment_tokens e WHERE e.secret_hash = ? `+lock, secretHash)
	return e, err
}

func usable(e store.EnrolmentToken, now time.Time) bool {
	return e.UsesLeft > 0 && (e.ExpiresAt.IsZero() || now.Before(e.ExpiresAt))
}

// EnrolmentTokens implements store.Fleet: oldest first.
func (s *Store) EnrolmentTokens(ctx context.Context, p store.Page) ([]store.EnrolmentToken, string, error) {
	return list[store.EnrolmentToken]{
		query: `SELECT ` + tokenColumns + ` FROM enrolment_tokens e WHERE true`,
		order: "e.created_at", id: "e.id", into: tokenInto,
		key: func(e *store.EnrolmentToken) (any, string) { return e.CreatedAt, e.ID },
	}.page(ctx, s, p)
}

// DeleteEnrolmentToken implements store.Fleet.
func (s *Store) DeleteEnrolmentToken(ctx context.Context, id string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		return t.must(store.ErrNotFound, `DELETE FROM enrolment_tokens WHERE id = ?`, id)
	})
}

// takeUse takes one use of a token, whose row is locked until the commit.
func (t *tx) takeUse(secretHash []byte, kind, project string) error {
	e, err := enrolmentToken(t, secretHash, "/*lock*/")
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("enrolment token: %w", err)
	case err != nil:
		return err
	case !usable(e, t.now) || e.Kind != kind || e.Project != project:
		return store.ErrUsed
	}
	return t.must(store.ErrUsed, `UPDATE enrolment_tokens SET uses_left = uses_left - 1 WHERE id = ? AND uses_left > 0`, e.ID)
}

// insertCredential: a key has one credential, so that a machine cannot be two.
func (t *tx) insertCredential(kind, owner string, c store.Credential) error {
	_, err := t.exec(`INSERT INTO credentials (token_hash, kind, owner, thumbprint, expires_at) VALUES (?, ?, ?, ?, ?)`,
		c.TokenHash, kind, owner, c.Thumbprint, c.ExpiresAt)
	return err
}
