package issue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// secondLook is when a project is looked at once more after a change: a session that was
// being claimed at the first look, by facts from before the change, is on record by then.
const secondLook = 5 * time.Second

// looks remember at which revision each project's live sessions were looked at. The
// zero value has seen none.
type looks struct {
	mu   sync.Mutex
	seen map[string]look // by project; guarded by mu
}

type look struct {
	revision int64
	again    time.Time // when the second look is due; zero after it
}

// due says whether a project is to be looked at now, and forgets projects that no session
// lives in.
func (l *looks) due(live []store.LiveProject, now time.Time) (due []store.LiveProject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make(map[string]look, len(live))
	for _, p := range live {
		before, known := l.seen[p.ID]
		if known {
			kept[p.ID] = before
		}
		if !known || before.revision != p.Revision || !before.again.IsZero() && !now.Before(before.again) {
			due = append(due, p)
		}
	}
	l.seen = kept
	return due
}

// looked notes one that went well.
func (l *looks) looked(p store.LiveProject, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, known := l.seen[p.ID]
	next := look{revision: p.Revision}
	if !known || before.revision != p.Revision {
		next.again = now.Add(secondLook)
	}
	l.seen[p.ID] = next
}

// EndUnfounded orders the end of live sessions through gateways that nobody would be given
// now: a grant or a membership was taken away or is over, the server's labels fit no
// grant any more, its account is another, a break-glass suspends it. That a person
// or a server was disabled, or a device or a sign-in revoked, ends sessions in
// the command itself; this finds them too. A sign-in that is over by time ends none: it is
// asked about at the door.
//
// It looks at a project only after its revision has changed, so it costs nothing while
// nothing does. Any instance may call it at any time.
func (s *Service) EndUnfounded(ctx context.Context) error {
	live, err := s.Store.LiveProjects(ctx)
	if err != nil {
		return err
	}
	now := s.now()
	for _, p := range s.looks.due(live, now) {
		if err := s.endUnfounded(ctx, p.ID, now); err != nil {
			return err
		}
		s.looks.looked(p, now)
	}
	return nil
}

func (s *Service) endUnfounded(ctx context.Context, project string, now time.Time) error {
	f, err := s.Store.ProjectFacts(ctx, project)
	if errors.Is(err, store.ErrNotFound) {
		return nil // it has no servers, so nobody is in
	}
	if err != nil {
		return err
	}
	j := judge{project: f, now: now, users: map[string]store.User{}, members: map[string][]store.Member{}, servers: map[string]store.Server{}}
	for _, u := range f.Users {
		j.users[u.ID] = u
	}
	for _, m := range f.Members {
		j.members[m.User] = append(j.members[m.User], m)
	}
	var unfounded []store.GatewaySession
	sentences := map[string]string{}
	read := func(ctx context.Context, p store.Page) ([]store.GatewaySession, string, error) {
		return s.Store.GatewaySessions(ctx, store.SessionFilter{Project: project, Live: true}, p)
	}
	var fault error
	err = lookup.All(ctx, read, func(g store.GatewaySession) bool {
		if g.EndReason != "" {
			return true // ordered already
		}
		if _, known := j.servers[g.Server]; !known {
			server, err := s.Store.Server(ctx, g.Server)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				fault = err
				return false
			}
			j.servers[g.Server] = server
		}
		if d := j.decide(g); !d.Allow {
			unfounded = append(unfounded, g)
			sentences[g.ID] = d.Sentence
		}
		return true
	})
	if err = errors.Join(err, fault); err != nil {
		return err
	}
	for _, g := range unfounded {
		e := audit.Event{Time: now, Action: audit.GatewaySessionOrder, Outcome: audit.Allowed, Reason: sentences[g.ID],
			User: g.User, Server: g.Server, Project: g.Project, Gateway: g.Gateway, Session: g.UserSession, Detail: map[string]string{"gateway_session": g.ID}}
		if _, err := s.Store.OrderEnd(ctx, store.SessionFilter{ID: g.ID}, "", sentences[g.ID], store.Meta{Now: now, Audit: audit.EncodeAll(e)}); err != nil {
			return err
		}
	}
	return nil
}

// judge asks of live sessions what Connect would say now.
type judge struct {
	project store.ProjectFacts
	now     time.Time
	users   map[string]store.User
	members map[string][]store.Member
	servers map[string]store.Server
}

// decide supposes a device and a sign-in in good order: those have ends of their own.
func (j judge) decide(g store.GatewaySession) policy.Decision {
	u, server := j.users[g.User], j.servers[g.Server]
	if u.ID == "" { // in no group of the project: nobody who has a grant
		u = store.User{ID: g.User, Login: g.Login, Status: store.Active}
	}
	if server.ID == "" {
		return policy.Decision{Reason: policy.ServerInactive, Sentence: "the server is not there any more"}
	}
	return policy.Decide(question(store.Facts{
		User: u, Device: store.Device{ID: "live", User: u.ID, State: store.Active},
		Session: store.Session{ID: "live", User: u.ID, Device: "live", ExpiresAt: j.now.Add(time.Hour)},
		Server:  server, Project: known(j.project.Project), Memberships: j.members[u.ID], Grants: j.project.Grants, BreakGlass: j.project.BreakGlass,
	}, g.Login, j.now))
}
