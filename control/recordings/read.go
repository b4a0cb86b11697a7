package recordings

import (
	"context"
	"errors"
	"io"
	"path"
	"strconv"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/store"
)

// List lists what is known of recordings, newest session first: all to administrators,
// of one user if they name one, and to others their own alone; of one server if its id is named.
func (s *Service) List(ctx context.Context, by caller.Caller, mine bool, user, server string, p api.Page) (*api.List[api.Recording], error) {
	switch {
	case server != "" && ident.Check(server, ident.Server) != nil:
		return nil, api.Errorf(api.Invalid, "%.80q is no id of a server", server).WithHint("give one, which begins with srv_")
	case mine && user != "":
		return nil, api.Errorf(api.Invalid, "mine and user exclude each other").WithHint("give one of them")
	case mine, !by.IsAdmin() && user == "":
		user = by.User.ID
	case !by.IsAdmin():
		return nil, api.Errorf(api.Denied, "only administrators see the recordings of others").WithHint("leave out --user")
	case user != "":
		u, err := lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, user)
		if err != nil {
			return nil, err
		}
		user = u.ID
	}
	rows, next, err := s.Store.Recordings(ctx, store.RecordingsOf{User: user, Server: server}, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of recordings")
	}
	out := lookup.List(rows, next, recordingOf)
	return out, s.name(ctx, out.Items)
}

// name adds what the ids of a recording are called now. A page has few of each.
func (s *Service) name(ctx context.Context, rows []api.Recording) error {
	known := map[string]string{}
	name := func(id string, read func() (string, error)) (string, error) {
		if _, ok := known[id]; !ok {
			n, err := read()
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return "", err
			}
			known[id] = n
		}
		return known[id], nil
	}
	for i := range rows {
		r := &rows[i]
		var errs [4]error
		r.UserName, errs[0] = name(r.User, func() (string, error) { u, err := s.Store.User(ctx, r.User); return u.Name, err })
		r.ServerName, errs[1] = name(r.Server, func() (string, error) { v, err := s.Store.Server(ctx, r.Server); return v.Name, err })
		r.ProjectName, errs[2] = name(r.Project, func() (string, error) { p, err := s.Store.Project(ctx, r.Project); return p.Name, err })
		r.GatewayName, errs[3] = name(r.Gateway, func() (string, error) { g, err := s.Store.Gateway(ctx, r.Gateway); return g.Name, err })
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
	}
	return nil
}

func recordingOf(r store.Recording) api.Recording {
	return api.Recording{
		Session: r.ID, Gateway: r.Gateway, Keeper: r.Keeper, User: r.User, Server: r.Server, Project: r.Project, Login: r.Login, Source: r.Source,
		StartedAt: r.StartedAt, EndedAt: r.EndedAt, Required: r.Required, State: r.State, Overdue: r.Overdue, ChangedAt: r.ChangedAt,
		Segments: r.Segments, Bytes: r.Bytes, Place: r.Place, Head: r.Head, Key: r.Key, Seconds: r.Seconds, Cause: r.EndCause, Fault: r.Fault,
	}
}

// Recording is what is known of one: to administrators, and to the person of the session.
func (s *Service) Recording(ctx context.Context, by caller.Caller, session string) (*api.Recording, error) {
	row, err := s.find(ctx, session)
	if err != nil {
		return nil, err
	}
	if !by.IsAdmin() && row.User != by.User.ID {
		return nil, s.unseen(ctx, by, row)
	}
	out := []api.Recording{recordingOf(row)}
	return &out[0], s.name(ctx, out)
}

// unseen is the answer to whoever may not see it: the one that says that there is none. Who
// was in the session sees that there is one, and reads who may fetch it. That it was tried
// is on record.
func (s *Service) unseen(ctx context.Context, by caller.Caller, row store.Recording) error {
	why := missing(row.ID)
	if by.User.ID != "" && row.User == by.User.ID {
		why = api.Errorf(api.Denied, "administrators alone may fetch recordings").
			WithHint("ask one; to see what is known of this one type: cardea sessions show %s", row.ID)
	}
	return s.refuse(ctx, s.readEvent(by, row), "not an administrator", why)
}

func (s *Service) readEvent(by caller.Caller, row store.Recording) audit.Event {
	e := by.Event(s.now(), audit.RecordingRead)
	e.User, e.Server, e.Project, e.Gateway = row.User, row.Server, row.Project, row.Gateway
	e.Detail = map[string]string{"gateway_session": row.ID}
	return e
}

// Manifest is the number by which the signed list of a recording's segments is asked for.
const Manifest = 0

// manifestName is what gateways call it.
const manifestName = "manifest.json"

// Object is a stored one, open.
type Object struct {
	io.ReadCloser
	Size int64
	Name string
}

// Open opens a segment, or the manifest, for an administrator. Each time is on record
// before the first byte is read. What comes is sealed: to read it takes a recipient's key,
// which is not here.
func (s *Service) Open(ctx context.Context, by caller.Caller, session string, number int) (*Object, error) {
	row, err := s.find(ctx, session)
	if err != nil {
		return nil, err
	}
	if !by.IsAdmin() {
		return nil, s.unseen(ctx, by, row)
	}
	name := manifestName
	if number != Manifest {
		name = recording.SegmentName(number)
	}
	nothing := api.Errorf(api.NotFound, "there is no %s of session %s in the bucket", name, session)
	switch {
	case row.Place == "" || number < 0 || number > recording.MaxSegments:
		return nil, nothing.WithHint("to see how far it is type: cardea sessions show %s", session)
	case s.Bucket == nil:
		return nil, api.Errorf(api.Unavailable, "this control plane was not told where recordings are kept").
			WithHint("set `recordings` in its configuration to the same URL as on the gateways, for example s3://bucket")
	}
	e := s.readEvent(by, row)
	e.Detail["segment"] = strconv.Itoa(number)
	if err := s.Store.AppendAudit(ctx, store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)}); err != nil {
		return nil, err
	}
	r, err := s.Bucket.NewReader(ctx, path.Join(row.Place, name), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, nothing.WithHint("it may be on its way still; does `recordings` of the control plane name the bucket of gateway %s?", row.Keeper).WithCause(err)
	}
	if err != nil && ctx.Err() == nil {
		return nil, api.Errorf(api.Unavailable, "the bucket of the recordings does not answer").WithHint("try again; the log of the control plane says why").WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	if r.Size() > maxObject {
		return nil, errors.Join(api.Errorf(api.Internal, "the object is larger than a segment can be"), r.Close())
	}
	return &Object{r, r.Size(), name}, nil
}

// maxObject bounds what is passed on: a manifest names each segment in some 200 bytes.
const maxObject = recording.MaxSegmentBytes

// opened is what Open needs of a bucket.
type opened interface {
	NewReader(ctx context.Context, key string, opts *blob.ReaderOptions) (*blob.Reader, error)
}
