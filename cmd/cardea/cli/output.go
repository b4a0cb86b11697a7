package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	asTable outputFormat = "table"
	asJSON  outputFormat = "json"
)

// column is one fact about a T as a person reads it; the text may hold
// anything, it is escaped when it is printed.
type column[T any] struct {
	name string
	text func(T) string
}

// show prints rows: an array in JSON, a table with a heading for people.
func show[T any](a *app, rows []T, columns []column[T]) error {
	if a.output == asJSON {
		if rows == nil {
			rows = []T{} // an empty list is [], not null
		}
		return printJSON(a.out, rows)
	}
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = strings.ToUpper(c.name)
	}
	table := append(make([][]string, 0, 1+len(rows)), heads)
	cells := make([]string, len(rows)*len(columns)) // of all rows: one allocation, not ten thousand
	for _, r := range rows {
		for i, c := range columns {
			cells[i] = cell(c.text(r))
		}
		table, cells = append(table, cells[:len(columns):len(columns)]), cells[len(columns):]
	}
	return writeTable(a.out, table)
}

// showSome is show for what was done, of which there may be nothing.
func showSome[T any](a *app, rows []T, columns []column[T]) error {
	if len(rows) == 0 {
		return nil
	}
	return show(a, rows, columns)
}

// showOne prints one value: an object in JSON, a line for each fact that there
// is for people.
func showOne[T any](a *app, v T, columns []column[T]) error {
	if a.output == asJSON {
		return printJSON(a.out, v)
	}
	var table [][]string
	for _, c := range columns {
		if text := c.text(v); text != "" {
			table = append(table, []string{c.name + ":", ident.Text(text)})
		}
	}
	return writeTable(a.out, table)
}

// gap is between two columns.
const gap = 2

// writeTable aligns the columns. It is ours because text/tabwriter needs ten
// times as long, which shows with 10,000 servers.
func writeTable(w io.Writer, table [][]string) error {
	var widths []int
	for _, row := range table {
		for i, text := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	b := bufio.NewWriterSize(w, 64<<10)
	for _, row := range table {
		for i, text := range row {
			b.WriteString(text)
			if i < len(row)-1 {
				for range widths[i] - utf8.RuneCountInString(text) + gap {
					b.WriteByte(' ')
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

// cell keeps a table readable for awk: nothing is a dash.
func cell(text string) string {
	if text == "" {
		return "-"
	}
	return ident.Text(text)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLines is for programs that read names one by one.
func printLines(w io.Writer, lines []string) error {
	b := bufio.NewWriterSize(w, 64<<10)
	for _, l := range lines {
		b.WriteString(ident.Text(l))
		b.WriteByte('\n')
	}
	return b.Flush()
}

// labels are written as they are typed.
func labels(m map[string]string) string {
	var few [8]string // on the stack
	keys, size := few[:0], 0
	for k, v := range m {
		keys, size = append(keys, k), size+len(k)+len(v)+2
	}
	slices.Sort(keys)
	var b strings.Builder
	b.Grow(size)
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(m[k])
	}
	return b.String()
}

// stamp is a time to the minute, where the reader is.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// ago is how long something is past, as roughly as people say it.
func (a *app) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return roughly(a.now().Sub(t)) + " ago"
}

func roughly(d time.Duration) string {
	switch {
	case d < 0:
		return "0s" // two clocks never agree
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

func commas(words []string) string { return strings.Join(words, ", ") }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
