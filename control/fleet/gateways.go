package fleet

import (
	"context"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Gateways lists them.
func (s *Service) Gateways(ctx context.Context, p api.Page) (*api.List[api.Gateway], error) {
	rows, next, err := s.Store.Gateways(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of gateways")
	}
	return lookup.List(rows, next, gatewayOf), nil
}

// Gateway finds one by id or name.
func (s *Service) Gateway(ctx context.Context, ref string) (*api.Gateway, error) {
	row, err := s.gateway(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := gatewayOf(row)
	return &out, nil
}

func (s *Service) gateway(ctx context.Context, ref string) (store.Gateway, error) {
	return lookup.Find(ctx, lookup.Kind[store.Gateway]{Name: "gateway", Prefix: ident.Gateway, ByID: s.Store.Gateway, ByName: s.Store.GatewayByName}, ref)
}

// UpdateGateway changes what the patch names. Disabling one ends its sessions.
func (s *Service) UpdateGateway(ctx context.Context, by caller.Caller, ref string, in api.GatewayPatch) (*api.Gateway, error) {
	row, err := s.gateway(ctx, ref)
	if err != nil {
		return nil, err
	}
	detail, err := checkMachine(in.Name, in.Address, in.State, in.Labels, gatewayExample)
	if err != nil {
		return nil, lookup.Invalid(err)
	}
	if in.Egress != nil {
		egress, err := checkEgress(*in.Egress)
		if err != nil {
			return nil, lookup.Invalid(err)
		}
		in.Egress = &egress
		detail["egress"] = strings.Join(egress, " ")
	}
	if in.TLSAddress != nil {
		canonical, err := checkTLSAddress(*in.TLSAddress)
		if err != nil {
			return nil, lookup.Invalid(err)
		}
		in.TLSAddress, detail["tls_address"] = &canonical, canonical
	}
	if in.RefuseConnections != nil {
		detail["refuse_connections"] = strconv.FormatBool(*in.RefuseConnections)
	}
	e := by.Event(s.now(), audit.GatewayUpdate)
	e.Gateway, e.Detail = row.ID, detail
	defer s.roster.forget()
	changed, err := s.Store.UpdateGateway(ctx, row.ID, store.GatewayChange{
		Name: in.Name, Address: in.Address, State: in.State, Labels: in.Labels, Egress: in.Egress,
		TLSAddress: in.TLSAddress, RefuseConnections: in.RefuseConnections,
	}, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		changed, err = s.Store.Gateway(ctx, row.ID)
	}
	if err != nil {
		return nil, explainName(err, "gateway", row.Name, in.Name)
	}
	out := gatewayOf(changed)
	return &out, nil
}

// DeleteGateway forgets a gateway, revokes its credential and ends its sessions.
func (s *Service) DeleteGateway(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	row, err := s.gateway(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.GatewayDelete)
	e.Gateway, e.Detail = row.ID, map[string]string{"name": row.Name}
	defer s.roster.forget()
	err = s.Store.DeleteGateway(ctx, row.ID, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	return lookup.Named(row.ID, caller.Explain(err, "gateway "+row.Name))
}

func gatewayOf(g store.Gateway) api.Gateway {
	return api.Gateway{
		ID: g.ID, Name: g.Name, Address: g.Address, Labels: g.Labels, Egress: g.Egress, State: g.State,
		Draining: g.Draining, Healthy: g.Healthy, Health: g.Health, Sessions: g.Sessions, Records: g.Records,
		ReportedAt: g.ReportedAt, CreatedAt: g.CreatedAt,
		TLSAddress: g.TLSAddress, RefuseConnections: g.RefuseConnections,
	}
}

// checkTLSAddress makes the address canonical; there may be none.
func checkTLSAddress(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	return checkAddress(address, insideExample)
}
