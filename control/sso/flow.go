package sso

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// maxCode bounds a code, in bytes: we send it on.
	maxCode = 8 << 10
	// finishTime bounds all that the end of a sign-in asks of a provider.
	finishTime = 12 * time.Second
)

// Client is who we are at a provider.
type Client struct {
	Issuer, ID string
	Secret     string // empty if the provider gave none
	// Redirect is where it sends browsers back to.
	Redirect string
	Scopes   []string
	// Want are the claims that the caller has a use for. Those that are not in the token
	// are asked for at the provider's userinfo.
	Want []string
}

// Flow is one run of a browser. Its three secrets are new for each.
type Flow struct {
	State, Nonce, Verifier string
	// Reauth has the provider ask the person anew, though he is signed in there.
	Reauth bool
	// Began is when the browser was sent there.
	Began time.Time
}

// Person is who came back.
type Person struct {
	Token
	// Claims are those of the token, and what userinfo adds.
	Claims Claims
}

// Kind says what kind of reason ended a sign-in.
type Kind int

const (
	// Down: the provider does not answer, or not as one.
	Down Kind = iota + 1
	// Refused: the provider says no.
	Refused
	// Forged: the answer is not one to our question.
	Forged
)

// Error ends a sign-in. Reason is a sentence for the person and the audit; the cause is
// for the log.
type Error struct {
	Kind   Kind
	Reason string
	Cause  error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Cause.Error()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

func failed(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{kind, fmt.Sprintf(format, args...), cause}
}

// Begin returns the address to which the browser is to be sent. It finds out first that
// the provider is there. Errors are *Error, or the context's.
func (i *Issuers) Begin(ctx context.Context, c Client, f Flow) (string, error) {
	m, err := i.issuer(c.Issuer).discoverPeople(ctx, freshMetadata)
	if err != nil {
		return "", failed(Down, err, "the identity provider does not answer as it should")
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), oidc.Nonce(f.Nonce)}
	if f.Reauth {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	return config(c, m).AuthCodeURL(f.State, options...), nil
}

func config(c Client, m *Metadata) *oauth2.Config {
	// Never by trying: a provider that refuses the first way has used the code up.
	style := oauth2.AuthStyleInHeader
	if c.Secret == "" || len(m.TokenAuth) > 0 && !slices.Contains(m.TokenAuth, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	scopes := c.Scopes
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	return &oauth2.Config{
		ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: c.Redirect, Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.AuthURL, TokenURL: m.TokenURL, AuthStyle: style},
	}
}

// Finish trades the answer that a browser brought for who came. The state has been checked
// and used up by the caller. Errors are *Error, or the context's.
func (i *Issuers) Finish(ctx context.Context, c Client, f Flow, answer url.Values) (*Person, error) {
	bounded, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	p, err := i.finish(bounded, c, f, answer)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p, err
}

func (i *Issuers) finish(ctx context.Context, c Client, f Flow, answer url.Values) (*Person, error) {
	s := i.issuer(c.Issuer)
	m, err := s.discoverPeople(ctx, keptMetadata)
	if err != nil {
		return nil, failed(Down, err, "the identity provider does not answer as it should")
	}
	code, err := readAnswer(m, c.Issuer, answer)
	if err != nil {
		return nil, err
	}
	access, raw, err := i.exchange(ctx, config(c, m), code, f)
	if err != nil {
		return nil, err
	}
	t, err := s.verify(ctx, m, raw, Expect{Audience: c.ID, Nonce: f.Nonce, Party: true, AccessToken: access})
	var down *Error
	switch {
	case errors.As(err, &down):
		return nil, down
	case err != nil:
		return nil, failed(Forged, err, "what the identity provider says of you cannot be trusted: %s", reason(err))
	}
	if f.Reauth && !t.AuthTime.IsZero() && t.AuthTime.Before(f.Began.Add(-Skew)) {
		return nil, failed(Refused, nil, "the identity provider did not ask you anew")
	}
	claims, err := i.complete(ctx, m, t, access, c.Want)
	if err != nil {
		return nil, err
	}
	return &Person{Token: *t, Claims: claims}, nil
}

// readAnswer takes the code out of an answer. It looks first at whose answer that is: a
// code of one provider must never be shown to another (RFC 9207 section 2.4), and so also
// says no only the one that was asked.
func readAnswer(m *Metadata, issuer string, answer url.Values) (string, error) {
	one := func(name string) string {
		if len(answer[name]) != 1 {
			return ""
		}
		return answer[name][0]
	}
	switch iss := answer["iss"]; {
	case len(iss) > 1 || len(iss) == 1 && iss[0] != issuer:
		return "", failed(Forged, nil, "the answer is not of the identity provider that was asked")
	case len(iss) == 0 && m.AnswerIssuer:
		return "", failed(Forged, nil, "the answer does not say of which identity provider it is, as that one's do")
	}
	if problem := one("error"); problem != "" {
		cause := fmt.Errorf("%s: %s", clip(problem), clip(one("error_description")))
		if problem == "access_denied" {
			return "", failed(Refused, cause, "the identity provider refused, or the sign-in was cancelled there")
		}
		return "", failed(Refused, cause, "the identity provider refused: %s", word(problem))
	}
	code := one("code")
	if code == "" || len(code) > maxCode {
		return "", failed(Forged, nil, "the answer has no code")
	}
	return code, nil
}

// exchange trades the code for tokens.
func (i *Issuers) exchange(ctx context.Context, config *oauth2.Config, code string, f Flow) (access, id string, err error) {
	tokens, err := config.Exchange(oidc.ClientContext(ctx, i.http), code, oauth2.VerifierOption(f.Verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && (refused.ErrorCode == "invalid_client" || refused.ErrorCode == "unauthorized_client"):
		return "", "", failed(Refused, fmt.Errorf("%s: %s", clip(refused.ErrorCode), clip(refused.ErrorDescription)),
			"the identity provider does not take the client id and secret that it is shown: %s", word(refused.ErrorCode))
	case errors.As(err, &refused) && refused.ErrorCode != "":
		return "", "", failed(Refused, fmt.Errorf("%s: %s", clip(refused.ErrorCode), clip(refused.ErrorDescription)),
			"the identity provider did not take its own code back: %s", word(refused.ErrorCode))
	case err != nil:
		return "", "", failed(Down, shortened(err), "the identity provider does not answer as it should")
	}
	id, ok := tokens.Extra("id_token").(string)
	if !ok || id == "" {
		return "", "", failed(Down, nil, "the identity provider did not say who you are: is openid among the scopes?")
	}
	return tokens.AccessToken, id, nil
}

// complete adds what userinfo says to the claims of the token, which win. Many providers
// put there what does not belong into a token that goes round (section 5.4 of Core).
func (i *Issuers) complete(ctx context.Context, m *Metadata, t *Token, access string, want []string) (Claims, error) {
	missing := slices.ContainsFunc(want, func(name string) bool {
		_, has := t.Claims.at(name)
		return !has
	})
	if !missing || m.UserInfoURL == "" || access == "" {
		return t.Claims, nil
	}
	raw, head, err := i.get(ctx, m.UserInfoURL, access)
	if err != nil {
		return nil, failed(Down, shortened(err), "the identity provider does not answer as it should")
	}
	if media, _, _ := strings.Cut(head.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		// A signed one would have to be verified; nobody is made to send it.
		return nil, failed(Down, fmt.Errorf("userinfo is %q", clip(media)), "the identity provider answers in a form that is not known here")
	}
	var more Claims
	if err := decode(raw, &more); err != nil {
		return nil, failed(Down, shortened(err), "the identity provider does not answer as it should")
	}
	// Section 5.3.2: else a token of somebody else could have been put in.
	if more["sub"] != t.Subject {
		return nil, failed(Forged, nil, "the identity provider tells of two people at once")
	}
	maps.Copy(more, t.Claims)
	return more, nil
}

// reason is an error without the names that go-oidc gives to its layers.
func reason(err error) string {
	s := clip(err.Error())
	for _, prefix := range []string{"failed to verify signature: ", "oidc: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return cmp.Or(s, "no reason")
}

// word is a code of a provider's error as a page repeats it: RFC 6749 has plain words, and
// what is none is not repeated.
func word(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	if s == "" || len(s) > 64 || strings.Trim(s, plain) != "" {
		return "for a reason that is not known here"
	}
	return s
}
