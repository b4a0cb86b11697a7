package signin

import (
	"context"
	"errors"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Describe is a session as its owner and administrators see it.
func Describe(v store.Session, u store.User, d store.Device) api.Session {
	return api.Session{
		ID: v.ID, User: u.ID, UserName: u.Name, Login: u.Login, Admin: u.Admin,
		Device: d.ID, DeviceTag: d.Name, DeviceState: d.State,
		CreatedAt: v.CreatedAt, ExpiresAt: v.ExpiresAt, RevokedAt: v.RevokedAt, SeenAt: v.SeenAt,
	}
}

// Session is the caller's own.
func (s *Service) Session(_ context.Context, by caller.Caller) (*api.Session, error) {
	out := Describe(by.Session, by.User, by.Device)
	return &out, nil
}

// Logout ends the caller's own session. Where next is another one of his on the same device,
// which has come in its place, the connections that it began go on and belong to that one;
// where it is not, they end.
func (s *Service) Logout(ctx context.Context, by caller.Caller, next string) error {
	if ident.Check(next, ident.Session) == nil {
		e := s.about(by, audit.SignOut, by.User.ID)
		e.Detail = map[string]string{"session": by.Session.ID, "next": next}
		err := s.Store.RenewSession(ctx, by.Session.ID, next, by.MetaFor(e.Time, by.Session.ID, audit.Encode(e)))
		if !errors.Is(err, store.ErrDenied) {
			return repeated(caller.Explain(err, "session"))
		}
	}
	return s.end(ctx, by, by.Session, audit.SignOut)
}

// MySessions lists the caller's.
func (s *Service) MySessions(ctx context.Context, by caller.Caller, p api.Page) (*api.List[api.Session], error) {
	return s.sessions(ctx, by.User.ID, p)
}

// Sessions lists those of a user, by id or name, or all for "". For administrators.
func (s *Service) Sessions(ctx context.Context, user string, p api.Page) (*api.List[api.Session], error) {
	id, err := s.userID(ctx, user)
	if err != nil {
		return nil, err
	}
	return s.sessions(ctx, id, p)
}

func (s *Service) sessions(ctx context.Context, user string, p api.Page) (*api.List[api.Session], error) {
	users, devices := map[string]store.User{}, map[string]store.Device{}
	if rest, ok := strings.CutPrefix(p.Cursor, inBrowsers); ok {
		p.Cursor = rest
		out := &api.List[api.Session]{Items: []api.Session{}}
		return out, s.withDashboards(ctx, user, out, users, page(p))
	}
	rows, next, err := s.Store.Sessions(ctx, user, page(p))
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Session]{Items: make([]api.Session, 0, len(rows)), Next: next}
	for _, v := range rows {
		u, err := once(ctx, users, v.User, s.Store.User)
		if err != nil {
			return nil, err
		}
		d, err := once(ctx, devices, v.Device, s.Store.Device)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, Describe(v, u, d))
	}
	if next != "" {
		return out, nil
	}
	p.Cursor = ""
	return out, s.withDashboards(ctx, user, out, users, page(p))
}

// once reads a row that many rows of a page name. A row that is gone stays empty.
func once[T any](ctx context.Context, seen map[string]T, id string, read func(context.Context, string) (T, error)) (T, error) {
	if v, ok := seen[id]; ok {
		return v, nil
	}
	v, err := read(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return v, err
	}
	seen[id] = v
	return v, nil
}

// noSuch says that there is no such thing, and names the list that the caller may see.
func noSuch(by caller.Caller, what, id, own, all string) *api.Error {
	if by.IsAdmin() {
		own = all
	}
	return api.Errorf(api.NotFound, "there is no %s %s", what, ident.Text(short(id))).WithHint("to see what there is type: %s", own)
}

// RevokeSession ends a session: one's own, or any by an administrator. Another's
// is as unknown as one that does not exist.
func (s *Service) RevokeSession(ctx context.Context, by caller.Caller, id string) error {
	missing := noSuch(by, "session", id, "cardea sign-ins list", "cardea admin sessions list")
	if ident.Check(id, ident.Dashboard) == nil {
		return s.revokeDashboard(ctx, by, id, missing)
	}
	if ident.Check(id, ident.Session) != nil {
		return missing
	}
	v, err := s.Store.Session(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return missing
	case err != nil:
		return err
	case v.User != by.User.ID && !by.IsAdmin():
		s.denied(ctx, by, audit.SessionRevoke, v.User, "not one's own", map[string]string{"session": id})
		return missing
	}
	return s.end(ctx, by, v, audit.SessionRevoke)
}

func (s *Service) end(ctx context.Context, by caller.Caller, v store.Session, action string) error {
	e := s.about(by, action, v.User)
	e.Detail = map[string]string{"session": v.ID}
	err := s.Store.RevokeSession(ctx, v.ID, by.MetaFor(e.Time, v.ID, audit.Encode(e)))
	return repeated(caller.Explain(err, "session"))
}

