package control

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/store"
)

// tokenGrace is how long a session's token is good after the next one was first used.
// An honest client takes its token anew for each try, and a proof is worth nothing
// once its nonce is over, so what it sends was current at most that long ago: twice
// that is for several processes at once, and clocks of several instances.
const tokenGrace = 2 * (dpop.NonceTTL + dpop.NonceAhead)

// otherToken judges a token of a session that is not its current one, shown with the
// right key.
func (s *Server) otherToken(ctx context.Context, hash []byte, who store.Subject, by caller.Caller, now time.Time) (store.Subject, error) {
	if s.allow(User, who, now) != nil {
		return who, nil // who asks for the access says why not
	}
	switch {
	case who.Token == store.TokenNext:
		err := s.options.Store.UseToken(ctx, hash, store.Meta{Now: now})
		if errors.Is(err, store.ErrNotFound) {
			return store.Subject{}, s.unknownToken(err)
		}
		who.Token, who.Session.TokenHash = store.TokenCurrent, hash
		return who, err
	case now.Before(who.ReplacedAt.Add(tokenGrace)):
		return who, nil
	}
	return store.Subject{}, s.reused(ctx, who, by, now)
}

// reused ends a session of which two have tokens: which of them is the thief nobody
// can tell (RFC 9700 section 4.14.2).
func (s *Server) reused(ctx context.Context, who store.Subject, by caller.Caller, now time.Time) error {
	e := s.alarm(audit.SessionReuse, who, by, now)
	e.Reason = "a token was shown that was replaced at " + stamp(who.ReplacedAt)
	err := s.options.Store.RevokeSession(context.WithoutCancel(ctx), who.Session.ID, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if err != nil {
		return err
	}
	s.options.Logger.Warn("a replaced token was shown, and its session is ended", "session", who.Session.ID, "user", who.User.ID, "source", by.Source)
	return s.signIn("this session was ended: two programs use it, and one has an old token, as a copy would")
}

// alarm begins the event of a misused token. Who showed it is not known.
func (s *Server) alarm(action string, who store.Subject, by caller.Caller, now time.Time) audit.Event {
	return audit.Event{
		Time: now, Action: action, Outcome: audit.Denied, User: who.User.ID, Session: who.Session.ID, Source: by.Source,
		Detail: map[string]string{"device": who.Device.ID, "key": by.Prover, "request": by.RequestID},
	}
}

// copiedWindow is how often a session raises the alarm that it was copied: a thief who
// tries all day is one alarm each hour, whichever instances he asks.
const copiedWindow = time.Hour

// copied notes that a token of a person's session was shown with another key, and
// reports whether that was news.
func (s *Server) copied(ctx context.Context, who store.Subject, by caller.Caller) bool {
	ctx, now := context.WithoutCancel(ctx), s.options.Now()
	n, _, err := s.options.Store.Attempt(ctx, "copied/"+who.Session.ID, copiedWindow, now)
	if err == nil && n > 1 {
		return false
	}
	e := s.alarm(audit.SessionCopied, who, by, now)
	e.Reason = errOtherKey.Error()
	// No ration: there is one row for a real session in an hour.
	err = errors.Join(err, s.options.Store.AppendAudit(ctx, store.Meta{Now: now, Audit: audit.EncodeAll(e)}))
	if err != nil {
		s.options.Logger.Error("audit of a copied token", "session", who.Session.ID, "error", err)
	}
	s.options.Logger.Warn("a session's token was shown with another key than its device's", "session", who.Session.ID, "user", who.User.ID, "source", by.Source)
	return true
}

// seeEvery is how exactly the last use of a session is kept: a write for each call
// would cost more than the call.
const seeEvery = 5 * time.Minute

// see notes that a person used his session.
func (s *Server) see(ctx context.Context, who store.Subject, now time.Time) {
	if who.Kind == store.KindUser {
		s.note(ctx, who.Session, now, s.options.Store.SeeSession)
	}
}

// note writes down by see that a session is used, if nobody did lately.
func (s *Server) note(ctx context.Context, used store.Session, now time.Time, see func(ctx context.Context, session string, m store.Meta) error) {
	if now.Sub(used.SeenAt) < seeEvery || !s.sightings.first(used.ID, now) {
		return
	}
	if err := see(ctx, used.ID, store.Meta{Now: now}); err != nil {
		// With an idle limit the session ends early, so nothing is opened by this.
		s.options.Logger.Error("note the use of a session", "session", used.ID, "error", err)
		s.sightings.forget(used.ID)
	}
}

// sightings are the sessions whose use this instance noted in the last seeEvery: a burst
// of calls that begin at once is noted once. The zero value has none.
type sightings struct {
	mu sync.Mutex
	at map[string]time.Time // by session; guarded by mu
}

// maxSightings is where those that are over are looked for: some 2 MB.
const maxSightings = 10_000

// first says whether nobody asked the same about this session lately.
func (v *sightings) first(session string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at, ok := v.at[session]; ok && now.Sub(at) < seeEvery {
		return false
	}
	if len(v.at) >= maxSightings {
		maps.DeleteFunc(v.at, func(_ string, at time.Time) bool { return now.Sub(at) >= seeEvery })
	}
	if len(v.at) >= maxSightings || v.at == nil {
		v.at = map[string]time.Time{} // too many at once: each is noted twice at the worst
	}
	v.at[session] = now
	return true
}

func (v *sightings) forget(session string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.at, session)
}

// idle tells since when a session was not used, if it is too long.
func idle(who store.Subject, now time.Time) (since time.Time, over bool) {
	since = who.Session.CreatedAt
	if who.Session.SeenAt.After(since) {
		since = who.Session.SeenAt
	}
	limit := time.Duration(who.IdleSeconds) * time.Second
	return since, limit > 0 && !now.Before(since.Add(limit))
}

// rotationRoutes are how a session gets its next token, and what the team demands.
func rotationRoutes(t *table) {
	s := t.server.signin
	handle(t, route{Method: http.MethodPost, Path: "/v1/session/token", Access: User, Background: true, Doc: "The next token of the caller's session, which counts from its first use on"},
		func(ctx context.Context, by caller.Caller, in *optional[api.NextToken]) (*api.Token, error) {
			return s.NextToken(ctx, by, in.value())
		})
	handle(t, route{Method: http.MethodPost, Path: "/v1/touch", Access: User, Doc: "A person showed in the browser once more who he is, to go on in a project"},
		func(ctx context.Context, by caller.Caller, in *body[api.TouchRequest]) (*api.Touched, error) {
			return s.Touch(ctx, by, in.Body)
		})
	handle(t, route{Method: http.MethodGet, Path: "/v1/touch/{project}", Access: User, Doc: "Whether the caller may show who he is for a project: his own, or one where he lets others in"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Project string `path:"project" doc:"id or name"`
		}) (*api.Named, error) {
			return s.MayTouch(ctx, by, in.Project)
		})
	handle(t, route{Method: http.MethodGet, Path: "/v1/team/settings", Access: Admin, Doc: "What the team demands of those who sign in"},
		func(ctx context.Context, _ caller.Caller, _ *none) (*api.TeamSettings, error) { return s.Settings(ctx) })
	handle(t, route{Method: http.MethodPatch, Path: "/v1/team/settings", Access: Admin, Doc: "Change what the team demands of those who sign in"},
		func(ctx context.Context, by caller.Caller, in *body[api.TeamPatch]) (*api.TeamSettings, error) {
			return s.UpdateSettings(ctx, by, in.Body)
		})
}
