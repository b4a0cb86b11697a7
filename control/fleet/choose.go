package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// lastResort is how old the newest report may be when nobody has a fresh one:
	// the reports may be at fault, and not the gateways.
	lastResort = 24 * time.Hour
	// maxRoutes bounds how many addresses a client tries, with 250 ms between
	// them: nobody waits longer for a fourth.
	maxRoutes = 4
)

// errUnconfirmed: there would be a gateway, but the server has not confirmed
// yet that it lets connections from there in.
var errUnconfirmed = errors.New("no gateway whose egress addresses the server has confirmed")

// Choice is what the choice of gateways rests on. All times are by the control
// plane's clock, also that of reports.
type Choice struct {
	Now      time.Time
	Epoch    int64 // of the team
	Project  store.Project
	Server   store.Server
	Gateways []store.Gateway
	// Shuffle puts n things in random order; nil means rand.Shuffle.
	Shuffle func(n int, swap func(i, j int))
}

// Choose returns the addresses to dial, in order.
//
// A candidate is active, not draining, not told to refuse connections and healthy, has a sealing key, and
// matches the project's selector; where the project requires a gateway, the
// server must have confirmed its egress addresses. Those with a fresh report
// come in random order; if there is none, the candidate with the newest report
// within the last resort. If there is none either, a project that requires a
// gateway gets an error and never a direct route. Where gateways are only
// allowed the direct route comes last; where there are to be none, it is alone.
//
// Where the project's sessions are recorded, only gateways that record now are
// candidates, and one is required whatever else the project says.
//
// A server with a bastion is reached through that alone, unless its project requires a
// gateway: an administrator names one because nothing else can dial the server.
//
// Gateways at one address stand behind one balancer, so they are one route with
// a recipient each. The same holds of the addresses inside TLS.
func Choose(c Choice) ([]api.Route, error) {
	direct := api.Route{Address: c.Server.Address, Bastion: c.Server.Bastion}
	if c.Project.Records() {
		c.Project.Gateway = store.GatewayRequired
	}
	if c.Project.Gateway == store.GatewayNone || c.Server.Bastion != "" && c.Project.Gateway != store.GatewayRequired {
		return []api.Route{direct}, nil
	}
	candidates, rest := c.candidates()
	limit := maxRoutes
	if c.Project.Gateway != store.GatewayRequired {
		limit-- // the last one is direct
	}
	routes := routesOf(c.order(candidates), candidates, limit)
	switch {
	case c.Project.Gateway != store.GatewayRequired:
		return append(routes, direct), nil
	case len(routes) > 0:
		return routes, nil
	case rest.silent && !rest.unconfirmed && rest.undeclared == "":
		return nil, noGateway("sessions in project %s are recorded, and no gateway of it can record now", c.Project.Name).
			WithHint("try again in a minute; an administrator sees why with: cardea admin gateways list")
	case rest.unconfirmed:
		return nil, noGateway("server %s has not yet confirmed the addresses of its gateways", c.Server.Name).WithCause(errUnconfirmed)
	case rest.undeclared != "":
		// No waiting helps: the server cannot be told whom to let in.
		return nil, noGateway("project %s requires a gateway, and nobody has declared from which addresses %s reaches servers", c.Project.Name, rest.undeclared).
			WithHint("an administrator can; type: cardea admin gateways update %s --egress ADDRESS", rest.undeclared)
	}
	return nil, noGateway("project %s requires a gateway, and none takes sessions now", c.Project.Name)
}

func noGateway(format string, args ...any) *api.Error {
	return api.Errorf(api.NoGateway, format, args...).
		WithHint("try again in a minute; an administrator can see more; type: cardea admin gateways list")
}

// notYet is why gateways that are able are no candidates where a project
// requires one.
type notYet struct {
	unconfirmed bool   // the server has not confirmed the egress addresses of one
	undeclared  string // the name of one that has none
	silent      bool   // one does not record, where that is what it is for
}

