package signin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Devices without a browser sign in by a code that a person types in a browser elsewhere
// (RFC 8628). What he sees there cannot show that he sits at the device: whoever began the
// sign-in can send him the code. So it is off until the team turns it on, never for an
// administrator, the code is typed and never part of a link, he shows anew who he is, and the
// page says from which device and address it was begun.

// Limits of it.
const (
	// CodeTries is how many codes one source may type within TryWindow. There are
	// 2.6e10 codes, and each is good for RequestLife. Right ones count too: else who has
	// a code of his own could begin to count anew.
	CodeTries = 5
	// AskTries is how many codes one source may ask for within TryWindow: a rack of
	// machines behind one address.
	AskTries = 40
	// pollWait is how long a device waits between two polls, in seconds (RFC 8628
	// section 3.5).
	pollWait = 5
)

// userCodeLetters have no vowels, which could make words, and none that looks like another
// (RFC 8628 section 6.1).
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLen     = 8
)

func newUserCode() string {
	var b strings.Builder
	for i := range userCodeLen {
		if i == userCodeLen/2 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userCodeLetters))))
		if err != nil {
			panic("signin: the kernel gives no randomness: " + err.Error())
		}
		b.WriteByte(userCodeLetters[n.Int64()])
	}
	return b.String()
}

// userCodeHash is that of a code however it was typed, and of no code at all for what is
// none.
func userCodeHash(typed string) []byte {
	var b strings.Builder
	for _, r := range strings.ToUpper(typed) {
		if strings.ContainsRune(userCodeLetters, r) {
			b.WriteRune(r)
		} else if r != '-' && r != ' ' {
			return nil
		}
		if b.Len() > userCodeLen {
			return nil
		}
	}
	if b.Len() != userCodeLen {
		return nil
	}
	return hashOf("user code " + b.String())
}

// sourceTries is the name under which the tries of a source are counted.
func sourceTries(what, from string) string { return what + "/" + hex.EncodeToString(hashOf(from)[:16]) }

// AskCode takes the request of a device without a browser, whose proof has been checked.
// from is what its address is counted by.
func (s *Service) AskCode(ctx context.Context, by caller.Caller, form url.Values, from string) (api.DeviceCode, error) {
	var out api.DeviceCode
	switch {
	case len(form["client_id"]) != 1 || form.Get("client_id") != api.ClientID:
		return out, oauth("invalid_client", "this client is not known here")
	case len(form["device_name"]) > 1 || len(form.Get("device_name")) > maxDevice:
		return out, oauth("invalid_request", "device_name is there twice or too long")
	}
	r := store.AuthRequest{Thumbprint: by.Prover, Replaces: form.Get("replaces"), ReplacesKey: form.Get("replaces_key")}
	if reason := replacing(r, form); reason != "" {
		return out, oauth("invalid_request", reason)
	}
	now := s.now()
	n, until, err := s.Store.Attempt(ctx, sourceTries("ask-code", from), TryWindow, now)
	if err != nil {
		return out, err
	}
	if n > AskTries {
		return out, api.Errorf(api.Limited, "too many devices asked for a code from this address").WithRetry(until.Sub(now))
	}
	if err := s.ofAdmin(ctx, by, form); err != nil {
		return out, err
	}
	code := NewSecret()
	g := store.DeviceGrant{
		CodeHash: hashOf(code), Thumbprint: by.Prover, DeviceName: deviceName(form.Get("device_name")),
		Source: by.Source, Wait: pollWait, Replaces: r.Replaces, ReplacesKey: r.ReplacesKey, CreatedAt: now, ExpiresAt: now.Add(RequestLife),
	}
	m := by.Meta(now) // no audit row: any key may ask, and nothing is given yet
	m.Idempotency = nil
	for range 3 { // another device may wait with the same code
		g.ID, out.UserCode = ident.New(ident.DeviceGrant), newUserCode()
		g.UserCodeHash = userCodeHash(out.UserCode)
		if err = s.Store.CreateDeviceGrant(ctx, g, m); !errors.Is(err, store.ErrExists) {
			break
		}
	}
	switch {
	case errors.Is(err, store.ErrDenied):
		return out, oauth("unauthorized_client", "this team lets no device sign in by a typed code: sign in through a browser on the device, or ask your administrator").because(err)
	case errors.Is(err, store.ErrReplayed):
		return out, oauth("use_dpop_nonce", "the proof was used before").because(err)
	case err != nil:
		return out, err
	}
	out.DeviceCode, out.VerificationURI = code, s.PublicURL+"/device"
	out.ExpiresIn, out.Interval = int(RequestLife/time.Second), pollWait
	return out, nil
}

// TypeCode takes what a person typed at the page and returns the id of the request that he
// then decides as any other.
func (s *Service) TypeCode(ctx context.Context, typed string, b Browser, from string) (request string, err error) {
	now := s.now()
	e := s.event(now, audit.SignInFailed, audit.Denied, "", store.User{}, b, nil)
	if err := s.countCode(ctx, from, e); err != nil {
		return "", err
	}
	r, err := s.Store.TypeUserCode(ctx, userCodeHash(typed), store.AuthRequest{
		ID: ident.New(ident.AuthRequest), BrowserHash: hashOf(b.Token), Source: b.Source, CreatedAt: now,
	}, store.Meta{Now: now})
	if err != nil {
		return "", s.notTyped(ctx, e, err)
	}
	user, _, ok, err := s.Person(ctx, b)
	if err == nil && ok {
		err = s.TurnAway(ctx, r.ID, user, b)
	}
	return r.ID, err
}

