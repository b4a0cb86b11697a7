package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/store"
)

// arg turns a Go value into what both drivers take and the tables keep.
func arg(v any) any {
	switch v := v.(type) {
	case string:
		return clean(v)
	case time.Time:
		return micros(v)
	case int:
		return int64(v)
	case uint64:
		return int64(v) // serials have 63 bits
	case []byte:
		if v == nil {
			return []byte{}
		}
		return v
	case map[string]string:
		return jsonText(v, len(v)) // JSON replaces and escapes by itself
	case []string:
		return jsonText(v, len(v))
	case []store.SealingKey:
		return jsonText(v, len(v))
	case []entitlement.Command:
		return jsonText(v, len(v))
	case store.Rhythm:
		return jsonText(v, len(v.Run))
	case store.Proposal:
		return jsonText(v, len(v.Name)+len(v.Address)+len(v.AltNames)+len(v.Bastion))
	}
	return v
}

// clean makes text that both engines take: PostgreSQL refuses NUL and what is
// not UTF-8, SQLite keeps anything. Text from strangers must not fail a command.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func args(vs []any) []any {
	out := make([]any, len(vs))
	for i, v := range vs {
		out[i] = arg(v)
	}
	return out
}

func jsonText(v any, n int) string {
	if n == 0 {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and slices of strings and bytes always encode
	}
	return string(b)
}

// column scans one value into the pointer p; NULL (the empty side of an outer
// join) gives the zero value.
type column struct{ p any }

func (c *column) Scan(src any) error {
	switch p := c.p.(type) {
	case *string:
		*p = text(src)
	case packed:
		return unpackRow(text(src), p)
	case unpacker:
		return p.unpack(text(src))
	case sql.Scanner:
		return p.Scan(src)
	case *[]byte:
		b, _ := src.([]byte)
		*p = append([]byte(nil), b...) // the driver's bytes are only lent
	case *bool:
		switch v := src.(type) {
		case bool:
			*p = v
		default:
			n, err := number(src)
			*p = n != 0
			return err
		}
	case *int:
		n, err := number(src)
		*p = int(n)
		return err
	case *int64:
		n, err := number(src)
		*p = n
		return err
	case *uint64:
		n, err := number(src)
		*p = uint64(n)
		return err
	case *time.Time:
		n, err := number(src)
		*p = moment(n)
		return err
	default:
		if t := text(src); t != "" {
			return json.Unmarshal([]byte(t), p)
		}
	}
	return nil
}

func text(src any) string {
	switch v := src.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func number(src any) (int64, error) {
	switch v := src.(type) {
	case nil:
		return 0, nil
	case int64:
		return v, nil
	}
	return 0, fmt.Errorf("column of type %T is not a number", src)
}

// moment is the opposite of micros.
func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// scan reads the present row into the pointers.
func scan(r rows, into []any) error {
	columns := make([]column, len(into))
	dest := make([]any, len(into))
	for i, p := range into {
		columns[i].p = p
		dest[i] = &columns[i]
	}
	return r.Scan(dest...)
}

// querier is a transaction of the writer, or a reader.
type querier interface {
	query(q string, args ...any) (rows, error)
}

// one reads the only row of a statement; ErrNotFound if there is none.
func one(db querier, into []any, q string, args ...any) error {
	r, err := db.query(q, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.Next() {
		if err := r.Err(); err != nil {
			return err
		}
		return store.ErrNotFound
	}
	if err := scan(r, into); err != nil {
		return err
	}
	return r.Close()
}

// all reads every row of a statement; into gives the pointers of one.
func all[T any](db querier, into func(*T) []any, q string, args ...any) ([]T, error) {
	r, err := db.query(q, args...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []T
	for r.Next() {
		var v T
		if err := scan(r, into(&v)); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, r.Err()
}

// texts reads one column of strings.
func texts(db querier, q string, args ...any) ([]string, error) {
	return all(db, func(s *string) []any { return []any{s} }, q, args...)
}
