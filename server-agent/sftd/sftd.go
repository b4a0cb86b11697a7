// Package sftd reads sftd.yaml, the configuration of the server agent of Okta's
// Advanced Server Access, and writes what it comes to here: each key with what
// becomes of it, so that nobody has to guess whether something was lost.
//
// The keys are those of the product's documentation,
// help.okta.com/asa/en-us/Content/Topics/Adv_Server_Access/docs/sftd-configure.htm,
// and of the older one of ScaleFT, from which it comes.
package sftd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// MaxFile bounds what is read, in bytes: real files have twenty lines, and a parser of
// nested lists needs memory for each bracket.
const MaxFile = 64 << 10

// maxEntries bounds the lines of the explanation.
const maxEntries = 200

// Carried is a setting of ours that comes from a key of theirs.
type Carried struct {
	// Key and Value are as in server-agent.yaml; Texts are what the flag would take.
	Key   string
	Texts []string
	// From is their key, Line where it stands.
	From string
	Line int
	// Note is a sentence for the reader, if one is needed.
	Note string
}

// Left is a key of theirs that has no setting here.
type Left struct {
	From string
	Line int
	Why  string // safe to show
}

// Import is what became of a file.
type Import struct {
	Carried []Carried
	Left    []Left
	// Unread is true if the file is none from which keys can be read; Left says why.
	Unread bool
}

// Read reads text. What is odd in it is told in Left; it never fails. accept says
// whether a setting can be used as it is.
func Read(text []byte, accept func(key string, texts []string) error) (out Import) {
	if len(text) > MaxFile {
		out.Unread = true
		out.leave("", 0, "the file is larger than %d bytes, and was not read", MaxFile)
		return out
	}
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		message, _, _ := strings.Cut(err.Error(), "\n")
		out.Unread = true
		out.leave("", 0, "the file is no YAML, and nothing of it was read: %s", ident.Text(message))
		return out
	}
	for i, d := range doc.Docs {
		mapping, ok := d.Body.(ast.MapNode)
		switch {
		case d.Body == nil || d.Body.Type() == ast.NullType || d.Body.Type() == ast.CommentType:
		case i > 0:
			out.leave("", line(d.Body), "only the first document of the file counts")
		case !ok:
			out.Unread = true
			out.leave("", line(d.Body), "these are no lines of the form Key: value")
		default:
			out.readKeys(mapping, accept)
		}
	}
	out.oneAddress()
	return out
}

// oneAddress leaves the interface out where there is an address, which says more: the
// agent takes one of them and does not start with both.
func (out *Import) oneAddress() {
	const address, device = "access_address", "access_interface"
	is := func(key string) func(Carried) bool { return func(c Carried) bool { return c.Key == key } }
	i := slices.IndexFunc(out.Carried, is(device))
	if i < 0 || !slices.ContainsFunc(out.Carried, is(address)) {
		return
	}
	c := out.Carried[i]
	out.leave(c.From, c.Line, "%s has the address already, and only one of it and %s can be given", address, device)
	out.Carried = slices.Delete(out.Carried, i, i+1)
}

func (out *Import) leave(from string, line int, format string, args ...any) {
	out.Left = append(out.Left, Left{From: from, Line: line, Why: fmt.Sprintf(format, args...)})
}

func (out *Import) readKeys(mapping ast.MapNode, accept func(string, []string) error) {
	for n, entries := 0, mapping.MapRange(); entries.Next(); n++ {
		at := line(entries.Key())
		if n == maxEntries {
			out.leave("", at, "the file has more than %d keys; the others were not read", maxEntries)
			return
		}
		out.readKey(nameOf(entries.Key()), at, entries.Value(), accept)
	}
}

