package signin

import (
	"context"
	"errors"
	"net/url"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// An administrator signs no device in by a typed code. He is told as soon as it is known who he
// is, and the device that waits with his next poll: nobody waits for what cannot be.

// whyNotByCode is what that device says. The code may have been typed by another than who
// sits there.
const whyNotByCode = "the code was typed by an administrator, who signs no device in so; as an administrator type: cardea login"

// NotForAdmins is what the administrator reads, at a page or a device of his.
func NotForAdmins(cause error) *api.Error {
	return api.Errorf(api.Denied, "an administrator signs no device in by a typed code").
		WithHint("on that device type: cardea login, which works over ssh too").WithCause(cause)
}

// isAdmin tells whether that was who was turned away; a failure is a no without its reason.
func (s *Service) isAdmin(ctx context.Context, user string) bool {
	u, err := s.Store.User(ctx, user)
	return err == nil && u.Admin
}

// ofAdmin refuses the device of an administrator who would have to type a code in vain. Whose
// it is tells the session that the device names, good or over, if it is bound to its key.
func (s *Service) ofAdmin(ctx context.Context, by caller.Caller, form url.Values) error {
	id := form.Get("session")
	if ident.Check(id, ident.Session) != nil {
		return nil
	}
	v, err := s.Store.Session(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && v.Thumbprint != by.Prover {
		return nil
	}
	if err != nil {
		return err
	}
	u, err := s.Store.User(ctx, v.User)
	if err != nil || !u.Admin || u.Status != store.Active {
		return err
	}
	return oauth("access_denied", "an administrator signs no device in by a typed code; type: cardea login, which works over ssh too")
}

// TurnAway ends the request of a device elsewhere if its person, who has shown who he is or
// was signed in at this browser, is an administrator. Nil if he is none.
func (s *Service) TurnAway(ctx context.Context, id string, user store.User, b Browser) error {
	if !user.Admin {
		return nil
	}
	r, err := s.request(ctx, id, b)
	if err != nil {
		return err
	}
	return s.turnAway(ctx, r, hashOf(b.Token), user, b.Source)
}

func (s *Service) turnAway(ctx context.Context, r store.AuthRequest, browser []byte, user store.User, source string) error {
	e := audit.Event{
		Time: s.now(), Action: audit.SignInApprove, Outcome: audit.Denied, Reason: "an administrator signs no device in by a typed code",
		Actor: user.ID, User: user.ID, Source: source,
		Detail: map[string]string{"request": r.ID, "device": r.DeviceName, "way": "typed code", "from": r.Origin},
	}
	_, err := s.Store.RefuseDeviceGrant(ctx, r.ID, browser, user.ID, store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)})
	if err != nil {
		return gone(err)
	}
	return NotForAdmins(nil)
}
