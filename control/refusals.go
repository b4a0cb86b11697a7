package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/store"
)

// refused notes that a call was not let in. Guesses of strangers count against
// their source and leave no row; a refusal of somebody known, and the misuse of
// a known token, are audited.
func (s *Server) refused(ctx context.Context, req *http.Request, r route, by caller.Caller, err error) {
	var e *api.Error
	if !errors.As(err, &e) || e.Kind == api.UseNonce || req.Header.Get("Authorization") == "" && r.Access != Proof {
		return // a fault of ours, the first call of every client, or no try at all
	}
	if by.Kind != "" {
		s.record(ctx, by, r, by.Event(s.options.Now(), audit.AccessDenied), e.Detail)
		return
	}
	s.limits.failures.take(sourceKey(by.Source), s.options.Now())
	// Whose token is it, if it is one? The one who holds it should find in the
	// log that somebody else tried it, or that his own clients are broken.
	token, err := dpop.Token(req.Header)
	if err != nil {
		return
	}
	hash := sha256.Sum256([]byte(token))
	by.Subject, err = s.options.Store.Authenticate(ctx, hash[:])
	if err != nil {
		return
	}
	if by.Kind == store.KindUser && errors.Is(e, errOtherKey) && s.copied(ctx, by.Subject, by) {
		return
	}
	ev := by.Event(s.options.Now(), audit.ProofRefused)
	ev.Actor, ev.User = "", by.User.ID // who asked is not known: his key is another
	reason := e.Detail
	if cause := errors.Unwrap(e); cause != nil {
		reason = cause.Error()
	}
	s.record(ctx, by, r, ev, reason)
}

// replayed notes that a proof came a second time.
func (s *Server) replayed(ctx context.Context, r route, by caller.Caller, err error) {
	if errors.Is(err, store.ErrReplayed) {
		s.record(ctx, by, r, by.Event(s.options.Now(), audit.ProofRefused), "the proof was used before")
	}
}

// record writes a refusal into the audit, within the rations of this caller and
// of all.
func (s *Server) record(ctx context.Context, by caller.Caller, r route, e audit.Event, reason string) {
	who := by.ID()
	if who == "" {
		who = by.Prover
	}
	if !s.limits.denials.take(who, e.Time) {
		return
	}
	held, ok := s.ration.Take(e.Time)
	if !ok {
		return
	}
	e.Outcome, e.Reason = audit.Denied, reason
	e.Detail = map[string]string{"call": r.String(), "request": by.RequestID}
	caller.NoteHeld(&e, held)
	// It is recorded also if the peer does not wait for his answer.
	err := s.options.Store.AppendAudit(context.WithoutCancel(ctx), store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)})
	if err != nil {
		// The answer is no already; a log that cannot be written is for the operator.
		s.options.Logger.Error("audit of a refused call", "request", by.RequestID, "error", err)
	}
}
