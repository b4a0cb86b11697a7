package sqlstore

import (
	"context"
	"errors"

	"github.com/cardea-ssh/cardea/store"
)

// OfferToken implements store.SignIn. A next token that was never used becomes a
// replaced one: whoever has it got it long ago.
func (s *Store) OfferToken(ctx context.Context, o store.TokenOffer, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		var x store.Session
		var offered int64
		err := one(t, append(sessionInto(&x), &offered), `SELECT `+sessionColumns+`, x.offered_at FROM sessions x WHERE x.id = ? /*lock*/`, o.Session)
		switch {
		case err != nil:
			return err
		case string(x.TokenHash) != string(o.Current), !x.RevokedAt.IsZero(), !t.now.Before(x.ExpiresAt):
			return store.ErrDenied
		case offered > micros(t.now.Add(-o.Every)):
			return store.ErrInUse
		}
		if err := t.replaceNext(o.Session); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE sessions SET offered_at = ? WHERE id = ?`, t.now, o.Session); err != nil {
			return err
		}
		if o.Report != nil {
			if err := t.reports(x.Device, *o.Report); err != nil {
				return err
			}
		}
		_, err = t.exec(`INSERT INTO session_tokens (token_hash, session_id, replaced_at, expires_at) VALUES (?, ?, 0, ?)`, o.Next, o.Session, x.ExpiresAt)
		return err
	})
}

func (t *tx) replaceNext(session string) error {
	_, err := t.exec(`UPDATE session_tokens SET replaced_at = ? WHERE session_id = ? AND replaced_at = 0`, t.now, session)
	return err
}

// UseToken implements store.SignIn.
func (s *Store) UseToken(ctx context.Context, tokenHash []byte, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		var id string
		err := one(t, []any{&id}, `SELECT session_id FROM session_tokens WHERE token_hash = ? AND replaced_at = 0`, tokenHash)
		if errors.Is(err, store.ErrNotFound) {
			// Another request with it was first: all of a client's come at once.
			return one(t, []any{&id}, `SELECT id FROM sessions WHERE token_hash = ?`, tokenHash)
		}
		if err != nil {
			return err
		}
		// The session's row is taken as OfferToken takes it, first of all.
		var x store.Session
		if err := one(t, sessionInto(&x), `SELECT `+sessionColumns+` FROM sessions x WHERE x.id = ? /*lock*/`, id); err != nil {
			return err
		}
		n, err := t.exec(`DELETE FROM session_tokens WHERE token_hash = ? AND replaced_at = 0`, tokenHash)
		if err != nil {
			return err
		}
		if n == 0 { // used, or replaced, while we waited
			return one(t, []any{&id}, `SELECT id FROM sessions WHERE token_hash = ?`, tokenHash)
		}
		_, err = t.exec(`INSERT INTO session_tokens (token_hash, session_id, replaced_at, expires_at) VALUES (?, ?, ?, ?)`, x.TokenHash, id, t.now, x.ExpiresAt)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE sessions SET token_hash = ? WHERE id = ?`, tokenHash, id)
		return err
	})
}

// SeeSession implements store.SignIn. Clocks of instances differ, and a use is
// never taken back.
func (s *Store) SeeSession(ctx context.Context, id string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		_, err := t.exec(`UPDATE sessions SET seen_at = ? WHERE id = ? AND seen_at < ?`, t.now, id, t.now)
		return err
	})
}
