package recordings

import (
	"context"
	"encoding/hex"
	"errors"
	"regexp"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/store"
)

var (
	// place is where gateways keep a recording: it names project and session, so that
	// nobody can have one read from the place of another.
	place   = regexp.MustCompile(`^(prj_[a-z0-9]+)/[0-9]{4}/[0-9]{2}/[0-9]{2}/(gse_[a-z0-9]+)$`)
	causeOf = regexp.MustCompile(`^[a-z-]{0,32}$`)
)

// maxSegment bounds a number of bytes that may be true.
const maxBytes = int64(recording.MaxSegments) * recording.MaxSegmentBytes

// Report takes what a gateway tells of the recording of a session.
//
// It is the gateway that ran the session, or its heir, which has imported its spool. The heir
// is believed only while the former cannot speak for itself: it is deleted, disabled or not
// heard of for some minutes. What it says can make a recording seem to be where it is not,
// but no more: who verifies a recording wants the signatures of the gateway that ran the
// session, whose public keys nobody can take. Both gateways are in the audit event.
func (s *Service) Report(ctx context.Context, by caller.Caller, session string, in api.RecordingReport) (*api.Named, error) {
	row, err := s.find(ctx, session)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.RecordingState)
	e.User, e.Server, e.Project, e.Session = row.User, row.Server, row.Project, row.UserSession
	e.Detail = map[string]string{"gateway_session": session, "state": in.State}
	if by.Gateway.ID != row.Gateway {
		misuse := e
		misuse.Action = audit.GatewayMisuse
		if err := s.mayImport(ctx, by, row, misuse); err != nil {
			return nil, err
		}
		e.Action, e.Detail["of_gateway"] = audit.RecordingImport, row.Gateway
	}
	if err := s.check(ctx, by, row, in); err != nil {
		return nil, err
	}
	if in.State == api.RecordingDamaged || in.Fault != "" {
		e.Outcome, e.Reason = audit.Failed, in.Fault
	}
	for name, text := range map[string]string{"head": in.Head, "key": in.Key, "place": in.Place, "cause": in.Cause} {
		if text != "" {
			e.Detail[name] = text
		}
	}
	e.Detail["segments"], e.Detail["bytes"] = strconv.Itoa(in.Segments), strconv.FormatInt(in.Bytes, 10)
	err = s.Store.ReportRecording(ctx, session, store.Recording{
		Keeper: by.Gateway.ID, State: in.State, Segments: in.Segments, Bytes: in.Bytes, Place: in.Place, Head: in.Head, Key: in.Key,
		Seconds: in.Seconds, EndCause: in.Cause, Fault: in.Fault,
	}, by.MetaFor(e.Time, session, audit.Encode(e)))
	if errors.Is(err, store.ErrDenied) {
		return nil, s.refuse(ctx, e, err.Error(), api.Errorf(api.Conflict, "this would change what is known of the recording").WithCause(err))
	}
	if err == nil && by.Gateway.ID != row.Gateway && row.EndedAt.IsZero() {
		err = s.endFor(ctx, by, row, e)
	}
	return lookup.Named(session, caller.Explain(err, "recording of session "+session))
}

// find is the recording of a session that somebody named.
func (s *Service) find(ctx context.Context, session string) (store.Recording, error) {
	if ident.Check(session, ident.GatewaySession) != nil {
		return store.Recording{}, missing(session)
	}
	row, err := s.Store.Recording(ctx, session)
	if errors.Is(err, store.ErrNotFound) {
		return row, missing(session).WithCause(err)
	}
	return row, err
}

func missing(session string) *api.Error {
	return api.Errorf(api.NotFound, "there is no recording of a session %q", lookup.Shown(session)).WithHint("to see what there is type: cardea sessions ls")
}

func (s *Service) refuse(ctx context.Context, e audit.Event, reason string, why error) error {
	return caller.Refuse(ctx, s.Store, e, reason, why)
}