// countCode counts a code that is typed, before it is looked at; e is the event of a refusal.
func (s *Service) countCode(ctx context.Context, from string, e audit.Event) error {
	n, until, err := s.Store.Attempt(ctx, sourceTries("type-code", from), TryWindow, e.Time)
	if err != nil || n <= CodeTries {
		return err
	}
	if n == CodeTries+1 { // once for each window
		e.Action, e.Reason = audit.SignInLimited, "too many device codes"
		s.record(ctx, e)
	}
	return api.Errorf(api.Limited, "too many codes were typed from your address").
		WithHint("try again after %s", until.UTC().Format("15:04 UTC")).WithRetry(until.Sub(e.Time))
}

// notTyped is why a code led nowhere.
func (s *Service) notTyped(ctx context.Context, e audit.Event, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		e.Reason = "no device waits with this code"
		s.record(ctx, e)
		return api.Errorf(api.NotFound, "no device waits with this code").WithHint("look at the device again: a code is good for %d minutes, in one browser", int(RequestLife.Minutes()))
	case errors.Is(err, store.ErrDenied):
		return notByCode(err)
	}
	return err
}

func notByCode(cause error) error {
	return api.Errorf(api.Denied, "this team lets no device sign in by a typed code").WithHint("ask your administrator").WithCause(cause)
}

// poll is the token endpoint for a device that waits (RFC 8628 section 3.4).
func (s *Service) poll(ctx context.Context, by caller.Caller, form url.Values) (api.SignedIn, error) {
	for _, name := range []string{"device_code", "client_id"} {
		if len(form[name]) != 1 {
			return api.SignedIn{}, oauth("invalid_request", name+" is missing or there twice")
		}
	}
	if form.Get("client_id") != api.ClientID {
		return api.SignedIn{}, oauth("invalid_client", "this client is not known here")
	}
	demands, err := s.Store.TeamSettings(ctx)
	if err != nil {
		return api.SignedIn{}, err
	}
	code := hashOf(form.Get("device_code"))
	asked, err := s.Store.DeviceGrantRequest(ctx, code)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return api.SignedIn{}, err // of one that nobody typed yet, or that is unknown, the store says what it is
	}
	in, err := s.incoming(ctx, asked, by, form)
	if err != nil {
		return api.SignedIn{}, err
	}
	now, token := s.now(), tokenPrefix+NewSecret()
	r := store.DeviceRedemption{
		CodeHash: code, User: asked.User, Thumbprint: by.Prover, Enrolment: enrolment(form), Replaces: in.replaces,
		Device:  store.Device{ID: in.id, State: newState(demands), Report: report(form.Get("device_report")), CreatedAt: now},
		Session: store.Session{ID: ident.New(ident.Session), TokenHash: hashOf(token), CreatedAt: now, ExpiresAt: now.Add(s.life(demands))},
	}
	e := audit.Event{
		Time: now, Action: audit.SignIn, Outcome: audit.Allowed, Actor: asked.User, User: asked.User, Session: r.Session.ID, Source: by.Source,
		Detail: map[string]string{"request": asked.ID, "device": asked.DeviceName, "key": by.Prover, "way": "typed code", "browser": asked.Source},
	}
	m := by.Meta(now, in.rows(e)...)
	m.Idempotency = nil
	who, err := s.Store.PollDeviceGrant(ctx, r, m)
	if refused := in.refused(err); refused != nil {
		return api.SignedIn{}, refused
	}
	if err != nil {
		return api.SignedIn{}, s.notYet(ctx, e, err)
	}
	return signedIn(who, token, r.Session), nil
}

// notYet says in RFC 8628's words why a poll brings no session, and audits what is more
// than waiting.
func (s *Service) notYet(ctx context.Context, e audit.Event, err error) error {
	switch {
	case errors.Is(err, store.ErrPending):
		return oauth(api.AuthorizationPending, "nobody has typed the code and said yes yet")
	case errors.Is(err, store.ErrTooSoon):
		return oauth(api.SlowDown, "the device asks too often")
	case errors.Is(err, store.ErrRefused) && s.isAdmin(ctx, e.Actor):
		return oauth("access_denied", whyNotByCode).because(err)
	case errors.Is(err, store.ErrRefused):
		return oauth("access_denied", "the sign-in was refused in the browser").because(err)
	case errors.Is(err, store.ErrUsed):
		return oauth("expired_token", "the code was used or is over; to begin again type: cardea login --device-code").because(err)
	case errors.Is(err, store.ErrDenied):
		e.Action, e.Outcome, e.Session = audit.SignInFailed, audit.Denied, ""
		e.Reason = "the code came with another key, or its account, device or team may not sign in so"
		s.record(ctx, e)
		if s.lockedOut(ctx, e) {
			return oauth(api.LockedOut, whyLockedOut).because(err)
		}
		return oauth("access_denied", "this account or device may not sign in by a typed code").because(err)
	}
	return s.notRedeemed(ctx, e, err)
}

// enrolment is the hash of the token that a fleet's device brings, to be spared the
// approval; nil for none. One that is worthless is no error: the device waits, as others do.
func enrolment(form url.Values) []byte {
	if token := form.Get("enrolment_token"); token != "" {
		return hashOf(token)
	}
	return nil
}

// newState is that of a device that nobody has seen before.
func newState(demands store.TeamSettings) string {
	if demands.DeviceApproval {
		return store.Pending
	}
	return store.Active
}
