package signin

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// A code can be typed on a signed-in device in place of the page: `cardea device approve`.
// All that holds for the page holds there. He still shows in a browser who he is, because a
// session that lies open, or whoever sits at it, is not the person; the request with which
// he does is named in the code that it brings, and is good for nothing else.

// forDevice begins the Project of such a request: no project has a name with a blank.
const forDevice = "device "

// typedOn is in place of a browser's secret: only that device goes on with what was typed
// on it. No cookie has a NUL.
func typedOn(device string) []byte { return hashOf("device\x00" + device) }

// TypeCodeHere takes a code that was typed on the caller's own device, and tells what waits.
func (s *Service) TypeCodeHere(ctx context.Context, by caller.Caller, typed, from string) (*api.WaitingDevice, error) {
	e := by.Event(s.now(), audit.SignInFailed)
	e.User, e.Outcome = by.User.ID, audit.Denied
	// Who has many addresses is still one account.
	for _, source := range []string{from, "user " + by.User.ID} {
		if err := s.countCode(ctx, source, e); err != nil {
			return nil, err
		}
	}
	r, err := s.Store.TypeUserCode(ctx, userCodeHash(typed), store.AuthRequest{
		ID: ident.New(ident.AuthRequest), BrowserHash: typedOn(by.Device.ID), Source: by.Source, CreatedAt: e.Time,
	}, store.Meta{Now: e.Time})
	if err != nil {
		return nil, s.notTyped(ctx, e, err)
	}
	if by.User.Admin {
		return nil, s.turnAway(ctx, r, typedOn(by.Device.ID), by.User, by.Source)
	}
	return &api.WaitingDevice{Request: r.ID, Device: r.DeviceName, Origin: r.Origin, Source: by.Source, ExpiresAt: r.ExpiresAt}, nil
}

// RefuseHere says no to what was typed on the caller's device.
func (s *Service) RefuseHere(ctx context.Context, by caller.Caller, id string) error {
	r, err := s.typedHere(ctx, by, id)
	if err != nil {
		return err
	}
	e := by.Event(s.now(), audit.SignInRefuse)
	e.User, e.Outcome, e.Reason = by.User.ID, audit.Denied, "the person said no"
	e.Detail = map[string]string{"request": r.ID, "device": r.DeviceName, "way": "typed code"}
	m := by.Meta(e.Time, audit.Encode(e))
	m.Idempotency = nil
	_, err = s.Store.RefuseAuthRequest(ctx, r.ID, typedOn(by.Device.ID), m)
	return gone(err)
}

// ApproveHere says yes to it, with the code that showing who he is brought to the device.
func (s *Service) ApproveHere(ctx context.Context, by caller.Caller, id string, in api.ApproveWaiting) error {
	waits, err := s.typedHere(ctx, by, id)
	if err != nil {
		return err
	}
	r, code, err := redemption(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "code": {in.Code},
		"code_verifier": {in.CodeVerifier}, "redirect_uri": {in.RedirectURI},
	})
	var o *OAuthError
	if errors.As(err, &o) {
		return api.Errorf(api.Invalid, "%s", o.Description)
	}
	if err != nil {
		return err
	}
	e := by.Event(s.now(), audit.SignInApprove)
	e.User = by.User.ID
	e.Detail = map[string]string{"request": waits.ID, "device": waits.DeviceName, "way": "typed code", "from": waits.Origin, "shown": code.request}
	r.Thumbprint, r.Project, r.Session = by.Prover, forDevice+waits.ID, store.Session{ID: by.Session.ID}
	m := by.Meta(e.Time, audit.Encode(e))
	m.Idempotency = nil // a code is good once, whatever key comes with it
	_, err = s.Store.ApproveDeviceGrant(ctx, r, store.Approval{Request: waits.ID, BrowserHash: typedOn(by.Device.ID), User: by.User.ID}, m)
	if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrDenied) {
		e.Outcome, e.Reason = audit.Denied, "the code is over, used, or of another person, device or request, or the account may not sign in so"
		s.record(ctx, e)
		if by.User.Admin {
			return NotForAdmins(err)
		}
		return api.Errorf(api.Gone, "the code is over or used, or whoever said yes in the browser is not %s", by.User.Name).
			WithHint("to begin again type: cardea login --device-code on the other device").WithCause(err)
	}
	return gone(err)
}

// typedHere finds an open request whose code was typed on the caller's device.
func (s *Service) typedHere(ctx context.Context, by caller.Caller, id string) (store.AuthRequest, error) {
	r, err := s.requestOf(ctx, id, typedOn(by.Device.ID))
	if errors.Is(err, store.ErrNotFound) {
		return r, api.Errorf(api.NotFound, "no device waits for a yes to %s", ident.Text(short(id))).WithHint("type its code again: cardea device approve CODE").WithCause(err)
	}
	return r, err
}

// other adds to a request that is for a device elsewhere what is known of that device.
func (s *Service) other(ctx context.Context, out Request) (Request, error) {
	if out.Other == "" {
		return out, nil
	}
	r, err := s.Store.AuthRequest(ctx, out.Other)
	switch {
	case err != nil:
		return out, gone(err)
	case r.Grant == "", r.User != "", !s.now().Before(r.ExpiresAt):
		return out, gone(store.ErrUsed)
	}
	out.DeviceName, out.Origin = r.DeviceName, r.Origin
	out.row, out.Replaces = r, replaces(r)
	return out, nil
}

// otherOf is the id of the request that one shows for; empty for one of its own.
func otherOf(r store.AuthRequest) string {
	id, ok := strings.CutPrefix(r.Project, forDevice)
	if !ok {
		return ""
	}
	return id
}
