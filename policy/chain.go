package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Fact is one thing that a decision rests on, and what that rests on itself.
type Fact struct {
	Kind  FactKind
	ID    string // of the row; empty where there is none
	Name  string // for people; may be empty
	Holds bool   // as far as this goes, the user may enter
	Text  string // lower case, no full stop; about this fact alone
	Until time.Time
	Under []Fact
}

// FactKind says what a fact is about: a stable name for programs.
type FactKind string

// The kinds of facts. Project and gateway are told by who knows the ways to a server.
const (
	FactRecords    FactKind = "records" // rows that do not belong together
	FactUser       FactKind = "user"
	FactDevice     FactKind = "device"
	FactSession    FactKind = "session"
	FactAccess     FactKind = "access" // the grants together
	FactGrant      FactKind = "grant"
	FactMembership FactKind = "membership"
	FactSelector   FactKind = "selector"
	FactBreakGlass FactKind = "break-glass"
	FactServer     FactKind = "server"
	FactLogin      FactKind = "login"
	FactApproval   FactKind = "device-approval" // where the project demands it
	FactPosture    FactKind = "device-posture"  // where the project demands something of devices
	FactRule       FactKind = "device-rule"     // one such demand
	FactReauth     FactKind = "reauth"          // where the project asks again who somebody is
	FactProject    FactKind = "project"
	FactGateway    FactKind = "gateway"
)

// Chain tells what Decide looks at, in the same order, fact by fact. Decide allows exactly
// when each of them holds. Of the grants it tells those of the user's groups that are for
// this server, and all of the project if everything is asked for: who may not see the others'
// must not.
func Chain(f Facts, everything bool) []Fact {
	if d, ok := consistent(f); !ok {
		return []Fact{{Kind: FactRecords, Text: d.Sentence}}
	}
	chain := []Fact{
		told(f, userActive, Fact{Kind: FactUser, ID: f.User.ID, Name: f.User.Login, Text: "the user is active"}),
		told(f, deviceActive, Fact{Kind: FactDevice, ID: f.Device.ID, Text: "the device is active"}),
		told(f, sessionValid, Fact{Kind: FactSession, ID: f.Session.ID, Text: "the session lasts", Until: f.Session.ExpiresAt}),
		accessFact(f, everything),
	}
	if b := f.BreakGlass; b.InForce(f.Now) {
		chain = append(chain, Fact{Kind: FactBreakGlass, ID: b.ID, Holds: true, Until: b.Until, Text: "break-glass: one grant counts, all others are suspended (" + b.Reason + ")"})
	}
	chain = append(chain, told(f, serverReady, Fact{Kind: FactServer, ID: f.Server.ID, Name: f.Server.Name, Text: "the server takes connections"}))
	if d := granted(f); d.Allow {
		at := func(f Facts) (Decision, bool) { return ownLogin(f, d.Login) }
		chain = append(chain, told(f, at, Fact{Kind: FactLogin, Name: d.Login, Text: "the login is " + d.Login}))
		chain = append(chain, deviceFacts(f)...)
		if f.Project.ReauthAge > 0 {
			chain = append(chain, told(f, shownLately, Fact{Kind: FactReauth, Text: "who the user is was shown lately", Until: f.shownAt().Add(f.Project.ReauthAge)}))
		}
	}
	return chain
}

// told is the fact that a rule checks: with its own text, or why the rule refuses.
func told(f Facts, rule func(Facts) (Decision, bool), fact Fact) Fact {
	d, ok := rule(f)
	if fact.Holds = ok; !ok {
		fact.Text = d.Sentence
	}
	return fact
}

func accessFact(f Facts, everything bool) Fact {
	d := granted(f)
	out := Fact{Kind: FactAccess, ID: d.GrantID, Holds: d.Allow, Text: d.Sentence}
	if d.Allow {
		out.Text = fmt.Sprintf("the strongest grant gives the role %s", d.Role)
	}
	member := f.membershipEnds()
	for _, g := range f.Grants {
		_, isMember := member[g.GroupID]
		if g.ID == "" || g.ProjectID != f.Project.ID || !known(g.Role) || !everything && !(isMember && g.counts(f)) {
			continue
		}
		out.Under = append(out.Under, grantFact(f, g, member))
	}
	slices.SortStableFunc(out.Under, func(a, b Fact) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func grantFact(f Facts, g Grant, member map[string]time.Time) Fact {
	until, isMember := member[g.GroupID]
	who := Fact{Kind: FactMembership, ID: g.GroupID, Name: g.GroupName, Until: until, Holds: isMember && !ended(until, f.Now), Text: "the user is in the group"}
	switch {
	case !isMember:
		who.Text = "the user is not in the group"
	case ended(until, f.Now):
		who.Text = "the membership is over"
	}
	where := Fact{Kind: FactSelector, Holds: g.Selector.Matches(f.Server.Labels), Text: "it is for every server of the project"}
	if s := g.Selector.String(); s != "" {
		where.Text = fmt.Sprintf("it is for servers with %s; this one has %s", s, labelText(f.Server.Labels))
	}
	out := Fact{Kind: FactGrant, ID: g.ID, Name: g.GroupName, Until: g.Until, Under: []Fact{who, where}, Text: "role " + string(g.Role)}
	out.Holds = who.Holds && where.Holds && !ended(g.Until, f.Now) && !f.suspends(g)
	switch {
	case ended(g.Until, f.Now):
		out.Text += "; the grant is over"
	case f.suspends(g):
		out.Text += "; suspended by break-glass"
	}
	return out
}

// labelText are the labels that a selector may see.
func labelText(labels map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	if len(parts) == 0 {
		return "no labels"
	}
	return strings.Join(parts, ",")
}
