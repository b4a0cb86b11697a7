package main

import (
	"strings"
	"testing"
)

func TestQuantilesLieBetweenNeighbours(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"the median of an odd number is the middle one", []float64{9, 1, 5}, 0.5, 5},
		{"that of an even number is half way", []float64{4, 1, 2, 3}, 0.5, 2.5},
		{"one value is every quantile", []float64{7}, 0.99, 7},
		{"the last is the largest", []float64{1, 2, 3}, 1, 3},
	} {
		if got := quantile(tc.values, tc.q); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestATableShowsWhatWasMeasuredAndMarksWhatWasNot(t *testing.T) {
	tab := &table{Title: "Ways", Columns: []column{{"wall_ms", "wall ms", 1}, {"ratio", "ratio", 2}}}
	tab.add("plain ssh", map[string]float64{"wall_ms": 201.25, "ratio": 1})
	tab.add("Cardea", map[string]float64{"wall_ms": 160})
	var out strings.Builder
	if err := tab.print(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.Trim(out.String(), "\n"), "\n")
	want := []string{
		"Ways",
		"             wall ms  ratio",
		"  plain ssh    201.2   1.00",
		"  Cardea       160.0      -",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", out.String(), strings.Join(want, "\n"))
	}
}
