package scim

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Tree is a resource or a complex value. Its keys are spelled as the schema spells them
// where it knows them.
type Tree map[string]any

// canonical are the attributes that the core schemas name, by their lower case.
var canonical = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{
		"schemas", "id", "externalId", "meta", "userName", "displayName", "nickName", "profileUrl", "title", "userType", "preferredLanguage", "locale",
		"timezone", "active", "password", "name", "formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix",
		"emails", "phoneNumbers", "ims", "photos", "addresses", "groups", "entitlements", "roles", "x509Certificates", "members",
		"value", "type", "primary", "display", "$ref", "streetAddress", "locality", "region", "postalCode", "country",
	} {
		m[strings.ToLower(name)] = name
	}
	return m
}()

// lists are the attributes with many values.
var lists = map[string]bool{
	"emails": true, "phoneNumbers": true, "ims": true, "photos": true, "addresses": true, "groups": true, "entitlements": true, "roles": true,
	"x509Certificates": true, "members": true, "schemas": true,
}

// readOnly is what the service provider says, whatever is sent; a password is not kept.
var readOnly = map[string]bool{"id": true, "meta": true, "groups": true, "schemas": true, "password": true}

// spelled is the name as the schema has it. Names of extensions stay as they are.
func spelled(name string) string {
	if c, ok := canonical[strings.ToLower(name)]; ok {
		return c
	}
	return name
}

// Parse reads a resource. What is larger, deeper or stranger than a resource is, is refused;
// what the service provider alone may say is left out.
func Parse(raw []byte) (Tree, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	t, ok := v.(Tree)
	if !ok {
		return nil, bad(InvalidSyntax, "the body is no object")
	}
	for name := range readOnly {
		delete(t, name)
	}
	return t, nil
}

// decode reads one JSON value within the limits, with keys as the schema spells them.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	r := reader{d: d}
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if d.More() {
		return nil, bad(InvalidSyntax, "something follows the JSON value")
	}
	return v, nil
}

type reader struct {
	d    *json.Decoder
	keys int
}

func (r *reader) value(depth int) (any, error) {
	token, err := r.d.Token()
	if err != nil {
		return nil, bad(InvalidSyntax, "the body is no JSON")
	}
	switch t := token.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, bad(InvalidSyntax, "values lie more than %d deep in each other", maxDepth)
		}
		if t == '{' {
			return r.object(depth)
		}
		return r.list(depth)
	case string:
		if len(t) > maxText {
			return nil, bad(InvalidValue, "a value is longer than %d bytes", maxText)
		}
	}
	return token, nil
}

func (r *reader) object(depth int) (Tree, error) {
	t := Tree{}
	for r.d.More() {
		token, err := r.d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, bad(InvalidSyntax, "the body is no JSON")
		}
		if depth < 2 { // the values of lists have as many each
			r.keys++
		}
		if r.keys > maxKeys || len(t) == maxKeys || len(name) > maxFilter {
			return nil, bad(InvalidSyntax, "there are more than %d attributes", maxKeys)
		}
		name = spelled(name)
		if _, twice := t[name]; twice {
			return nil, bad(InvalidSyntax, "%q is there twice", name)
		}
		if t[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	if _, err := r.d.Token(); err != nil {
		return nil, bad(InvalidSyntax, "the body is no JSON")
	}
	return t, nil
}

func (r *reader) list(depth int) ([]any, error) {
	out := []any{}
	for r.d.More() {
		if len(out) == MaxMembers {
			return nil, &Error{Status: 413, Detail: "a list has more than 10000 values; send them in several requests"}
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if _, err := r.d.Token(); err != nil {
		return nil, bad(InvalidSyntax, "the body is no JSON")
	}
	return out, nil
}

// find is the key of t that is the same name, in any case.
func (t Tree) find(name string) (key string, ok bool) {
	name = spelled(name)
	if _, ok := t[name]; ok {
		return name, true
	}
	for key := range t {
		if strings.EqualFold(key, name) {
			return key, true
		}
	}
	return name, false
}

// text is a value of a name as text; "" for none or for another kind.
func (t Tree) text(name string) string {
	s, _ := t[name].(string)
	return s
}

// truth reads a truth value, which one provider sends as text.
func truth(v any) (yes, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	return false, false
}
