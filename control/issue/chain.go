package issue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// chain tells what a decision rests on: what the policy looked at, then the project's rules,
// and the way if one was looked for.
func (s *Service) chain(ctx context.Context, by caller.Caller, q inquiry, t target, way *api.WhyFact) ([]api.WhyFact, error) {
	asked := q.about(t.facts)
	requests, err := s.approved(ctx, q.user, asked)
	if err != nil {
		return nil, err
	}
	out := shownFacts(policy.Chain(asked, by.IsAdmin()), requests)
	for i, f := range out {
		switch {
		case f.Kind == string(policy.FactUser):
			out[i].Name = t.facts.User.Name
		case f.ID == assumedID:
			out[i].Text, out[i].Until = "assumed: "+f.Text, time.Time{}
		case f.Kind == string(policy.FactDevice):
			out[i].Name = t.facts.Device.Name
		}
	}
	out = append(out, projectFact(t.facts.Project))
	if way != nil {
		out = append(out, *way)
	}
	return out, nil
}

func shownFacts(facts []policy.Fact, requests map[string]string) []api.WhyFact {
	var out []api.WhyFact
	for _, f := range facts {
		w := api.WhyFact{Kind: string(f.Kind), ID: f.ID, Name: f.Name, Holds: f.Holds, Text: f.Text, Until: f.Until, Under: shownFacts(f.Under, requests)}
		if by := requests[f.ID]; f.Kind == policy.FactMembership && by != "" {
			w.Text += ", " + by
		}
		out = append(out, w)
	}
	return out
}

// approved tells of the user's memberships with an end by which request he got them. A request
// is known by the end that it gave.
func (s *Service) approved(ctx context.Context, user string, q policy.Facts) (map[string]string, error) {
	ends := map[string]time.Time{}
	for _, m := range q.Memberships {
		if !m.Until.IsZero() {
			ends[m.GroupID] = m.Until
		}
	}
	if len(ends) == 0 {
		return nil, nil
	}
	rows, _, err := s.Store.AccessRequests(ctx, store.RequestFilter{User: user}, store.Page{Limit: api.PageSize})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, r := range rows {
		if r.State == store.RequestApproved && r.Until.Equal(ends[r.Group]) && out[r.Group] == "" {
			out[r.Group] = fmt.Sprintf("by request %s that %s approved (%s)", r.ID, r.AnsweredByName, r.Reason)
		}
	}
	return out, nil
}

// projectFact are the rules of the project; they keep nobody out.
func projectFact(p store.Project) api.WhyFact {
	text := fmt.Sprintf("certificates live %s, gateway %s", lookup.Span(time.Duration(p.CertificateSeconds)*time.Second), p.Gateway)
	if p.Records() {
		text += ", sessions are recorded"
	}
	if p.Accounts == store.AccountsOnDemand || p.Accounts == store.AccountsExisting {
		text += ", accounts " + p.Accounts
	}
	if p.ReauthSeconds > 0 {
		text += ", people show who they are each " + lookup.Span(time.Duration(p.ReauthSeconds)*time.Second)
	}
	if p.DeviceApproval {
		text += ", devices are approved"
	}
	if len(p.DeviceRules) > 0 {
		text += ", devices say of themselves: " + strings.Join(p.DeviceRules, ", ")
	}
	return api.WhyFact{Kind: string(policy.FactProject), ID: p.ID, Name: p.Name, Holds: true, Text: text}
}

// wayFact tells of the gateways as they are now, whatever time was asked for.
func wayFact(routes []api.Route, noWay *api.Error) *api.WhyFact {
	f := &api.WhyFact{Kind: string(policy.FactGateway), Holds: noWay == nil}
	gateways := len(gatewaysOf(routes))
	switch {
	case noWay != nil:
		f.Text = noWay.Detail
	case gateways == 0:
		f.Text = "the way is the direct one"
	case gateways == 1:
		f.Text = "one gateway leads there now"
	default:
		f.Text = fmt.Sprintf("%d gateways lead there now", gateways)
	}
	return f
}
