package issue

import (
	"context"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// maxAddress bounds a host name with a port, in bytes.
const maxAddress = 253 + 6

// Impostor records that a client met something else at a gateway's address. It
// is the client's word, which nobody else can confirm.
func (s *Service) Impostor(ctx context.Context, by caller.Caller, in api.Impostor) (*api.Named, error) {
	if in.Address == "" || len(in.Address) > maxAddress {
		return nil, api.Errorf(api.Invalid, "the address has 1 to %d bytes", maxAddress)
	}
	if len(in.Gateways) == 0 || len(in.Gateways) > hello.MaxRecipients {
		return nil, api.Errorf(api.Invalid, "name 1 to %d gateways", hello.MaxRecipients)
	}
	for _, id := range in.Gateways {
		if err := ident.Check(id, ident.Gateway); err != nil {
			return nil, lookup.Invalid(err)
		}
	}
	e := by.Event(s.now(), audit.GatewayImpostor)
	e.Outcome, e.Reason = audit.Denied, "something else answers at the address of a gateway"
	e.User, e.Gateway = by.User.ID, in.Gateways[0]
	e.Detail = map[string]string{"address": strings.ToValidUTF8(in.Address, "\uFFFD"), "gateways": strings.Join(in.Gateways, " ")}
	err := s.Store.AppendAudit(ctx, by.MetaFor(e.Time, e.Gateway, audit.Encode(e)))
	return lookup.Named(e.Gateway, caller.Explain(err, "gateway "+e.Gateway))
}