func (out *Import) readKey(name string, at int, value ast.Node, accept func(string, []string) error) {
	k, known := find(name)
	if !known {
		out.leave(name, at, "%s", unknown(name))
		return
	}
	texts, odd := values(value)
	if k.to == "" {
		out.leave(name, at, "%s", reason(k, texts))
		return
	}
	if odd > 0 {
		out.leave(name, at, "%d of its values are no plain text, and left out of %s", odd, k.to)
	}
	if k.turn != nil {
		for i := range texts {
			texts[i] = k.turn(texts[i])
		}
	}
	switch {
	case len(texts) == 0 && odd == 0:
		out.leave(name, at, "it has no value")
	case len(texts) > 1 && !k.many:
		out.leave(name, at, "it has several values, and %s takes one", k.to)
	default:
		if texts = out.fit(k, name, at, texts, accept); len(texts) > 0 {
			out.Carried = append(out.Carried, Carried{Key: k.to, Texts: texts, From: name, Line: at, Note: k.note})
		}
	}
}

// fit leaves out, one by one, what cannot be used.
func (out *Import) fit(k key, from string, at int, texts []string, accept func(string, []string) error) (good []string) {
	for _, t := range texts {
		err := accept(k.to, append(slices.Clone(good), t))
		switch {
		case err == nil:
			good = append(good, t)
		case k.many:
			out.leave(from, at, "%s is left out of %s: %v", quote(t), k.to, err)
		default:
			out.leave(from, at, "it would be %s, but %v", k.to, err)
		}
	}
	return good
}

// maxQuote is how much of a value is repeated, in bytes.
const maxQuote = 100

func quote(s string) string { return strconv.QuoteToASCII(s[:min(len(s), maxQuote)]) }

func reason(k key, texts []string) string {
	if k.standard != "" && len(texts) == 1 && texts[0] != k.standard {
		return fmt.Sprintf("%s; it was %s there and usually is %s, so look whether something else relied on that", k.why, quote(texts[0]), k.standard)
	}
	return k.why
}

// values are the texts of a node: one of a plain value, several of a list, key=value
// of a map. odd is how many others there are.
func values(node ast.Node) (texts []string, odd int) {
	add := func(before string, v ast.Node) {
		switch t, ok := plain(v); {
		case !ok:
			odd++
		case t != "" || before != "":
			texts = append(texts, before+t)
		}
	}
	switch n := node.(type) {
	case *ast.SequenceNode:
		for _, v := range n.Values {
			add("", v)
		}
	case ast.MapNode:
		for entries := n.MapRange(); entries.Next(); {
			add(nameOf(entries.Key())+"=", entries.Value())
		}
	default:
		add("", node)
	}
	return texts, odd
}

func nameOf(key ast.Node) string {
	if s, ok := key.(*ast.StringNode); ok {
		return strings.TrimSpace(s.Value)
	}
	return key.String()
}

func plain(node ast.Node) (text string, ok bool) {
	switch n := node.(type) {
	case *ast.NullNode:
		return "", true
	case *ast.StringNode:
		return strings.TrimSpace(n.Value), true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return node.GetToken().Value, true
	}
	return "", false
}

func line(node ast.Node) int {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// Text is the import as a server-agent.yaml that explains itself. value writes texts as
// YAML on one line; control is the control plane's URL, if it is known.
func (out Import) Text(from, control string, value func(key string, texts []string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made from %s, the configuration of another server agent. The server must enrol anew.\n\n", ident.Text(from))
	if control != "" {
		fmt.Fprintf(&b, "control_url: %s\n", value("control_url", []string{control}))
	} else {
		b.WriteString("# The control plane is not in that file. Needed to enrol:\n#control_url: https://access.example.com\n")
	}
	for _, c := range out.Carried {
		fmt.Fprintf(&b, "\n# %s (line %d)%s\n%s: %s\n", ident.Text(c.From), c.Line, note(c.Note), c.Key, value(c.Key, c.Texts))
	}
	if len(out.Left) > 0 {
		b.WriteString("\n# Not carried over:\n")
	}
	for _, l := range out.Left {
		where := ident.Text(l.From)
		if l.Line > 0 {
			where = strings.TrimSpace(fmt.Sprintf("%s (line %d)", where, l.Line))
		}
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(&b, "# - %s%s\n", where, l.Why)
	}
	return b.String()
}

func note(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}
