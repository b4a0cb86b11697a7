package sqlstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

// wide has a field of each type that a packed row may hold.
type wide struct {
	Text   string
	Yes    bool
	N      int
	Long   int64
	Serial uint64
	At     time.Time
	Labels map[string]string
	List   []string
}

func (w *wide) into() packed {
	return packed{&w.Text, &w.Yes, &w.N, &w.Long, &w.Serial, &w.At, &w.Labels, &w.List}
}

func TestAPackedRowIsReadAsTheEnginesWriteIt(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_000_001).UTC()
	full := wide{"a\"b\\c\n", true, -1, 1 << 62, 1<<63 - 1, at, map[string]string{"env": "prod\""}, []string{"x", "y,]"}}
	for name, c := range map[string]struct {
		text string
		want wide
	}{
		"SQLite": {`["a\"b\\c\n",1,-1,4611686018427387904,9223372036854775807,1700000000000001,"{\"env\":\"prod\\\"\"}","[\"x\",\"y,]\"]"]`, full},
		"PostgreSQL": {`["a\"b\\c\n", true, -1, 4611686018427387904, 9223372036854775807, 1700000000000001, "{\"env\":\"prod\\\"\"}", "[\"x\",\"y,]\"]"]`,
			full},
		"nothing but zero":         {`["", 0, 0, 0, 0, 0, "", ""]`, wide{}},
		"an outer join's null":     {`[null, null, null, null, null, null, null, null]`, wide{}},
		"text beyond ASCII, false": {"[\"\u00e9\\u00e9\u2026\",false,0,0,0,0,\"\",\"\"]", wide{Text: "\u00e9\u00e9\u2026"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got wide
			if err := unpackRow(c.text, got.into()); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestAPackedRowOfAnotherFormIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no row":                    ``,
		"too few":                   `["a"]`,
		"too many":                  `["a",1,2]`,
		"cut short":                 `["a",1`,
		"cut short in a text":       `["a`,
		"cut short in an escape":    `["a\`,
		"something behind it":       `["a",1]]`,
		"no array":                  `{"a":1}`,
		"a text for a number":       `["a","1"]`,
		"a number for a text":       `[1,1]`,
		"a fraction":                `["a",1.5]`,
		"more than 64 bits":         `["a",9223372036854775808]`,
		"no comma":                  `["a" 1]`,
		"a word that is no value":   `["a",x]`,
		"an array for a number":     `["a",[1]]`,
		"an escape that is no such": `["\x",1]`,
	} {
		var s string
		var n int64
		if err := unpackRow(text, packed{&s, &n}); err == nil {
			t.Errorf("%s: %q, %d", name, s, n)
		}
	}
}

func TestPackedRows(t *testing.T) {
	type pair struct {
		Name string
		N    int64
	}
	read := func(text string) (out []pair, err error) {
		err = (&packedRows[pair]{&out, func(p *pair) packed { return packed{&p.Name, &p.N} }}).unpack(text)
		return out, err
	}
	for text, want := range map[string][]pair{
		"":                            nil,
		"[]":                          nil,
		`[["a",1]]`:                   {{"a", 1}},
		"[[\"a\", 1], \n [\"]\", 2]]": {{"a", 1}, {"]", 2}},
	} {
		if out, err := read(text); err != nil || !reflect.DeepEqual(out, want) {
			t.Errorf("%q: %v, %v", text, out, err)
		}
	}
	for _, text := range []string{"[", `[["a"]]`, `[1]`, `[["a",1],]`, `[["a",1]`} {
		if out, err := read(text); err == nil {
			t.Errorf("%q: %v", text, out)
		}
	}
}

// FuzzUnpackRow: what is accepted means what encoding/json reads in it, and
// nothing panics.
func FuzzUnpackRow(f *testing.F) {
	f.Add(`["a", 1]`)
	f.Add(`["\u00e9\"",null]`)
	f.Add(`[null, true]`)
	f.Add("[\"\xd3\",0]")
	f.Fuzz(func(t *testing.T, text string) {
		var s string
		var n int64
		if unpackRow(text, packed{&s, &n}) != nil || !utf8.ValidString(text) {
			return // encoding/json replaces what is not UTF-8; the tables hold none
		}
		var want string
		var number any
		if json.Unmarshal([]byte(text), &[]any{&want, &number}) != nil {
			return // it may take control characters and signs that JSON does not
		}
		if want != s {
			t.Errorf("%q: read %q, it says %q", text, s, want)
		}
	})
}
