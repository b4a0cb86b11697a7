package issue

import (
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// question turns the store's facts into those that a decision is made from.
func question(f store.Facts, login string, now time.Time) policy.Facts {
	return policy.Facts{
		Now:  now,
		User: policy.User{ID: f.User.ID, Login: f.User.Login, Active: f.User.Status == store.Active, Program: f.User.Issuer == store.ServiceIssuer},
		Device: policy.Device{
			ID: f.Device.ID, UserID: f.Device.User, State: policy.DeviceState(f.Device.State),
			Approved: !f.Device.ApprovedAt.IsZero(), Posture: posture(f),
		},
		Session: policy.Session{
			ID: f.Session.ID, UserID: f.Session.User, DeviceID: f.Session.Device,
			ExpiresAt: f.Session.ExpiresAt, RevokedAt: f.Session.RevokedAt, AuthenticatedAt: f.Session.AuthenticatedAt,
		},
		Project:     projectFacts(f.Project),
		Server:      serverFacts(f.Server),
		Memberships: memberships(f.Memberships),
		Grants:      grants(f.Grants),
		BreakGlass:  breakGlass(store.LatestBreakGlass(f.BreakGlass, f.Project.ID)),
		ShownAt:     f.ShownAt,
		Login:       login,
	}
}

func breakGlass(b store.BreakGlass) policy.BreakGlass {
	return policy.BreakGlass{ID: b.ID, ProjectID: b.Project, GrantID: b.Grant, Reason: b.Reason, Until: b.Until, Ended: !b.EndedAt.IsZero()}
}

// during gives the facts' project the settings that it has at now: under break-glass
// some are out of force. Every decision passes here, so that what comes after
// it has nothing to ask.
func during(f store.Facts, now time.Time) store.Facts {
	f.Project = f.Project.During(store.LatestBreakGlass(f.BreakGlass, f.Project.ID), now)
	return f
}

func projectFacts(p store.Project) policy.Project {
	out := policy.Project{
		ID: p.ID, Name: p.Name, SharedLogin: p.SharedAccount, SharedAdminLogin: p.SharedAdminAccount,
		ReauthAge: time.Duration(p.ReauthSeconds) * time.Second, DeviceApproval: p.DeviceApproval,
	}
	for _, r := range p.DeviceRules {
		out.DeviceRules = append(out.DeviceRules, policy.DeviceRule(r))
	}
	return out
}

// posture is what the device says of itself, where the project asks for it: nobody else
// pays for the reading.
func posture(f store.Facts) policy.Posture {
	if len(f.Project.DeviceRules) == 0 {
		return policy.Posture{}
	}
	r := api.ReadDeviceReport(f.Device.Report)
	if r == nil {
		return policy.Posture{}
	}
	words := map[policy.DeviceRule]policy.Word{
		policy.RuleDiskEncryption: policy.Word(r.DiskEncryption), policy.RuleScreenLock: policy.Word(r.ScreenLock),
	}
	switch r.Key {
	case "tpm", "enclave":
		words[policy.RuleHardwareKey] = policy.Yes
	case "keyring", "file":
		words[policy.RuleHardwareKey] = policy.No
	}
	return policy.Posture{At: f.Device.ReportedAt, Words: words}
}

// known is a project whose people need not be asked who they are, nor their devices what
// those are like: for what rests on a connection that was allowed, and for what only tells
// what one may reach.
func known(p store.Project) store.Project {
	p.ReauthSeconds, p.DeviceRules, p.DeviceApproval = 0, nil, false
	return p
}

// serverFacts: a server's row comes into being by its enrolment, so every
// server that there is has enrolled.
func serverFacts(s store.Server) policy.Server {
	return policy.Server{ID: s.ID, ProjectID: s.Project, Name: s.Name, Active: s.State == store.Active, Held: s.State == store.Held, Enrolled: true, Labels: s.Labels}
}

func memberships(rows []store.Member) []policy.Membership {
	out := make([]policy.Membership, 0, len(rows))
	for _, m := range rows {
		out = append(out, policy.Membership{UserID: m.User, GroupID: m.Group, Until: m.Until})
	}
	return out
}

// grants leaves out those whose selector does not parse: they select nothing.
func grants(rows []store.Grant) []policy.Grant {
	out := make([]policy.Grant, 0, len(rows))
	for _, g := range rows {
		selector, err := policy.ParseSelector(g.Selector)
		if err != nil {
			continue
		}
		out = append(out, policy.Grant{
			ID: g.ID, ProjectID: g.Project, GroupID: g.Group, GroupName: g.GroupName, Selector: selector, Role: policy.Role(g.Role), Until: g.Until,
		})
	}
	return out
}

// confirmed tells whether the server has in force what this decision rests on:
// the user, his membership and the grant, and that a break-glass began or ended. All of
// them raised the project's revision when they were written, so that bounds what a server
// can confirm. The end of a break-glass that nobody has written down yet no server has.
func confirmed(f store.Facts, d policy.Decision) bool {
	b := store.LatestBreakGlass(f.BreakGlass, f.Project.ID)
	if b.ID != "" && b.EndedAt.IsZero() && d.BreakGlass == "" {
		return false
	}
	needed, group := max(f.User.Revision, b.Revision), ""
	for _, g := range f.Grants {
		if g.ID == d.GrantID {
			needed, group = max(needed, g.Revision), g.Group
		}
	}
	for _, m := range f.Memberships {
		if m.Group == group {
			needed = max(needed, m.Revision)
		}
	}
	needed = min(needed, f.Project.Revision)
	return f.Server.ConfirmedEpoch == f.Team.Epoch && f.Server.ConfirmedCounter >= needed
}
