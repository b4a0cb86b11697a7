package sftd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func anything(string, []string) error { return nil }

func TestEveryKnownKeyIsCarriedOrExplained(t *testing.T) {
	var text strings.Builder
	for _, k := range keys() {
		if (k.to == "") == (k.why == "") {
			t.Errorf("%s: it goes to %q, and the reason that it does not is %q", k.name, k.to, k.why)
		}
		fmt.Fprintf(&text, "%s: x\n", k.name)
	}
	out := Read([]byte(text.String()), anything)
	if len(out.Carried)+len(out.Left) != len(keys()) {
		t.Errorf("%d keys became %d and %d", len(keys()), len(out.Carried), len(out.Left))
	}
	for _, l := range out.Left {
		if l.Why == "" || l.Line == 0 || strings.Contains(l.Why, "nothing is known") {
			t.Errorf("%+v", l)
		}
	}
}

func TestTheKeysOfAFileAreBounded(t *testing.T) {
	text := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "K%d: x\n", i)
		}
		return []byte(b.String())
	}
	if out := Read(text(maxEntries), anything); len(out.Left) != maxEntries || strings.Contains(out.Left[maxEntries-1].Why, "more than") {
		t.Errorf("at the limit: %d", len(out.Left))
	}
	if out := Read(text(maxEntries+5), anything); len(out.Left) != maxEntries+1 || !strings.Contains(out.Left[maxEntries].Why, "more than") {
		t.Errorf("above: %d", len(out.Left))
	}
}

func TestOfSeveralValuesTheGoodOnesAreCarried(t *testing.T) {
	even := func(_ string, texts []string) error {
		if len(texts[len(texts)-1])%2 == 1 {
			return errors.New("it is odd")
		}
		return nil
	}
	out := Read([]byte("AltNames: [ab, abc, abcd]\nCanonicalName: abc\nBastion: abcd\n---\nBastion: ab\n"), even)
	if len(out.Carried) != 2 || !slices.Equal(out.Carried[0].Texts, []string{"ab", "abcd"}) || !slices.Equal(out.Carried[1].Texts, []string{"abcd"}) {
		t.Errorf("carried %+v", out.Carried)
	}
	if len(out.Left) != 3 || !strings.Contains(out.Left[0].Why, `"abc" is left out of alt_names: it is odd`) || !strings.Contains(out.Left[2].Why, "first document") {
		t.Errorf("left %+v", out.Left)
	}
}
