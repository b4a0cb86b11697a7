package directory

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxKeyName bounds the name of a key, in bytes: room for a host and a path.
const maxKeyName = 128

// thumbprintSize is that of SHA-256, in bytes.
const thumbprintSize = 32

// CreateServiceUser makes a user who is a program. It has no key yet.
func (s *Service) CreateServiceUser(ctx context.Context, by caller.Caller, in api.NewServiceUser) (*api.ServiceUser, error) {
	u, err := s.newUser(ctx, api.NewUser{Name: in.Name, FullName: in.FullName, Login: in.Login})
	if err != nil {
		return nil, err
	}
	u.Issuer = store.ServiceIssuer
	e := by.Event(s.now(), audit.UserCreate)
	e.User, e.Detail = u.ID, map[string]string{"name": u.Name, "login": u.Login, "issuer": u.Issuer}
	made, err := s.Store.CreateUser(ctx, u, "", by.MetaFor(u.CreatedAt, u.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.User(ctx, ref)
	}
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "the name %q or the login %q is taken; a login is never given twice, not even after its user was deleted", u.Name, u.Login).
			WithHint("choose another with --login").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "user "+u.Name)
	}
	return &api.ServiceUser{User: userOf(made), Keys: []api.ServiceKey{}}, nil
}

// ServiceUsers lists them with their keys.
func (s *Service) ServiceUsers(ctx context.Context, p api.Page) (*api.List[api.ServiceUser], error) {
	rows, next, err := s.Store.ServiceUsers(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of service users")
	}
	out := &api.List[api.ServiceUser]{Items: make([]api.ServiceUser, 0, len(rows)), Next: next}
	for _, u := range rows {
		v, err := s.withKeys(ctx, u)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, *v)
	}
	return out, nil
}

// ServiceUser finds one by id or name.
func (s *Service) ServiceUser(ctx context.Context, ref string) (*api.ServiceUser, error) {
	u, err := s.serviceUser(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.withKeys(ctx, u)
}

// serviceUser finds one. A person is as unknown here as nobody.
func (s *Service) serviceUser(ctx context.Context, ref string) (store.User, error) {
	only := func(find func(context.Context, string) (store.User, error)) func(context.Context, string) (store.User, error) {
		return func(ctx context.Context, ref string) (store.User, error) {
			u, err := find(ctx, ref)
			if err == nil && u.Issuer != store.ServiceIssuer {
				err = store.ErrNotFound
			}
			return u, err
		}
	}
	return lookup.Find(ctx, lookup.Kind[store.User]{Name: "service user", Prefix: ident.User, ByID: only(s.Store.User), ByName: only(s.Store.UserByName)}, ref)
}

func (s *Service) withKeys(ctx context.Context, u store.User) (*api.ServiceUser, error) {
	keys, err := s.Store.ServiceKeys(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	age, err := s.Store.ServiceKeyAge(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	out := &api.ServiceUser{User: userOf(u), Keys: lookup.List(keys, "", serviceKeyOf).Items, KeySeconds: int(age / time.Second)}
	for i, k := range out.Keys {
		out.Keys[i].Old = age > 0 && s.now().Sub(k.CreatedAt) > age
	}
	return out, nil
}

func serviceKeyOf(k store.ServiceKey) api.ServiceKey {
	return api.ServiceKey{ID: k.ID, Name: k.Name, Thumbprint: k.Thumbprint, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, UsedAt: k.UsedAt, Replaces: k.Replaces}
}

// AddServiceKey registers a key of a service user.
func (s *Service) AddServiceKey(ctx context.Context, by caller.Caller, ref string, in api.NewServiceKey) (*api.ServiceKey, error) {
	u, err := s.serviceUser(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkKeyName(in.Name), checkThumbprint(in.Thumbprint), checkUntil(in.ExpiresAt, s.now())); err != nil {
		return nil, lookup.Invalid(err)
	}
	k := store.ServiceKey{ID: ident.New(ident.ServiceKey), User: u.ID, Name: in.Name, Thumbprint: in.Thumbprint, CreatedAt: s.now(), ExpiresAt: in.ExpiresAt}
	e := by.Event(k.CreatedAt, audit.ServiceKeyAdd)
	e.User, e.Detail = u.ID, map[string]string{"service_key": k.ID, "name": k.Name, "key": k.Thumbprint}
	made, err := s.Store.AddServiceKey(ctx, k, by.MetaFor(k.CreatedAt, k.ID, audit.Encode(e)))
	if id, again := lookup.Repeated(err); again {
		made, err = s.keyOf(ctx, u, id)
	}
	switch {
	case errors.Is(err, store.ErrTooMany):
		return nil, api.Errorf(api.Conflict, "%s has %d keys, and that is all it may have", u.Name, store.MaxServiceKeys).
			WithHint("to take the older one away type: cardea admin service-users remove-key %s KEY", u.Name).WithCause(err)
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, api.Errorf(api.Conflict, "this key was taken from %s before, or the user was deleted", u.Name).
			WithHint("make a new one; type: cardea service-key FILE").WithCause(err))
	case errors.Is(err, store.ErrExists):
		return nil, api.Errorf(api.Conflict, "a service user has this key already").WithHint("make another one; type: cardea service-key FILE").WithCause(err)
	case err != nil:
		return nil, caller.Explain(err, "key")
	}
	out := serviceKeyOf(made)
	return &out, nil
}

func (s *Service) keyOf(ctx context.Context, u store.User, id string) (store.ServiceKey, error) {
	keys, err := s.Store.ServiceKeys(ctx, u.ID)
	for _, k := range keys {
		if k.ID == id {
			return k, err
		}
	}
	return store.ServiceKey{}, cmp.Or(err, store.ErrNotFound)
}

// RemoveServiceKey takes a key away, and the one that was registered by its proof: whoever
// has a copy of the one may have made the other. What was begun with them ends.
func (s *Service) RemoveServiceKey(ctx context.Context, by caller.Caller, ref, id string) (*api.Named, error) {
	u, err := s.serviceUser(ctx, ref)
	if err != nil {
		return nil, err
	}
	missing := api.Errorf(api.NotFound, "%s has no key %q", u.Name, lookup.Shown(id)).WithHint("to see its keys type: cardea admin service-users show %s", u.Name)
	if ident.Check(id, ident.ServiceKey) != nil {
		return nil, missing
	}
	e := by.Event(s.now(), audit.ServiceKeyRemove)
	e.User, e.Detail = u.ID, map[string]string{"service_key": id}
	keys, err := s.Store.ServiceKeys(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(keys, func(k store.ServiceKey) bool { return k.Replaces == id }); i >= 0 {
		e.Detail["next"] = keys[i].ID
	}
	err = s.Store.RemoveServiceKey(ctx, u.ID, id, by.MetaFor(s.now(), id, audit.Encode(e)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing.WithCause(err)
	}
	return lookup.Named(id, caller.Explain(err, "key"))
}

func checkKeyName(name string) error {
	if name == "" || len(name) > maxKeyName || ident.Text(name) != name {
		return fmt.Errorf("a key's name is 1 to %d bytes without control characters", maxKeyName)
	}
	return nil
}

// checkThumbprint takes base64url of 32 bytes, in the one way to write them: two ways to
// write one key would be two keys.
func checkThumbprint(s string) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != thumbprintSize || base64.RawURLEncoding.EncodeToString(raw) != s {
		return errors.New("that is no thumbprint of a key, as cardea service-key prints it")
	}
	return nil
}
