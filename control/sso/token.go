package sso

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	// Skew is how far the clocks of an issuer and ours may be apart.
	Skew = time.Minute
	// maxToken bounds a token, in bytes: one with the groups of a large firm has 20 KiB.
	maxToken = 64 << 10
	// maxSubject is what Core allows a subject, in bytes (section 2).
	maxSubject = 255
	// maxAMR bounds the list of methods, and each name in it.
	maxAMR, maxMethod = 16, 64
)

// Expect is what a token must say beside who it is of.
type Expect struct {
	// Audience must be among those that it is for.
	Audience string
	// Nonce is that of the sign-in. Empty: the token is not of a sign-in.
	Nonce string
	// Party: it must have been given to Audience and to nobody else (azp, section
	// 3.1.3.7 of Core, 3 to 5).
	Party bool
	// AccessToken came with it; its hash is checked if the token has one (at_hash).
	AccessToken string
}

// Token is one that was verified.
type Token struct {
	Issuer, Subject  string
	IssuedAt, Expiry time.Time
	// AuthTime is when the person showed who he is; zero if the issuer does not tell.
	AuthTime time.Time
	// AMR is how he did (RFC 8176); empty if the issuer does not tell.
	AMR    []string
	Claims Claims
	// Text is what the signature covers, decoded: two writings of one token in base64, or
	// with another value of an ECDSA signature, have the same.
	Text []byte
}

// Verify checks a token of an issuer: the signature first, and then whose it is, for whom
// and when. The issuer is one that an administrator named, and never what a token says of
// itself: it is asked for its keys. An error is for the log and the audit; it repeats
// nothing secret. A *Error of kind Down is the issuer's fault, and not the token's.
func (i *Issuers) Verify(ctx context.Context, issuer, raw string, e Expect) (*Token, error) {
	s := i.issuer(issuer)
	m, err := s.discover(ctx, keptMetadata)
	if err != nil {
		return nil, failed(Down, err, "the issuer does not answer as it should")
	}
	return s.verify(ctx, m, raw, e)
}

// VerifyGiven is Verify with keys that an administrator gave: nothing is fetched.
func (i *Issuers) VerifyGiven(ctx context.Context, issuer string, given *GivenKeys, raw string, e Expect) (*Token, error) {
	return verify(ctx, verifier{issuer, given, signatures, i.options.Now()}, raw, e)
}

func (s *issuer) verify(ctx context.Context, m *Metadata, raw string, e Expect) (*Token, error) {
	set := &keySet{keys: &s.keys, url: m.KeysURL, algorithms: m.algorithms()}
	t, err := verify(ctx, verifier{s.url, set, set.algorithms, s.of.options.Now()}, raw, e)
	if set.down != nil {
		return nil, set.down
	}
	return t, err
}

// Why a token is not taken that its issuer did sign. Whoever has such a token is one of the
// issuer's, and may be told.
var (
	ErrAudience = errors.New("the token is for another audience")
	ErrOver     = errors.New("the token is over")
	ErrEarly    = errors.New("the token is not good yet")
)

// verifier is what a token is checked with.
type verifier struct {
	issuer     string
	set        oidc.KeySet
	algorithms []string
	now        time.Time
}

func verify(ctx context.Context, v verifier, raw string, e Expect) (*Token, error) {
	if len(raw) > maxToken {
		return nil, fmt.Errorf("the token is larger than %d bytes", maxToken)
	}
	id, err := oidc.NewVerifier(v.issuer, v.set, &oidc.Config{
		SupportedSigningAlgs: v.algorithms,
		SkipClientIDCheck:    true, // it comes before the signature; forUs after it
		SkipExpiryCheck:      true, // it allows no skew; inTime does
	}).Verify(ctx, raw)
	if err != nil {
		return nil, shortened(err)
	}
	t := &Token{Issuer: v.issuer, Subject: id.Subject, IssuedAt: id.IssuedAt, Expiry: id.Expiry}
	var text json.RawMessage
	if err := id.Claims(&text); err != nil {
		return nil, err
	}
	if err := decode(text, &t.Claims); err != nil {
		return nil, shortened(err)
	}
	t.Text = text
	if err := t.check(e, v.now); err != nil {
		return nil, err
	}
	if e.AccessToken != "" && id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(e.AccessToken); err != nil {
			return nil, errors.New("the token was made for another access token")
		}
	}
	return t, nil
}

// check is what go-oidc leaves to us.
func (t *Token) check(e Expect, now time.Time) error {
	if err := t.forUs(e); err != nil {
		return err
	}
	if err := t.named(); err != nil {
		return err
	}
	nonce, _ := t.Claims["nonce"].(string)
	if e.Nonce != "" && subtle.ConstantTimeCompare([]byte(nonce), []byte(e.Nonce)) != 1 {
		return errors.New("the token is of another sign-in: its nonce is not ours")
	}
	if e.Party {
		if err := t.party(e.Audience); err != nil {
			return err
		}
	}
	if err := t.inTime(now); err != nil {
		return err
	}
	t.AuthTime = t.Claims.moment("auth_time")
	methods, _ := t.Claims.List("amr")
	for _, m := range methods {
		if len(t.AMR) < maxAMR && len(m) <= maxMethod {
			t.AMR = append(t.AMR, m)
		}
	}
	return nil
}

