package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// Phases of an auth request.
const (
	phaseOpen     = "open"
	phaseApproved = "approved" // its code may be redeemed
	phaseRefused  = "refused"
	phaseUsed     = "used"
)

const requestColumns = "r.id, r.redirect_uri, r.state, r.challenge, r.thumbprint, r.device_name, r.browser_hash, r.user_id, r.source, r.project, r.grant_id, r.origin, r.replaces, r.replaces_key, r.expires_at, r.created_at"

func requestInto(r *store.AuthRequest) []any {
	return []any{&r.ID, &r.RedirectURI, &r.State, &r.Challenge, &r.Thumbprint, &r.DeviceName, &r.BrowserHash, &r.User, &r.Source, &r.Project, &r.Grant, &r.Origin, &r.Replaces, &r.ReplacesKey, &r.ExpiresAt, &r.CreatedAt}
}

// Two statements, because one for people and machines together joins five
// tables for every call, of which a person's needs three.
const (
	authenticated    = `SELECT JSON_ROW(` + sessionTexts + `, ` + deviceColumns + `, ` + userColumns + `, t.idle_seconds), x.token_hash`
	authenticateUser = authenticated + `
	FROM sessions x JOIN devices d ON d.id = x.device_id JOIN users u ON u.id = x.user_id CROSS JOIN team t WHERE x.token_hash = ?`

	// authenticateOther finds a session by a token that is not its current one.
	authenticateOther = authenticated + `, o.replaced_at
	FROM session_tokens o JOIN sessions x ON x.id = o.session_id JOIN devices d ON d.id = x.device_id JOIN users u ON u.id = x.user_id CROSS JOIN team t WHERE o.token_hash = ?`

	authenticateMachine = `SELECT JSON_ROW(c.kind, c.thumbprint, c.expires_at, ` + serverColumns + `, ` + gatewayColumns + `)
	FROM credentials c LEFT JOIN servers s ON c.kind = 'server' AND s.id = c.owner
	LEFT JOIN gateways w ON c.kind = 'gateway' AND w.id = c.owner WHERE c.token_hash = ?`
)

// Authenticate implements store.SignIn. A token is of a session or of a machine,
// and never becomes the other, so it is no matter that they are asked in turn. Those
// that are not current come last, because they are seldom shown. A next one that is
// used between the two reads is current then: so the sessions are asked once more.
func (s *Store) Authenticate(ctx context.Context, tokenHash []byte) (store.Subject, error) {
	for _, find := range []func(context.Context, []byte) (store.Subject, error){
		s.authenticateUser, s.authenticateMachine, s.authenticateOther, s.authenticateUser,
	} {
		v, err := find(ctx, tokenHash)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return store.Subject{}, err
		}
	}
	return store.Subject{}, store.ErrNotFound
}

func (s *Store) authenticateUser(ctx context.Context, tokenHash []byte) (store.Subject, error) {
	var v store.Subject
	err := one(s.reader(ctx), subjectInto(&v), authenticateUser, tokenHash)
	return ofSession(v), err
}

func (s *Store) authenticateOther(ctx context.Context, tokenHash []byte) (store.Subject, error) {
	var v store.Subject
	err := one(s.reader(ctx), append(subjectInto(&v), &v.ReplacedAt), authenticateOther, tokenHash)
	v.Token = store.TokenNext
	if !v.ReplacedAt.IsZero() {
		v.Token = store.TokenReplaced
	}
	return ofSession(v), err
}

func subjectInto(v *store.Subject) []any {
	row := slices.Concat(sessionTextsInto(&v.Session), deviceInto(&v.Device), userInto(&v.User), []any{&v.IdleSeconds})
	return []any{packed(row), &v.Session.TokenHash}
}

func ofSession(v store.Subject) store.Subject {
	v.Kind, v.Thumbprint, v.ExpiresAt = store.KindUser, v.Session.Thumbprint, v.Session.ExpiresAt
	return v
}

func (s *Store) authenticateMachine(ctx context.Context, tokenHash []byte) (v store.Subject, err error) {
	row := slices.Concat([]any{&v.Kind, &v.Thumbprint, &v.ExpiresAt}, serverInto(&v.Server), gatewayInto(&v.Gateway))
	err = one(s.reader(ctx), []any{packed(row)}, authenticateMachine, tokenHash)
	return v, err
}

// CreateAuthRequest implements store.SignIn.
func (s *Store) CreateAuthRequest(ctx context.Context, r store.AuthRequest, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		r.CreatedAt = created(r.CreatedAt, t)
		return t.insertRequest(r)
	})
}

