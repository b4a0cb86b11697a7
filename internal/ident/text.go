package ident

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text makes untrusted text safe for a terminal or one line of a log. Letters,
// digits, punctuation, symbols and plain spaces of any script stay; everything
// else (control and escape characters, line ends, invisible and direction
// changing ones, broken UTF-8) becomes a visible escape such as \x1b or
// \u202e. A backslash is doubled, so that no two texts come out the same.
func Text(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

// plain reports whether s needs no escape, which is nearly always so.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

// quoteMax is how much of a refused name an error message repeats, in bytes.
const quoteMax = 64

func quote(s string) string {
	if len(s) > quoteMax {
		return strconv.QuoteToASCII(s[:quoteMax]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
