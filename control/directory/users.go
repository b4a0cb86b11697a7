package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
)

// LocalIssuer marks the accounts whose password the control plane keeps.
const LocalIssuer = store.LocalIssuer

// CreateUser makes a local account. Without a password one is made and told in
// the answer, this once.
func (s *Service) CreateUser(ctx context.Context, by caller.Caller, in api.NewUser) (*api.CreatedUser, error) {
	u, err := s.newUser(ctx, in)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.UserCreate)
	e.User, e.Detail = u.ID, map[string]string{"name": u.Name, "login": u.Login, "admin": strconv.FormatBool(u.Admin)}
	hash, made := "", ""
	if in.Provider != "" || in.Subject != "" {
		if err := s.federated(ctx, &u, in); err != nil {
			return nil, err
		}
		e.Detail["issuer"], e.Detail["subject"] = u.Issuer, u.Subject
	} else if hash, made, err = s.hashed(ctx, in.Password, u.Name); err != nil {
		return nil, err
	}
	created, err := s.Store.CreateUser(ctx, u, hash, by.MetaFor(u.CreatedAt, u.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		return nil, api.Errorf(api.Conflict, "user %q was made by the first try of this call, and the password told there", u.Name).
			WithHint("for a new one type: cardea admin users update %s --reset-password", u.Name)
	}
	if errors.Is(err, store.ErrExists) && u.Issuer != LocalIssuer {
		if known, err := s.Store.Identity(ctx, u.Issuer, u.Subject); err == nil {
			return nil, api.Errorf(api.Conflict, "user %s has this subject at that provider already, and is %s", known.Name, known.Status)
		}
	}
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "the name %q or the login %q is taken; a login is never given twice, not even after its user was deleted", u.Name, u.Login).
			WithHint("choose another with --login").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "user "+u.Name)
	}
	return &api.CreatedUser{User: userOf(created), Password: made}, nil
}

// newUser checks a request and fills the row.
func (s *Service) newUser(ctx context.Context, in api.NewUser) (store.User, error) {
	if err := CheckName(in.Name); err != nil {
		return store.User{}, lookup.Invalid(err)
	}
	login, err := loginOf(in.Name, in.Login)
	if err != nil {
		return store.User{}, lookup.Invalid(err)
	}
	if err := cmp.Or(checkText("full name", in.FullName, MaxFullName), checkEmail(in.Email)); err != nil {
		return store.User{}, lookup.Invalid(err)
	}
	// An account brings a Unix group of its own name.
	switch _, err := s.Store.GroupByName(ctx, login); {
	case err == nil:
		return store.User{}, api.Errorf(api.Conflict, "there is a group %q, and on a server an account has a group of its own name", login).
			WithHint("choose another login with --login")
	case !errors.Is(err, store.ErrNotFound):
		return store.User{}, err
	}
	id := ident.New(ident.User)
	return store.User{
		ID: id, Issuer: LocalIssuer, Subject: id, Name: in.Name, FullName: in.FullName, Email: in.Email,
		Login: login, Status: store.Active, Admin: in.Admin, CreatedAt: s.now(),
	}, nil
}

// hashed hashes the given password, or one that it makes and returns.
func (s *Service) hashed(ctx context.Context, given, name string) (hash, made string, err error) {
	if given == "" {
		made = NewPassword()
		given = made
	} else if err := CheckPassword(given, name); err != nil {
		return "", "", lookup.Invalid(err)
	}
	hash, err = s.Passwords.Hash(ctx, given)
	if errors.Is(err, password.ErrBusy) {
		err = api.Errorf(api.Limited, "too many passwords are being checked right now").WithHint("try again").WithRetry(time.Second).WithCause(err)
	}
	return hash, made, err
}

// User finds one by id or name.
func (s *Service) User(ctx context.Context, ref string) (*api.User, error) {
	u, err := s.user(ctx, ref)
	if err != nil {
		return nil, err
	}
	out, err := s.shown(ctx, []store.User{u})
	if err != nil {
		return nil, err
	}
	return &out[0], nil
}

// Users lists them.
func (s *Service) Users(ctx context.Context, p api.Page) (*api.List[api.User], error) {
	rows, next, err := s.Store.Users(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of users")
	}
	items, err := s.shown(ctx, rows)
	return &api.List[api.User]{Items: items, Next: next}, err
}

