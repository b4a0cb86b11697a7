// Package find finds servers by what a person types.
//
// A line of words finds what fits all of them. A plain word fits a name, another name or a
// project by its letters in their order, as w1 fits web-1, and a label in which it stands as
// it is: four labels hold nearly all letters in some order. env=prod fits a label whose value
// begins so, env!=prod all that have not just that, and project:web a project that begins so.
//
// An Index remembers what it found last. While somebody types on, it looks only there.
package find

import (
	"iter"
	"slices"
	"strings"

	"github.com/sahilm/fuzzy"
)

// Text is what one server is found by.
type Text struct {
	Name, Project string
	AltNames      []string
	Labels        map[string]string
}

// What a word says by where it fits: a name before a project, and that before a label. The
// letters themselves give some ten points each.
const (
	inName    = 300
	inAltName = 250
	inProject = 100
	inLabel   = 50
	// exactly is for the whole name: who types web-1 does not mean web-10.
	exactly = 300
)

// field is one name of a server that letters are looked for in.
type field struct {
	text  string
	of    int32
	worth int32
}

// Index finds among servers. Make it with New. It is for one goroutine.
type Index struct {
	fields   []field // names
	texts    []Text
	labels   []string // of each, in small letters
	projects []string // each once: there are few
	of       []int32  // the project of each

	last  Query // what was asked for last, and what fits that
	found []Hit
}

// Hit is a server that fits.
type Hit struct {
	At    int // of the texts that New got
	Score int // more is better
}

// New makes an index.
func New(texts []Text) *Index {
	n := len(texts)
	x := &Index{texts: texts, labels: make([]string, n), of: make([]int32, n), fields: make([]field, 0, n), found: make([]Hit, n)}
	var b strings.Builder
	known := map[string]int32{}
	for i, t := range texts {
		x.fields = append(x.fields, field{t.Name, int32(i), inName})
		for _, n := range t.AltNames {
			x.fields = append(x.fields, field{n, int32(i), inAltName})
		}
		project, seen := known[t.Project]
		if !seen {
			project = int32(len(x.projects))
			known[t.Project], x.projects = project, append(x.projects, t.Project)
		}
		x.of[i] = project
		b.Reset()
		for k, v := range t.Labels {
			b.WriteString(k + "=" + v + " ") // no word has a blank, so none fits two
		}
		x.labels[i] = strings.ToLower(b.String())
		x.found[i].At = i
	}
	return x
}

// kind is what a word asks for.
type kind uint8

const (
	letters kind = iota
	project
	label
	notLabel
)

type word struct {
	kind     kind
	key, val string // of a label; val alone for the others
}

// Query is what was typed. The zero Query fits everything.
type Query struct{ words []word }

// Parse reads a line. Every line means something; a word that is not finished yet, as env!=,
// asks for nothing.
func Parse(line string) Query {
	var q Query
	for _, s := range strings.Fields(line) {
		w := word{letters, "", s}
		if v, ok := strings.CutPrefix(s, "project:"); ok {
			w = word{project, "", v}
		} else if k, v, ok := strings.Cut(s, "!="); ok && k != "" {
			w = word{notLabel, k, v}
		} else if k, v, ok := strings.Cut(s, "="); ok && k != "" {
			w = word{label, k, v}
		}
		if w.val != "" || w.kind == label {
			q.words = append(q.words, w)
		}
	}
	return q
}

// narrows reports whether all that fits q fits the other as well.
func (q Query) narrows(other Query) bool {
	return len(q.words) >= len(other.words) && !slices.ContainsFunc(pairs(q.words, other.words), func(p [2]word) bool {
		a, b := p[0], p[1]
		return a.kind != b.kind || a.key != b.key || a.kind == notLabel && a.val != b.val || !strings.HasPrefix(a.val, b.val)
	})
}

func pairs(long, short []word) [][2]word {
	out := make([][2]word, len(short))
	for i := range short {
		out[i] = [2]word{long[i], short[i]}
	}
	return out
}

// Find returns what fits, in the order of the texts. The slice is good until the next Find.
func (x *Index) Find(q Query) []Hit {
	if !q.narrows(x.last) {
		x.found = slices.Grow(x.found[:0], len(x.texts))
		for i := range x.texts {
			x.found = append(x.found, Hit{At: i})
		}
	}
	for i := range x.found {
		x.found[i].Score = 0
	}
	for _, w := range q.words {
		if w.kind == letters {
			x.letters(w.val)
			continue
		}
		x.found = slices.DeleteFunc(x.found, func(h Hit) bool { return !w.fits(x.texts[h.At]) })
	}
	x.last = q
	return x.found
}

// fits is for words that are no letters.
func (w word) fits(t Text) bool {
	switch w.kind {
	case project:
		return len(t.Project) >= len(w.val) && strings.EqualFold(t.Project[:len(w.val)], w.val)
	case notLabel:
		return t.Labels[w.key] != w.val
	}
	v, has := t.Labels[w.key]
	return has && strings.HasPrefix(v, w.val)
}

// letters keeps of found what has the letters of a word, and adds up how well.
func (x *Index) letters(word string) {
	best := make([]int, len(x.texts)) // 0 is no
	asked := x.asked()
	for _, m := range fuzzy.FindFromIterNoSort(word, each(asked)) {
		f := asked[m.Index]
		score := max(int(f.worth)+m.Score, 1)
		if len(f.text) == len(word) {
			score += exactly
		}
		best[f.of] = max(best[f.of], score)
	}
	projects := make([]int, len(x.projects))
	for _, m := range fuzzy.FindNoSort(word, x.projects) {
		projects[m.Index] = max(inProject+m.Score, 1)
	}
	small, left := strings.ToLower(word), x.found[:0]
	for _, h := range x.found {
		score := max(best[h.At], projects[x.of[h.At]])
		if score == 0 && strings.Contains(x.labels[h.At], small) {
			score = inLabel
		}
		if score > 0 {
			left = append(left, Hit{h.At, h.Score + score})
		}
	}
	x.found = left
}

// asked are the fields of what is left.
func (x *Index) asked() []field {
	if len(x.found) == len(x.texts) {
		return x.fields
	}
	left := make([]bool, len(x.texts))
	for _, h := range x.found {
		left[h.At] = true
	}
	var out []field
	for _, f := range x.fields {
		if left[f.of] {
			out = append(out, f)
		}
	}
	return out
}

func each(fields []field) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range fields {
			if !yield(f.text) {
				return
			}
		}
	}
}

// Marks says which bytes of a name begin letters that the words of a query found there.
func (q Query) Marks(name string) []bool {
	marks := make([]bool, len(name))
	for _, w := range q.words {
		if w.kind != letters {
			continue
		}
		for _, m := range fuzzy.FindNoSort(w.val, []string{name}) {
			for _, i := range m.MatchedIndexes {
				marks[i] = true
			}
		}
	}
	return marks
}

// Empty reports whether everything fits.
func (q Query) Empty() bool { return len(q.words) == 0 }
