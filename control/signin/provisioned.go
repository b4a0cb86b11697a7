package signin

import (
	"context"
	"errors"
	"slices"

	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/store"
)

// candidate is the user that a person is, or may become now: with Link, one whom the
// provider's SCIM client made, and who has not signed in yet.
type candidate struct {
	store.User
	Link *store.ScimLink
	// Said is what the provider says of him in the claims by which its clients link.
	Said map[string]string
}

// maxSaid bounds what is kept of a claim, in bytes: no externalId is longer.
const maxSaid = 254

// identity is the user that a person is; the zero one for nobody.
func (s *Service) identity(ctx context.Context, p store.Provider, who *sso.Person) (candidate, error) {
	clients, err := s.clientsOf(ctx, p)
	if err != nil {
		return candidate{}, err
	}
	var found candidate
	found.User, err = s.Store.Identity(ctx, who.Issuer, who.Subject)
	if errors.Is(err, store.ErrNotFound) {
		found, err = s.provisioned(ctx, clients, who)
	}
	found.Said = map[string]string{}
	for _, c := range clients {
		if v, said := who.Claims.Text(c.LinkClaim); said && c.LinkClaim != "sub" && len(v) <= maxSaid {
			found.Said[c.LinkClaim] = v
		}
	}
	return found, err
}

// provisioned finds whom a client of this provider made as the person who signs in for the
// first time. What ties them is one claim that an administrator chose, never a name or an
// address; where it fits more than one user, it fits none.
func (s *Service) provisioned(ctx context.Context, clients []store.ScimClient, who *sso.Person) (candidate, error) {
	var found candidate
	for _, c := range clients {
		id, said := who.Claims.Text(c.LinkClaim)
		if !said {
			continue
		}
		rows, n, err := s.Store.ScimUsers(ctx, c.ID, store.ScimQuery{ExternalID: id, Limit: 1})
		if err != nil {
			return candidate{}, err
		}
		if n == 0 {
			continue
		}
		if n > 1 || found.ID != "" || rows[0].User.Issuer != store.ScimIssuer(c.ID) {
			return candidate{}, nil
		}
		found = candidate{User: rows[0].User, Link: &store.ScimLink{Client: c.ID, ExternalID: id}}
		found.Issuer, found.Subject = who.Issuer, who.Subject
	}
	return found, nil
}

// clientsOf are the clients whose users sign in at this provider.
func (s *Service) clientsOf(ctx context.Context, p store.Provider) ([]store.ScimClient, error) {
	all, _, err := s.Store.ScimClients(ctx, store.Page{Limit: store.MaxScimClients})
	return slices.DeleteFunc(all, func(c store.ScimClient) bool { return c.Provider != p.ID || c.State != store.Active }), err
}
