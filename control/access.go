package control

import (
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/fleet"
	"github.com/cardea-ssh/cardea/store"
)

// allow decides whether a subject that has proved its key may use a route of
// this Access at now. The reasons are for the owner of the token, so they are
// precise. A nil error is yes; no path ends in yes by default.
func (s *Server) allow(a Access, who store.Subject, now time.Time) *api.Error {
	if !who.ExpiresAt.IsZero() && !now.Before(who.ExpiresAt) {
		return s.over(who, who.ExpiresAt)
	}
	switch {
	case (a == User || a == Admin) && who.Kind == store.KindUser:
		return s.allowUser(a, who, now)
	case a == Agent && who.Kind == store.KindServer && who.Server.State == store.Held:
		return fleet.Held(who.Server)
	case a == Agent && who.Kind == store.KindServer:
		return allowMachine("server", who.Server.State)
	case a == Gateway && who.Kind == store.KindGateway:
		return allowMachine("gateway", who.Gateway.State)
	case a == User || a == Admin:
		return api.Errorf(api.Denied, "this call is for people, not for machines")
	case a == Agent:
		return api.Errorf(api.Denied, "this call is for server agents")
	case a == Gateway:
		return api.Errorf(api.Denied, "this call is for gateways")
	}
	return api.Errorf(api.Denied, "nobody may call this")
}

func (s *Server) allowUser(a Access, who store.Subject, now time.Time) *api.Error {
	if refused := s.lockedOut(who); refused != nil {
		return refused
	}
	if refused := s.allowSession(who, now); refused != nil {
		return refused
	}
	switch {
	case who.Device.State == store.Pending:
		return api.Errorf(api.Denied, "this device waits for approval").WithHint("ask an administrator to type: cardea admin devices approve %s", who.Device.ID)
	case who.Device.State != store.Active:
		return api.Errorf(api.Denied, "this device is %s", who.Device.State).WithHint("ask your administrator")
	case a == Admin && !who.User.Admin:
		return api.Errorf(api.Denied, "this needs an administrator of the team")
	}
	return nil
}

// lockedOut says that the device was revoked before it is said that its session ended with it:
// the sign-in that cures the one is refused to such a device.
func (s *Server) lockedOut(who store.Subject) *api.Error {
	if who.Device.State != store.Revoked {
		return nil
	}
	return caller.DeviceRevoked(who.User)
}

// allowSession decides whether a person's session, of a device or of the dashboard, and his
// account are good at now.
func (s *Server) allowSession(who store.Subject, now time.Time) *api.Error {
	since, unused := idle(who, now)
	switch {
	case !who.Session.RevokedAt.IsZero():
		return s.signInAgain(who, "this session was ended at %s", stamp(who.Session.RevokedAt))
	case !now.Before(who.Session.ExpiresAt):
		return s.over(who, who.Session.ExpiresAt)
	case unused:
		return s.signInAgain(who, "this session was not used since %s, which is longer than the team allows", stamp(since))
	case who.User.Status != store.Active:
		return api.Errorf(api.Denied, "your account is %s", who.User.Status).WithHint("ask your administrator")
	}
	return nil
}

func allowMachine(kind, state string) *api.Error {
	if state != store.Active {
		return api.Errorf(api.Denied, "this %s is %s", kind, state).WithHint("an administrator can enable it again")
	}
	return nil
}

// over says that what the token stood for has ended by its clock.
func (s *Server) over(who store.Subject, at time.Time) *api.Error {
	if who.Kind != store.KindUser {
		return api.Errorf(api.SignIn, "the credential of this %s is over since %s", who.Kind, stamp(at)).
			WithHint("enrol it again with a new token")
	}
	return s.signInAgain(who, "this session is over since %s", stamp(at))
}

// signIn is a refusal that a new sign-in cures.
func (s *Server) signIn(format string, args ...any) *api.Error {
	return api.Errorf(api.SignIn, format, args...).WithHint("type: cardea login %s", s.options.PublicURL)
}

// signInAgain is signIn for who is known.
func (s *Server) signInAgain(who store.Subject, format string, args ...any) *api.Error {
	return api.Errorf(api.SignIn, format, args...).WithHint("%s", caller.SignInHint(who.User, s.options.PublicURL))
}

// stamp is a time as a person reads it in a sentence.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
