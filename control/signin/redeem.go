package signin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"regexp"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// tokenPrefix marks the token of a session, for scanners of leaked secrets.
const tokenPrefix = "cardea_ses_"

// verifier is RFC 7636 section 4.1.
var verifier = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// Redeem is the token endpoint: form is the request's body, by the call whose
// proof has been checked. A refusal is an *OAuthError.
func (s *Service) Redeem(ctx context.Context, by caller.Caller, form url.Values) (api.SignedIn, error) {
	if len(form["grant_type"]) == 1 {
		switch form.Get("grant_type") {
		case api.DeviceGrantType:
			return s.poll(ctx, by, form)
		case api.GrantServiceKey:
			return s.serviceKey(ctx, by, form)
		case api.GrantWorkload:
			return s.workload(ctx, by, form)
		}
	}
	r, code, err := redemption(form)
	if err != nil {
		return api.SignedIn{}, err
	}
	asked, err := s.Store.AuthRequest(ctx, code.request)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return api.SignedIn{}, err // an unknown one goes on: the store says what it says to a used code
	}
	demands, err := s.Store.TeamSettings(ctx)
	if err != nil {
		return api.SignedIn{}, err
	}
	now := s.now()
	token := tokenPrefix + NewSecret()
	in, err := s.incoming(ctx, asked, by, form)
	if err != nil {
		return api.SignedIn{}, err
	}
	r.Replaces = in.replaces
	r.Thumbprint, r.Enrolment = by.Prover, enrolment(form)
	r.Device = store.Device{
		ID: in.id, User: asked.User, Name: asked.DeviceName,
		Thumbprint: by.Prover, State: newState(demands), Report: report(form.Get("device_report")), CreatedAt: now,
	}
	r.Session = store.Session{
		ID: ident.New(ident.Session), User: asked.User, Device: r.Device.ID, TokenHash: hashOf(token), Thumbprint: by.Prover,
		AuthenticatedAt: code.since, CreatedAt: now, ExpiresAt: now.Add(s.life(demands)),
	}
	e := audit.Event{
		Time: now, Action: audit.SignIn, Outcome: audit.Allowed, Actor: asked.User, User: asked.User, Session: r.Session.ID,
		Source: by.Source, Detail: map[string]string{"request": code.request, "device": asked.DeviceName, "key": by.Prover},
	}
	who, err := s.Store.Redeem(ctx, r, by.Meta(now, in.rows(e)...))
	if refused := in.refused(err); refused != nil {
		return api.SignedIn{}, refused
	}
	if err != nil {
		return api.SignedIn{}, s.notRedeemed(ctx, e, err)
	}
	return signedIn(who, token, r.Session), nil
}

// signedIn is what whoever has just signed in is told: his token, and whom it makes him.
func signedIn(who store.Subject, token string, session store.Session) api.SignedIn {
	return api.SignedIn{
		Token:   api.Token{AccessToken: token, TokenType: "DPoP", ExpiresIn: int(session.ExpiresAt.Sub(session.CreatedAt) / time.Second)},
		Session: Describe(who.Session, who.User, who.Device),
	}
}

type codeParts struct {
	request string
	since   time.Time
}

// redemption checks the form's shape (RFC 6749 section 4.1.3).
func redemption(form url.Values) (store.Redemption, codeParts, error) {
	var r store.Redemption
	for _, name := range []string{"grant_type", "code", "code_verifier", "redirect_uri", "client_id"} {
		if len(form[name]) != 1 {
			return r, codeParts{}, oauth("invalid_request", name+" is missing or there twice")
		}
	}
	switch {
	case form.Get("grant_type") != "authorization_code":
		return r, codeParts{}, oauth("unsupported_grant_type", "this way to sign in is not known here")
	case form.Get("client_id") != api.ClientID:
		return r, codeParts{}, oauth("invalid_client", "this client is not known here")
	case !verifier.MatchString(form.Get("code_verifier")):
		return r, codeParts{}, oauth("invalid_request", "code_verifier is not 43 to 128 unreserved characters")
	}
	request, since, ok := parseCode(form.Get("code"))
	if !ok {
		return r, codeParts{}, oauth("invalid_grant", "the code is not one of ours")
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	r.CodeHash = hashOf(form.Get("code"))
	r.RedirectURI = form.Get("redirect_uri")
	r.Challenge = base64.RawURLEncoding.EncodeToString(sum[:])
	return r, codeParts{request, since}, nil
}

// notRedeemed audits the refusal e and says it in OAuth's words.
func (s *Service) notRedeemed(ctx context.Context, e audit.Event, err error) error {
	e.Outcome, e.Session = audit.Denied, ""
	switch {
	case errors.Is(err, store.ErrUsed):
		e.Action, e.Reason = audit.SignInReuse, "the code is unknown, used or over"
		s.record(ctx, e)
		return oauth("invalid_grant", "the code was used or is over; to begin again type: cardea login").because(err)
	case errors.Is(err, store.ErrDenied):
		e.Action, e.Reason = audit.SignInFailed, "the code came with another key, verifier or address, or its account or device may not sign in"
		s.record(ctx, e)
		if s.lockedOut(ctx, e) {
			return oauth(api.LockedOut, whyLockedOut).because(err)
		}
		return oauth("invalid_grant", "the code belongs to another request, or this account or device may not sign in").because(err)
	case errors.Is(err, store.ErrReplayed):
		e.Action, e.Reason = audit.ProofRefused, "the proof was used before"
		s.record(ctx, e)
		return oauth("use_dpop_nonce", "the proof was used before").because(err)
	}
	return err
}

// whyLockedOut is what whoever holds a device reads that somebody said to be lost, or that
// another one replaced.
const whyLockedOut = "this device was locked out or replaced, by you or by an administrator; " +
	"to come back as a new device type: cardea device replace"

// lockedOut tells whether the device of the refused sign-in e was. Its proof has been
// checked, so nobody else learns that; a failure is a refusal without its reason.
func (s *Service) lockedOut(ctx context.Context, e audit.Event) bool {
	d, err := s.Store.DeviceByKey(ctx, e.Actor, e.Detail["key"])
	return err == nil && d.State == store.Revoked
}

// OAuthError is a refusal of the token endpoint (RFC 6749 section 5.2). The
// description is ASCII, as section 5.2 demands.
type OAuthError struct {
	api.OAuthError
	cause error
}

func oauth(code, description string) *OAuthError {
	return &OAuthError{OAuthError: api.OAuthError{Code: code, Description: description}}
}

// of says which kind of refusal it is, where OAuth has one word for several; the description
// ends with what to do, behind a semicolon.
func (e *OAuthError) of(kind api.Kind) *OAuthError {
	e.Reason = kind
	return e
}

func (e *OAuthError) because(err error) *OAuthError {
	e.cause = err
	return e
}

func (e *OAuthError) Error() string { return e.Code + ": " + e.Description }

// Unwrap is the cause, for the log.
func (e *OAuthError) Unwrap() error { return e.cause }
