package api

import (
	"context"
	"net/url"
	"strconv"
)

// maxPages ends the reading of a list whose server always names another page.
// It stands for a million rows, more than any deployment has.
const maxPages = 1000

// All reads every page of the list at path.
func All[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	q.Set("limit", strconv.Itoa(MaxPageSize))
	rows := []T{}
	for range maxPages {
		var page List[T]
		if _, err := c.Get(ctx, path, q, &page); err != nil {
			return nil, err
		}
		rows = append(rows, page.Items...)
		if page.Next == "" {
			return rows, nil
		}
		q.Set("cursor", page.Next)
	}
	return nil, Errorf(Foreign, "the list at %s does not end", path)
}
