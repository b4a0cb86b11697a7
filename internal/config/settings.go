package config

import (
	"encoding"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Setting is one option as it is in force.
type Setting struct {
	// Name is the flag's; Key that of the file.
	Name, Key, Help string
	// YAML is the value as it could stand behind the key, on one line.
	YAML   string
	Source Source
}

// Settings are all options in their order. Call it after Load.
func (l *Loader) Settings() []Setting {
	out := make([]Setting, 0, len(l.options))
	for _, o := range l.options {
		out = append(out, Setting{Name: o.name, Key: o.key(), Help: o.help, YAML: o.yaml(), Source: o.source})
	}
	return out
}

func (o *option) yaml() string {
	switch v := o.field.Interface().(type) {
	case string:
		return word(v)
	case []string:
		return flow(v)
	case map[string]string:
		return flowMap(v, word)
	case map[string][]string:
		return flowMap(v, flow)
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err == nil {
			return word(string(text))
		}
	}
	return word(fmt.Sprint(o.field.Interface()))
}

func flow(words []string) string {
	out := make([]string, 0, len(words))
	for _, w := range words {
		out = append(out, word(w))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func flowMap[V any](m map[string]V, value func(V) string) string {
	out := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, word(k)+": "+value(m[k]))
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// word writes a text bare where it cannot mean anything else to YAML or to a
// terminal, and else in double quotes, whose escapes are those of Go and JSON.
func word(s string) string {
	const edge = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/"
	if s != "" && strings.Trim(s, edge+"._-:@+=") == "" && strings.Trim(s[:1], edge) == "" && !strings.HasSuffix(s, ":") {
		return s
	}
	return strconv.QuoteToASCII(s)
}