func (t *tx) insertRequest(r store.AuthRequest) error {
	_, err := t.exec(`INSERT INTO auth_requests (id, redirect_uri, state, challenge, thumbprint, device_name, browser_hash, user_id, source, project, grant_id, origin,
		replaces, replaces_key, expires_at, created_at, phase, code_hash, code_expires_at, session_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, '')`,
		r.ID, r.RedirectURI, r.State, r.Challenge, r.Thumbprint, r.DeviceName, r.BrowserHash, r.User, r.Source, r.Project, r.Grant, r.Origin,
		r.Replaces, r.ReplacesKey, r.ExpiresAt, r.CreatedAt, phaseOpen)
	return err
}

// AuthRequest implements store.SignIn.
func (s *Store) AuthRequest(ctx context.Context, id string) (store.AuthRequest, error) {
	var r store.AuthRequest
	err := one(s.reader(ctx), requestInto(&r), `SELECT `+requestColumns+` FROM auth_requests r WHERE r.id = ?`, id)
	return r, err
}

// ApproveAuthRequest implements store.SignIn.
func (s *Store) ApproveAuthRequest(ctx context.Context, a store.Approval, m store.Meta) (store.AuthRequest, error) {
	return get(ctx, s, m, false, func(t *tx) (store.AuthRequest, error) {
		r, err := t.openRequest(a.Request, a.BrowserHash)
		if err == nil && r.Dashboard() {
			err = store.ErrDenied
		}
		if err != nil {
			return r, err
		}
		u, err := t.activeUser(a.User)
		if err != nil {
			return r, err
		}
		since := time.Time{} // a sign-in may rest on what was shown before it
		if r.Project != "" || r.Grant != "" {
			since = r.CreatedAt
		}
		if r.Grant != "" {
			if err := t.byCode(); err != nil {
				return r, err
			}
			if u.Admin {
				return r, store.ErrDenied
			}
			a.CodeHash, a.CodeExpires = nil, time.Time{} // the device polls; no browser brings it a code
		}
		var shown time.Time // looked for while the user is held: a new password waits
		err = one(t, []any{&shown}, `SELECT authenticated_at FROM browser_sessions WHERE token_hash = ? AND user_id = ? AND expires_at > ? AND authenticated_at >= ? AND needs = ''`, a.LoginHash, a.User, t.now, since)
		if errors.Is(err, store.ErrNotFound) {
			err = store.ErrDenied
		}
		if err != nil {
			return r, err
		}
		r.User = a.User
		_, err = t.exec(`UPDATE auth_requests SET phase = ?, user_id = ?, code_hash = ?, code_expires_at = ?, shown_at = ? WHERE id = ?`,
			phaseApproved, a.User, a.CodeHash, a.CodeExpires, shown, a.Request)
		return r, err
	})
}

// RefuseAuthRequest implements store.SignIn.
func (s *Store) RefuseAuthRequest(ctx context.Context, id string, browserHash []byte, m store.Meta) (store.AuthRequest, error) {
	return get(ctx, s, m, false, func(t *tx) (store.AuthRequest, error) {
		r, err := t.openRequest(id, browserHash)
		if err != nil {
			return r, err
		}
		_, err = t.exec(`UPDATE auth_requests SET phase = ? WHERE id = ?`, phaseRefused, id)
		return r, err
	})
}

// openRequest locks a request that waits for its person. The browser comes
// first: another one learns nothing of the request's state.
func (t *tx) openRequest(id string, browserHash []byte) (store.AuthRequest, error) {
	var r store.AuthRequest
	var phase string
	err := one(t, append(requestInto(&r), &phase), `SELECT `+requestColumns+`, r.phase FROM auth_requests r WHERE r.id = ? /*lock*/`, id)
	switch {
	case err != nil:
		return r, err
	case !bytes.Equal(r.BrowserHash, browserHash):
		return r, store.ErrDenied
	case phase != phaseOpen || !t.now.Before(r.ExpiresAt):
		return r, store.ErrUsed
	}
	return r, nil
}

// activeUser reads a user and holds it active until the commit.
func (t *tx) activeUser(id string) (store.User, error) {
	var u store.User
	err := one(t, userInto(&u), `SELECT `+userColumns+` FROM users u WHERE u.id = ? /*share*/`, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && u.Status != store.Active {
		return u, store.ErrDenied
	}
	return u, err
}

// code is what a code of an auth request stands for.
type code struct {
	request store.AuthRequest
	phase   string
	expires time.Time
	session string
}

// Redeem implements store.SignIn.
func (s *Store) Redeem(ctx context.Context, r store.Redemption, m store.Meta) (store.Subject, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Subject, error) {
		c, err := t.consume(r)
		if err != nil {
			return store.Subject{}, err
		}
		return t.trade(c, r)
	})
}

