package signin

import (
	"context"
	"strconv"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// ResetFactors takes all second factors from a user who lost them. His password alone
// signs him in then, and where the team demands a factor he has to enrol one. Nobody
// does that to himself: a stolen session must not be a way around a factor.
func (s *Service) ResetFactors(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	u, err := lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, ref)
	if err != nil {
		return nil, err
	}
	e := s.about(by, audit.FactorReset, u.ID)
	e.Detail = map[string]string{"name": u.Name, "by": by.User.Name}
	if u.ID == by.User.ID {
		s.denied(ctx, by, audit.FactorReset, u.ID, "one's own", e.Detail)
		return nil, api.Errorf(api.Denied, "nobody resets his own second factors").
			WithHint("change them at %s/account, or ask another administrator", s.PublicURL)
	}
	factors, err := s.Store.Factors(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	e.Detail["factors"] = strconv.Itoa(len(factors))
	_, err = s.Store.ResetFactors(ctx, u.ID, by.MetaFor(e.Time, u.ID, audit.Encode(e)))
	return lookup.Named(u.ID, caller.Explain(repeated(err), "user "+u.Name))
}
