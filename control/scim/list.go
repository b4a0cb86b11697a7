package scim

import (
	"net/url"
	"strconv"
	"strings"
)

// PageSize is how many resources a list has at most, and where nothing is asked.
const PageSize = 200

// List is a page of resources (RFC 7644 section 3.4.2).
type List struct {
	Schemas   []string `json:"schemas"`
	Total     int      `json:"totalResults"`
	Start     int      `json:"startIndex"`
	PerPage   int      `json:"itemsPerPage"`
	Resources []Tree   `json:"Resources"`
}

// NewList is the page that begins at start, counted from 1.
func NewList(total, start int, resources []Tree) List {
	if resources == nil {
		resources = []Tree{}
	}
	return List{[]string{ListURN}, total, start, len(resources), resources}
}

// Query is what a list is asked for.
type Query struct {
	Filter Filter // nil for all
	Start  int    // from 1
	Count  int    // 0 to PageSize
	// Without are attributes to leave out, and Only, if there are any, the only ones wanted.
	Without, Only []Path
}

// ParseQuery reads the parameters of a URL. Values below 1 and 0 count as those (section 3.4.2.4).
func ParseQuery(v url.Values) (Query, error) {
	q := Query{Start: 1, Count: PageSize}
	var err error
	if text := v.Get("filter"); text != "" {
		if q.Filter, err = ParseFilter(text); err != nil {
			return q, err
		}
	}
	for name, to := range map[string]*int{"startIndex": &q.Start, "count": &q.Count} {
		if text := v.Get(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil {
				return q, bad(InvalidValue, "%s is no number", name)
			}
		}
	}
	q.Start, q.Count = max(1, q.Start), min(max(0, q.Count), PageSize)
	for name, to := range map[string]*[]Path{"excludedAttributes": &q.Without, "attributes": &q.Only} {
		for word := range strings.SplitSeq(v.Get(name), ",") {
			if word = strings.TrimSpace(word); word == "" {
				continue
			}
			path, err := ParsePath(word)
			if err != nil {
				return q, err
			}
			if *to = append(*to, path); len(*to) > maxKeys {
				return q, bad(InvalidValue, "%s names more than %d attributes", name, maxKeys)
			}
		}
	}
	return q, nil
}

// Wants reports whether an attribute of the resource is asked for at all, so that what is
// costly need not be read.
func (q Query) Wants(attr string) bool {
	for _, p := range q.Without {
		if p.Attr == attr && p.Sub == "" {
			return false
		}
	}
	if len(q.Only) == 0 {
		return true
	}
	for _, p := range q.Only {
		if p.Attr == attr {
			return true
		}
	}
	return false
}

// Show leaves out of a resource what is not asked for. Its id, schemas and meta stay.
func (q Query) Show(t Tree) Tree {
	out := Tree{}
	for key, v := range t {
		if key == "id" || key == "schemas" || key == "meta" || q.Wants(key) {
			out[key] = v
		}
	}
	return out
}
