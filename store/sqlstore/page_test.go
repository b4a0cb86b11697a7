package sqlstore

import (
	"errors"
	"testing"

	"github.com/cardea-ssh/cardea/internal/disktest"
	"github.com/cardea-ssh/cardea/store"
)

// A cursor comes back from strangers.
func FuzzCursor(f *testing.F) {
	s := mustOpen(f, file(f, disktest.Forgetful(f)), "a")
	for _, c := range []string{"", "x", "WyJhIiwiYiJd", "WzEsImEiXQ", "W251bGwsbnVsbF0", "WzFlMzAsIiJd", "bnVsbA"} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		p := store.Page{Cursor: cursor, Limit: 1}
		_, _, byName := s.Users(t.Context(), p)
		_, _, byTime := s.Sessions(t.Context(), "", p)
		for _, err := range []error{byName, byTime} {
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("%q: %v", cursor, err)
			}
		}
	})
}
