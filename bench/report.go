package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is everything that one run found; its JSON form is for programs that
// compare runs, so keys are added and never renamed.
type report struct {
	Machine machine  `json:"machine"`
	Tables  []*table `json:"tables"`
	Goals   []goal   `json:"goals"`
}

// machine is what the figures depend on.
type machine struct {
	At      time.Time `json:"at"`
	Commit  string    `json:"commit,omitempty"`
	CPUs    int       `json:"cpus"`
	Load    string    `json:"load" doc:"averages when it began and ended: above the number of CPUs it was disturbed"`
	Go      string    `json:"go"`
	OpenSSH string    `json:"openssh"`
	Kernel  string    `json:"kernel"`
}

// table is one comparison.
type table struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Note    string   `json:"note,omitempty"`
	Columns []column `json:"-"`
	Rows    []row    `json:"rows"`
}

// column says how a value is shown.
type column struct {
	Key, Head string
	Digits    int
}

type row struct {
	Name   string             `json:"name"`
	Values map[string]float64 `json:"values"`
}

func (t *table) add(name string, values map[string]float64) {
	t.Rows = append(t.Rows, row{name, values})
}

// value finds one; ok is false if it was not measured.
func (r *report) value(table, name, key string) (v float64, ok bool) {
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			if t.Name == table && row.Name == name {
				v, ok = row.Values[key]
			}
		}
	}
	return v, ok
}

func (t *table) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s\n", t.Title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(t.Rows) > 0 {
		heads := []string{""}
		for _, c := range t.Columns {
			heads = append(heads, c.Head)
		}
		fmt.Fprintln(w, pad("", t.width())+strings.Join(heads, "\t")+"\t")
	}
	for _, r := range t.Rows {
		fmt.Fprint(w, pad(r.Name, t.width())+"\t")
		for _, c := range t.Columns {
			if v, ok := r.Values[c.Key]; ok {
				fmt.Fprintf(w, "%.*f\t", c.Digits, v)
			} else {
				fmt.Fprint(w, "-\t")
			}
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if t.Note != "" {
		fmt.Fprintf(out, "  %s\n", t.Note)
	}
	return nil
}

// width is that of the names: tabwriter aligns all columns to one side, and
// indents the first as it spaces the others.
func (t *table) width() int {
	n := 0
	for _, r := range t.Rows {
		n = max(n, len(r.Name))
	}
	return n
}

func pad(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }

// quantile of values, 0.5 the median; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func median(values []float64) float64 { return quantile(values, 0.5) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
