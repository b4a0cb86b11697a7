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
	"github.com/cardea-ssh/cardea/store"
)

// maxAddress bounds a host name with a port, in bytes.
const maxAddress = 253 + 6

// Impostor records that a client met something else at a gateway's address, or
// at a server's on the direct way. It is the client's word, which nobody else can confirm.
func (s *Service) Impostor(ctx context.Context, by caller.Caller, in api.Impostor) (*api.Named, error) {
	if in.Address == "" || len(in.Address) > maxAddress {
		return nil, api.Errorf(api.Invalid, "the address has 1 to %d bytes", maxAddress)
	}
	if in.Server != "" {
		return s.serverImpostor(ctx, by, in)
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

// serverImpostor judges what a client was shown on the direct way to a server,
// as End does what a gateway saw. His own agent found it wrong, and may be
// wrong itself: then there is nothing to record.
func (s *Service) serverImpostor(ctx context.Context, by caller.Caller, in api.Impostor) (*api.Named, error) {
	if len(in.Gateways) > 0 {
		return nil, api.Errorf(api.Invalid, "name a server or gateways, not both")
	}
	if err := ident.Check(in.Server, ident.Server); err != nil {
		return nil, lookup.Invalid(err)
	}
	// Who may not enter it has met nothing there, and learns not even that it exists.
	t, found, _, err := s.find(ctx, by, in.Server, s.forCaller(""))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unseen(in.Server)
	}
	server := t.facts.Server
	e := by.Event(s.now(), audit.HostImpostor)
	odd, err := s.judgeHostKey(ctx, store.GatewaySession{Server: server.ID, StartedAt: e.Time},
		api.SessionEnd{HostKey: in.HostKey, HostKeyAlgorithms: in.HostKeyAlgorithms, HostKeyHidden: in.HostKeyHidden})
	if err != nil || odd.reason == "" {
		return lookup.Named(server.ID, err)
	}
	e.Outcome, e.Reason = odd.outcome, odd.reason
	e.User, e.Server, e.Project = by.User.ID, server.ID, server.Project
	e.Detail = map[string]string{"address": strings.ToValidUTF8(in.Address, "\uFFFD")}
	if odd.key != "" {
		e.Detail["key"] = odd.key
	}
	err = s.Store.AppendAudit(ctx, by.MetaFor(e.Time, server.ID, audit.Encode(e)))
	return lookup.Named(server.ID, caller.Explain(err, "server "+server.Name))
}
