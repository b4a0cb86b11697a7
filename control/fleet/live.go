package fleet

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxEndReason bounds what an administrator tells the people whose sessions he ends, in bytes.
const maxEndReason = 200

// endedByAdmin is what they hear if he says nothing.
const endedByAdmin = "an administrator ended this session"

// SessionQuery selects connections through gateways, by ids or names.
type SessionQuery struct {
	User, Server, Project string
	Live                  bool
}

// Sessions lists connections through gateways, newest first.
func (s *Service) Sessions(ctx context.Context, q SessionQuery, p api.Page) (*api.List[api.GatewaySession], error) {
	f, err := s.filter(ctx, q)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Store.GatewaySessions(ctx, f, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of sessions")
	}
	return lookup.List(rows, next, func(g store.GatewaySession) api.GatewaySession {
		return api.GatewaySession{
			ID: g.ID, Gateway: g.Gateway, User: g.User, Server: g.Server, Project: g.Project, Login: g.Login, Source: g.Source,
			StartedAt: g.StartedAt, EndedAt: g.EndedAt, Cause: g.Cause, Up: g.Up, Down: g.Down, EndBy: g.EndBy, EndReason: g.EndReason,
			Recording: g.Recording, Overdue: g.Overdue,
		}
	}), nil
}

// filter finds what is named.
func (s *Service) filter(ctx context.Context, q SessionQuery) (store.SessionFilter, error) {
	f := store.SessionFilter{Live: q.Live}
	if q.User != "" {
		u, err := lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, q.User)
		if err != nil {
			return f, err
		}
		f.User = u.ID
	}
	if q.Project != "" {
		p, err := s.project(ctx, q.Project)
		if err != nil {
			return f, err
		}
		f.Project = p.ID
	}
	if q.Server != "" {
		server, err := s.server(ctx, q.Server)
		if err != nil {
			return f, err
		}
		f.Server = server.ID
	}
	return f, nil
}

// EndSession orders the end of one live session.
func (s *Service) EndSession(ctx context.Context, by caller.Caller, id string, in api.EndSession) (*api.EndedSessions, error) {
	if ident.Check(id, ident.GatewaySession) != nil {
		return nil, noSession(id)
	}
	row, err := s.Store.GatewaySession(ctx, id)
	if err != nil {
		return nil, caller.Explain(err, "session "+id)
	}
	if !row.EndedAt.IsZero() {
		return nil, api.Errorf(api.Gone, "session %s is over already; to see those that live type: cardea admin sessions list --live", id)
	}
	e := by.Event(s.now(), audit.GatewaySessionOrder)
	e.User, e.Server, e.Project, e.Gateway = row.User, row.Server, row.Project, row.Gateway
	e.Detail = map[string]string{"gateway_session": id}
	return s.orderEnd(ctx, by, store.SessionFilter{ID: id}, in.Reason, e)
}

func noSession(id string) error {
	return api.Errorf(api.NotFound, "there is no session %q", lookup.Shown(id)).
		WithHint("to see those that live type: cardea admin sessions list --live")
}

// EndSessions orders the end of all live sessions that fit.
func (s *Service) EndSessions(ctx context.Context, by caller.Caller, in api.EndSessions) (*api.EndedSessions, error) {
	if in.User == "" && in.Server == "" && in.Project == "" {
		return nil, api.Errorf(api.Invalid, "whose sessions are to end is not said").WithHint("name a user, a server or a project")
	}
	f, err := s.filter(ctx, SessionQuery{User: in.User, Server: in.Server, Project: in.Project})
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.GatewaySessionOrder)
	e.User, e.Server, e.Project = f.User, f.Server, f.Project
	e.Detail = map[string]string{"gateway_session": "all that fit"}
	return s.orderEnd(ctx, by, f, in.Reason, e)
}

func (s *Service) orderEnd(ctx context.Context, by caller.Caller, f store.SessionFilter, reason string, e audit.Event) (*api.EndedSessions, error) {
	if len(reason) > maxEndReason || ident.Text(reason) != reason {
		return nil, api.Errorf(api.Invalid, "a reason is one line of at most %d bytes, and the people in the sessions read it", maxEndReason)
	}
	if reason == "" {
		reason = endedByAdmin
	}
	e.Reason = reason
	n, err := s.Store.OrderEnd(ctx, f, by.User.ID, reason, by.MetaFor(e.Time, "ended", audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		err = nil // how many there were the first answer said
	}
	if err != nil {
		return nil, caller.Explain(err, "such session")
	}
	return &api.EndedSessions{Count: n}, nil
}

// addOrders tells a gateway which sessions must end, and why.
func addOrders(to *api.GatewayWatch, orders []store.EndOrder) {
	for _, o := range orders {
		to.End = append(to.End, o.Session)
		if o.Reason == "" {
			continue
		}
		if to.Reasons == nil {
			to.Reasons = map[string]string{}
		}
		to.Reasons[o.Session] = o.Reason
	}
}
