package signin

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Touch takes the code that a person's yes in the browser gave to his device, and notes
// that he showed there who he is, for one project. It covers all of the device's
// connections in that project for as long as the project says, so that who works on
// three hundred servers is asked once.
func (s *Service) Touch(ctx context.Context, by caller.Caller, in api.TouchRequest) (*api.Touched, error) {
	r, code, err := redemption(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "code": {in.Code},
		"code_verifier": {in.CodeVerifier}, "redirect_uri": {in.RedirectURI},
	})
	if err != nil {
		var o *OAuthError
		if errors.As(err, &o) {
			return nil, api.Errorf(api.Invalid, "%s", o.Description)
		}
		return nil, err
	}
	p, err := s.projectOf(ctx, by, in.Project)
	if err != nil {
		return nil, err
	}
	now := s.now()
	e := by.Event(now, audit.Touch)
	e.User, e.Project = by.User.ID, p.ID
	e.Detail = map[string]string{"request": code.request, "device": by.Device.ID, "since": code.since.Format(time.RFC3339)}
	r.Thumbprint, r.Project, r.Session = by.Prover, p.Name, store.Session{ID: by.Session.ID}
	m := by.Meta(now, audit.Encode(e))
	m.Idempotency = nil // a code is good once, whatever key comes with it
	t, err := s.Store.Touch(ctx, r, store.Touch{Device: by.Device.ID, Project: p.ID, At: code.since}, m)
	if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrDenied) {
		e.Outcome, e.Reason = audit.Denied, "the code is over or used, or of another person, device or request"
		s.record(ctx, e)
		return nil, api.Errorf(api.Gone, "the code is over or used, or whoever said yes in the browser is not %s", by.User.Name).
			WithHint("to begin again type: cardea login --project %s", p.Name).WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+p.Name)
	}
	out := &api.Touched{Project: p.Name, At: t.At}
	if p.ReauthSeconds > 0 {
		out.Until = t.At.Add(time.Duration(p.ReauthSeconds) * time.Second)
	}
	return out, nil
}

// MayTouch tells, before anybody types a password for it, whether there is a project for
// which the caller may show who he is. It returns its id.
func (s *Service) MayTouch(ctx context.Context, by caller.Caller, project string) (*api.Named, error) {
	p, err := s.projectOf(ctx, by, project)
	if err != nil {
		return nil, err
	}
	return &api.Named{ID: p.ID}, nil
}

// projectOf finds a project, by name or id, among those in which the user has a grant or may
// let others in; an administrator knows all. Of others nobody learns that they exist.
func (s *Service) projectOf(ctx context.Context, by caller.Caller, ref string) (store.Project, error) {
	f, err := s.Store.CatalogFacts(ctx, by.User.ID)
	if err != nil {
		return store.Project{}, caller.Explain(err, "user")
	}
	for _, p := range f.Projects {
		if p.Name == ref || p.ID == ref {
			return p, nil
		}
	}
	if by.User.Admin {
		return lookup.Find(ctx, lookup.Kind[store.Project]{Name: "project", Prefix: ident.Project, ByID: s.Store.Project, ByName: s.Store.ProjectByName}, ref)
	}
	if p, err := s.answersIn(ctx, by.User.ID, ref); err != nil || p.ID != "" {
		return p, err
	}
	return store.Project{}, api.Errorf(api.NotFound, "you have no access to a project named %s", ident.Text(short(ref))).
		WithHint("to see where you have type: cardea list-projects; where you let others in: cardea requests rules")
}

// answersIn finds a project, by name or id, in which the user may answer requests; an empty one if
// there is none.
func (s *Service) answersIn(ctx context.Context, user, ref string) (store.Project, error) {
	rules, _, err := s.Store.RequestRules(ctx, store.Page{Limit: store.MaxRequestRules})
	if err != nil {
		return store.Project{}, err
	}
	for _, r := range rules {
		if r.ProjectName != ref && r.Project != ref {
			continue
		}
		may, err := s.Store.MayAnswer(ctx, r.ID, user, s.now())
		if err != nil {
			return store.Project{}, err
		}
		if may {
			return s.Store.Project(ctx, r.Project)
		}
	}
	return store.Project{}, nil
}
