package recordings

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// gone is how long a gateway must not have been heard of before another one may speak
	// of its recordings: longer than it is without a report when all is well.
	gone = 5 * time.Minute
	// HandOverLife is how long an heir may speak for a gateway: long enough to bring a disk
	// from another place, and no power that stays with a machine for ever.
	HandOverLife = 7 * 24 * time.Hour
)

// HandOver is an administrator's word that a gateway is gone, and which other one has its
// spool. Without that no gateway is believed anything about the recordings of another: one
// that was taken over could say that those of a silent one are stored, and nobody would
// look for them. An empty in.To takes the word back.
func (s *Service) HandOver(ctx context.Context, by caller.Caller, ref string, in api.HandOver) (*api.HandedOver, error) {
	gone, err := s.goneGateway(ctx, ref)
	if err != nil {
		return nil, err
	}
	now := s.now()
	e := by.Event(now, audit.GatewayHandOver)
	e.Gateway, e.Detail = gone.ID, map[string]string{"to": ""}
	out := &api.HandedOver{Gateway: gone.ID, GatewayName: gone.Name}
	if in.To != "" {
		heir, err := lookup.Find(ctx, s.gateways(), in.To)
		switch {
		case err != nil:
			return nil, err
		case heir.ID == gone.ID:
			return nil, api.Errorf(api.Invalid, "a gateway speaks for itself already").WithHint("name another one with --to; to see them type: cardea admin gateways list")
		case alive(gone, now):
			return nil, isAlive(gone)
		}
		out.To, out.ToName, out.Until = heir.ID, heir.Name, now.Add(HandOverLife)
		e.Detail = map[string]string{"to": heir.ID, "until": out.Until.Format(time.RFC3339)}
	}
	err = s.Store.HandOver(ctx, gone.ID, out.To, out.Until, by.MetaFor(now, gone.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		err = nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, lookup.Missing("gateway", ref).WithCause(err)
	}
	return out, caller.Explain(err, "gateway "+ref)
}

func (s *Service) gateways() lookup.Kind[store.Gateway] {
	return lookup.Kind[store.Gateway]{Name: "gateway", Prefix: ident.Gateway, ByID: s.Store.Gateway, ByName: s.Store.GatewayByName}
}

// goneGateway finds a gateway. One that is deleted has its id still, which stands in what is
// known of its recordings.
func (s *Service) goneGateway(ctx context.Context, ref string) (store.Gateway, error) {
	g, err := lookup.Find(ctx, s.gateways(), ref)
	if api.KindOf(err) == api.NotFound && ident.Check(ref, ident.Gateway) == nil {
		return store.Gateway{ID: ref}, nil
	}
	return g, err
}

func alive(g store.Gateway, now time.Time) bool {
	return g.State == store.Active && now.Sub(g.ReportedAt) < gone
}

func isAlive(g store.Gateway) *api.Error {
	return api.Errorf(api.Conflict, "gateway %s is alive, and tells of its recordings itself", g.Name).
		WithHint("if it is gone wait some minutes, or type: cardea admin gateways disable %s", g.Name)
}

// Held is what is known of a session's recording, for the gateway that is about to store
// it: the one that ran the session, or its heir.
func (s *Service) Held(ctx context.Context, by caller.Caller, session string) (*api.HeldRecording, error) {
	row, err := s.find(ctx, session)
	if err != nil {
		return nil, err
	}
	if by.Gateway.ID != row.Gateway {
		e := by.Event(s.now(), audit.RecordingImport)
		e.User, e.Server, e.Project, e.Session = row.User, row.Server, row.Project, row.UserSession
		e.Detail = map[string]string{"gateway_session": session, "of_gateway": row.Gateway}
		if err := s.mayImport(ctx, by, row, e); err != nil {
			return nil, err
		}
	}
	return &api.HeldRecording{Session: row.ID, Gateway: row.Gateway, Project: row.Project, State: row.State, Place: row.Place}, nil
}

// mayImport lets a gateway speak for one that is gone, if an administrator has said so. What
// it refuses is on record as e, which is the caller's.
func (s *Service) mayImport(ctx context.Context, by caller.Caller, row store.Recording, e audit.Event) error {
	g, err := s.Store.Gateway(ctx, row.Gateway)
	if errors.Is(err, store.ErrNotFound) {
		g, err = store.Gateway{ID: row.Gateway, Name: row.Gateway}, nil
	}
	if err != nil {
		return err
	}
	if alive(g, e.Time) {
		return s.refuse(ctx, e, "it speaks of a recording of "+g.Name+", which is alive", isAlive(g))
	}
	heir, err := s.Store.Heir(ctx, row.Gateway, e.Time)
	if err != nil || heir == by.Gateway.ID {
		return err
	}
	return s.refuse(ctx, e, "it speaks of a recording of "+g.Name+", which was not handed over to it",
		api.Errorf(api.Denied, "the recordings of gateway %s were not handed over to this one", g.Name).
			WithHint("if it is gone and this gateway has its spool, an administrator types: cardea admin gateways hand-over %s --to %s", g.Name, by.Gateway.Name))
}
