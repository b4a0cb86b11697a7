package scim

import (
	"slices"
	"strings"
)

// Path names an attribute (RFC 7644 section 3.5.2): a top one, perhaps a value of it that
// Where picks, and perhaps a part of that. The zero value is the resource itself.
type Path struct {
	Extension string // URN of the schema that it is of; empty for the core ones
	Attr, Sub string
	Where     Filter // nil for all values
}

// IsZero reports whether it names the resource itself.
func (p Path) IsZero() bool { return p.Attr == "" && p.Extension == "" }

// ParsePath reads a path: attr, attr.sub, attr[filter], attr[filter].sub, each perhaps behind
// a schema's URN and a colon, or such a URN alone.
func ParsePath(text string) (Path, error) {
	if len(text) > maxFilter {
		return Path{}, bad(InvalidPath, "the path is longer than %d bytes", maxFilter)
	}
	p := parser{text: text}
	path, err := p.path()
	if err == nil && !p.done() {
		err = bad(InvalidPath, "%q is no path of an attribute", clip(text))
	}
	return path, err
}

// urn takes the schema's URN off a name.
func urn(name string) (extension, rest string) {
	const prefix = "urn:"
	if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return "", name
	}
	for _, known := range []string{UserURN, GroupURN, EnterpriseURN} {
		if len(name) >= len(known) && strings.EqualFold(name[:len(known)], known) && (len(name) == len(known) || name[len(known)] == ':') {
			rest = strings.TrimPrefix(name[len(known):], ":")
			if known == EnterpriseURN {
				extension = known
			}
			return extension, rest
		}
	}
	// One that is not known ends with the name behind its version; without a version, at
	// the last colon.
	parts := strings.Split(name, ":")
	if len(parts) < 3 || slices.Contains(parts, "") {
		return "", ""
	}
	end := len(parts) - 1
	if i := slices.IndexFunc(parts, isVersion); i > 0 && i+1 < len(parts) {
		end = i + 2
	}
	return strings.Join(parts[:end], ":"), strings.Join(parts[end:], ":")
}

// isVersion reports whether part of a URN is one such as 2.0.
func isVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	return ok && major != "" && minor != "" && strings.Trim(major+minor, "0123456789") == ""
}

// named is the path of a name without a filter.
func named(name string) (Path, bool) {
	ext, rest := urn(name)
	if ext == "" && rest == "" {
		return Path{}, false // what looks like a URN and is none of a schema
	}
	attr, sub, _ := strings.Cut(rest, ".")
	p := Path{Extension: ext, Attr: spelled(attr), Sub: spelled(sub)}
	if !isName(attr) && !(attr == "" && ext != "") || sub != "" && !isName(sub) || strings.HasSuffix(rest, ".") {
		return p, false
	}
	return p, true
}

// isName is ATTRNAME of RFC 7643 section 2.1, and $ref.
func isName(s string) bool {
	if s == "$ref" {
		return true
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_')) {
			return false
		}
	}
	return s != ""
}

// clip is as much of what was sent as an error repeats.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}
