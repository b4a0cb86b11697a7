package scim

import (
	"encoding/json"
	"strings"
)

// parser reads filters and paths: a descent along the grammar of RFC 7644 figure 1, whose
// depth is bounded.
type parser struct {
	text string
	at   int
}

func (p *parser) done() bool { return strings.TrimSpace(p.text[p.at:]) == "" }

func (p *parser) wrong() error {
	return bad(InvalidFilter, "the filter is not understood at %q", clip(p.text[p.at:]))
}

func (p *parser) space() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// take takes a character if it comes next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// word is what comes up to a space or a bracket.
func (p *parser) word() string {
	p.space()
	end := strings.IndexAny(p.text[p.at:], " ()[]\"")
	if end < 0 {
		end = len(p.text) - p.at
	}
	w := p.text[p.at : p.at+end]
	p.at += end
	return w
}

// keyword takes a word if it comes next, in any case.
func (p *parser) keyword(want string) bool {
	was := p.at
	if strings.EqualFold(p.word(), want) {
		return true
	}
	p.at = was
	return false
}

func (p *parser) or(depth int) (Filter, error) {
	a, err := p.and(depth)
	for err == nil && p.keyword("or") {
		var b Filter
		b, err = p.and(depth)
		a = either{a, b}
	}
	return a, err
}

func (p *parser) and(depth int) (Filter, error) {
	a, err := p.one(depth)
	for err == nil && p.keyword("and") {
		var b Filter
		b, err = p.one(depth)
		a = both{a, b}
	}
	return a, err
}

func (p *parser) one(depth int) (Filter, error) {
	if depth > maxFilterDeep {
		return nil, bad(InvalidFilter, "brackets lie more than %d deep in each other", maxFilterDeep)
	}
	negated := false
	if was := p.at; p.keyword("not") {
		// Also the name of an attribute, unless a bracket follows.
		if p.space(); p.at < len(p.text) && p.text[p.at] == '(' {
			negated = true
		} else {
			p.at = was
		}
	}
	if !p.take('(') {
		return p.expression(depth)
	}
	f, err := p.or(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.take(')') {
		return nil, p.wrong()
	}
	if negated {
		return not{f}, nil
	}
	return f, nil
}

func (p *parser) expression(depth int) (Filter, error) {
	path, err := p.pathAt(depth)
	if err != nil {
		return nil, err
	}
	if path.Where != nil && path.Sub == "" && path.Extension == "" {
		if was := p.at; !p.operator() {
			return some{path.Attr, path.Where}, nil
		} else {
			p.at = was
		}
	}
	op := strings.ToLower(p.word())
	switch op {
	case "pr":
		return present{path}, nil
	case "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le":
		v, err := p.literal()
		return compare{path, op, v}, err
	}
	return nil, bad(InvalidFilter, "%q is no operator", clip(op))
}

// operator reports whether one comes next, and takes it.
func (p *parser) operator() bool {
	switch strings.ToLower(p.word()) {
	case "pr", "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le":
		return true
	}
	return false
}

func (p *parser) path() (Path, error) { return p.pathAt(0) }

func (p *parser) pathAt(depth int) (Path, error) {
	name := p.word()
	path, ok := named(name)
	if !ok || p.at < len(p.text) && p.text[p.at] == '"' {
		return path, bad(InvalidPath, "%q is no name of an attribute", clip(name))
	}
	if p.at >= len(p.text) || p.text[p.at] != '[' {
		return path, nil
	}
	p.at++
	if path.Sub != "" || path.Attr == "" || depth >= maxFilterDeep {
		return path, bad(InvalidPath, "%q has no values to choose from", clip(name))
	}
	f, err := p.or(depth + 1)
	if err != nil {
		return path, err
	}
	if path.Where = f; !p.take(']') {
		return path, p.wrong()
	}
	if p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		sub := p.word()
		if !isName(sub) {
			return path, bad(InvalidPath, "%q is no name of an attribute", clip(sub))
		}
		path.Sub = spelled(sub)
	}
	return path, nil
}

// literal is a value of JSON that is no object or list.
func (p *parser) literal() (any, error) {
	p.space()
	rest := p.text[p.at:]
	if !strings.HasPrefix(rest, `"`) {
		word := p.word()
		switch strings.ToLower(word) { // one provider writes True
		case "true", "false":
			return strings.EqualFold(word, "true"), nil
		case "null":
			return nil, nil
		}
		var n json.Number
		if json.Unmarshal([]byte(word), &n) != nil || word == "" {
			return nil, bad(InvalidFilter, "%q is no value", clip(word))
		}
		return n, nil
	}
	end := 1
	for end < len(rest) && rest[end] != '"' {
		if rest[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(rest) {
		return nil, bad(InvalidFilter, "a text has no end")
	}
	var s string
	if json.Unmarshal([]byte(rest[:end+1]), &s) != nil {
		return nil, bad(InvalidFilter, "a text is not written as in JSON")
	}
	p.at += end + 1
	return s, nil
}
