package policy

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/span"
)

// Decide applies every rule in turn; the first that fails gives the reason. What would
// tell something about the server comes after the grant: a user without one must learn
// nothing, not even that the server exists.
func Decide(f Facts) Decision {
	for _, rule := range []func(Facts) (Decision, bool){consistent, userActive, deviceActive, sessionValid} {
		if d, ok := rule(f); !ok {
			return d
		}
	}
	decision := granted(f)
	if !decision.Allow {
		return decision
	}
	if d, ok := serverReady(f); !ok {
		return d
	}
	if d, ok := ownLogin(f, decision.Login); !ok {
		return d
	}
	for _, rule := range []func(Facts) (Decision, bool){approvedByHand, postureGood, shownLately} {
		if d, ok := rule(f); !ok {
			return d
		}
	}
	return decision
}

func deny(r Reason, hint, sentence string, args ...any) (Decision, bool) {
	return Decision{Reason: r, Sentence: fmt.Sprintf(sentence, args...), Hint: hint}, false
}

// consistent refuses rows that belong to different people, devices or projects: whoever
// gathered the facts made a mistake, and a mistake must not open a server.
func consistent(f Facts) (Decision, bool) {
	ok := !f.Now.IsZero() &&
		f.User.ID != "" && f.User.Login != "" && f.Device.ID != "" && f.Session.ID != "" && f.Project.ID != "" && f.Server.ID != "" &&
		f.Session.UserID == f.User.ID && f.Device.UserID == f.User.ID && f.Session.DeviceID == f.Device.ID &&
		f.Server.ProjectID == f.Project.ID && (f.BreakGlass.ID == "" || f.BreakGlass.ProjectID == f.Project.ID)
	if !ok {
		return deny(FactsMismatch, "tell your administrator", "the control plane's records do not fit together")
	}
	return Decision{}, true
}

func userActive(f Facts) (Decision, bool) {
	if !f.User.Active {
		return deny(UserInactive, f.tell("ask your administrator", "to let him in again type: cardea admin users enable "+f.Of), "%s", f.tell("your user is disabled", "user "+f.Of+" is disabled"))
	}
	return Decision{}, true
}

func deviceActive(f Facts) (Decision, bool) {
	switch f.Device.State {
	case DeviceActive:
		return Decision{}, true
	case DevicePending:
		return deny(DevicePendingNo, f.tell("ask your administrator to approve it", "to approve it type: cardea admin devices approve "+f.Device.ID),
			"%s", f.tell("this device waits for approval", "the device waits for approval"))
	default: // revoked, and any state that this code does not know
		hint := "to come back as a new device type: cardea device replace"
		if f.User.Program {
			hint = "ask your administrator for another key"
		}
		return deny(DeviceRevokedNo, f.tell(hint, "he signs in on another one"), "%s", f.tell("this device is revoked", "the device is revoked"))
	}
}

// programSignsIn is what to do where a program has to: a browser would sign in somebody else.
const programSignsIn = "sign in again, with the key or the token of the program: see cardea login --help"

func sessionValid(f Facts) (Decision, bool) {
	hint := "type: cardea login"
	if f.User.Program {
		hint = programSignsIn
	}
	if !f.Session.RevokedAt.IsZero() {
		return deny(SessionRevoked, hint, "your session was ended")
	}
	if !f.Now.Before(f.Session.ExpiresAt) {
		return deny(SessionExpired, hint, "your session is over")
	}
	return Decision{}, true
}

func serverReady(f Facts) (Decision, bool) {
	if f.Server.Held {
		return deny(ServerInactive, f.tell("ask your administrator", "see which one it is, then type: cardea admin servers release "+f.Server.Name),
			"server %s is held: two hosts seem to be it", f.Server.Name)
	}
	if !f.Server.Active {
		return deny(ServerInactive, f.tell("ask your administrator", "to enable it type: cardea admin servers enable "+f.Server.Name), "server %s is disabled", f.Server.Name)
	}
	if !f.Server.Enrolled {
		return deny(ServerNotEnrolled, f.tell("ask your administrator to enrol it", "start its agent with a token: type: cardea admin tokens create --kind server --project "+f.Project.Name), "server %s has not enrolled yet", f.Server.Name)
	}
	return Decision{}, true
}

func ownLogin(f Facts, login string) (Decision, bool) {
	if f.Login != "" && f.Login != login {
		return deny(OtherLogin, f.tell("type: cardea ssh "+f.Server.Name, "leave out --login"), "%s login is %s, not %q", f.tell("your", "his"), login, f.Login)
	}
	return Decision{}, true
}

// shownLately comes last: nobody is asked who he is for nothing. What counts is the later
// of the sign-in and of what he showed for this project, on this device.
func shownLately(f Facts) (Decision, bool) {
	if age := f.Project.ReauthAge; age > 0 && !f.Now.Before(f.shownAt().Add(age)) {
		if f.User.Program { // it shows that whenever it signs in, and has nobody to ask
			return deny(Reauth, programSignsIn, "project %s asks programs to sign in anew each %s", f.Project.Name, span.Text(age))
		}
		d, ok := deny(Reauth, "type: cardea login --project "+f.Project.Name, "project %s asks who you are each %s", f.Project.Name, span.Text(age))
		d.Reauth = f.Project.Name
		return d, ok
	}
	return Decision{}, true
}

