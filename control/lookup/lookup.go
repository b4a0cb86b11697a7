// Package lookup is what the domains of the control plane share when they
// answer: rows found by id or by name, pages of lists, and calls that come a
// second time.
package lookup

import (
	"context"
	"errors"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxRef bounds a name or id that is looked up, in bytes; nothing longer exists.
const maxRef = ident.MaxServerName

// maxShown is how much of what somebody sent is repeated to him, in bytes.
const maxShown = 80

// Kind says how one kind of row is found.
type Kind[T any] struct {
	// Name is the word for it; with an s it is the noun of `cardea admin`.
	Name string
	// Prefix is that of its ids. No name may have the form of an id.
	Prefix       string
	ByID, ByName func(ctx context.Context, ref string) (T, error)
}

// Find returns the row that ref names: its id if it has the form of one, else
// its name.
func Find[T any](ctx context.Context, k Kind[T], ref string) (T, error) {
	find := k.ByName
	if ident.Check(ref, k.Prefix) == nil {
		find = k.ByID
	}
	var row T
	err := store.ErrNotFound
	if ref != "" && len(ref) <= maxRef {
		row, err = find(ctx, ref)
	}
	if errors.Is(err, store.ErrNotFound) {
		return row, Missing(k.Name, ref)
	}
	return row, err
}

// Missing is the error for something that is not there.
func Missing(what, ref string) *api.Error {
	return api.Errorf(api.NotFound, "there is no %s %q", what, Shown(ref)).
		WithHint("to see what there is type: cardea admin %ss list", strings.ReplaceAll(what, " ", "-"))
}

// Shown makes text that somebody sent fit to be repeated in a sentence.
func Shown(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "…"
	}
	return ident.Text(s)
}

// Page translates a request for a part of a list.
func Page(p api.Page) store.Page {
	limit := p.Limit
	if limit <= 0 {
		limit = api.PageSize
	}
	return store.Page{Cursor: p.Cursor, Limit: min(limit, api.MaxPageSize)}
}

// List translates one page of rows.
func List[From, To any](rows []From, next string, translate func(From) To) *api.List[To] {
	out := &api.List[To]{Items: make([]To, 0, len(rows)), Next: next}
	for _, r := range rows {
		out.Items = append(out.Items, translate(r))
	}
	return out
}

// All calls use for every row of a list, page by page, until it returns false.
func All[T any](ctx context.Context, read func(context.Context, store.Page) ([]T, string, error), use func(T) bool) error {
	for p := (store.Page{Limit: api.MaxPageSize}); ; {
		rows, next, err := read(ctx, p)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if !use(r) {
				return nil
			}
		}
		if next == "" {
			return nil
		}
		p.Cursor = next
	}
}

// Repeated tells whether err means that this very call was answered before, and
// which row it made or changed then.
func Repeated(err error) (ref string, ok bool) {
	var r *store.Repeated
	if errors.As(err, &r) {
		return r.Ref, true
	}
	return "", false
}

// Named answers a command that removed the row with this id; a repeat of the
// call is as good as the first.
func Named(id string, err error) (*api.Named, error) {
	if _, again := Repeated(err); err != nil && !again {
		return nil, err
	}
	return &api.Named{ID: id}, nil
}

// Invalid is the error for input that breaks a rule; err tells which.
func Invalid(err error) *api.Error { return api.Errorf(api.Invalid, "%s", err.Error()) }