// consume finds what a code stands for, and refuses it if anything is wrong. Who it
// gives a code to marks that as used.
func (t *tx) consume(r store.Redemption) (code, error) {
	var c code
	into := append(requestInto(&c.request), &c.phase, &c.expires, &c.session)
	err := one(t, into, `SELECT `+requestColumns+`, r.phase, r.code_expires_at, r.session_id FROM auth_requests r WHERE r.code_hash = ? /*lock*/`, r.CodeHash)
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrUsed
	}
	if err != nil {
		return c, err
	}
	return c, t.judgeCode(c, r)
}

// Touch implements store.SignIn. What somebody showed earlier never counts for later.
func (s *Store) Touch(ctx context.Context, r store.Redemption, v store.Touch, m store.Meta) (store.Touch, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Touch, error) {
		c, _, device, err := t.shown(r)
		if err == nil && device != v.Device {
			err = t.spoil(c)
		}
		if err != nil {
			return v, err
		}
		if _, err := t.project(v.Project); err != nil {
			return v, err
		}
		err = one(t, []any{&v.At}, `INSERT INTO touches (device_id, project_id, at) VALUES (?, ?, ?)
			ON CONFLICT (device_id, project_id) DO UPDATE SET at = CASE WHEN touches.at > excluded.at THEN touches.at ELSE excluded.at END
			RETURNING at`, v.Device, v.Project, v.At)
		if err != nil {
			return v, err
		}
		_, err = t.exec(`UPDATE auth_requests SET phase = ? WHERE id = ?`, phaseUsed, c.request.ID)
		return v, err
	})
}

// shown consumes a code that only tells that somebody showed who he is: the session r.Session
// on whose device it counts has to be his own.
func (t *tx) shown(r store.Redemption) (c code, u store.User, device string, err error) {
	if c, err = t.consume(r); err != nil {
		return c, u, "", err
	}
	if u, err = t.activeUser(c.request.User); err != nil {
		return c, u, "", err
	}
	err = one(t, []any{&device}, `SELECT d.id FROM sessions x JOIN devices d ON d.id = x.device_id
		WHERE x.id = ? AND x.user_id = ? AND x.thumbprint = ? AND x.revoked_at = 0 AND x.expires_at > ? AND d.state = 'active'`,
		r.Session.ID, c.request.User, r.Thumbprint, t.now)
	if errors.Is(err, store.ErrNotFound) {
		err = t.spoil(c)
	}
	return c, u, device, err
}

// spoil makes a code that came where it does not belong worthless.
func (t *tx) spoil(c code) error {
	if _, err := t.exec(`UPDATE auth_requests SET phase = ? WHERE id = ?`, phaseUsed, c.request.ID); err != nil {
		return err
	}
	return kept{error: store.ErrDenied}
}

// project holds one until the commit.
func (t *tx) project(id string) (store.Project, error) {
	var p store.Project
	err := one(t, projectInto(&p), `SELECT `+projectColumns+` FROM projects p WHERE p.id = ? /*share*/`, id)
	return p, err
}

// judgeCode refuses a code, and keeps what a refusal has to leave behind.
func (t *tx) judgeCode(c code, r store.Redemption) error {
	switch {
	case c.phase == phaseUsed && c.session != "":
		// Somebody has this code who should not: neither keeps a session (RFC 6749
		// section 4.1.2).
		if err := t.revokeSession(c.session); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return kept{error: store.ErrUsed}
	case c.phase == phaseRefused: // who said yes was thrown out since
		return store.ErrDenied
	case c.phase != phaseApproved || !t.now.Before(c.expires):
		return store.ErrUsed
	case c.request.RedirectURI != r.RedirectURI || c.request.Challenge != r.Challenge || c.request.Thumbprint != r.Thumbprint || c.request.Project != r.Project:
		if _, err := t.exec(`UPDATE auth_requests SET phase = ? WHERE id = ?`, phaseUsed, c.request.ID); err != nil {
			return err
		}
		return kept{error: store.ErrDenied}
	}
	return nil
}

// trade makes the session that a code stands for.
func (t *tx) trade(c code, r store.Redemption) (store.Subject, error) {
	if r.Device.Name == "" {
		r.Device.Name = c.request.DeviceName
	}
	v, err := t.beginSession(c.request.User, r.Thumbprint, r.Device, r.Enrolment, r.Session)
	if err == nil && r.Replaces != "" {
		err = t.replaceDevice(v.Device, r)
	}
	if err != nil {
		return v, err
	}
	_, err = t.exec(`UPDATE auth_requests SET phase = ?, session_id = ?, expires_at = ? WHERE id = ?`, phaseUsed, v.Session.ID, t.now.Add(requestTime), c.request.ID)
	return v, err
}

