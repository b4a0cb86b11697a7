// Package provision is what stands behind SCIM 2.0 (RFC 7643 and 7644): identity providers'
// connectors, here called clients, and the users and groups that they keep.
//
// A client sees what it made and nothing else. What it says of a person is kept as it was
// sent; what follows from it here is little: a user with a Unix login, made once out of
// userName, who may sign in while active is true, and membership in the client's groups.
// It makes nobody an administrator and gives no access by itself: grants name groups, and
// administrators make grants.
//
// Its token comes without a proof of possession, because no provider sends one. So it opens
// these calls and no others, and these calls open to nothing else.
package provision

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// tries of a change that somebody else was faster than: a provider sends the members of
	// one group over ten connections at once.
	tries = 20
	// maxScan is how many resources a filter without an index looks at.
	maxScan = 10_000
	// scanPage is how many of them are read at a time.
	scanPage = 1000
	// brakeRetry is when a client that is paused may try again. Providers go on for days.
	brakeRetry = time.Hour
)

// Service works on one store.
type Service struct {
	Store store.Store
	// PublicURL is where the control plane is reached.
	PublicURL string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// Base is what clients are given as the address of all this.
func (s *Service) Base() string { return s.PublicURL + api.ScimPath }

// From is who calls.
type From struct {
	Client store.ScimClient
	Source string // its address
}

// Request is one call, or one part of a bulk.
type Request struct {
	Method               string
	Type, ID             string // Users or Groups, and one of them; empty for all
	Query                url.Values
	IfMatch, IfNoneMatch string
	Body                 []byte
}

// Answer is what is said to it.
type Answer struct {
	Status   int
	ID       string
	Version  int64 // 0 for none
	Location string
	Body     any // nil for none
}

// kind is what users and groups do alike.
type kind interface {
	list(ctx context.Context, f From, q scim.Query) (scim.List, error)
	read(ctx context.Context, f From, id string, q scim.Query) (*resource, error)
	create(ctx context.Context, f From, t scim.Tree) (*resource, error)
	// change replaces one by a whole resource, or by what operations make of it. want is an
	// If-Match; empty is any version.
	change(ctx context.Context, f From, id, want string, whole scim.Tree, operations []scim.Operation) (*resource, error)
	remove(ctx context.Context, f From, id, want string) error
}

// resource is one as it is shown.
type resource struct {
	tree     scim.Tree
	id       string
	version  int64
	location string
}

// Do answers a request. Its errors are *scim.Error, and faults of ours.
func (s *Service) Do(ctx context.Context, f From, r Request) (*Answer, error) {
	var k kind
	switch r.Type {
	case "Users":
		k = users{s}
	case "Groups":
		k = groups{s}
	default:
		return nil, notFound("resource type " + r.Type)
	}
	a, err := s.do(ctx, f, k, r)
	return a, explain(f, err)
}

func (s *Service) do(ctx context.Context, f From, k kind, r Request) (*Answer, error) {
	q, err := scim.ParseQuery(r.Query)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Method == http.MethodGet && r.ID == "":
		l, err := k.list(ctx, f, q)
		if err != nil {
			return nil, err
		}
		for i, t := range l.Resources {
			l.Resources[i] = q.Show(t)
		}
		return &Answer{Status: http.StatusOK, Body: l}, nil
	case r.Method == http.MethodGet:
		v, err := k.read(ctx, f, r.ID, q)
		if err == nil && r.IfNoneMatch != "" && matches(r.IfNoneMatch, v.version) {
			return &Answer{Status: http.StatusNotModified, Version: v.version}, nil
		}
		return v.answer(http.StatusOK, q), err
	case r.Method == http.MethodPost && r.ID == "":
		t, err := scim.Parse(r.Body)
		if err != nil {
			return nil, err
		}
		v, err := k.create(ctx, f, t)
		return v.answer(http.StatusCreated, q), err
	case r.Method == http.MethodPut && r.ID != "":
		v, err := again(func() (*resource, error) {
			t, err := scim.Parse(r.Body)
			if err != nil {
				return nil, err
			}
			return k.change(ctx, f, r.ID, r.IfMatch, t, nil)
		})
		return v.answer(http.StatusOK, q), err
	case r.Method == http.MethodPatch && r.ID != "":
		v, err := again(func() (*resource, error) {
			operations, err := scim.ParsePatch(r.Body)
			if err != nil {
				return nil, err
			}
			return k.change(ctx, f, r.ID, r.IfMatch, nil, operations)
		})
		return v.answer(http.StatusOK, q), err
	case r.Method == http.MethodDelete && r.ID != "":
		_, err := again(func() (*resource, error) { return nil, k.remove(ctx, f, r.ID, r.IfMatch) })
		return &Answer{Status: http.StatusNoContent}, err
	}
	return nil, &scim.Error{Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not for this"}
}

// again tries a change until nobody was faster; what was sent is read anew for each try, because
// applying it uses it up. One that rests on a version is refused by
// itself the next time.
func again(change func() (*resource, error)) (v *resource, err error) {
	for range tries {
		if v, err = change(); !errors.Is(err, store.ErrChanged) {
			break
		}
	}
	return v, err
}

func (v *resource) answer(status int, q scim.Query) *Answer {
	if v == nil {
		return nil
	}
	return &Answer{Status: status, ID: v.id, Version: v.version, Location: v.location, Body: q.Show(v.tree)}
}

// ETag is a version as HTTP has it. It is weak: the same version may be written in other words.
func ETag(version int64) string { return `W/"` + strconv.FormatInt(version, 10) + `"` }

// matches compares with If-Match and If-None-Match (RFC 9110 section 13.1).
func matches(header string, version int64) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(ETag(version), "W/") {
			return true
		}
	}
	return false
}

