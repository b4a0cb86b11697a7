package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"
)

// How old what an issuer publishes may be.
const (
	// freshMetadata is for the begin of a sign-in: so soon a page tells that a provider is
	// down, in place of sending a person there. One fetch is for all who begin.
	freshMetadata = 5 * time.Second
	// keptMetadata is for its end, which needs the same provider anyway.
	keptMetadata = time.Hour
	// failedMetadata is how long a failure is the answer for everybody: else each of those
	// who wait would ask again.
	failedMetadata = 2 * time.Second
)

// Metadata is what an issuer says of itself (OpenID Connect Discovery 1.0 section 3).
type Metadata struct {
	Issuer      string   `json:"issuer"`
	AuthURL     string   `json:"authorization_endpoint"`
	TokenURL    string   `json:"token_endpoint"`
	UserInfoURL string   `json:"userinfo_endpoint"`
	KeysURL     string   `json:"jwks_uri"`
	Algorithms  []string `json:"id_token_signing_alg_values_supported"`
	TokenAuth   []string `json:"token_endpoint_auth_methods_supported"`
	Challenges  []string `json:"code_challenge_methods_supported"`
	Scopes      []string `json:"scopes_supported"`
	Claims      []string `json:"claims_supported"`
	// AnswerIssuer: its answers name the issuer (RFC 9207 section 3).
	AnswerIssuer bool `json:"authorization_response_iss_parameter_supported"`
}

// issuer is what is known of one.
type issuer struct {
	of      *Issuers
	url     string
	keys    keys
	flights singleflight.Group

	mu       sync.Mutex
	metadata *Metadata // guarded by mu, as all below
	at       time.Time
	failure  error
	failedAt time.Time
}

func newIssuer(of *Issuers, url string) *issuer {
	s := &issuer{of: of, url: url}
	s.keys.init(of)
	return s
}

// Metadata returns what an issuer says of itself now, and whether its keys can be had.
func (i *Issuers) Metadata(ctx context.Context, issuer string) (m *Metadata, keys int, err error) {
	s := i.issuer(issuer)
	if m, err = s.discoverPeople(ctx, 0); err != nil {
		return nil, 0, err
	}
	set, err := s.keys.fetch(ctx, m.KeysURL)
	return m, len(set), err
}

// discover returns metadata that are not older than age.
func (s *issuer) discover(ctx context.Context, age time.Duration) (*Metadata, error) {
	now := s.of.options.Now()
	s.mu.Lock()
	known, at, failure, failedAt := s.metadata, s.at, s.failure, s.failedAt
	s.mu.Unlock()
	if known != nil && now.Sub(at) < age {
		return known, nil
	}
	if age > 0 && failure != nil && now.Sub(failedAt) < failedMetadata {
		return nil, failure
	}
	return shared(ctx, &s.flights, func(ctx context.Context) (*Metadata, error) {
		m, err := s.fetch(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failure = err; err != nil {
			s.failedAt = s.of.options.Now()
			return nil, err
		}
		s.metadata, s.at = m, s.of.options.Now()
		return m, nil
	})
}

// discoverPeople is discover for where people sign in. Platforms that sign jobs in (GitHub,
// Kubernetes) publish keys alone.
func (s *issuer) discoverPeople(ctx context.Context, age time.Duration) (*Metadata, error) {
	m, err := s.discover(ctx, age)
	if err != nil {
		return nil, err
	}
	for name, raw := range map[string]string{"authorization_endpoint": m.AuthURL, "token_endpoint": m.TokenURL} {
		if raw == "" {
			return nil, fmt.Errorf("it names no %s", name)
		}
	}
	return m, nil
}

// fetch reads the document and checks all that can be known by it.
func (s *issuer) fetch(ctx context.Context) (*Metadata, error) {
	if err := s.of.CheckIssuer(s.url); err != nil {
		return nil, err
	}
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, s.of.http), s.url)
	var other *oidc.IssuerMismatchError
	switch {
	case errors.As(err, &other):
		return nil, fmt.Errorf("it calls itself %q, and not %q", clip(other.Discovered), s.url)
	case err != nil:
		return nil, shortened(err)
	}
	m := &Metadata{}
	if err := p.Claims(m); err != nil {
		return nil, shortened(err)
	}
	if m.KeysURL == "" {
		return nil, errors.New("it names no jwks_uri")
	}
	for _, raw := range []string{m.AuthURL, m.TokenURL, m.KeysURL, m.UserInfoURL} {
		if raw == "" {
			continue // nobody need have userinfo, and who signs in jobs alone has keys alone
		}
		u, err := url.Parse(raw)
		if err == nil {
			err = checkURL(u, s.of.options.LoopbackHTTP)
		}
		if err != nil {
			return nil, shortened(err)
		}
	}
	return m, nil
}

// shortened is an error without the pages that go-oidc repeats in it.
func shortened(err error) error {
	if len(err.Error()) <= len(clip(err.Error())) && !strings.ContainsFunc(err.Error(), unprintable) {
		return err
	}
	return &short{clip(strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, err.Error())), err}
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f }

type short struct {
	text  string
	cause error
}

func (s *short) Error() string { return s.text }
func (s *short) Unwrap() error { return s.cause }

// algorithms are those by which tokens of the issuer may be signed: public keys alone.
// With a shared secret everybody who can check could also sign, and "none" is no signature.
func (m *Metadata) algorithms() []string {
	out := slices.DeleteFunc(slices.Clone(m.Algorithms), func(a string) bool { return !slices.Contains(signatures, a) })
	if len(out) == 0 {
		return []string{oidc.RS256} // what everybody has to have (section 15.1 of Core)
	}
	return out
}

// Signs reports whether some of the ways in which the issuer says that it signs are taken.
func (m *Metadata) Signs() bool { return slices.Contains(m.Algorithms, m.algorithms()[0]) }

// signatures are all that we take.
var signatures = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// Says reports whether the issuer lists a claim, of which it need not list all.
func (m *Metadata) Says(claim string) bool { return slices.Contains(m.Claims, claim) }

// decode reads JSON into v, numbers as they stand.
func decode(raw []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return d.Decode(v)
}
