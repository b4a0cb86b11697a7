package issue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// Openings are the requests by which the caller could enter what ref names, server by
// server: whatever else keeps him out, a request does not open.
func (s *Service) Openings(ctx context.Context, by caller.Caller, ref string) ([]lookup.Opening, error) {
	now := s.now()
	rules, err := s.Store.RequestRulesFor(ctx, by.User.ID, now)
	if err != nil {
		return nil, err
	}
	found, err := s.candidates(ctx, by.Session.ID, ref)
	if err != nil {
		return nil, err
	}
	var out []lookup.Opening
	for _, f := range found {
		out = append(out, openings(f, rules, now)...)
	}
	return out, nil
}

// noSession is an end that no session has: what is looked for is when access itself ends.
const noSession = 100 * 365 * 24 * time.Hour

// openings asks the policy what it would say to a member of each rule's group.
func openings(f store.Facts, rules []store.RequestRule, now time.Time) (out []lookup.Opening) {
	q := question(f, "", now)
	q.Project.ReauthAge, q.Project.DeviceRules, q.Project.DeviceApproval = 0, nil, false // those are asked at the door
	if now.Before(q.Session.ExpiresAt) {
		q.Session.ExpiresAt = now.Add(noSession)
	}
	present := policy.Decide(q)
	for _, r := range rules {
		if r.Project != f.Project.ID {
			continue
		}
		then := q
		then.Memberships = append(slices.Clone(q.Memberships), policy.Membership{UserID: f.User.ID, GroupID: r.Group})
		then.Grants = slices.DeleteFunc(slices.Clone(q.Grants), func(g policy.Grant) bool { return g.GroupID != r.Group })
		d := policy.Decide(then)
		if !d.Allow {
			continue
		}
		o := lookup.Opening{Server: f.Server, Rule: r, Role: string(d.Role)}
		if present.Allow {
			o.Enters, o.Has, o.Until = true, string(present.Role), present.Expires
			if o.Until.Equal(q.Session.ExpiresAt) {
				o.Until = time.Time{}
			}
		}
		out = append(out, o)
	}
	return out
}

// askHint begins the hint to who may ask for access.
const askHint = "type: cardea request "

// exampleFor is the time in a hint: long enough for most work.
const exampleFor = time.Hour

// orAsk is why somebody was refused; where a rule lets him ask for access, it says so in
// place of that. Who may not ask learns nothing: not by the words, and the rules are read
// also for a server that there is not.
func (s *Service) orAsk(ctx context.Context, user, ref string, refused []target, why *api.Error) (*api.Error, error) {
	lacking := func(t target) bool {
		return t.decision.Reason == policy.NoGrant || t.decision.Reason == policy.GrantOver
	}
	if len(refused) > 0 && !slices.ContainsFunc(refused, lacking) {
		return why, nil
	}
	now := s.now()
	rules, err := s.Store.RequestRulesFor(ctx, user, now)
	if err != nil {
		return nil, err
	}
	for _, t := range refused {
		if !lacking(t) {
			continue
		}
		found := openings(t.facts, rules, now)
		if len(found) == 0 {
			continue
		}
		name := ref
		if len(refused) > 1 {
			name = t.facts.Project.Name + "/" + t.facts.Server.Name
		}
		return api.Errorf(api.Denied, "%s", askSentence(t.decision, t.facts)).WithHint(askHint+"%s --for %s --reason …", lookup.Shown(name), example(found)), nil
	}
	return why, nil
}

// example is a time, and the group where there is more than one: of the weakest role, since
// that is what most work needs.
func example(found []lookup.Opening) string {
	slices.SortStableFunc(found, func(a, b lookup.Opening) int {
		return cmp.Or(-cmp.Compare(a.Role, b.Role), cmp.Compare(a.Rule.GroupName, b.Rule.GroupName), -cmp.Compare(a.Rule.Longest, b.Rule.Longest)) // user before admin
	})
	least := found[0].Rule
	text := lookup.Span(min(exampleFor, least.Longest))
	if slices.ContainsFunc(found, func(o lookup.Opening) bool { return o.Rule.Group != least.Group }) {
		text += " --group " + least.GroupName
	}
	return text
}

func askSentence(d policy.Decision, f store.Facts) string {
	if d.Reason == policy.GrantOver {
		return d.Sentence
	}
	return "you may not enter server " + f.Server.Name + " now, and may ask for it"
}