// Devices lists the caller's, or for an administrator those of a user ("" for all).
func (s *Service) Devices(ctx context.Context, user string, p api.Page) (*api.List[api.Device], error) {
	id, err := s.userID(ctx, user)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Store.Devices(ctx, id, page(p))
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Device]{Items: make([]api.Device, 0, len(rows)), Next: next}
	for _, d := range rows {
		out.Items = append(out.Items, describeDevice(d))
	}
	return out, nil
}

// RevokeDevice ends a device and its sessions: one's own, or any by an administrator.
func (s *Service) RevokeDevice(ctx context.Context, by caller.Caller, id string) (*api.Device, error) {
	missing := noSuch(by, "device", id, "cardea device list", "cardea admin devices list")
	if ident.Check(id, ident.Device) != nil {
		return nil, missing
	}
	d, err := s.Store.Device(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, missing
	case err != nil:
		return nil, err
	case d.User != by.User.ID && !by.IsAdmin():
		s.denied(ctx, by, audit.DeviceRevoke, d.User, "not one's own", map[string]string{"device": id})
		return nil, missing
	}
	e := s.about(by, audit.DeviceRevoke, d.User)
	e.Detail = map[string]string{"device": d.ID}
	changed, err := s.Store.SetDeviceState(ctx, d.ID, store.Revoked, by.MetaFor(e.Time, d.ID, audit.Encode(e)))
	if repeated(err) == nil && err != nil {
		changed, err = s.Store.Device(ctx, d.ID)
	}
	if err != nil {
		return nil, caller.Explain(err, "device")
	}
	out := describeDevice(changed)
	return &out, nil
}

// ApproveDevice lets a device in that waits for it. The call comes from an active device
// of an administrator, so none approves itself.
func (s *Service) ApproveDevice(ctx context.Context, by caller.Caller, id string) (*api.Device, error) {
	missing := noSuch(by, "device", id, "cardea device list", "cardea admin devices list")
	if ident.Check(id, ident.Device) != nil {
		return nil, missing
	}
	d, err := s.Store.Device(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	e := s.about(by, audit.DeviceApprove, d.User)
	e.Detail = map[string]string{"device": d.ID, "key": d.Thumbprint}
	changed, err := s.Store.ApproveDevice(ctx, d.ID, by.MetaFor(e.Time, d.ID, audit.Encode(e)))
	if repeated(err) == nil && err != nil {
		changed, err = s.Store.Device(ctx, d.ID)
	}
	if errors.Is(err, store.ErrDenied) {
		return nil, api.Errorf(api.Conflict, "this device is %s already", notApprovable(d)).WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "device")
	}
	out := describeDevice(changed)
	return &out, nil
}

// notApprovable is what keeps a device from being approved.
func notApprovable(d store.Device) string {
	if d.State == store.Active {
		return "approved"
	}
	return d.State
}

func describeDevice(d store.Device) api.Device {
	return api.Device{ID: d.ID, User: d.User, Name: d.Name, Thumbprint: d.Thumbprint, State: d.State, CreatedAt: d.CreatedAt, ApprovedAt: d.ApprovedAt, Report: api.ReadDeviceReport(d.Report), ReportedAt: d.ReportedAt}
}

// about begins the event of what the caller did to a user's session or device.
func (s *Service) about(by caller.Caller, action, user string) audit.Event {
	return audit.Event{
		Time: s.now(), Action: action, Outcome: audit.Allowed,
		Actor: by.User.ID, Session: by.Session.ID, Source: by.Source, User: user,
	}
}

func (s *Service) denied(ctx context.Context, by caller.Caller, action, user, reason string, detail map[string]string) {
	e := s.about(by, action, user)
	e.Outcome, e.Reason, e.Detail = audit.Denied, reason, detail
	s.record(ctx, e)
}

// repeated makes the second run of a call what the first was: done.
func repeated(err error) error {
	var again *store.Repeated
	if errors.As(err, &again) {
		return nil
	}
	return err
}

// userID resolves an id or name; "" stays, and means all.
func (s *Service) userID(ctx context.Context, ref string) (string, error) {
	if ref == "" || ident.Check(ref, ident.User) == nil {
		return ref, nil
	}
	if len(ref) > maxName {
		return "", api.Errorf(api.NotFound, "there is no such user")
	}
	u, err := s.Store.UserByName(ctx, ref)
	return u.ID, caller.Explain(err, "user "+ident.Text(ref))
}

func page(p api.Page) store.Page {
	if p.Limit == 0 {
		p.Limit = api.PageSize
	}
	return store.Page{Cursor: p.Cursor, Limit: min(p.Limit, api.MaxPageSize)}
}

// short is as much of what a caller sent as an error repeats.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}
