// Package ssotest is an identity provider in the process of a test, which does whatever
// the test tells it to: what no certified provider would do, too.
package ssotest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client that it knows.
const ClientID, ClientSecret = "cardea", "the client's secret"

// Provider is one. Its fields may be changed while it does not serve.
type Provider struct {
	t      testing.TB
	server *httptest.Server

	mu    sync.Mutex
	keys  []jose.JSONWebKey // private; the first signs. Guarded by mu, as all below.
	codes map[string]url.Values
	hits  map[string]int
	spoil spoiled
}

// spoiled is what it does otherwise than it should.
type spoiled struct {
	metadata, claims func(map[string]any)
	userinfo         map[string]any
	sign             func(claims map[string]any, key jose.JSONWebKey) string
	serve            map[string]http.HandlerFunc
	slow             time.Duration
}

// New starts one. It speaks https, with a certificate that Roots knows.
func New(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{t: t, codes: map[string]url.Values{}, hits: map[string]int{}}
	p.Rotate("first")
	p.server = httptest.NewTLSServer(http.HandlerFunc(p.handle))
	p.server.Config.ErrorLog = nil
	t.Cleanup(p.server.Close)
	return p
}

// URL is its issuer.
func (p *Provider) URL() string { return p.server.URL }

// Roots are what its certificate is of.
func (p *Provider) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	return roots
}

// Certificate is the one that it serves with, which is its own root.
func (p *Provider) Certificate() *x509.Certificate { return p.server.Certificate() }

// Close takes it away.
func (p *Provider) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

// Metadata changes what it says of itself.
func (p *Provider) Metadata(change func(map[string]any)) {
	p.set(func(s *spoiled) { s.metadata = change })
}

// Claims changes what its tokens say.
func (p *Provider) Claims(change func(map[string]any)) { p.set(func(s *spoiled) { s.claims = change }) }

// UserInfo is what it answers there; nil for no such place.
func (p *Provider) UserInfo(claims map[string]any) { p.set(func(s *spoiled) { s.userinfo = claims }) }

// Sign makes tokens in place of the provider.
func (p *Provider) Sign(sign func(claims map[string]any, key jose.JSONWebKey) string) {
	p.set(func(s *spoiled) { s.sign = sign })
}

// Serve answers at a path in place of the provider.
func (p *Provider) Serve(path string, h http.HandlerFunc) {
	p.set(func(s *spoiled) {
		if s.serve == nil {
			s.serve = map[string]http.HandlerFunc{}
		}
		s.serve[path] = h
	})
}

// Slow has it take so long over each code.
func (p *Provider) Slow(each time.Duration) { p.set(func(s *spoiled) { s.slow = each }) }

// Behave has it be good again.
func (p *Provider) Behave() { p.set(func(s *spoiled) { *s = spoiled{} }) }

func (p *Provider) set(change func(*spoiled)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.spoil)
}

// Rotate has it sign with a new key, and publish no other.
func (p *Provider) Rotate(id string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []jose.JSONWebKey{{Key: key, KeyID: id, Algorithm: "ES256", Use: "sig"}}
}

// UseRSA has it sign with RSA.
func (p *Provider) UseRSA(bits int) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []jose.JSONWebKey{{Key: key, KeyID: "rsa", Algorithm: "RS256", Use: "sig"}}
}

// Hits is how often a path was asked for.
func (p *Provider) Hits(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits[path]
}

// Visit is a person who signs in at the address to which he was sent: it returns the query
// with which the browser is sent back.
func (p *Provider) Visit(address string) url.Values {
	p.t.Helper()
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, p.URL()+"/authorize?") {
		p.t.Fatalf("sent to %q, %v", address, err)
	}
	q := u.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": ClientID, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			p.t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge", "redirect_uri"} {
		if q.Get(name) == "" {
			p.t.Errorf("there is no %s", name)
		}
	}
	code := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = q
	return url.Values{"code": {code}, "state": q["state"], "iss": {p.URL()}}
}

