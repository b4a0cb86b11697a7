// Package rows is a list that a person filters, and one row of it that he has chosen, which
// stays chosen by its id when the list is read anew.
package rows

import (
	"slices"
	"strings"
)

// Kind says of a sort of rows what one is called, and in what a filter looks.
type Kind[R any] struct {
	ID    func(R) string
	Texts func(R) []string
}

// Fitting are the rows in whose texts each word of the filter stands, in any case.
func (k Kind[R]) Fitting(all []R, filter string) []R {
	words := strings.Fields(strings.ToLower(filter))
	if len(words) == 0 {
		return all
	}
	var out []R
	for _, r := range all {
		text := strings.ToLower(strings.Join(k.Texts(r), " "))
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			out = append(out, r)
		}
	}
	return out
}

// At is the index of the chosen row; -1 if it is not there.
func (k Kind[R]) At(rows []R, chosen string) int {
	return slices.IndexFunc(rows, func(r R) bool { return k.ID(r) == chosen })
}

// Chosen is the chosen row, if it is there.
func (k Kind[R]) Chosen(rows []R, chosen string) (r R, ok bool) {
	i := k.At(rows, chosen)
	if i < 0 {
		return r, false
	}
	return rows[i], true
}

// Keep is the id that is chosen from now on: the first row's where the chosen one is not
// there any more, and none where there is no row.
func (k Kind[R]) Keep(rows []R, chosen string) string {
	switch {
	case k.At(rows, chosen) >= 0:
		return chosen
	case len(rows) > 0:
		return k.ID(rows[0])
	}
	return ""
}

// Move is the id that is chosen after so many rows down, or up where by is negative, as far
// as there are any.
func (k Kind[R]) Move(rows []R, chosen string, by int) string {
	if len(rows) == 0 {
		return chosen
	}
	return k.ID(rows[max(0, min(k.At(rows, chosen)+by, len(rows)-1))])
}

// Step tells by how many rows a key moves the choice, in a list of n of which a page is
// seen; whether it does is false for any other key.
func Step(key string, page, n int) (by int, does bool) {
	switch key {
	case "up", "k", "ctrl+p":
		return -1, true
	case "down", "j", "ctrl+n":
		return 1, true
	case "pgup", "ctrl+u":
		return -page, true
	case "pgdown", "ctrl+d":
		return page, true
	case "home", "g":
		return -n, true
	case "end", "G":
		return n, true
	}
	return 0, false
}
