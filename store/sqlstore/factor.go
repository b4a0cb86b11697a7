package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const factorColumns = "f.id, f.user_id, f.kind, f.name, f.sealed, f.credential_id, f.credential, f.counter, f.created_at, f.used_at"

func factorInto(f *store.Factor) []any {
	return []any{&f.ID, &f.User, &f.Kind, &f.Name, &f.Sealed, &f.CredentialID, &f.Credential, &f.Counter, &f.CreatedAt, &f.UsedAt}
}

// Factors implements store.Factors.
func (s *Store) Factors(ctx context.Context, user string) ([]store.Factor, error) {
	return factors(s.reader(ctx), user)
}

func factors(db querier, user string) ([]store.Factor, error) {
	return all(db, factorInto, `SELECT `+factorColumns+` FROM factors f WHERE f.user_id = ? ORDER BY f.created_at, f.id`, user)
}

// RecoveryCodes implements store.Factors.
func (s *Store) RecoveryCodes(ctx context.Context, user string) (n int, err error) {
	err = one(s.reader(ctx), []any{&n}, `SELECT count(*) FROM recovery_codes WHERE user_id = ?`, user)
	return n, err
}

// needs is what a browser session of the user, who is held, begins with.
func (t *tx) needs(u store.User) (string, error) {
	var has int
	if err := one(t, []any{&has}, `SELECT count(*) FROM factors WHERE user_id = ?`, u.ID); err != nil {
		return "", err
	}
	if has > 0 {
		return store.NeedsFactor, nil
	}
	must, err := t.mustHaveFactor(u)
	if err != nil || !must {
		return store.NeedsNothing, err
	}
	return store.NeedsEnrolment, nil
}

func (t *tx) mustHaveFactor(u store.User) (bool, error) {
	var who string
	if err := one(t, []any{&who}, `SELECT second_factor FROM team`); err != nil {
		return false, err
	}
	return u.Issuer == localIssuer && (who == store.FactorAll || who == store.FactorAdmins && u.Admin), nil
}

// SetChallenge implements store.Factors.
func (s *Store) SetChallenge(ctx context.Context, login []byte, challenge string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		return t.must(store.ErrNotFound, `UPDATE browser_sessions SET challenge = ? WHERE token_hash = ? AND expires_at > ?`, challenge, login, t.now)
	})
}

// lockLogin holds a browser session that is not over, and its user.
func (t *tx) lockLogin(login []byte) (b store.BrowserSession, u store.User, err error) {
	err = one(t, browserInto(&b), `SELECT `+browserColumns+` FROM browser_sessions b WHERE b.token_hash = ? AND b.expires_at > ?`, login, t.now)
	if err == nil {
		// The user comes first of all locks, as where a factor or a password is changed.
		err = one(t, userInto(&u), `SELECT `+userColumns+` FROM users u WHERE u.id = ? /*lock*/`, b.User)
	}
	if err == nil {
		err = one(t, browserInto(&b), `SELECT `+browserColumns+` FROM browser_sessions b WHERE b.token_hash = ? AND b.expires_at > ? /*lock*/`, login, t.now)
	}
	if errors.Is(err, store.ErrNotFound) || err == nil && u.Status != store.Active {
		err = store.ErrDenied
	}
	return b, u, err
}

// renew puts a whole session with a new token in the place of b.
func (t *tx) renew(b, with store.BrowserSession) (store.BrowserSession, error) {
	b.TokenHash, b.AuthenticatedAt, b.ExpiresAt, b.Needs, b.Challenge = with.TokenHash, with.AuthenticatedAt, with.ExpiresAt, store.NeedsNothing, ""
	_, err := t.exec(`UPDATE browser_sessions SET token_hash = ?, authenticated_at = ?, expires_at = ?, needs = '', challenge = '' WHERE id = ?`,
		b.TokenHash, b.AuthenticatedAt, b.ExpiresAt, b.ID)
	return b, err
}