// replaceDevice revokes the device in whose place now comes.
func (t *tx) replaceDevice(now store.Device, r store.Redemption) error {
	if now.ID != r.Device.ID || now.ID == r.Replaces {
		return store.ErrInUse
	}
	old, err := t.setDeviceState(r.Replaces, store.Revoked)
	if err == nil && old.User != now.User {
		err = store.ErrNotFound // and nothing of this is kept
	}
	return err
}

// beginSession makes a session of a user, who has to be active, on his device with this
// key, which is made as proposed if he has none.
func (t *tx) beginSession(user, thumbprint string, device store.Device, enrolment []byte, session store.Session) (store.Subject, error) {
	v := store.Subject{Kind: store.KindUser, Thumbprint: thumbprint, ExpiresAt: moment(micros(session.ExpiresAt)), Session: session}
	var err error
	if v.User, err = t.activeUser(user); err != nil {
		return v, err
	}
	if v.Device, err = t.device(v.User.ID, thumbprint, device, enrolment); err != nil {
		return v, err
	}
	x := &v.Session
	x.User, x.Device, x.Thumbprint = v.User.ID, v.Device.ID, thumbprint
	x.CreatedAt, x.ExpiresAt, x.RevokedAt = created(x.CreatedAt, t), v.ExpiresAt, time.Time{}
	x.AuthenticatedAt = moment(micros(x.AuthenticatedAt))
	_, err = t.exec(`INSERT INTO sessions (id, user_id, device_id, token_hash, thumbprint, authenticated_at, created_at, expires_at, revoked_at, program)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)`, x.ID, x.User, x.Device, x.TokenHash, x.Thumbprint, x.AuthenticatedAt, x.CreatedAt, x.ExpiresAt, v.User.Issuer == store.ServiceIssuer)
	t.touch(store.UserTopic(x.User))
	return v, err
}

// device finds the user's device with this key, or makes it as proposed, and notes what it
// says of itself.
func (t *tx) device(user, thumbprint string, proposed store.Device, enrolment []byte) (store.Device, error) {
	d, err := t.knownDevice(user, thumbprint, proposed, enrolment)
	if err != nil || proposed.Report == d.Report && (d.Report == "" || t.now.Before(d.ReportedAt)) {
		return d, err
	}
	d.Report, d.ReportedAt = proposed.Report, moment(micros(t.now))
	return d, t.reports(d.ID, d.Report)
}

// reports notes what a device says of itself.
func (t *tx) reports(device, report string) error {
	_, err := t.exec(`UPDATE devices SET report = ?, reported_at = ? WHERE id = ?`, report, t.now, device)
	return err
}

// deviceByKey finds a user's device; lock is for who changes it.
func deviceByKey(q querier, user, thumbprint, lock string) (store.Device, error) {
	var d store.Device
	err := one(q, deviceInto(&d), `SELECT `+deviceColumns+` FROM devices d WHERE d.user_id = ? AND d.thumbprint = ?`+lock, user, thumbprint)
	return d, err
}

func (t *tx) knownDevice(user, thumbprint string, proposed store.Device, enrolment []byte) (store.Device, error) {
	d, err := deviceByKey(t, user, thumbprint, ` /*lock*/`)
	switch {
	case err == nil && d.State == store.Revoked:
		return d, store.ErrDenied
	case err == nil || !errors.Is(err, store.ErrNotFound):
		return d, err
	}
	d = store.Device{ID: proposed.ID, User: user, Name: proposed.Name, Thumbprint: thumbprint, State: proposed.State, CreatedAt: created(proposed.CreatedAt, t)}
	if d.State == "" {
		d.State = store.Active
	}
	if len(enrolment) > 0 {
		switch err := t.takeUse(enrolment, store.KindDevice, ""); {
		case err == nil:
			d.State, d.ApprovedAt = store.Active, moment(micros(t.now))
		case !errors.Is(err, store.ErrUsed) && !errors.Is(err, store.ErrNotFound):
			return d, err
		}
	}
	_, err = t.exec(`INSERT INTO devices (id, user_id, name, thumbprint, state, created_at, approved_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		d.ID, d.User, d.Name, d.Thumbprint, d.State, d.CreatedAt, d.ApprovedAt)
	return d, err
}
