package apitest

import (
	"crypto/rand"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// nonces can forget: a test then sees what a client does with a stale one.
type nonces struct {
	t  testing.TB
	mu sync.Mutex
	n  *dpop.Nonces // guarded by mu
}

func newNonces(t testing.TB) *nonces {
	n := &nonces{t: t}
	n.forget()
	return n
}

func (n *nonces) forget() {
	secret := make([]byte, dpop.MinNonceSecret)
	rand.Read(secret)
	fresh, err := dpop.NewNonces(dpop.NonceTTL, secret)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.n = fresh
}

func (n *nonces) issue() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n.Issue(time.Now())
}

func (n *nonces) check(nonce string, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n.Check(nonce, now)
}

// ForgetNonces makes every nonce that was given out stale.
func (s *Server) ForgetNonces() { s.nonces.forget() }

// SignInAdministrators has whoever signs in from now on be an administrator.
func (s *Server) SignInAdministrators() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Who.Admin = true
}

// SignIn makes a session for the key with this thumbprint, as if its device
// had gone through the browser.
func (s *Server) SignIn(thumbprint string) (token string, session api.Session) {
	now := time.Now().UTC().Truncate(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	session = s.Who
	session.ID, session.Device = ident.New(ident.Session), ident.New(ident.Device)
	session.CreatedAt, session.ExpiresAt = now, now.Add(Life)
	token = "cardea_ses_" + strings.ToLower(rand.Text()+rand.Text())
	s.sessions[token] = bound{thumbprint, session}
	return token, session
}

// Revoke ends the session of a token.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, token)
}

// RevokeAll ends every session.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Live reports whether token still is a session.
func (s *Server) Live(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.sessions[token]
	return ok
}

// SessionOf is the session of a token.
func (s *Server) SessionOf(token string) api.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[token].session
}

// admit checks token and proof by the rules of the real one.
func (s *Server) admit(r *http.Request) (Call, error) {
	call, err := read(r)
	if err != nil || r.URL.Path == "/v1/team" {
		return call, err
	}
	expect := dpop.Expect{Method: r.Method, URL: s.URL + r.URL.EscapedPath(), Nonce: s.nonces.check}
	if !tokenless(r.URL.Path) {
		if call.Token, err = dpop.Token(r.Header); err != nil {
			return call, needSignIn().WithCause(err)
		}
		s.mu.Lock()
		b, ok := s.sessions[call.Token]
		s.mu.Unlock()
		if !ok {
			return call, needSignIn()
		}
		expect.Token, expect.Thumbprint = call.Token, b.thumbprint
	}
	proof, err := dpop.Check(r.Header.Values(dpop.Header), expect)
	if err == dpop.ErrUseNonce {
		return call, api.Errorf(api.UseNonce, "make the proof again with the nonce of this answer")
	}
	if err != nil {
		return call, needSignIn().WithCause(err)
	}
	call.Thumbprint = proof.Thumbprint
	return call, nil
}

// tokenless calls carry a proof alone: they come before there is a token.
func tokenless(path string) bool {
	return path == "/oauth/token" || path == "/oauth/device" || strings.HasSuffix(path, "/enrol")
}

func needSignIn() *api.Error {
	return api.Errorf(api.SignIn, "the session is over").WithHint("type: cardea login")
}

// CA writes the root of a TLS server to a file and returns its path.
func (s *Server) CA() string {
	s.t.Helper()
	cert := s.http.Certificate()
	if cert == nil {
		s.t.Fatal("apitest: CA of a server without TLS")
	}
	path := filepath.Join(s.t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}