// demand refuses where an If-Match is for another version.
func demand(want string, version int64) error {
	if want == "" || matches(want, version) {
		return nil
	}
	return &scim.Error{Status: http.StatusPreconditionFailed, Type: "", Detail: "the resource has changed: its version is " + ETag(version)}
}

// patched is what operations make of a kept resource. Some attributes are the row's own,
// and not kept with it.
func patched(resource []byte, own scim.Tree, operations []scim.Operation) (scim.Tree, error) {
	t, err := scim.Parse(resource)
	if err != nil {
		return nil, err
	}
	maps.Copy(t, own)
	return t, scim.Apply(t, operations)
}

// event begins an audit event of a client.
func (s *Service) event(f From, action, user string, detail map[string]string) audit.Event {
	return audit.Event{Time: s.now(), Action: action, Outcome: audit.Allowed, Actor: f.Client.ID, User: user, Source: f.Source, Detail: detail}
}

func meta(e audit.Event) store.Meta { return store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)} }

func notFound(what string) *scim.Error {
	return &scim.Error{Status: http.StatusNotFound, Detail: "there is no " + what + " that this client made"}
}

func taken(detail string) *scim.Error {
	return &scim.Error{Status: http.StatusConflict, Type: scim.Uniqueness, Detail: detail}
}

// explain says the store's sentinels in the protocol's words.
func explain(f From, err error) error {
	var known *scim.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, store.ErrNotFound):
		return notFound("such user or group")
	case errors.Is(err, store.ErrExists):
		return taken("the name is taken")
	case errors.Is(err, store.ErrChanged):
		return &scim.Error{Status: http.StatusConflict, Detail: "others change this all the time; try again", RetryAfter: 1}
	case errors.Is(err, store.ErrBraked):
		return &scim.Error{Status: http.StatusServiceUnavailable, RetryAfter: int(brakeRetry.Seconds()),
			Detail: "too many people would lose access at once, so nobody does; an administrator of Cardea types: cardea admin scim resume " + f.Client.Name}
	case errors.Is(err, store.ErrLastAdmin):
		return &scim.Error{Status: http.StatusConflict, Detail: "this is the last active administrator of Cardea, who stays"}
	case errors.Is(err, store.ErrInUse):
		return &scim.Error{Status: http.StatusConflict, Detail: "this is in use and stays for now"}
	case errors.Is(err, store.ErrDenied):
		return &scim.Error{Status: http.StatusForbidden, Detail: "this client is disabled"}
	case errors.Is(err, store.ErrBusy):
		return &scim.Error{Status: http.StatusServiceUnavailable, RetryAfter: 2, Detail: "the control plane has all hands full"}
	}
	return err
}