// spend uses up the challenge of b and compares it.
func (t *tx) spend(b store.BrowserSession, challenge string) error {
	if b.Challenge != "" {
		if _, err := t.exec(`UPDATE browser_sessions SET challenge = '' WHERE id = ?`, b.ID); err != nil {
			return err
		}
	}
	if b.Challenge != challenge {
		return kept{error: store.ErrDenied}
	}
	return nil
}

// UseFactor implements store.Factors.
func (s *Store) UseFactor(ctx context.Context, v store.FactorUse, m store.Meta) (store.BrowserSession, error) {
	return get(ctx, s, m, true, func(t *tx) (store.BrowserSession, error) {
		b, u, err := t.lockLogin(v.Login)
		if err == nil && b.Needs != store.NeedsFactor {
			err = store.ErrDenied
		}
		if err != nil {
			return b, err
		}
		if v.Challenge != "" {
			if err := t.spend(b, v.Challenge); err != nil {
				return b, err
			}
		}
		if err := t.useFactor(u.ID, v); err != nil {
			return b, err
		}
		return t.renew(b, v.Session)
	})
}

func (t *tx) useFactor(user string, v store.FactorUse) error {
	if len(v.RecoveryHash) > 0 {
		return t.must(store.ErrUsed, `DELETE FROM recovery_codes WHERE user_id = ? AND code_hash = ?`, user, v.RecoveryHash)
	}
	var f store.Factor
	err := one(t, factorInto(&f), `SELECT `+factorColumns+` FROM factors f WHERE f.id = ? AND f.user_id = ? /*lock*/`, v.Factor, user)
	if errors.Is(err, store.ErrNotFound) {
		return kept{error: store.ErrDenied}
	}
	if err != nil {
		return err
	}
	uncounted := f.Kind == store.FactorPasskey && f.Counter == 0 && v.Counter == 0
	if v.Counter <= f.Counter && !uncounted {
		return kept{error: store.ErrUsed}
	}
	if v.Credential == "" {
		v.Credential = f.Credential
	}
	_, err = t.exec(`UPDATE factors SET counter = ?, credential = ?, used_at = ? WHERE id = ?`, v.Counter, v.Credential, t.now, f.ID)
	return err
}

