package scim

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Filter picks resources or values (RFC 7644 section 3.4.2.2).
type Filter interface {
	// Matches reports whether a tree is picked.
	Matches(t Tree) bool
	fmt.Stringer
}

// ParseFilter reads a filter.
func ParseFilter(text string) (Filter, error) {
	if len(text) > maxFilter {
		return nil, bad(InvalidFilter, "the filter is longer than %d bytes", maxFilter)
	}
	p := parser{text: text}
	f, err := p.or(0)
	if err == nil && !p.done() {
		err = bad(InvalidFilter, "the filter is not understood at %q", clip(p.text[p.at:]))
	}
	return f, err
}

// Equal is the attribute and text of a filter that compares one attribute with one text by
// eq: what providers ask before they make something, and what an index answers.
func Equal(f Filter) (attr, text string, ok bool) {
	c, is := f.(compare)
	if !is || c.op != "eq" || c.path.Sub != "" || c.path.Where != nil || c.path.Extension != "" {
		return "", "", false
	}
	text, ok = c.value.(string)
	return c.path.Attr, text, ok
}

type (
	both    struct{ a, b Filter }
	either  struct{ a, b Filter }
	not     struct{ f Filter }
	present struct{ path Path }
	compare struct {
		path  Path
		op    string
		value any // string, json.Number, bool or nil
	}
	// some is attr[filter]: any value of it matches.
	some struct {
		attr string
		f    Filter
	}
)

func (f both) Matches(t Tree) bool   { return f.a.Matches(t) && f.b.Matches(t) }
func (f either) Matches(t Tree) bool { return f.a.Matches(t) || f.b.Matches(t) }
func (f not) Matches(t Tree) bool    { return !f.f.Matches(t) }

func (f present) Matches(t Tree) bool {
	for _, v := range f.path.values(t) {
		if s, is := v.(string); v != nil && (!is || s != "") {
			return true
		}
	}
	return false
}

func (f compare) Matches(t Tree) bool {
	values := f.path.values(t)
	if f.op == "ne" {
		for _, v := range values {
			if same(v, f.value) {
				return false
			}
		}
		return true
	}
	for _, v := range values {
		if f.holds(v) {
			return true
		}
	}
	return f.value == nil && f.op == "eq" && len(values) == 0
}

func (f some) Matches(t Tree) bool {
	for _, v := range (Path{Attr: f.attr}).values(t) {
		if inner, ok := v.(Tree); ok && f.f.Matches(inner) {
			return true
		}
	}
	return false
}

func (f compare) holds(v any) bool {
	if f.op == "eq" {
		return same(v, f.value)
	}
	if a, is := v.(json.Number); is {
		b, isNumber := f.value.(json.Number)
		x, err1 := a.Float64()
		y, err2 := b.Float64()
		return isNumber && err1 == nil && err2 == nil && ordered(f.op, x, y)
	}
	a, is := v.(string)
	b, also := f.value.(string)
	if !is || !also {
		return false
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	switch f.op {
	case "co":
		return strings.Contains(a, b)
	case "sw":
		return strings.HasPrefix(a, b)
	case "ew":
		return strings.HasSuffix(a, b)
	}
	return ordered(f.op, a, b) // times are written so that their order is that of their text
}

func ordered[T ~string | ~float64](op string, a, b T) bool {
	switch op {
	case "gt":
		return a > b
	case "ge":
		return a >= b
	case "lt":
		return a < b
	case "le":
		return a <= b
	}
	return false
}

// same compares as eq does: text in any case, as most attributes of the core schemas have it,
// and truth values also as text.
func same(a, b any) bool {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.EqualFold(x, y)
		}
	}
	if x, ok := truth(a); ok {
		y, ok := truth(b)
		return ok && x == y
	}
	return a == b
}

// values are all that a path names in a tree. A complex value without a part named stands
// for its value, as section 3.4.2.2 has emails stand for emails.value.
func (p Path) values(t Tree) []any {
	if p.Extension != "" {
		key, _ := t.find(p.Extension)
		t, _ = t[key].(Tree)
		if p.Attr == "" {
			if t == nil {
				return nil
			}
			return []any{t}
		}
	}
	key, ok := t.find(p.Attr)
	if !ok {
		return nil
	}
	out := []any{}
	for _, v := range many(t[key]) {
		inner, complex := v.(Tree)
		switch {
		case complex && p.Where != nil && !p.Where.Matches(inner):
		case complex && p.Sub != "":
			if k, ok := inner.find(p.Sub); ok {
				out = append(out, inner[k])
			}
		case complex:
			out = append(out, inner)
			if value, ok := inner["value"]; ok {
				out = append(out, value)
			}
		case p.Sub == "":
			out = append(out, v)
		}
	}
	return out
}

// many is a value as a list.
func many(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func (f both) String() string   { return fmt.Sprintf("(%s and %s)", f.a, f.b) }
func (f either) String() string { return fmt.Sprintf("(%s or %s)", f.a, f.b) }
func (f not) String() string    { return fmt.Sprintf("not (%s)", f.f) }

func (f present) String() string { return f.path.String() + " pr" }

func (f compare) String() string {
	value, _ := json.Marshal(f.value) // text, number, truth value or null: cannot fail
	return fmt.Sprintf("%s %s %s", f.path, f.op, value)
}

func (f some) String() string { return fmt.Sprintf("%s[%s]", f.attr, f.f) }

// String is the path as ParsePath reads it.
func (p Path) String() string {
	s := p.Extension
	if s != "" && p.Attr != "" {
		s += ":"
	}
	s += p.Attr
	if p.Where != nil {
		s += "[" + p.Where.String() + "]"
	}
	if p.Sub != "" {
		s += "." + p.Sub
	}
	return s
}

// Narrow is Equal of the filter or, where it is an and of two, of one of them: who matches the
// filter is among those that an index finds by it.
func Narrow(f Filter) (attr, text string, ok bool) {
	if attr, text, ok = Equal(f); ok {
		return attr, text, ok
	}
	if b, is := f.(both); is {
		for _, side := range []Filter{b.a, b.b} {
			if attr, text, ok = Narrow(side); ok && indexed[attr] {
				return attr, text, true
			}
		}
	}
	return "", "", false
}

// indexed are the attributes by which resources are found without looking at all of them.
var indexed = map[string]bool{"id": true, "externalId": true, "userName": true, "displayName": true}

// Names reports whether a filter looks at an attribute.
func Names(f Filter, attr string) bool {
	switch f := f.(type) {
	case both:
		return Names(f.a, attr) || Names(f.b, attr)
	case either:
		return Names(f.a, attr) || Names(f.b, attr)
	case not:
		return Names(f.f, attr)
	case present:
		return f.path.Attr == attr
	case compare:
		return f.path.Attr == attr
	case some:
		return f.attr == attr
	}
	return true
}
