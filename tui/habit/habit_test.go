package habit

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "state", "habits.json") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAUseCountsHalfAfterAWeek(t *testing.T) {
	path := file(t)
	for range 4 {
		must(t, Change(path, func(b *Book) { b.Use("srv_a", noon) }))
	}
	must(t, Change(path, func(b *Book) { b.Use("srv_b", noon.Add(halfLife)); b.Use("srv_b", noon.Add(halfLife)) }))
	b := Load(path)
	if got := b.Servers["srv_a"].Now(noon.Add(halfLife)); got != 2 {
		t.Errorf("four uses of last week weigh %v", got)
	}
	if got := b.Servers["srv_b"]; got.Now(noon.Add(halfLife)) != 2 || got.Uses != 2 || !got.Last.Equal(noon.Add(halfLife)) {
		t.Errorf("two of now are %+v", got)
	}
	if got := b.Servers["srv_b"].Now(noon); got != 2 {
		t.Errorf("a clock that went back: %v", got)
	}
}

func TestOnlyItsOwnerReadsTheFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes there")
	}
	path := file(t)
	must(t, Change(path, func(b *Book) { b.Favour("srv_a", true) }))
	for _, p := range []string{path, filepath.Dir(path)} {
		info, err := os.Stat(p)
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", p, info.Mode())
		}
	}
}

func TestGarbageIsAnEmptyBookAndIsReplaced(t *testing.T) {
	for _, garbage := range []string{"", "{", "[]", "null", `{"Servers":{"a":7}}`, `{"Servers":{"` + strings.Repeat("x", 99) + `":{"weight":1}}}`, `{"Servers":{"a":{"weight":-1}}}`, `{"Servers":{"a":{"weight":1e300}}}`, strings.Repeat("[", maxFile+1)} {
		path := filepath.Join(t.TempDir(), "habits.json")
		must(t, os.WriteFile(path, []byte(garbage), 0o600))
		if b := Load(path); len(b.Servers) != 0 {
			t.Errorf("%.20q is %+v", garbage, b)
		}
		must(t, Change(path, func(b *Book) { b.Favour("srv_a", true) }))
		if b := Load(path); !b.Servers["srv_a"].Favourite || len(b.Servers) != 1 {
			t.Errorf("after %.20q: %+v", garbage, b)
		}
	}
}

func TestAFullBookForgetsWhatWasUsedLongestAgo(t *testing.T) {
	path := file(t)
	must(t, Change(path, func(b *Book) {
		b.Favour("srv_loved", true)
		for i := range most {
			b.Use(fmt.Sprintf("srv_%04d", i), noon.Add(time.Duration(i)*time.Minute))
		}
	}))
	b := Load(path)
	if _, there := b.Servers["srv_0000"]; there || len(b.Servers) != most || !b.Servers["srv_loved"].Favourite {
		t.Errorf("%d are left, the oldest of them %v", len(b.Servers), there)
	}
}

func TestWhatIsNoFavouriteAnyMoreLeavesNothing(t *testing.T) {
	path := file(t)
	must(t, Change(path, func(b *Book) { b.Favour("srv_a", true) }))
	must(t, Change(path, func(b *Book) { b.Favour("srv_a", false) }))
	if b := Load(path); len(b.Servers) != 0 {
		t.Errorf("%+v", b)
	}
}
