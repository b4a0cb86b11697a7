package scim

import (
	"encoding/json"
	"reflect"
	"slices"
	"sort"
	"strings"
)

// Operation is one change of a patch (RFC 7644 section 3.5.2).
type Operation struct {
	Op    string // add, replace, remove
	Path  Path
	Value any // Tree, []any, string, json.Number, bool or nil
}

// ParsePatch reads a PATCH request. A value without a path is taken apart into an operation
// for each of its keys, which one provider writes as paths.
func ParsePatch(raw []byte) ([]Operation, error) {
	var body struct {
		Schemas    []string `json:"schemas"`
		Operations []struct {
			Op    string          `json:"op"`
			Path  string          `json:"path"`
			Value json.RawMessage `json:"value"`
		} `json:"Operations"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, bad(InvalidSyntax, "the body is no PATCH request")
	}
	if !slices.Contains(body.Schemas, PatchURN) {
		return nil, bad(InvalidSyntax, "the body is no PATCH request: schemas lacks %s", PatchURN)
	}
	if n := len(body.Operations); n == 0 || n > MaxOperations {
		return nil, bad(InvalidValue, "a PATCH request has 1 to %d operations", MaxOperations)
	}
	var out []Operation
	for _, o := range body.Operations {
		op := Operation{Op: strings.ToLower(o.Op)}
		if op.Op != "add" && op.Op != "replace" && op.Op != "remove" {
			return nil, bad(InvalidSyntax, "%q is no operation", clip(o.Op))
		}
		var err error
		if len(o.Value) > 0 {
			if op.Value, err = decode(o.Value); err != nil {
				return nil, err
			}
		}
		if o.Path != "" {
			if op.Path, err = ParsePath(o.Path); err != nil {
				return nil, err
			}
			out = append(out, op)
			continue
		}
		apart, err := op.apart()
		if err != nil {
			return nil, err
		}
		out = append(out, apart...)
	}
	if len(out) > MaxOperations+maxKeys {
		return nil, bad(InvalidValue, "a PATCH request has 1 to %d operations", MaxOperations)
	}
	return out, nil
}

// apart makes an operation of each key of a value without a path, in a fixed order.
func (o Operation) apart() ([]Operation, error) {
	t, ok := o.Value.(Tree)
	if !ok || o.Op == "remove" {
		return nil, bad(NoTarget, "an operation without a path needs an object, and remove needs a path")
	}
	var out []Operation
	for key, v := range t {
		path, err := ParsePath(key)
		if err != nil {
			return nil, err
		}
		out = append(out, Operation{o.Op, path, v})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path.String() < out[j].Path.String() })
	return out, nil
}

// Apply changes a tree by operations in turn; what the service provider alone may say stays as it is.
// After an error the tree is of no use.
func Apply(t Tree, operations []Operation) error {
	for _, o := range operations {
		if err := o.apply(t); err != nil {
			return err
		}
	}
	return nil
}

func (o Operation) apply(t Tree) error {
	if o.Path.Extension == "" && readOnly[o.Path.Attr] {
		return nil // both providers send back what they were told, and mean no change
	}
	if o.Path.Extension != "" {
		return o.extension(t)
	}
	key, _ := t.find(o.Path.Attr)
	if o.Path.Where != nil {
		return o.chosen(t, key)
	}
	if o.Path.Sub == "" {
		return o.whole(t, key)
	}
	if lists[key] {
		// emails.value, without saying which: all of them.
		o.Path.Where = everything{}
		return o.chosen(t, key)
	}
	inner, ok := t[key].(Tree)
	if !ok {
		if o.Op == "remove" {
			return nil
		}
		inner = Tree{}
		t[key] = inner
	}
	sub, _ := inner.find(o.Path.Sub)
	if err := o.whole(inner, sub); err != nil {
		return err
	}
	if len(inner) == 0 {
		delete(t, key)
	}
	return nil
}

// everything matches each value.
type everything struct{}

func (everything) Matches(Tree) bool { return true }
func (everything) String() string    { return "value pr" }

// extension changes what a schema beside the core ones has, which lies in a tree of its own.
func (o Operation) extension(t Tree) error {
	key, found := t.find(o.Path.Extension)
	inner, _ := t[key].(Tree)
	if o.Path.Attr == "" {
		return o.whole(t, key)
	}
	if inner == nil {
		if found && t[key] != nil {
			return bad(InvalidPath, "%q is no schema", clip(o.Path.Extension))
		}
		if o.Op == "remove" {
			return nil
		}
		inner = Tree{}
		t[key] = inner
	}
	o.Path.Extension = ""
	err := o.apply(inner)
	if len(inner) == 0 {
		delete(t, key)
	}
	return err
}

// whole changes an attribute as such.
func (o Operation) whole(t Tree, key string) error {
	switch {
	case o.Op == "remove" && o.Value != nil && lists[key]:
		// One provider names the values to remove beside the path, instead of in it.
		return o.less(t, key)
	case o.Op == "remove" || o.Value == nil:
		delete(t, key)
		return nil
	case lists[key]:
		var now []any
		if o.Op == "add" {
			now = many(t[key])
		}
		return put(t, key, now, many(o.Value))
	}
	sent, complex := o.Value.(Tree)
	old, was := t[key].(Tree)
	if complex && was { // section 3.5.2.3: what is not named stays
		for k, v := range sent {
			old[k] = v
		}
		return nil
	}
	t[key] = o.Value
	return nil
}

// less removes the values that are named.
func (o Operation) less(t Tree, key string) error {
	gone := map[string]bool{}
	for _, v := range many(o.Value) {
		if inner, ok := v.(Tree); ok {
			gone[inner.text("value")] = true
		} else if s, ok := v.(string); ok {
			gone[s] = true
		}
	}
	var kept []any
	for _, v := range many(t[key]) {
		if inner, ok := v.(Tree); !ok || !gone[inner.text("value")] {
			kept = append(kept, v)
		}
	}
	return put(t, key, kept, nil)
}

// put sets a list to what it was with more values; one that is there already is not there twice.
func put(t Tree, key string, now, more []any) error {
	seen := map[string]bool{}
	for _, v := range now {
		if inner, ok := v.(Tree); ok {
			seen[identity(inner)] = true
		}
	}
	for _, v := range more {
		inner, ok := v.(Tree)
		if !ok {
			if s, is := v.(string); is {
				inner = Tree{"value": s}
			} else {
				return bad(InvalidValue, "a value of %s is no object", key)
			}
		}
		if id := identity(inner); id == "" || !seen[id] {
			seen[id] = true
			now = append(now, inner)
		}
	}
	if len(now) > MaxMembers {
		return bad(TooMany, "%s would have more than %d values", key, MaxMembers)
	}
	if len(now) == 0 {
		delete(t, key)
		return nil
	}
	onePrimary(now)
	t[key] = now
	return nil
}

// identity tells one value of a list from another, "" where nothing does.
func identity(t Tree) string {
	if v := t.text("value"); v != "" {
		return strings.ToLower(t.text("type")) + "\x00" + v
	}
	return ""
}

// onePrimary leaves the last of several primary values (RFC 7643 section 2.4: at most one).
func onePrimary(values []any) {
	last := -1
	for i, v := range values {
		t, ok := v.(Tree)
		if yes, is := truth(t["primary"]); ok && is && yes {
			if last >= 0 {
				values[last].(Tree)["primary"] = false
			}
			last = i
		}
	}
}

// chosen changes those values of a list that a filter picks. Where none is picked, add and
// replace make the one that the filter describes, as both providers expect.
func (o Operation) chosen(t Tree, key string) error {
	var out []any
	found := false
	for _, v := range many(t[key]) {
		inner, ok := v.(Tree)
		if !ok || !o.Path.Where.Matches(inner) {
			out = append(out, v)
			continue
		}
		found = true
		if o.Op == "remove" && o.Path.Sub == "" {
			continue
		}
		if err := o.inside(inner); err != nil {
			return err
		}
		if len(inner) > 0 {
			out = append(out, inner)
		}
	}
	if !found && o.Op != "remove" {
		inner := described(o.Path.Where)
		if inner == nil {
			return bad(NoTarget, "no value of %s is picked by %s", key, clip(o.Path.Where.String()))
		}
		if err := o.inside(inner); err != nil {
			return err
		}
		out = append(out, inner)
	}
	delete(t, key)
	return put(t, key, nil, out)
}

// inside changes one value.
func (o Operation) inside(t Tree) error {
	if o.Path.Sub != "" {
		key, _ := t.find(o.Path.Sub)
		return o.whole(t, key)
	}
	sent, ok := o.Value.(Tree)
	if !ok {
		if s, is := o.Value.(string); is {
			sent = Tree{"value": s}
		} else {
			return bad(InvalidValue, "a value of %s is no object", o.Path.Attr)
		}
	}
	for k, v := range sent {
		t[k] = v
	}
	return nil
}

// described is the value that a filter of eq alone describes; nil for any other.
func described(f Filter) Tree {
	switch f := f.(type) {
	case compare:
		if f.op == "eq" && f.path.Sub == "" && f.path.Where == nil {
			return Tree{f.path.Attr: f.value}
		}
	case both:
		a, b := described(f.a), described(f.b)
		if a == nil || b == nil {
			return nil
		}
		for k, v := range b {
			if was, twice := a[k]; twice && !reflect.DeepEqual(was, v) {
				return nil
			}
			a[k] = v
		}
		return a
	case everything:
		return Tree{}
	}
	return nil
}
