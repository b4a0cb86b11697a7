package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// relyingParty is what passkeys are bound to: the host of the public URL, and the whole
// origin in what they sign. An address is no domain, so there are none there; nil then.
func relyingParty(publicURL string) *webauthn.WebAuthn {
	u, err := url.Parse(publicURL)
	if err != nil || protocol.ValidateRPID(u.Hostname()) != nil {
		return nil
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "Cardea", RPOrigins: []string{publicURL},
		// Which make of key it is tells nothing that we would act on.
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementPreferred,
			// A key that somebody finds must not be enough.
			UserVerification: protocol.VerificationRequired,
		},
	})
	if err != nil {
		return nil
	}
	return w
}

// HasPasskeys tells whether passkeys can be used at the public URL.
func (s *Service) HasPasskeys() bool { return s.passkeys != nil }

// holder is a user as the library knows him. The handle is his id: opaque, and no name.
type holder struct {
	user  store.User
	creds []webauthn.Credential
}

func (h holder) WebAuthnID() []byte                         { return []byte(h.user.ID) }
func (h holder) WebAuthnName() string                       { return h.user.Name }
func (h holder) WebAuthnDisplayName() string                { return h.user.Name }
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.creds }

// holder reads a user's passkeys; byID has their rows.
func (s *Service) holder(ctx context.Context, u store.User) (h holder, byID map[string]store.Factor, err error) {
	factors, err := s.Store.Factors(ctx, u.ID)
	if err != nil {
		return h, nil, err
	}
	h.user, byID = u, map[string]store.Factor{}
	for _, f := range factors {
		if f.Kind != store.FactorPasskey {
			continue
		}
		var c webauthn.Credential
		if err := json.Unmarshal([]byte(f.Credential), &c); err != nil {
			return h, nil, fmt.Errorf("passkey %s: %w", f.ID, err)
		}
		h.creds, byID[f.CredentialID] = append(h.creds, c), f
	}
	return h, byID, nil
}

func credentialID(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }

var errNoPasskeys = api.Errorf(api.NotFound, "there are no passkeys here").WithHint("use a code")

// AskPasskey asks a person for his passkey; what it returns is for the browser's
// navigator.credentials.get. It is empty for who has none.
func (s *Service) AskPasskey(ctx context.Context, b Browser) (options string, err error) {
	at, err := s.half(ctx, b)
	if err != nil || s.passkeys == nil {
		return "", err
	}
	h, _, err := s.holder(ctx, at.User)
	if err != nil || len(h.creds) == 0 {
		return "", err
	}
	assertion, session, err := s.passkeys.BeginLogin(h)
	if err != nil {
		return "", fmt.Errorf("ask for a passkey: %w", err)
	}
	return s.askWith(ctx, b, questionLogin, session, assertion.Response)
}

// askWith keeps the library's question and returns its text for the browser.
func (s *Service) askWith(ctx context.Context, b Browser, kind string, session *webauthn.SessionData, options any) (string, error) {
	data, err := json.Marshal(session)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(options)
	if err != nil {
		return "", err
	}
	return string(text), s.ask(ctx, b, question{Kind: kind, Data: data})
}

// ShowPasskey takes what navigator.credentials.get gave, and returns the browser's new
// login secret.
func (s *Service) ShowPasskey(ctx context.Context, answer string, b Browser) (login string, err error) {
	at, err := s.half(ctx, b)
	if err != nil {
		return "", err
	}
	if s.passkeys == nil {
		return "", errNoPasskeys
	}
	// Nobody guesses a signature: what others tried is no reason to refuse one.
	if err := s.countFactor(ctx, at, b, false); err != nil {
		return "", err
	}
	c, f, err := s.assertion(ctx, at, answer)
	if err != nil {
		// What was asked is used up, also by an answer that is wrong.
		err = errors.Join(err, s.Store.SetChallenge(ctx, hashOf(b.Login), "", store.Meta{Now: s.now()}))
		s.record(ctx, s.event(s.now(), audit.SignInFailed, audit.Denied, "wrong passkey", at.User, b, nil))
		return "", api.Errorf(api.SignIn, "the passkey was not accepted").WithHint("try again").WithCause(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	e := s.event(s.now(), audit.FactorUse, audit.Allowed, "", at.User, b, map[string]string{"factor": f.ID, "kind": f.Kind, "name": f.Name})
	return s.show(ctx, at, store.FactorUse{Factor: f.ID, Counter: int64(c.Authenticator.SignCount), Credential: string(text), Challenge: at.challenge}, e, b)
}

// assertion checks a signature (WebAuthn section 7.2).
func (s *Service) assertion(ctx context.Context, at Sitting, answer string) (*webauthn.Credential, store.Factor, error) {
	var f store.Factor
	q, err := s.asked(at, questionLogin)
	if err != nil {
		return nil, f, err
	}
	var session webauthn.SessionData
	if err := json.Unmarshal(q.Data, &session); err != nil {
		return nil, f, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return nil, f, err
	}
	h, byID, err := s.holder(ctx, at.User)
	if err != nil {
		return nil, f, err
	}
	c, err := s.passkeys.ValidateLogin(h, session, parsed)
	if err != nil {
		return nil, f, err
	}
	f, known := byID[credentialID(c.ID)]
	switch {
	case !known:
		return nil, f, errors.New("not one of his")
	case c.Authenticator.CloneWarning:
		return nil, f, errors.New("its sign count went back: two keys are this one")
	}
	return c, f, nil
}

// BeginPasskey asks for a new passkey; what it returns is for navigator.credentials.create.
func (s *Service) BeginPasskey(ctx context.Context, b Browser) (options string, err error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return "", err
	}
	if s.passkeys == nil {
		return "", errNoPasskeys
	}
	h, _, err := s.holder(ctx, at.User)
	if err != nil {
		return "", err
	}
	var known []protocol.CredentialDescriptor
	for _, c := range h.creds {
		known = append(known, c.Descriptor())
	}
	creation, session, err := s.passkeys.BeginRegistration(h, webauthn.WithExclusions(known))
	if err != nil {
		return "", fmt.Errorf("ask for a new passkey: %w", err)
	}
	return s.askWith(ctx, b, questionPasskey, session, creation.Response)
}

// AddPasskey keeps the new passkey that navigator.credentials.create made (WebAuthn
// section 7.1). It returns the browser's new login secret.
func (s *Service) AddPasskey(ctx context.Context, name, answer string, b Browser) (login string, err error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return "", err
	}
	if s.passkeys == nil {
		return "", errNoPasskeys
	}
	q, err := s.asked(at, questionPasskey)
	if err != nil {
		return "", err
	}
	var session webauthn.SessionData
	if err := json.Unmarshal(q.Data, &session); err != nil {
		return "", err
	}
	bad := api.Errorf(api.Invalid, "the passkey was not accepted").WithHint("begin again")
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return "", bad.WithCause(err)
	}
	h, _, err := s.holder(ctx, at.User)
	if err != nil {
		return "", err
	}
	c, err := s.passkeys.CreateCredential(h, session, parsed)
	if err != nil {
		return "", bad.WithCause(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return s.add(ctx, at, store.Factor{
		ID: ident.New(ident.Factor), Kind: store.FactorPasskey, Name: factorName(name, "passkey"),
		CredentialID: credentialID(c.ID), Credential: string(text), Counter: int64(c.Authenticator.SignCount),
	}, b)
}
