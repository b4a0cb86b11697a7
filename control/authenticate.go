package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/store"
)

// claimFor is how long the proof of a mutation stays claimed: the life of the
// nonce in it, and a minute for clocks of other instances. After that the
// nonce itself refuses it.
const claimFor = dpop.NonceTTL + dpop.NonceAhead + time.Minute

// gate is the door of one route: it lets in whoever Access names, within the
// limits, with the caller in the context and the body read.
func (s *Server) gate(r route) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		req, w := humago.Unwrap(ctx)
		by, _ := caller.From(ctx.Context())
		err := s.within(w, req, r, func(limited context.Context) error {
			raw, err := s.enter(limited, w, req, r, &by)
			if err != nil {
				return err
			}
			if r.Poll {
				release, err := s.limits.hold(by.ID())
				if err != nil {
					return err
				}
				defer release()
			}
			if r.Seldom && !s.limits.seldom.take(by.ID(), s.options.Now()) {
				return tooMany("too many such calls from this machine")
			}
			req.Body = io.NopCloser(bytes.NewReader(raw))
			next(huma.WithContext(ctx, caller.With(limited, by)))
			return nil
		})
		if err != nil {
			writeProblem(w, s.public(ctx.Context(), by, err))
		}
	}
}

// enter authenticates the call and then reads its body, in that order: so
// strangers cannot have us keep bodies.
func (s *Server) enter(ctx context.Context, w http.ResponseWriter, req *http.Request, r route, by *caller.Caller) (raw []byte, err error) {
	if err := s.admit(ctx, req, r, by); err != nil {
		s.refused(ctx, req, r, *by, err)
		return nil, err
	}
	if !r.mutates() {
		return nil, nil
	}
	if raw, err = readBody(w, req); err != nil {
		return nil, err
	}
	by.Idempotency, err = idempotency(req, *by, raw)
	return raw, err
}

// admit authenticates the request as far as the route demands and fills by.
func (s *Server) admit(ctx context.Context, req *http.Request, r route, by *caller.Caller) error {
	if r.Access == Public {
		return nil
	}
	now := s.options.Now()
	token, err := s.token(req, r)
	if err != nil {
		return err
	}
	proof, err := s.prove(req, token, now)
	if err != nil {
		return err
	}
	by.Prover = proof.Thumbprint
	if r.mutates() {
		by.Proof = &store.Proof{Thumbprint: proof.Thumbprint, JTI: proof.JTI, Expires: now.Add(claimFor)}
	}
	if r.Access == Proof {
		return nil
	}
	who, err := s.subject(ctx, token, *by, now)
	if err != nil {
		return err
	}
	by.Subject = who
	if refused := s.allow(r.Access, who, now); refused != nil {
		return refused
	}
	if !r.Poll && !r.Background {
		s.see(ctx, who, now)
	}
	return nil
}

// token returns the access token; a route of Access Proof takes none.
func (s *Server) token(req *http.Request, r route) (string, error) {
	if r.Access == Proof {
		return "", nil
	}
	if req.Header.Get("Authorization") == "" {
		return "", s.signIn("this needs a sign-in")
	}
	token, err := dpop.Token(req.Header)
	if err != nil {
		return "", s.signIn("the access token is not usable").WithCause(err)
	}
	return token, nil
}

// prove checks the proof of possession against the configured public URL. It
// comes before the store is asked: a stranger costs a signature check, and not
// a read of the database.
func (s *Server) prove(req *http.Request, token string, now time.Time) (dpop.Proof, error) {
	proof, err := s.proofs.Check(req.Header.Values(dpop.Header), dpop.Expect{
		Method: req.Method,
		URL:    s.origin + req.URL.EscapedPath(),
		Token:  token,
		Nonce:  s.options.Nonces.Check,
		Now:    now,
	})
	switch {
	case errors.Is(err, dpop.ErrUseNonce):
		return proof, api.Errorf(api.UseNonce, "the proof of possession needs the nonce of this answer")
	case err != nil:
		return proof, s.badProof(err)
	}
	return proof, nil
}

// badProof says what is wrong with a proof. That is no secret: the peer wrote
// it. The most common cause by far is a wrong public URL.
func (s *Server) badProof(err error) *api.Error {
	return api.Errorf(api.SignIn, "%s", err).
		WithHint("call this control plane as %s", s.options.PublicURL).WithCause(err)
}

// subject finds whose token it is. An unknown token and one that is bound to
// another key give the same answer, so nobody can try tokens out.
func (s *Server) subject(ctx context.Context, token string, by caller.Caller, now time.Time) (store.Subject, error) {
	hash := sha256.Sum256([]byte(token))
	who, err := s.options.Store.Authenticate(ctx, hash[:])
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Subject{}, s.unknownToken(err)
	case err != nil:
		return store.Subject{}, err
	case who.Thumbprint == "" || subtle.ConstantTimeCompare([]byte(who.Thumbprint), []byte(by.Prover)) != 1:
		return store.Subject{}, s.unknownToken(errOtherKey)
	case who.Token != store.TokenCurrent:
		return s.otherToken(ctx, hash[:], who, by, now)
	}
	return who, nil
}

// errOtherKey is the cause of a refusal that tells of a copied token.
var errOtherKey = errors.New("proof made with another key than the token is bound to")

func (s *Server) unknownToken(cause error) *api.Error {
	return s.signIn("this session is not known here, or it is over").WithCause(cause)
}

// readBody reads the body of a mutation, within the deadline that around set,
// and lifts that when all has come.
func readBody(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, req.Body, api.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		e := api.Errorf(api.Invalid, "the request is larger than %d bytes", large.Limit)
		e.StatusCode = http.StatusRequestEntityTooLarge
		return nil, e
	case err != nil:
		return nil, api.Errorf(api.Invalid, "the request ended early").WithCause(err)
	}
	bodyRead(w)
	return raw, nil
}

// maxIdempotencyKey is room for a UUID and more; the store keeps it for a day.
const maxIdempotencyKey = 64

// idempotency ties the caller's key to this very request.
func idempotency(req *http.Request, by caller.Caller, raw []byte) (*store.Idempotency, error) {
	key := req.Header.Get(api.HeaderIdempotency)
	if key == "" {
		return nil, nil
	}
	const good = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if len(key) > maxIdempotencyKey || strings.Trim(key, good) != "" {
		return nil, api.Errorf(api.Invalid, "the %s is not 1 to %d letters, digits, hyphens or underscores", api.HeaderIdempotency, maxIdempotencyKey)
	}
	scope := by.ID()
	if scope == "" {
		scope = by.Prover
	}
	if scope == "" {
		return nil, nil // a public call: there is nobody whose key it could be
	}
	h := sha256.New()
	io.WriteString(h, req.Method+"\x00"+req.URL.RequestURI()+"\x00")
	h.Write(raw)
	return &store.Idempotency{Scope: scope, Key: key, Hash: h.Sum(nil)}, nil
}
