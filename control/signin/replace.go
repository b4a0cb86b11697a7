package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// A sign-in can say in which device's place this one comes: `cardea device replace`. The old
// one is revoked in the transaction that makes the new session, or neither happens. What it
// was trusted with stays with it: the new one is approved as any new one is.

// incoming is the device of a sign-in, and the one in whose place it comes.
type incoming struct {
	id       string // of the one with this key, or for one that is to be made
	replaces string // id, or what was given for one; empty for none
	// missing says that there is no such device, and which there are. That is for the user,
	// and so for who has shown a good code: when the store has looked for it in vain.
	missing *OAuthError
}

// maxNamed is how many devices a refusal names, in a sentence that people read.
const maxNamed = 8

// incoming looks at what a form says of the devices of the user of a request, who is nobody
// before he has said yes. A client from before says it here alone; who said it to the page says
// the same.
func (s *Service) incoming(ctx context.Context, asked store.AuthRequest, by caller.Caller, form url.Values) (incoming, error) {
	in, user := incoming{id: ident.New(ident.Device)}, asked.User
	ref, key := form.Get("replaces"), form.Get("replaces_key")
	switch {
	case len(form["replaces"]) > 1 || len(form["replaces_key"]) > 1 || ref != "" && key != "":
		return in, oauth("invalid_request", "replaces and replaces_key name one device")
	case replaces(asked) && (ref != asked.Replaces || key != asked.ReplacesKey):
		return in, oauth("invalid_request", "the page named another device to be replaced")
	case ref == "" && key == "" || user == "":
		return in, nil
	case key == by.Prover:
		return in, oauth("invalid_request", "a device that replaces another has a key of its own")
	}
	known, err := s.knownDevice(ctx, user, by.Prover)
	if err != nil {
		return in, err
	}
	if known.ID != "" {
		in.id = known.ID
	}
	if key != "" { // what this machine itself was: if it never was signed in there is nothing to replace
		old, err := s.knownDevice(ctx, user, key)
		in.replaces = old.ID
		return in, err
	}
	in.replaces, in.missing, err = s.ownDevice(ctx, user, known.ID, ref)
	return in, err
}

// knownDevice is the user's device with this key; an empty one if he has none.
func (s *Service) knownDevice(ctx context.Context, user, thumbprint string) (store.Device, error) {
	d, err := s.Store.DeviceByKey(ctx, user, thumbprint)
	if errors.Is(err, store.ErrNotFound) {
		return store.Device{}, nil
	}
	return d, err
}

func replaces(r store.AuthRequest) bool { return r.Replaces != "" || r.ReplacesKey != "" }

// InPlaceOf is the device of the user that a yes to the request locks out, by name and id, or
// else why there is none such: nobody should say yes to what is refused after it. Both are
// empty for a sign-in that replaces nothing.
func (s *Service) InPlaceOf(ctx context.Context, r Request, user store.User) (old, missing string, err error) {
	old, why, err := s.inPlaceOf(ctx, r.row, user)
	if why != nil {
		missing = why.Description
	}
	return old, missing, err
}

func (s *Service) inPlaceOf(ctx context.Context, r store.AuthRequest, user store.User) (old string, missing *OAuthError, err error) {
	var d store.Device
	switch {
	case r.ReplacesKey != "":
		d, err = s.knownDevice(ctx, user.ID, r.ReplacesKey)
	case r.Replaces != "":
		var own store.Device
		if own, err = s.knownDevice(ctx, user.ID, r.Thumbprint); err != nil {
			return "", nil, err
		}
		var id string
		if id, missing, err = s.ownDevice(ctx, user.ID, own.ID, r.Replaces); err == nil && missing == nil {
			d, err = s.Store.Device(ctx, id)
		}
	}
	if err != nil || missing != nil || d.ID == "" {
		return "", missing, err
	}
	return ident.Text(d.Name) + " (" + d.ID + ")", nil, nil
}

// ownDevice resolves an id, or a name that only one of the user's devices has which is not
// revoked. except is the device that asks. What is not resolved stays, with why.
func (s *Service) ownDevice(ctx context.Context, user, except, ref string) (id string, missing *OAuthError, err error) {
	var found, others []string
	for cursor := ""; ; {
		rows, next, err := s.Store.Devices(ctx, user, store.Page{Cursor: cursor, Limit: api.MaxPageSize})
		if err != nil {
			return "", nil, err
		}
		for _, d := range rows {
			switch {
			case d.ID == except:
			case d.ID == ref:
				return d.ID, nil, nil
			case d.State == store.Revoked:
			case d.Name == ref:
				found = append(found, d.ID)
				fallthrough
			default:
				others = append(others, fmt.Sprintf("%s (%s)", ascii(d.Name), d.ID))
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(found) == 1 {
		return found[0], nil, nil
	}
	said := fmt.Sprintf("you have no device %s", ascii(short(ref)))
	if len(found) > 1 {
		said = fmt.Sprintf("you have %d devices named %s", len(found), ascii(short(ref)))
	}
	if len(others) == 0 {
		return ref, oauth("invalid_request", said+"; to sign this one in type: cardea login"), nil
	}
	if len(others) > maxNamed {
		others = append(others[:maxNamed], "...")
	}
	return ref, oauth("invalid_request", said+"; type: cardea device replace ID, with the id of one of these: "+strings.Join(others, ", ")), nil
}

// refused is why the store takes no such device, nil if it is something else. Nothing is
// consumed then.
func (in incoming) refused(err error) *OAuthError {
	switch {
	case in.replaces == "":
		return nil
	case errors.Is(err, store.ErrNotFound) && in.missing != nil:
		return in.missing.because(err)
	case errors.Is(err, store.ErrInUse):
		return oauth("invalid_request", "a device does not replace itself; to lock out another one type: cardea device lost DEVICE").because(err)
	}
	return nil
}

// ascii is a name as RFC 6749 section 5.2 lets it stand in a description.
func ascii(name string) string {
	quoted := strconv.QuoteToASCII(ident.Text(name))
	return strings.NewReplacer(`"`, "", `\`, "").Replace(quoted)
}

// rows are what is on record of the sign-in e.
func (in incoming) rows(e audit.Event) [][]byte {
	if in.replaces == "" {
		return audit.EncodeAll(e)
	}
	r := e
	r.Action = audit.DeviceReplace
	r.Detail = map[string]string{"device": in.id, "replaces": in.replaces, "key": e.Detail["key"]}
	return audit.EncodeAll(e, r)
}