// candidates are the gateways that might take the connection.
func (c Choice) candidates() (out []store.Gateway, rest notYet) {
	for _, g := range c.Gateways {
		able := g.State == store.Active && !g.Draining && !g.RefuseConnections && g.Healthy && len(g.SealingKeys) > 0 &&
			!g.ReportedAt.IsZero() && c.Now.Sub(g.ReportedAt) <= lastResort &&
			policy.Select(c.Project.GatewaySelector, g.Labels)
		switch {
		case !able:
		case c.Project.Records() && !g.Records:
			rest.silent = true
		case c.Project.Gateway == store.GatewayRequired && len(g.Egress) == 0:
			rest.undeclared = g.Name
		case c.Project.Gateway == store.GatewayRequired && !c.confirmed(g):
			rest.unconfirmed = true
		default:
			out = append(out, g)
		}
	}
	return out, rest
}

// confirmed tells whether the server lets in what comes from the gateway.
func (c Choice) confirmed(g store.Gateway) bool {
	return c.Server.ConfirmedEpoch == c.Epoch && c.Server.ConfirmedCounter >= g.EgressRevision
}

// order returns the gateways to try: the fresh ones by chance, else the newest.
func (c Choice) order(candidates []store.Gateway) []store.Gateway {
	var fresh []store.Gateway
	for _, g := range candidates {
		if c.Now.Sub(g.ReportedAt) < api.FreshReport {
			fresh = append(fresh, g)
		}
	}
	if len(fresh) > 0 {
		shuffle := c.Shuffle
		if shuffle == nil {
			shuffle = rand.Shuffle
		}
		shuffle(len(fresh), func(i, j int) { fresh[i], fresh[j] = fresh[j], fresh[i] })
		return fresh
	}
	if len(candidates) == 0 {
		return nil
	}
	return []store.Gateway{slices.MaxFunc(candidates, func(a, b store.Gateway) int { return a.ReportedAt.Compare(b.ReportedAt) })}
}

// routesOf makes one route of each address, at most limit. Every candidate at
// an address may be the one that answers there, so each is a recipient. A
// ticket and a hello have room for so many; a route that would break that is
// left out, and so is its way inside TLS.
func routesOf(order, candidates []store.Gateway, limit int) []api.Route {
	var routes []api.Route
	named := map[string]bool{} // gateways of the ticket
	fits := func(recipients []api.Recipient) bool {
		more := 0
		for _, m := range recipients {
			if !named[m.Gateway] {
				more++
			}
		}
		if len(recipients) > hello.MaxRecipients || len(named)+more > hello.MaxRecipients {
			return false
		}
		for _, m := range recipients {
			named[m.Gateway] = true
		}
		return true
	}
	for _, g := range order {
		if len(routes) == limit {
			break
		}
		if slices.ContainsFunc(routes, func(r api.Route) bool { return r.Address == g.Address }) {
			continue
		}
		r := api.Route{Address: g.Address, Recipients: membersAt(candidates, g.Address, func(m store.Gateway) string { return m.Address })}
		if !fits(r.Recipients) {
			continue
		}
		known := slices.ContainsFunc(routes, func(r api.Route) bool { return r.TLS != nil && r.TLS.Address == g.TLSAddress })
		if g.TLSAddress != "" && !known {
			inside := membersAt(candidates, g.TLSAddress, func(m store.Gateway) string { return m.TLSAddress })
			if fits(inside) {
				r.TLS = &api.TLSRoute{Address: g.TLSAddress, Recipients: inside}
			}
		}
		routes = append(routes, r)
	}
	return routes
}

// membersAt are the candidates that may answer at an address, each with the newest
// of its keys: the control plane acknowledged it with the report.
func membersAt(candidates []store.Gateway, address string, of func(store.Gateway) string) (out []api.Recipient) {
	for _, m := range candidates {
		if of(m) == address {
			key := m.SealingKeys[0]
			out = append(out, api.Recipient{Gateway: m.ID, SealingKey: api.SealingKey{ID: key.ID, Public: key.Public}})
		}
	}
	return out
}

// Routes chooses for a connection whose facts were read. Unconfirmed tells that
// another try is worth while when the server has confirmed its newest state.
func (s *Service) Routes(ctx context.Context, f store.Facts) (routes []api.Route, unconfirmed bool, err error) {
	c := Choice{Now: s.now(), Epoch: f.Team.Epoch, Project: f.Project, Server: f.Server}
	if f.Project.Gateway != store.GatewayNone {
		if c.Gateways, err = s.roster.list(ctx, s.Store); err != nil {
			return nil, false, err
		}
	}
	routes, err = Choose(c)
	return routes, errors.Is(err, errUnconfirmed), err
}
