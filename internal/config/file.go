package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile is far above any configuration, and keeps a wrong path (a disk, a
// log) from filling memory.
const maxFile = 1 << 20

// readFile applies the file's keys. Only a file that somebody named must exist.
func (l *Loader) readFile(named bool) error {
	if l.file == "" {
		return nil
	}
	data, err := readLimited(l.file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	l.loaded = l.file
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		return fmt.Errorf("configuration %s: %s", l.file, firstLine(err))
	}
	for _, d := range doc.Docs {
		if err := l.apply(d.Body); err != nil {
			return err
		}
	}
	return nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, err
}

func (l *Loader) apply(body ast.Node) error {
	if body == nil || body.Type() == ast.NullType || body.Type() == ast.CommentType {
		return nil // an empty file, or comments alone
	}
	mapping, ok := body.(ast.MapNode)
	if !ok {
		return l.at(body, "expected lines of the form key: value")
	}
	for entries := mapping.MapRange(); entries.Next(); {
		key := entries.Key().String()
		i := slices.IndexFunc(l.options, func(o *option) bool { return o.key() == key })
		if i < 0 {
			return l.at(entries.Key(), fmt.Sprintf("unknown key %q%s", key, l.hint(key)))
		}
		o := l.options[i]
		texts, err := o.texts(entries.Value())
		if err == nil {
			err = o.set(FromFile, texts)
		}
		if err != nil {
			return l.at(entries.Value(), fmt.Sprintf("%s: %v", key, err))
		}
	}
	return nil
}

// at is an error with the file and line of node.
func (l *Loader) at(node ast.Node, message string) error {
	return fmt.Errorf("%s:%d: %s", l.file, node.GetToken().Position.Line, message)
}

// hint names the known key that is nearest to a misspelt one.
func (l *Loader) hint(key string) string {
	best, distance := "", len(key)/2+1
	for _, o := range l.options {
		if d := editDistance(key, o.key()); d < distance {
			best, distance = o.key(), d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// texts turns a YAML value into what the flag would have been given.
func (o *option) texts(node ast.Node) ([]string, error) {
	switch n := node.(type) {
	case *ast.SequenceNode:
		if !o.many() {
			return nil, errors.New("expected one value, not a list")
		}
		texts := []string{}
		for _, v := range n.Values {
			t, err := scalar(v)
			if err != nil {
				return nil, err
			}
			texts = append(texts, t)
		}
		return texts, nil
	case ast.MapNode:
		return o.entries(n)
	}
	t, err := scalar(node)
	if err != nil {
		return nil, err
	}
	return o.split(t), nil
}

// entries turns the keys of a map into what the flag would have been given.
func (o *option) entries(n ast.MapNode) ([]string, error) {
	kind := o.Type()
	if kind != "key=value" && kind != "key=word" {
		return nil, errors.New("expected a value, not keys of its own")
	}
	texts := []string{}
	for entries := n.MapRange(); entries.Next(); {
		key, values := entries.Key().String(), []ast.Node{entries.Value()}
		if list, ok := entries.Value().(*ast.SequenceNode); ok && kind == "key=word" {
			if values = list.Values; len(values) == 0 {
				return nil, fmt.Errorf("%s: has an empty list", key)
			}
		}
		for _, v := range values {
			t, err := scalar(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			texts = append(texts, key+"="+t)
		}
	}
	return texts, nil
}

func scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.NullNode:
		return "", errors.New("has no value (write \"\" for an empty one)")
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, nil // as written: 0700 stays 0700
	}
	// Anchors, aliases, tags and merges: nothing here is long enough for them.
	return "", errors.New("expected a plain value")
}

// firstLine is a syntax error without the picture of the source.
func firstLine(err error) string {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("line %d: %s", syntax.Token.Position.Line, syntax.Message)
	}
	return err.Error()
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
