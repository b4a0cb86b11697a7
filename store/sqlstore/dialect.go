package sqlstore

import (
	"strconv"
	"strings"
	"sync"
)

// Statements are written once, with these marks where the engines differ:
//
//	?                 a parameter: $1, $2, … in PostgreSQL
//	/*share*/         FOR SHARE: what was read stays so until the commit
//	/*lock*/          FOR UPDATE
//	JSON_ROWS(x)      all rows of x as one JSON array
//	JSON_ROW(a, b)    one row as a JSON array
//
// No statement has a ? or a mark inside a string.
var (
	toSQLite = strings.NewReplacer("/*share*/", "", "/*lock*/", "",
		"JSON_ROWS(", "json_group_array(", "JSON_ROW(", "json_array(")
	toPostgres = strings.NewReplacer("/*share*/", "FOR SHARE", "/*lock*/", "FOR UPDATE",
		"JSON_ROWS(", "json_agg(", "JSON_ROW(", "json_build_array(")
)

// dialect turns statements into one engine's own and remembers them.
type dialect struct {
	marks  *strings.Replacer
	dollar bool
	cache  sync.Map // statement to its translation
}

func (d *dialect) sql(q string) string {
	if t, ok := d.cache.Load(q); ok {
		return t.(string)
	}
	t := d.marks.Replace(q)
	if d.dollar {
		t = numbered(t)
	}
	d.cache.Store(q, t)
	return t
}

// numbered turns each ? into $1, $2, …
func numbered(q string) string {
	var b strings.Builder
	n := 0
	for {
		before, after, found := strings.Cut(q, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
		q = after
	}
}
