package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// Invite implements store.Invitations.
func (s *Store) Invite(ctx context.Context, v store.Invitation, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		u, err := t.activeUser(v.User)
		if err != nil {
			return err
		}
		if u.Issuer != localIssuer {
			return store.ErrDenied
		}
		if _, err := t.exec(`DELETE FROM invitations WHERE user_id = ?`, v.User); err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO invitations (token_hash, user_id, expires_at) VALUES (?, ?, ?)`, v.TokenHash, v.User, v.ExpiresAt)
		return err
	})
}

// Invited implements store.Invitations.
func (s *Store) Invited(ctx context.Context, tokenHash []byte, now time.Time) (store.User, error) {
	var u store.User
	err := one(s.reader(ctx), userInto(&u), `SELECT `+userColumns+` FROM invitations i JOIN users u ON u.id = i.user_id WHERE i.token_hash = ? AND i.expires_at > ?`, tokenHash, now)
	return u, err
}

// AcceptInvitation implements store.Invitations.
func (s *Store) AcceptInvitation(ctx context.Context, tokenHash []byte, passwordHash string, m store.Meta) (store.User, error) {
	return get(ctx, s, m, true, func(t *tx) (store.User, error) {
		var id string
		err := one(t, []any{&id}, `DELETE FROM invitations WHERE token_hash = ? AND expires_at > ? RETURNING user_id`, tokenHash, t.now)
		if errors.Is(err, store.ErrNotFound) {
			return store.User{}, store.ErrUsed
		}
		if err != nil {
			return store.User{}, err
		}
		if u, err := t.activeUser(id); err != nil {
			return u, err
		}
		return t.updateUser(id, store.UserChange{PasswordHash: &passwordHash})
	})
}
