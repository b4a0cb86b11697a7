package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// adoptOrWait is what becomes of somebody whom a client cannot make because a user is in the
// way: if that is certainly the same person the client keeps him, else an administrator is
// asked, and the client hears of a conflict.
func (s *Service) adoptOrWait(ctx context.Context, f From, v store.ScimUser) (store.ScimUser, error) {
	if _, n, err := s.Store.ScimUsers(ctx, f.Client.ID, store.ScimQuery{Name: v.UserName, Limit: 1}); err != nil || n > 0 {
		return v, errors.Join(err, taken("there is a user of this userName"))
	}
	w := store.ScimWaiting{
		Client: f.Client.ID, UserName: v.UserName, ExternalID: v.ExternalID, Login: v.User.Login,
		FullName: v.User.FullName, Email: v.User.Email, Active: v.Active, Resource: v.Resource,
	}
	candidates, err := s.Store.ScimCandidates(ctx, w)
	if err != nil {
		return v, err
	}
	for _, c := range candidates {
		if standing, why := c.Judge(); standing == store.TakeCertain {
			adopted, err := s.adopt(ctx, f, v, c.User, why)
			if !errors.Is(err, store.ErrDenied) && !errors.Is(err, store.ErrNotFound) { // else it was changed just now
				return adopted, err
			}
		}
	}
	err = s.Store.NoteScimWaiting(ctx, w, store.Meta{Now: s.now()})
	if err != nil && !errors.Is(err, store.ErrTooMany) {
		return v, err
	}
	return v, conflict(f, w, candidates)
}

// adopt is the takeover of a user by the client's own word.
func (s *Service) adopt(ctx context.Context, f From, v store.ScimUser, u store.User, why string) (store.ScimUser, error) {
	v.User.ID = u.ID
	e := s.event(f, audit.UserAdopt, u.ID, adoptionDetail(f.Client, u, v.UserName, v.ExternalID))
	e.Reason, e.Detail["by"] = why, "the client"
	return s.Store.AdoptScimUser(ctx, v, "", meta(e))
}

func adoptionDetail(c store.ScimClient, u store.User, userName, externalID string) map[string]string {
	return map[string]string{"name": u.Name, "login": u.Login, "client": c.ID, "client_name": c.Name,
		"user_name": ident.Text(userName), "external_id": ident.Text(externalID)}
}

// conflict tells the client, and through it whoever reads the provider's log, what to type.
func conflict(f From, w store.ScimWaiting, candidates []store.ScimCandidate) error {
	text := "the login " + w.Login + ", which this userName stands for, is or was somebody else's or is a group's, and is never given twice"
	for _, c := range candidates {
		if c.SameIdentity {
			text = "somebody who signs in as this already is not kept by this client"
		}
	}
	if f.Client.Provider != "" {
		text += "; to see whether it is the same person, and to say so, an administrator of Cardea types: cardea admin scim waiting " + f.Client.Name
	}
	return taken(text)
}

// Waiting lists whom a client could not make, with the users who may be meant.
func (s *Service) Waiting(ctx context.Context, ref string, p api.Page) (*api.List[api.ScimWaiting], error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Store.ScimWaitings(ctx, c.ID, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of who waits")
	}
	out := lookup.List(rows, next, waitingOf)
	for i, w := range rows {
		candidates, err := s.Store.ScimCandidates(ctx, w)
		if err != nil {
			return nil, err
		}
		for _, k := range candidates {
			v := candidateOf(k)
			if onlyAddress := len(v.Same) == 1 && k.SameEmail; onlyAddress && v.Standing == api.StandingNever {
				continue // says nothing, and helps nobody
			}
			out.Items[i].Candidates = append(out.Items[i].Candidates, v)
		}
	}
	return out, nil
}

func waitingOf(w store.ScimWaiting) api.ScimWaiting {
	return api.ScimWaiting{
		UserName: ident.Text(w.UserName), ExternalID: ident.Text(w.ExternalID), Login: w.Login, FullName: w.FullName, Email: w.Email,
		Active: w.Active, Since: w.CreatedAt, TriedAt: w.TriedAt, Candidates: []api.ScimCandidate{},
	}
}

func candidateOf(k store.ScimCandidate) api.ScimCandidate {
	u := k.User
	standing, why := k.Judge()
	out := api.ScimCandidate{
		User: u.ID, Name: u.Name, Login: u.Login, FullName: u.FullName, Email: u.Email, Status: u.Status,
		Standing: string(standing), Why: ident.Text(why), Same: []string{},
	}
	for _, s := range []struct {
		is   bool
		what string
	}{{k.SameIdentity, "identity"}, {k.SameLogin, "login"}, {k.SameEmail, "email"}} {
		if s.is {
			out.Same = append(out.Same, s.what)
		}
	}
	return out
}

// Adopt has a client keep a user who was there before it, by the word of an administrator.
func (s *Service) Adopt(ctx context.Context, by caller.Caller, ref string, in api.ScimAdopt) (*api.ScimAdoption, error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	w, err := s.Store.ScimWaiting(ctx, c.ID, in.UserName)
	if errors.Is(err, store.ErrNotFound) {
		return s.adoptedBefore(ctx, c, in)
	}
	if err != nil {
		return nil, err
	}
	u, err := s.user(ctx, in.User)
	if err != nil {
		return nil, err
	}
	k, err := s.Store.ScimTakeover(ctx, c.ID, u.ID, w.ExternalID)
	if err != nil {
		return nil, caller.Explain(err, "user "+u.Name)
	}
	e := by.Event(s.now(), audit.UserAdopt)
	e.User, e.Detail = u.ID, adoptionDetail(c, u, w.UserName, w.ExternalID)
	e.Detail["by"] = by.User.Name
	standing, why := k.Judge()
	if standing == store.TakeNever {
		return nil, s.refused(ctx, e, why, never(c, u, why))
	}
	out := &api.ScimAdoption{UserName: ident.Text(w.UserName), User: u.ID, Name: u.Name, Login: u.Login, Text: follows(c, k, w)}
	if in.DryRun {
		return out, nil
	}
	e.Reason = why
	return out, s.adoptBy(ctx, by, c, w, k.User, e, out)
}