// AddFactor implements store.Factors.
func (s *Store) AddFactor(ctx context.Context, v store.NewFactor, m store.Meta) (store.BrowserSession, error) {
	return get(ctx, s, m, true, func(t *tx) (store.BrowserSession, error) {
		b, u, err := t.lockLogin(v.Login)
		if err == nil && (b.Needs == store.NeedsFactor || b.AuthenticatedAt.Before(v.Since) || u.Issuer != localIssuer) {
			err = store.ErrDenied
		}
		if err == nil {
			err = t.spend(b, v.Challenge)
		}
		if err != nil {
			return b, err
		}
		have, err := factors(t, u.ID)
		if err != nil {
			return b, err
		}
		if len(have) >= store.MaxFactors {
			return b, store.ErrInUse
		}
		f := v.Factor
		_, err = t.exec(`INSERT INTO factors (id, user_id, kind, name, sealed, credential_id, credential, counter, created_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			f.ID, u.ID, f.Kind, f.Name, f.Sealed, f.CredentialID, f.Credential, f.Counter, created(f.CreatedAt, t), f.UsedAt)
		if err != nil {
			return b, err
		}
		// Sessions that began without a factor must not outlive its enrolment.
		if _, err := t.exec(`DELETE FROM browser_sessions WHERE user_id = ? AND id <> ?`, u.ID, b.ID); err != nil {
			return b, err
		}
		if err := t.closeDashboards(`user_id = ?`, u.ID); err != nil {
			return b, err
		}
		return t.renew(b, v.Session)
	})
}

// lockWhole is lockLogin for what only a whole and young session may do.
func (t *tx) lockWhole(login []byte, since time.Time) (store.BrowserSession, store.User, error) {
	b, u, err := t.lockLogin(login)
	if err == nil && (b.Needs != store.NeedsNothing || b.AuthenticatedAt.Before(since)) {
		err = store.ErrDenied
	}
	return b, u, err
}

// RemoveFactor implements store.Factors.
func (s *Store) RemoveFactor(ctx context.Context, login []byte, since time.Time, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		_, u, err := t.lockWhole(login, since)
		if err != nil {
			return err
		}
		if err := t.must(store.ErrNotFound, `DELETE FROM factors WHERE id = ? AND user_id = ?`, id, u.ID); err != nil {
			return err
		}
		left, err := factors(t, u.ID)
		if err != nil || len(left) > 0 {
			return err
		}
		must, err := t.mustHaveFactor(u)
		if err != nil {
			return err
		}
		if must {
			return store.ErrInUse
		}
		_, err = t.exec(`DELETE FROM recovery_codes WHERE user_id = ?`, u.ID)
		return err
	})
}

// SetRecoveryCodes implements store.Factors.
func (s *Store) SetRecoveryCodes(ctx context.Context, login []byte, since time.Time, hashes [][]byte, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		_, u, err := t.lockWhole(login, since)
		if err != nil {
			return err
		}
		have, err := factors(t, u.ID)
		if err == nil && len(have) == 0 {
			err = store.ErrDenied
		}
		if err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM recovery_codes WHERE user_id = ?`, u.ID); err != nil {
			return err
		}
		for _, h := range hashes {
			if _, err := t.exec(`INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)`, u.ID, h); err != nil {
				return err
			}
		}
		return nil
	})
}

// KnowBrowser implements store.Factors.
func (s *Store) KnowBrowser(ctx context.Context, user string, tokenHash []byte, expires time.Time, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		if _, err := t.activeUser(user); err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO known_browsers (user_id, token_hash, seen_at, expires_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (user_id, token_hash) DO UPDATE SET seen_at = excluded.seen_at, expires_at = excluded.expires_at`, user, tokenHash, t.now, expires); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM known_browsers WHERE user_id = ? AND token_hash NOT IN
			(SELECT token_hash FROM known_browsers WHERE user_id = ? ORDER BY seen_at DESC, token_hash LIMIT ?)`, user, user, store.MaxKnownBrowsers)
		return err
	})
}

// KnownBrowser implements store.Factors.
func (s *Store) KnownBrowser(ctx context.Context, user string, tokenHash []byte, now time.Time) (known bool, err error) {
	err = one(s.reader(ctx), []any{&known}, `SELECT EXISTS (SELECT 1 FROM known_browsers WHERE user_id = ? AND token_hash = ? AND expires_at > ?)`, user, tokenHash, now)
	return known, err
}

// ResetFactors implements store.Factors.
func (s *Store) ResetFactors(ctx context.Context, user string, m store.Meta) (int, error) {
	return get(ctx, s, m, true, func(t *tx) (int, error) {
		var u store.User
		if err := one(t, userInto(&u), `SELECT `+userColumns+` FROM users u WHERE u.id = ? /*lock*/`, user); err != nil {
			return 0, err
		}
		have, err := factors(t, user)
		if err != nil {
			return 0, err
		}
		if err := t.forgetFactors(user); err != nil {
			return 0, err
		}
		return len(have), t.forgetBrowsers(user)
	})
}

// forgetFactors takes all from a user who may not use them any more; a key that he had may
// be another's then.
func (t *tx) forgetFactors(user string) error {
	for _, q := range []string{`DELETE FROM factors WHERE user_id = ?`, `DELETE FROM recovery_codes WHERE user_id = ?`, `DELETE FROM invitations WHERE user_id = ?`} {
		if _, err := t.exec(q, user); err != nil {
			return err
		}
	}
	return nil
}
