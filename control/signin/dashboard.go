package signin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// BeginDashboard begins a sign-in of this browser to the dashboard and returns the id
// under which it is kept. to is the page of ours to which it leads; project is not empty
// where a person who is signed in has to show once more who he is.
func (s *Service) BeginDashboard(ctx context.Context, to, project string, b Browser) (id string, err error) {
	now := s.now()
	r := store.AuthRequest{
		ID: ident.New(ident.AuthRequest), RedirectURI: to, Project: project, BrowserHash: hashOf(b.Token), Source: b.Source,
		CreatedAt: now, ExpiresAt: now.Add(RequestLife),
	}
	if !r.Dashboard() || b.Token == "" {
		return "", errors.New("a sign-in to the dashboard that leads elsewhere, or of no browser")
	}
	return r.ID, s.Store.CreateAuthRequest(ctx, r, store.Meta{Now: now})
}

// Opened is a dashboard that was opened.
type Opened struct {
	Token string // for the browser's cookie
	To    string // the page that the person wanted to see
	Life  time.Duration
}

// OpenDashboard trades a request of this browser, where a person has just signed in, for a
// session of the dashboard. name is what the browser calls itself, and old the token that
// it had; that session ends.
func (s *Service) OpenDashboard(ctx context.Context, id, name, old string, b Browser) (Opened, error) {
	r, err := s.request(ctx, id, b)
	if err != nil {
		return Opened{}, err
	}
	demands, err := s.Store.TeamSettings(ctx)
	if err != nil {
		return Opened{}, err
	}
	at, ok, err := s.Sitting(ctx, b)
	if err != nil {
		return Opened{}, err
	}
	if !ok || at.Needs != store.NeedsNothing || !asked(r).Rests(at.Since) {
		return Opened{}, api.Errorf(api.SignIn, "you are not signed in here any more")
	}
	now, token, life := s.now(), NewSecret(), s.life(demands)
	v := store.DashboardOpening{
		Request: r.ID, BrowserHash: hashOf(b.Token), LoginHash: hashOf(b.Login),
		Dashboard: store.Dashboard{ID: ident.New(ident.Dashboard), TokenHash: hashOf(token), Browser: browserName(name), Source: b.Source, ExpiresAt: now.Add(life)},
	}
	if len(old) == SecretLen {
		v.Replaces = hashOf(old)
	}
	e := s.event(now, audit.SignInDashboard, audit.Allowed, "", at.User, b, map[string]string{"request": r.ID, "browser": v.Dashboard.Browser})
	e.Session = v.Dashboard.ID
	if _, err = s.Store.OpenDashboard(ctx, v, store.Meta{Now: now, Audit: audit.EncodeAll(e)}); err != nil {
		if errors.Is(err, store.ErrDenied) {
			return Opened{}, api.Errorf(api.SignIn, "you are not signed in here any more").WithCause(err)
		}
		return Opened{}, gone(err)
	}
	return Opened{token, r.RedirectURI, life}, nil
}

// browserName is what lists show of a browser: what people call it. Its own word is a long
// line, and no more than a word.
func browserName(agent string) string {
	find := func(otherwise string, names ...string) string {
		for i := 0; i+1 < len(names); i += 2 {
			if strings.Contains(agent, names[i]) {
				return names[i+1]
			}
		}
		return otherwise
	}
	name := find("a browser", "Edg/", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "Chrome/", "Chrome", "Safari/", "Safari")
	if on := find("", "Windows", "Windows", "iPhone", "an iPhone", "iPad", "an iPad", "Android", "Android", "Mac OS X", "macOS", "CrOS", "ChromeOS", "Linux", "Linux"); on != "" {
		name += " on " + on
	}
	return name
}

// Dashboard is who holds the token of one, whatever its state, as a caller is known by a
// session: it is one without a device. store.ErrNotFound for a token that is none.
func (s *Service) Dashboard(ctx context.Context, token string) (store.Subject, error) {
	if len(token) != SecretLen {
		return store.Subject{}, store.ErrNotFound
	}
	o, u, idle, err := s.Store.Dashboard(ctx, hashOf(token))
	return store.Subject{
		Kind: store.KindUser, User: u, IdleSeconds: idle, ExpiresAt: o.ExpiresAt,
		Session: store.Session{
			ID: o.ID, User: o.User, AuthenticatedAt: o.AuthenticatedAt,
			CreatedAt: o.CreatedAt, ExpiresAt: o.ExpiresAt, RevokedAt: o.RevokedAt, SeenAt: o.SeenAt,
		},
	}, err
}

// CloseDashboard is the caller's signing out of the dashboard, and of its browser.
func (s *Service) CloseDashboard(ctx context.Context, by caller.Caller, b Browser) error {
	e := s.about(by, audit.SignOut, by.User.ID)
	e.Detail = map[string]string{"session": by.Session.ID}
	err := s.Store.RevokeDashboard(ctx, by.Session.ID, by.Meta(e.Time, audit.Encode(e)))
	return errors.Join(err, s.Forget(ctx, b))
}

// describeDashboard is one among the sessions of devices.
func describeDashboard(o store.Dashboard, u store.User) api.Session {
	return api.Session{
		ID: o.ID, Kind: api.SessionDashboard, User: u.ID, UserName: u.Name, Login: u.Login, Admin: u.Admin,
		DeviceTag: "dashboard, " + o.Browser,
		CreatedAt: o.CreatedAt, ExpiresAt: o.ExpiresAt, RevokedAt: o.RevokedAt, SeenAt: o.SeenAt,
	}
}

// inBrowsers begins the cursor of the second part of a list of sessions: those of devices
// come first, then those of browsers. No cursor of the store has the full stop.
const inBrowsers = "browsers."

// withDashboards fills the end of a list of sessions with those in browsers.
func (s *Service) withDashboards(ctx context.Context, user string, out *api.List[api.Session], users map[string]store.User, p store.Page) error {
	if p.Limit -= len(out.Items); p.Limit <= 0 {
		out.Next = inBrowsers
		return nil
	}
	rows, next, err := s.Store.Dashboards(ctx, user, p)
	if err != nil {
		return caller.Explain(err, "such page of sessions")
	}
	for _, o := range rows {
		u, err := once(ctx, users, o.User, s.Store.User)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, describeDashboard(o, u))
	}
	if next != "" {
		out.Next = inBrowsers + next
	}
	return nil
}

// revokeDashboard is RevokeSession for one in a browser.
func (s *Service) revokeDashboard(ctx context.Context, by caller.Caller, id string, missing error) error {
	o, err := s.Store.DashboardByID(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return missing
	case err != nil:
		return err
	case o.User != by.User.ID && !by.IsAdmin():
		s.denied(ctx, by, audit.SessionRevoke, o.User, "not one's own", map[string]string{"session": id})
		return missing
	}
	e := s.about(by, audit.SessionRevoke, o.User)
	e.Detail = map[string]string{"session": o.ID}
	err = s.Store.RevokeDashboard(ctx, o.ID, by.MetaFor(e.Time, o.ID, audit.Encode(e)))
	return repeated(caller.Explain(err, "session"))
}
