package sqlstore

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Each column of a result costs a driver more than its value does: its name, its
// type, a lock and several allocations. So the statements of every connection
// return wide rows as one JSON array, JSON_ROW(…), and what is one to many as an
// array of such, JSON_ROWS(JSON_ROW(…)). Bytes do not fit into JSON and stay
// columns.

// packed is the destination of a JSON_ROW: its pointers, in order, of the types
// that column knows.
type packed []any

// packedRows is the destination of JSON_ROWS(JSON_ROW(…)): into gives the
// pointers of one.
type packedRows[T any] struct {
	out  *[]T
	into func(*T) packed
}

// unpacker is a packedRows of any type.
type unpacker interface{ unpack(text string) error }

func (r *packedRows[T]) unpack(text string) error {
	if text == "" { // no rows, in PostgreSQL
		return nil
	}
	s := scanner{rest: text}
	return s.array(func() error {
		var v T
		if err := s.row(r.into(&v)); err != nil {
			return err
		}
		*r.out = append(*r.out, v)
		return nil
	})
}

// unpackRow reads one JSON_ROW. NULL, no such row, is an error: nothing may be
// decided on a row that is not there.
func unpackRow(text string, into packed) error {
	s := scanner{rest: text}
	if err := s.row(into); err != nil {
		return err
	}
	if s.next() != 0 {
		return errPacked
	}
	return nil
}

var errPacked = errors.New("the database gave no JSON of the form asked for")

// scanner reads the little JSON that the database's own functions write: arrays
// of texts, integers, booleans and null.
type scanner struct{ rest string }

// next skips blanks and returns the byte behind them, 0 at the end.
func (s *scanner) next() byte {
	for len(s.rest) > 0 {
		switch c := s.rest[0]; c {
		case ' ', '\n', '\t', '\r':
			s.rest = s.rest[1:]
		default:
			return c
		}
	}
	return 0
}

// take skips c, which must come next.
func (s *scanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// array calls each for every element.
func (s *scanner) array(each func() error) error {
	if !s.take('[') {
		return errPacked
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		switch {
		case s.take(']'):
			return nil
		case !s.take(','):
			return errPacked
		}
	}
}

// row reads an array of exactly these.
func (s *scanner) row(into packed) error {
	i := 0
	err := s.array(func() error {
		if i == len(into) {
			return errPacked
		}
		i++
		return s.value(into[i-1])
	})
	if err == nil && i != len(into) {
		return errPacked
	}
	return err
}

// value reads one element into the pointer p.
func (s *scanner) value(p any) error {
	if s.next() == '"' {
		text, err := s.text()
		if err != nil {
			return err
		}
		return setText(p, text)
	}
	end := strings.IndexAny(s.rest, ",] \n\t\r")
	if end < 0 {
		return errPacked
	}
	word := s.rest[:end]
	s.rest = s.rest[end:]
	switch word {
	case "null":
		return nil
	case "true":
		return setNumber(p, 1)
	case "false":
		return setNumber(p, 0)
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return errPacked
	}
	return setNumber(p, n)
}

// text reads a string. It is a copy: a name that somebody keeps must not keep
// the whole row.
func (s *scanner) text() (string, error) {
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			return s.escaped()
		case '"':
			text := s.rest[1:i]
			s.rest = s.rest[i+1:]
			return strings.Clone(text), nil
		}
	}
	return "", errPacked
}

// escaped reads a string that has escapes in it.
func (s *scanner) escaped() (text string, err error) {
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++ // whatever follows, it does not end the string
		case '"':
			err = json.Unmarshal([]byte(s.rest[:i+1]), &text)
			s.rest = s.rest[i+1:]
			return text, err
		}
	}
	return "", errPacked
}

func setText(p any, text string) error {
	switch p := p.(type) {
	case *string:
		*p = text
		return nil
	case *bool, *int, *int64, *uint64, *time.Time, *[]byte:
		return errPacked
	}
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), p) // maps and lists are JSON in text
}

func setNumber(p any, n int64) error {
	switch p := p.(type) {
	case *bool:
		*p = n != 0
	case *int:
		*p = int(n)
	case *int64:
		*p = n
	case *uint64:
		*p = uint64(n)
	case *time.Time:
		*p = moment(n)
	default:
		return errPacked
	}
	return nil
}