func (f Facts) shownAt() time.Time {
	if f.ShownAt.After(f.Session.AuthenticatedAt) {
		return f.ShownAt
	}
	return f.Session.AuthenticatedAt
}

// granted looks for the strongest grant that is in force; of equals, the one that lasts
// longest, then the one with the smallest id, so that the same facts give the same answer.
func granted(f Facts) Decision {
	member := f.membershipEnds()
	var best Decision
	over, suspended := false, false
	for _, g := range f.Grants {
		until, isMember := member[g.GroupID]
		if !isMember || !g.counts(f) {
			continue
		}
		end := earlier(earlier(until, g.Until), f.Session.ExpiresAt)
		if ended(until, f.Now) || ended(g.Until, f.Now) {
			over = true
			continue
		}
		if f.suspends(g) {
			suspended = true
			continue
		}
		d := Decision{Allow: true, Reason: Allowed, Sentence: "a grant allows it", Login: f.Project.login(g.Role, f.User.Login), Role: g.Role, GrantID: g.ID, Expires: end}
		if !best.Allow || better(d, best) {
			best = d
		}
	}
	if best.Allow {
		return f.underBreakGlass(best)
	}
	if suspended {
		d, _ := deny(Suspended, "wait until "+clock(f.BreakGlass.Until)+f.tell(", or ask your administrator to be put into its group", ", or put him into its group"),
			"break-glass access to project %s suspends %s access to server %s (%s)", f.Project.Name, f.tell("your", "his"), f.Server.Name, f.BreakGlass.Reason)
		return d
	}
	if over {
		d, _ := deny(GrantOver, f.tell("ask your administrator to renew it", "renew what is over: the membership, or the grant"),
			"%s access to server %s is over", f.tell("your", "his"), f.Server.Name)
		return d
	}
	d, _ := deny(NoGrant, f.tell("ask your administrator for a grant in project "+f.Project.Name, "put him into a group that has one, or type: cardea admin grants create "+f.Project.Name+" GROUP"),
		"%s %s", f.tell("you have no grant for server", f.Of+" has no grant for server"), f.Server.Name)
	return d
}

// InForce returns the grants by which the user may enter the server now, as Decide sees
// them; what each of them lets him do there adds up.
func InForce(f Facts) []Grant {
	if !Decide(f).Allow {
		return nil
	}
	member := f.membershipEnds()
	var out []Grant
	for _, g := range f.Grants {
		until, isMember := member[g.GroupID]
		if isMember && g.counts(f) && !f.suspends(g) && !ended(until, f.Now) && !ended(g.Until, f.Now) {
			out = append(out, g)
		}
	}
	return out
}

// suspends tells whether a break-glass keeps this grant from counting now.
func (f Facts) suspends(g Grant) bool {
	return f.BreakGlass.InForce(f.Now) && g.ID != f.BreakGlass.GrantID
}

// underBreakGlass says of a decision by what it was made.
func (f Facts) underBreakGlass(d Decision) Decision {
	if !f.BreakGlass.InForce(f.Now) {
		return d
	}
	d.BreakGlass = f.BreakGlass.ID
	d.Sentence = fmt.Sprintf("break-glass access allows it until %s (%s)", clock(f.BreakGlass.Until), f.BreakGlass.Reason)
	d.Expires = earlier(d.Expires, f.BreakGlass.Until)
	return d
}

func clock(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 UTC") }

// counts tells whether a grant is for this server at all, at whatever time.
func (g Grant) counts(f Facts) bool {
	return g.ID != "" && g.ProjectID == f.Project.ID && known(g.Role) && g.Selector.Matches(f.Server.Labels)
}

// membershipEnds maps each of the user's groups to the end of his membership, the latest
// where the facts have several.
func (f Facts) membershipEnds() map[string]time.Time {
	ends := make(map[string]time.Time, len(f.Memberships))
	for _, m := range f.Memberships {
		if m.UserID != f.User.ID || m.GroupID == "" {
			continue
		}
		if old, seen := ends[m.GroupID]; !seen || later(m.Until, old) {
			ends[m.GroupID] = m.Until
		}
	}
	return ends
}

func known(r Role) bool { return r == RoleUser || r == RoleAdmin }

func better(a, b Decision) bool {
	if a.Role != b.Role {
		return a.Role == RoleAdmin
	}
	if !a.Expires.Equal(b.Expires) {
		return a.Expires.After(b.Expires)
	}
	return a.GrantID < b.GrantID
}

// ended: the end itself is outside, so nothing is allowed at the instant it ends.
func ended(until, now time.Time) bool { return !until.IsZero() && !now.Before(until) }

// later and earlier treat zero as "no end".
func later(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

func earlier(a, b time.Time) time.Time {
	if later(a, b) {
		return b
	}
	return a
}