func (p *Provider) handle(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.hits[r.URL.Path]++
	spoil, keys := p.spoil, p.keys
	p.mu.Unlock()
	if h := spoil.serve[r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer(w, p.describe(spoil))
	case "/jwks":
		set := jose.JSONWebKeySet{}
		for _, k := range keys {
			set.Keys = append(set.Keys, k.Public())
		}
		answer(w, set)
	case "/token":
		time.Sleep(spoil.slow)
		p.token(w, r, spoil, keys[0])
	case "/userinfo":
		if r.Header.Get("Authorization") != "Bearer the-access-token" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		answer(w, spoil.userinfo)
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) describe(spoil spoiled) map[string]any {
	m := map[string]any{
		"issuer": p.URL(), "authorization_endpoint": p.URL() + "/authorize", "token_endpoint": p.URL() + "/token", "jwks_uri": p.URL() + "/jwks",
		"id_token_signing_alg_values_supported": []string{"ES256", "RS256"}, "authorization_response_iss_parameter_supported": true,
		"code_challenge_methods_supported": []string{"S256"}, "claims_supported": []string{"sub", "auth_time", "amr", "preferred_username", "groups"},
	}
	if spoil.userinfo != nil {
		m["userinfo_endpoint"] = p.URL() + "/userinfo"
	}
	if spoil.metadata != nil {
		spoil.metadata(m)
	}
	return m
}

// token is the token endpoint: one code, of this client, with its verifier.
func (p *Provider) token(w http.ResponseWriter, r *http.Request, spoil spoiled, key jose.JSONWebKey) {
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error": code})
	}
	if err := r.ParseForm(); err != nil {
		refuse("invalid_request")
		return
	}
	p.mu.Lock()
	asked := p.codes[r.Form.Get("code")]
	delete(p.codes, r.Form.Get("code"))
	p.mu.Unlock()
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.Form.Get("client_id"), r.Form.Get("client_secret")
	}
	if unescaped, err := url.QueryUnescape(secret); basic && err == nil { // RFC 6749 section 2.3.1
		secret = unescaped
	}
	sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
	switch {
	case id != ClientID || secret != ClientSecret:
		refuse("invalid_client")
	case asked == nil, asked.Get("redirect_uri") != r.Form.Get("redirect_uri"), asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]):
		refuse("invalid_grant")
	default:
		answer(w, map[string]any{"access_token": "the-access-token", "token_type": "Bearer", "expires_in": 60, "id_token": p.idToken(asked.Get("nonce"), spoil, key)})
	}
}

// Token is a token of this provider for a nonce.
func (p *Provider) Token(nonce string) string {
	p.mu.Lock()
	spoil, key := p.spoil, p.keys[0]
	p.mu.Unlock()
	return p.idToken(nonce, spoil, key)
}

// idToken is Token, for what was spoiled then.
func (p *Provider) idToken(nonce string, spoil spoiled, key jose.JSONWebKey) string {
	now := time.Now()
	claims := map[string]any{
		"iss": p.URL(), "sub": "alice-at-the-provider", "aud": ClientID, "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"auth_time": now.Unix(), "amr": []string{"pwd", "otp"}, "preferred_username": "alice", "name": "Alice Ang", "email": "alice@example.com",
		"email_verified": true, "groups": []string{"SRE Team"},
	}
	if spoil.claims != nil {
		spoil.claims(claims)
	}
	if spoil.sign != nil {
		return spoil.sign(claims, key)
	}
	return Sign(p.t, claims, jose.SignatureAlgorithm(key.Algorithm), key.Key, key.KeyID)
}

// Sign makes a token by any algorithm and key.
func Sign(t testing.TB, claims map[string]any, algorithm jose.SignatureAlgorithm, key any, id string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id).WithType("JWT"))
	if err != nil {
		t.Error(err)
		return ""
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
		return ""
	}
	signed, err := s.Sign(raw)
	if err != nil {
		t.Error(err)
		return ""
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return compact
}

// Unsigned is a token of the algorithm "none".
func Unsigned(claims map[string]any) string {
	raw, _ := json.Marshal(claims) // maps of plain values always encode
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(raw) + "."
}

// PublicDER is a public key as bytes that everybody has, and which who takes HS256 takes
// for a secret.
func PublicDER(t testing.TB, key jose.JSONWebKey) []byte {
	t.Helper()
	signer, ok := key.Key.(crypto.Signer)
	if !ok {
		t.Fatal("no private key")
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Endless answers with so many bytes, or as many as the peer takes.
func Endless(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"keys":[`)
		block := []byte(strings.Repeat(" ", 64<<10))
		for ; n > 0; n -= len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// KeySet is what it publishes, as text.
func (p *Provider) KeySet() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := jose.JSONWebKeySet{}
	for _, k := range p.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}
