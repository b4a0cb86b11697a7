// Package span is how people write lengths of time, and how they are written for them: by one
// grammar in every flag, variable and file, so that what one screen shows another one takes.
package span

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

const day = 24 * time.Hour

// Parse reads what time.ParseDuration reads, with days of 24 hours before it: 90s, 1h30m,
// 90d, 1d12h. 0 needs no unit.
func Parse(s string) (time.Duration, error) {
	days, rest, some := strings.Cut(s, "d")
	if !some {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, wrong(s)
		}
		return d, nil
	}
	n, err := strconv.ParseUint(days, 10, 16) // so that it cannot overflow: 179 years
	if err != nil {
		return 0, wrong(s)
	}
	d := time.Duration(0)
	if rest != "" {
		if d, err = time.ParseDuration(rest); err != nil || d < 0 || strings.HasPrefix(rest, "+") || d > math.MaxInt64-time.Duration(n)*day {
			return 0, wrong(s)
		}
	}
	return time.Duration(n)*day + d, nil
}

func wrong(s string) error { return fmt.Errorf("%q is no duration such as 90s, 8h or 30d", s) }

// Text is the shortest that Parse reads as d: 90s as 1m30s, 12 hours as 12h, two days and
// more in days where they are whole.
func Text(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} { // 12h0m0s
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Var adds a flag that takes a duration.
func Var(f *pflag.FlagSet, into *time.Duration, name string, otherwise time.Duration, help string) {
	*into = otherwise
	f.Var((*flag)(into), name, help)
}

// flag is a duration as pflag wants it.
type flag time.Duration

func (f *flag) Type() string { return "duration" }

// String is empty for no time at all, which is then not told as the default.
func (f *flag) String() string {
	if *f == 0 {
		return ""
	}
	return Text(time.Duration(*f))
}

func (f *flag) Set(s string) error {
	d, err := Parse(s)
	*f = flag(d)
	return err
}
