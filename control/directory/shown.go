package directory

import (
	"context"
	"errors"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// keepers are the names of what keeps users and of who disabled them, each read once for a page.
type keepers struct {
	clients   map[string]string // names by id
	providers map[string]store.Provider
	people    map[string]string
}

// shown are users as administrators read them: with who keeps each, and who disabled him.
func (s *Service) shown(ctx context.Context, users []store.User) ([]api.User, error) {
	k, err := s.keepers(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.User, 0, len(users))
	for _, u := range users {
		v := userOf(u)
		k.tell(&v, u)
		if v.DisabledByName, err = s.whoDisabled(ctx, k, u.DisabledBy); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *Service) keepers(ctx context.Context) (k keepers, err error) {
	k = keepers{clients: map[string]string{}, providers: map[string]store.Provider{}, people: map[string]string{}}
	clients, _, err := s.Store.ScimClients(ctx, store.Page{Limit: store.MaxScimClients})
	if err != nil {
		return k, err
	}
	for _, c := range clients {
		k.clients[c.ID] = c.Name
	}
	providers, _, err := s.Store.Providers(ctx, store.Page{Limit: api.MaxPageSize})
	for _, p := range providers {
		k.providers[p.Issuer] = p
	}
	return k, err
}

// tell fills in who keeps a user.
func (k keepers) tell(v *api.User, u store.User) {
	p, known := k.providers[u.Issuer]
	switch {
	case u.Keeper != "":
		v.KeptBy, v.Keeper, v.KeeperName = api.KeptByScim, u.Keeper, k.clients[u.Keeper]
	case u.Issuer == store.ServiceIssuer:
		v.KeptBy = api.KeptByHand
	case known:
		v.KeptBy, v.Keeper, v.KeeperName = api.KeptByProvider, p.ID, p.Name
	default:
		v.KeptBy = api.KeptByHand
	}
}

// whoDisabled is the name of the administrator or the client with this id.
func (s *Service) whoDisabled(ctx context.Context, k keepers, id string) (string, error) {
	if strings.HasPrefix(id, ident.ScimClient) || id == "" {
		return k.clients[id], nil
	}
	if name, known := k.people[id]; known {
		return name, nil
	}
	u, err := s.Store.User(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	k.people[id] = u.Name
	return u.Name, err
}

func userOf(u store.User) api.User {
	out := api.User{
		ID: u.ID, Name: u.Name, FullName: u.FullName, Email: u.Email, Login: u.Login, UID: u.UID,
		Status: u.Status, Admin: u.Admin, CreatedAt: u.CreatedAt,
		DisabledBy: u.DisabledBy, DisabledAt: u.DisabledAt, SignedInAt: u.SignedInAt,
	}
	if u.Issuer != LocalIssuer {
		out.Issuer, out.Subject = u.Issuer, u.Subject
	}
	return out
}