// UpdateUser changes what the patch names. Nobody takes his own rights away:
// he would do so by mistake, or somebody does it to him with his session.
func (s *Service) UpdateUser(ctx context.Context, by caller.Caller, ref string, in api.UserPatch) (*api.CreatedUser, error) {
	u, err := s.user(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), updateAction(in))
	e.User, e.Detail = u.ID, changes(in)
	if by.User.ID == u.ID && (in.Admin != nil && !*in.Admin || in.Status != nil && *in.Status != store.Active) {
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "you cannot take away your own rights").WithHint("ask another administrator"))
	}
	c, made, err := s.userChange(ctx, by, u, in)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, by, u, c, e, made)
}

func (s *Service) userChange(ctx context.Context, by caller.Caller, u store.User, in api.UserPatch) (c store.UserChange, made string, err error) {
	c = store.UserChange{FullName: in.FullName, Email: in.Email, Status: in.Status, Admin: in.Admin, By: by.User.ID}
	if in.FullName != nil {
		err = cmp.Or(err, checkText("full name", *in.FullName, MaxFullName))
	}
	if in.Email != nil {
		err = cmp.Or(err, checkEmail(*in.Email))
	}
	if in.Status != nil && *in.Status != store.Active && *in.Status != store.Disabled {
		err = cmp.Or(err, fmt.Errorf("a user is made %s or %s", store.Active, store.Disabled))
	}
	if err != nil {
		return c, "", lookup.Invalid(err)
	}
	if u.Issuer == store.ServiceIssuer && (in.Password != nil || in.Admin != nil && *in.Admin) {
		return c, "", api.Errorf(api.Denied, "%s is a service user: it has keys and no password, and is never an administrator", u.Name)
	}
	if in.Password == nil {
		return c, "", nil
	}
	if u.Issuer != LocalIssuer {
		return c, "", api.Errorf(api.Invalid, "%s signs in at an identity provider and has no password here", u.Name)
	}
	hash, made, err := s.hashed(ctx, *in.Password, u.Name)
	c.PasswordHash = &hash
	return c, made, err
}

// DeleteUser leaves a tombstone: login and uid are never given again, and
// servers are told to lock the account.
func (s *Service) DeleteUser(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	u, err := s.user(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.UserDelete)
	e.User, e.Detail = u.ID, map[string]string{"name": u.Name, "login": u.Login}
	if by.User.ID == u.ID {
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "you cannot delete yourself").WithHint("ask another administrator"))
	}
	status := store.Deleted
	if _, err := s.change(ctx, by, u, store.UserChange{Status: &status, By: by.User.ID}, e, ""); err != nil {
		return nil, err
	}
	return &api.Named{ID: u.ID}, nil
}

// change asks the store, and audits what it refuses.
func (s *Service) change(ctx context.Context, by caller.Caller, u store.User, c store.UserChange, e audit.Event, made string) (*api.CreatedUser, error) {
	_, err := s.Store.UpdateUser(ctx, u.ID, c, by.MetaFor(s.now(), u.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		made, err = "", nil // the first answer told the one that holds
	}
	switch {
	case errors.Is(err, store.ErrLastAdmin):
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "%s is the last active administrator", u.Name).
			WithHint("make somebody else one first; type: cardea admin users update NAME --admin").WithCause(err))
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, api.Errorf(api.Conflict, "user %s was deleted, and that is for ever", u.Name).
			WithHint("for a new one type: cardea admin users create NAME").WithCause(err))
	case err != nil:
		return nil, caller.Explain(err, "user "+u.Name)
	}
	out, err := s.User(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	return &api.CreatedUser{User: *out, Password: made}, nil
}

func (s *Service) user(ctx context.Context, ref string) (store.User, error) {
	return lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, ref)
}

// updateAction names a change by the strongest thing that it does.
func updateAction(in api.UserPatch) string {
	switch {
	case in.Status != nil && *in.Status == store.Active:
		return audit.UserEnable
	case in.Status != nil:
		return audit.UserDisable
	case in.Password != nil && in.Admin == nil && in.FullName == nil && in.Email == nil:
		return audit.UserPassword
	}
	return audit.UserUpdate
}

// changes tells what a patch changes, for the audit: never a password.
func changes(in api.UserPatch) map[string]string {
	d := map[string]string{}
	for name, v := range map[string]*string{"full_name": in.FullName, "email": in.Email, "status": in.Status} {
		if v != nil {
			d[name] = lookup.Shown(*v)
		}
	}
	if in.Admin != nil {
		d["admin"] = strconv.FormatBool(*in.Admin)
	}
	if in.Password != nil {
		d["password"], d["sessions"] = "changed", "ended" // by the store, with the change
	}
	return d
}
