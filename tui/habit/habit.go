// Package habit remembers which servers a person uses, and which are his favourites.
//
// It is a file of the person's own (0600), that tells ids, times and nothing secret. What it
// says orders a list and decides nothing: a file that cannot be read is as good as none, and
// of two uses in the same moment one may be lost. It is bounded.
package habit

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

const (
	// halfLife is when a use counts half: last week's work before last month's.
	halfLife = 7 * 24 * time.Hour
	// most bounds what is remembered; then what is used least is forgotten. Nobody has
	// habits with more servers.
	most = 1000
	// maxFile bounds what is read, in bytes: most entries have some 100.
	maxFile = 1 << 20
	// maxID bounds an id, in bytes; those of servers have 24.
	maxID = 64
)

// Habit is what is known of one server.
type Habit struct {
	Favourite bool `json:"favourite,omitempty"`
	// Weight is how much it was used until Last, in uses.
	Weight float64   `json:"weight,omitempty"`
	Uses   int       `json:"uses,omitempty"`
	Last   time.Time `json:"last,omitzero"`
}

// Now is the weight at a time.
func (h Habit) Now(now time.Time) float64 {
	return h.Weight * math.Exp2(-max(now.Sub(h.Last), 0).Hours()/halfLife.Hours())
}

// Book has the habits, by the id of the server. The zero Book is empty.
type Book struct{ Servers map[string]Habit }

// Load reads a book. None, and one that is no book, is empty.
func Load(path string) Book {
	f, err := os.Open(path)
	if err != nil {
		return Book{}
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return Book{}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	var b Book
	if err != nil || json.Unmarshal(text, &b) != nil {
		return Book{}
	}
	for id, h := range b.Servers {
		if len(id) > maxID || !(h.Weight >= 0 && h.Weight < 1e9) || h.Uses < 0 {
			delete(b.Servers, id)
		}
	}
	return b
}

// Change reads a book, changes it and writes it.
func Change(path string, change func(*Book)) error {
	b := Load(path)
	if b.Servers == nil {
		b.Servers = map[string]Habit{}
	}
	change(&b)
	b.forget()
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	_, err = atomicfile.Write(path, text, atomicfile.Options{Mode: 0o600})
	if errors.Is(err, fs.ErrNotExist) { // the folder: nothing of ours was here before
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			_, err = atomicfile.Write(path, text, atomicfile.Options{Mode: 0o600})
		}
	}
	return err
}

// forget keeps the book within its bound: favourites, and what was used last.
func (b *Book) forget() {
	if len(b.Servers) <= most {
		return
	}
	ids := make([]string, 0, len(b.Servers))
	for id := range b.Servers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y string) int {
		a, c := b.Servers[x], b.Servers[y]
		if a.Favourite != c.Favourite {
			if a.Favourite {
				return -1
			}
			return 1
		}
		return cmp.Or(c.Last.Compare(a.Last), cmp.Compare(x, y))
	})
	for _, id := range ids[most:] {
		delete(b.Servers, id)
	}
}

// Use notes one use.
func (b *Book) Use(id string, now time.Time) {
	h := b.Servers[id]
	h.Weight, h.Last, h.Uses = h.Now(now)+1, now.UTC().Truncate(time.Second), h.Uses+1
	b.Servers[id] = h
}

// Favour makes a server a favourite, or no longer.
func (b *Book) Favour(id string, on bool) {
	h := b.Servers[id]
	h.Favourite = on
	if b.Servers[id] = h; h == (Habit{}) {
		delete(b.Servers, id)
	}
}