func (s *Service) adoptBy(ctx context.Context, by caller.Caller, c store.ScimClient, w store.ScimWaiting, u store.User, e audit.Event, out *api.ScimAdoption) error {
	v := store.ScimUser{Client: c.ID, ExternalID: w.ExternalID, UserName: w.UserName, Active: w.Active, Resource: w.Resource,
		User: store.User{ID: u.ID, FullName: w.FullName, Email: w.Email}}
	_, err := s.Store.AdoptScimUser(ctx, v, by.User.ID, by.MetaFor(e.Time, u.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		err = nil
	}
	switch {
	case errors.Is(err, store.ErrDenied):
		why := "the client is disabled, or the user was changed just now"
		return s.refused(ctx, e, why, api.Errorf(api.Conflict, "%s", why).WithHint("look again with: cardea admin scim waiting %s", c.Name).WithCause(err))
	case errors.Is(err, store.ErrBraked):
		return api.Errorf(api.Conflict, "SCIM client %s says that he is not active, and too many people would lose access at once", c.Name).
			WithHint("to let that happen type: cardea admin scim resume %s", c.Name).WithCause(err)
	case err != nil:
		return caller.Explain(err, "user "+u.Name)
	}
	out.Done = true
	return nil
}

// adoptedBefore answers for one who does not wait: a list may be gone through twice.
func (s *Service) adoptedBefore(ctx context.Context, c store.ScimClient, in api.ScimAdopt) (*api.ScimAdoption, error) {
	var rows []store.ScimUser
	var err error
	if in.UserName != "" {
		rows, _, err = s.Store.ScimUsers(ctx, c.ID, store.ScimQuery{Name: in.UserName, Limit: 1})
	}
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, api.Errorf(api.NotFound, "SCIM client %s has not tried to make a user %q", c.Name, lookup.Shown(in.UserName)).
			WithHint("to see who waits type: cardea admin scim waiting %s", c.Name)
	}
	u := rows[0].User
	if in.User != u.ID && in.User != u.Name {
		return nil, api.Errorf(api.Conflict, "SCIM client %s keeps %s as %s", c.Name, u.Name, ident.Text(rows[0].UserName)).
			WithHint("if that is wrong type: cardea admin scim release %s %s", c.Name, u.Name)
	}
	return &api.ScimAdoption{UserName: ident.Text(rows[0].UserName), User: u.ID, Name: u.Name, Login: u.Login, Done: true, Text: "kept already"}, nil
}

func never(c store.ScimClient, u store.User, why string) *api.Error {
	return api.Errorf(api.Denied, "SCIM client %s cannot keep %s: %s", c.Name, u.Name, ident.Text(why)).
		WithHint("to see who may be meant type: cardea admin scim waiting %s", c.Name)
}

// follows tells an administrator what an adoption does.
func follows(c store.ScimClient, k store.Takeover, w store.ScimWaiting) string {
	u := k.User
	text := []string{fmt.Sprintf("%s keeps id, login, groups and sessions", u.Name)}
	if u.Issuer == store.LocalIssuer {
		text = append(text, "signs in at the identity provider and no more with a password")
	}
	switch {
	case !w.Active && u.Status == store.Active:
		text = append(text, "is disabled, for the client says that he is not active")
	case w.Active && u.Status != store.Active:
		text = append(text, "stays "+u.Status)
	}
	if u.Admin {
		text = append(text, "is an administrator whom the client may disable from then on")
	}
	return strings.Join(text, "; ")
}

func (s *Service) user(ctx context.Context, ref string) (store.User, error) {
	return lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, ref)
}

func (s *Service) refused(ctx context.Context, e audit.Event, why string, said *api.Error) error {
	return caller.Refuse(ctx, s.Store, e, why, said)
}

// Release takes a user from a client.
func (s *Service) Release(ctx context.Context, by caller.Caller, ref string, in api.ScimRelease) (*api.Named, error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	u, err := s.user(ctx, in.User)
	if err != nil {
		return nil, err
	}
	v, err := s.Store.ScimUser(ctx, c.ID, u.ID)
	missing := api.Errorf(api.NotFound, "SCIM client %s does not keep %s", c.Name, u.Name).WithHint("to see who keeps him type: cardea admin users show %s", u.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	e := by.Event(s.now(), audit.UserRelease)
	e.User, e.Detail = u.ID, adoptionDetail(c, u, v.UserName, v.ExternalID)
	e.Detail["by"] = by.User.Name
	if err == nil || errors.Is(err, store.ErrNotFound) { // which a call that comes again meets
		_, err = s.Store.ReleaseScimUser(ctx, store.ScimRelease{Client: c.ID, User: u.ID, By: by.User.ID, Source: by.Source}, by.MetaFor(e.Time, u.ID, audit.Encode(e)))
	}
	if _, again := lookup.Repeated(err); again {
		err = nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	return lookup.Named(u.ID, caller.Explain(err, "user "+u.Name))
}
