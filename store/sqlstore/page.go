package sqlstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/cardea-ssh/cardea/store"
)

// maxPage rows make a page.
const maxPage = 1000

func clamp(limit int) int { return max(1, min(limit, maxPage)) }

// list is one kind of list: rows of a statement in the order of a column and
// then the id, which together are unique and never change their order.
type list[T any] struct {
	// query selects rows; it ends inside its WHERE clause (WHERE true …).
	query string
	// order and id are the columns of the order; order is a text or a time.
	order, id string
	newest    bool // descending
	into      func(*T) []any
	key       func(*T) (order any, id string) // of a row, for the cursor
}

// page reads one page. Its cursor is the key of the last row: rows that come
// or go between two calls shift nothing.
func (l list[T]) page(ctx context.Context, s *Store, p store.Page, vs ...any) ([]T, string, error) {
	limit := clamp(p.Limit)
	q, compare, direction := l.query, ">", "ASC"
	if l.newest {
		compare, direction = "<", "DESC"
	}
	if p.Cursor != "" {
		order, id, err := l.cursor(p.Cursor)
		if err != nil {
			return nil, "", err
		}
		q += fmt.Sprintf(" AND (%s, %s) %s (?, ?)", l.order, l.id, compare)
		vs = append(vs, order, id)
	}
	q += fmt.Sprintf(" ORDER BY %s %s, %s %s LIMIT ?", l.order, direction, l.id, direction)
	// One row more than asked for says whether there is a next page.
	rows, err := all(s.reader(ctx), l.into, q, append(vs, limit+1)...)
	if err != nil || len(rows) <= limit {
		return rows, "", err
	}
	rows = rows[:limit]
	order, id := l.key(&rows[limit-1])
	next, err := json.Marshal([]any{arg(order), id})
	return rows, base64.RawURLEncoding.EncodeToString(next), err
}

// cursor reads what page made; anything else is not found.
func (l list[T]) cursor(text string) (order any, id string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, "", fmt.Errorf("cursor: %w", store.ErrNotFound)
	}
	var name string
	var at int64
	if json.Unmarshal(raw, &[2]any{&name, &id}) == nil {
		order = name
	} else if json.Unmarshal(raw, &[2]any{&at, &id}) == nil {
		order = at
	}
	var zero T
	sample, _ := l.key(&zero)
	if fmt.Sprintf("%T", order) != fmt.Sprintf("%T", arg(sample)) {
		return nil, "", fmt.Errorf("cursor: %w", store.ErrNotFound)
	}
	return order, id, nil
}