// check refuses what no gateway says that works.
func (s *Service) check(ctx context.Context, by caller.Caller, row store.Recording, in api.RecordingReport) error {
	wrong := func(what string) error {
		return api.Errorf(api.Invalid, "%s", what).WithHint("the gateway may be of another version than the control plane")
	}
	if m := place.FindStringSubmatch(in.Place); in.Place != "" && (m == nil || m[1] != row.Project || m[2] != row.ID) {
		return wrong("the place of a recording is PROJECT/YYYY/MM/DD/SESSION")
	}
	if raw, err := hex.DecodeString(in.Head); err != nil || len(raw) != 0 && len(raw) != 32 {
		return wrong("the head is a hash in hex")
	}
	if in.Segments < 0 || in.Segments > recording.MaxSegments || in.Bytes < 0 || in.Bytes > maxBytes || in.Seconds < 0 || !causeOf.MatchString(in.Cause) {
		return wrong("a number or the cause of this report cannot be")
	}
	if in.Key == "" {
		return nil
	}
	k, err := s.Store.RecordingKey(ctx, in.Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && k.Gateway != row.Gateway && k.Gateway != by.Gateway.ID {
		return wrong("the key of this report is none of the gateway's that was acknowledged")
	}
	return err
}

// endFor ends the record of a session whose gateway died before it could tell of the end.
func (s *Service) endFor(ctx context.Context, by caller.Caller, row store.Recording, e audit.Event) error {
	e.Action, e.Outcome, e.Reason = audit.GatewaySessionEnd, audit.Failed, "the gateway is gone, and its spool was imported"
	e.Detail = map[string]string{"gateway_session": row.ID, "cause": "error", "of_gateway": row.Gateway}
	return s.Store.EndGatewaySession(ctx, store.GatewaySession{ID: row.ID, Gateway: row.Gateway, EndedAt: e.Time, Cause: "error"},
		store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)})
}

// What a session may tell of refusals in rows of the audit log: a program that tries
// again and again must not fill it. The recording has all of them.
const refusalBurst, refusalEvery = 200, 10 * time.Second

// Refused takes what a gateway refused within a session that it runs. Each is a row of the
// audit log, up to what is good for it.
func (s *Service) Refused(ctx context.Context, by caller.Caller, session string, in api.SessionRefusals) (*api.Named, error) {
	row, err := s.Store.GatewaySession(ctx, session)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.Gateway != by.Gateway.ID {
		return nil, api.Errorf(api.NotFound, "there is no session %q", lookup.Shown(session)).WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.SessionRefused)
	e.User, e.Server, e.Project, e.Session, e.Outcome = row.User, row.Server, row.Project, row.UserSession, audit.Denied
	var events []audit.Event
	unsaid := max(in.Unsaid, 0)
	for _, r := range in.Refusals {
		if _, ok := s.ration(session, e.Time).Take(e.Time); !ok {
			unsaid++
			continue
		}
		e.Reason, e.Detail = r.Sentence, map[string]string{"gateway_session": session, "type": r.Type, "at": r.Time.UTC().Format(time.RFC3339)}
		events = append(events, e)
	}
	if unsaid > 0 {
		e.Reason, e.Detail = "more was refused than is told", map[string]string{"gateway_session": session, "not_recorded": strconv.Itoa(unsaid)}
		events = append(events, e)
	}
	if len(events) == 0 {
		return &api.Named{ID: session}, nil
	}
	return lookup.Named(session, s.Store.AppendAudit(ctx, by.MetaFor(e.Time, session, audit.EncodeAll(events...)...)))
}

// maxRations bounds the sessions whose refusals are counted apart. Those of sessions that
// are silent make place.
const maxRations = 4096

// ration is the one of a session.
func (s *Service) ration(session string, now time.Time) *caller.Ration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.rations[session]; ok {
		r.at = now
		return r.Ration
	}
	for id, r := range s.rations {
		if len(s.rations) < maxRations && now.Sub(r.at) < refusalBurst*refusalEvery {
			continue
		}
		delete(s.rations, id)
	}
	if s.rations == nil {
		s.rations = map[string]*rationed{}
	}
	r := &rationed{caller.NewRation(refusalBurst, refusalEvery), now}
	s.rations[session] = r
	return r.Ration
}

type rationed struct {
	*caller.Ration
	at time.Time // last used
}