// forUs refuses a token for others. One who expects no audience gets no token.
func (t *Token) forUs(e Expect) error {
	if e.Audience != "" && slices.Contains(t.Claims.list("aud"), e.Audience) {
		return nil
	}
	return fmt.Errorf("%w: %q, and not %q", ErrAudience, clip(strings.Join(t.Claims.list("aud"), " ")), e.Audience)
}

func (t *Token) named() error {
	if t.Subject == "" || len(t.Subject) > maxSubject || strings.TrimFunc(t.Subject, unprintable) != t.Subject || !utf8.ValidString(t.Subject) || strings.ContainsFunc(t.Subject, unprintable) {
		return errors.New("the token names nobody: its subject is empty, or nothing that could be one")
	}
	return nil
}

// party refuses a token that was given to another client, though it is for us as well.
func (t *Token) party(client string) error {
	azp, has := t.Claims["azp"]
	switch several := len(t.Claims.list("aud")) > 1; {
	case has && azp != client:
		return errors.New("the token was given to another client: its azp is not ours")
	case !has && several:
		return errors.New("the token is for several and does not say to whom it was given: it has no azp")
	}
	return nil
}

func (t *Token) inTime(now time.Time) error {
	switch before := t.Claims.moment("nbf"); {
	case t.Expiry.IsZero() || t.IssuedAt.IsZero():
		return errors.New("the token does not say when it was made, or when it ends")
	case !now.Before(t.Expiry.Add(Skew)):
		return fmt.Errorf("%w since %s", ErrOver, written(t.Expiry))
	case t.IssuedAt.After(now.Add(Skew)):
		return fmt.Errorf("%w: it was made at %s, which is yet to come: is a clock wrong?", ErrEarly, written(t.IssuedAt))
	case before.After(now.Add(Skew)):
		return fmt.Errorf("%w: it is not good before %s", ErrEarly, written(before))
	}
	return nil
}

// Claims are what an issuer says of somebody.
type Claims map[string]any

// at finds a claim by its name, or by the way to it through objects: realm_access.roles. A
// name on the way that holds a dot itself stands in quotes: "kubernetes.io".namespace.
func (c Claims) at(name string) (any, bool) {
	if v, ok := c[name]; ok {
		return v, true
	}
	first, rest, nested := step(name)
	if v, ok := c[first]; ok && !nested {
		return v, true
	}
	inner, ok := c[first].(map[string]any)
	if !nested || !ok {
		return nil, false
	}
	return Claims(inner).at(rest)
}

// step is the first name of a way, and what comes after it if the way goes on.
func step(way string) (first, rest string, on bool) {
	if quoted, ok := strings.CutPrefix(way, `"`); ok {
		if name, after, closed := strings.Cut(quoted, `"`); closed && (after == "" || after[0] == '.') {
			return name, strings.TrimPrefix(after, "."), after != ""
		}
	}
	return strings.Cut(way, ".")
}

// sameClaim says whether way leads to the claim of that name: quotes change nothing.
func sameClaim(way, name string) bool {
	first, _, nested := step(way)
	return way == name || !nested && first == name
}

// Text is a claim that is a string and not empty.
func (c Claims) Text(name string) (string, bool) {
	v, _ := c.at(name)
	s, ok := v.(string)
	return s, ok && s != ""
}

// List is a claim of strings, or of one. What is no string in it is left out.
func (c Claims) List(name string) (list []string, ok bool) {
	switch v, _ := c.at(name); v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		list = []string{}
		for _, each := range v {
			if s, ok := each.(string); ok {
				list = append(list, s)
			}
		}
		return list, true
	}
	return nil, false
}

func (c Claims) list(name string) []string {
	list, _ := c.List(name)
	return list
}

// Texts are the values of a claim, or of each in it if it is a list: strings, and numbers
// and yes or no as they are written. What is something else is left out.
func (c Claims) Texts(name string) []string {
	v, ok := c.at(name)
	if !ok {
		return nil
	}
	list, many := v.([]any)
	if !many {
		list = []any{v}
	}
	var texts []string
	for _, each := range list {
		switch each := each.(type) {
		case string:
			texts = append(texts, each)
		case bool, json.Number:
			texts = append(texts, fmt.Sprint(each))
		}
	}
	return texts
}

// has tells whether a claim has this value, or is a list with it in it.
func (c Claims) has(name, value string) bool { return slices.Contains(c.Texts(name), value) }

// moment is a claim in seconds since 1970; zero if there is none that could be one.
func (c Claims) moment(name string) time.Time {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}
	}
	seconds, err := n.Float64()
	if err != nil || seconds <= 0 || seconds > math.MaxInt32*8 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
