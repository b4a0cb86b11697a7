package audit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 123456789, time.FixedZone("", 3600))

func full() Event {
	return Event{
		Time: noon, Action: Connect, Outcome: Denied, Reason: "no grant <for> web-1", Actor: "usr_a", Session: "ses_a",
		Source: "192.0.2.1", User: "usr_a", Server: "srv_a", Project: "prj_a", Gateway: "gw_a",
		Detail: map[string]string{"b": "2", "a": "1"},
	}
}

func TestEncodeIsStableAndWhole(t *testing.T) {
	const want = `{"time":"2026-11-20T11:00:00.123456Z","action":"connect","outcome":"denied","reason":"no grant <for> web-1",` +
		`"actor":"usr_a","session":"ses_a","source":"192.0.2.1","user":"usr_a","server":"srv_a","project":"prj_a","gateway":"gw_a",` +
		`"detail":{"a":"1","b":"2"}}`
	got := Encode(full())
	if string(got) != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	back, err := Decode(got)
	if err != nil {
		t.Fatal(err)
	}
	if again := Encode(back); string(again) != want {
		t.Fatalf("encode(decode(x)) differs: %s", again)
	}
}

func TestEncodeCutsAtTheCapAndNotBefore(t *testing.T) {
	for _, c := range []struct {
		name string
		max  int
		set  func(*Event, string)
		get  func(Event) string
	}{
		{"action", MaxText, func(e *Event, s string) { e.Action = s }, func(e Event) string { return e.Action }},
		{"source", MaxText, func(e *Event, s string) { e.Source = s }, func(e Event) string { return e.Source }},
		{"reason", MaxReason, func(e *Event, s string) { e.Reason = s }, func(e Event) string { return e.Reason }},
		{"detail", MaxDetailValue, func(e *Event, s string) { e.Detail = map[string]string{"k": s} }, func(e Event) string { return e.Detail["k"] }},
	} {
		for _, n := range []int{c.max, c.max + 1} {
			e := full()
			in := strings.Repeat("x", n-4) + "\U0001F980"
			c.set(&e, in)
			back, err := Decode(Encode(e))
			if err != nil {
				t.Fatal(err)
			}
			out := c.get(back)
			if !utf8.ValidString(out) || len(out) > c.max {
				t.Errorf("%s: %d bytes became %d", c.name, n, len(out))
			}
			if kept := out == in; kept != (n == c.max) {
				t.Errorf("%s of %d bytes: kept whole is %v", c.name, n, kept)
			}
		}
	}
}

func TestEncodeKeepsTheFirstDetails(t *testing.T) {
	for _, n := range []int{MaxDetails, MaxDetails + 1} {
		e := full()
		e.Detail = map[string]string{}
		for i := range n {
			e.Detail[fmt.Sprintf("k%03d", i)] = "v"
		}
		back, _ := Decode(Encode(e))
		if len(back.Detail) != MaxDetails {
			t.Errorf("%d details became %d", n, len(back.Detail))
		}
	}
}

func TestEncodeNeverFailsAndNeverClaimsSuccess(t *testing.T) {
	for _, e := range []Event{
		{},
		{Outcome: "granted"},
		{Reason: "\xff\xfe\x00", Outcome: Denied},
		{Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		back, err := Decode(Encode(e))
		if err != nil {
			t.Errorf("%v: %v", e, err)
		}
		if back.Outcome == Allowed {
			t.Errorf("%v became allowed", e)
		}
	}
}

func TestLargestPayload(t *testing.T) {
	for text, most := range map[string]int{"é": 40 << 10, "\x01": 256 << 10} {
		if n := len(Encode(largest(text))); n > most {
			t.Errorf("%q: %d bytes", text, n)
		}
	}
}

func largest(text string) Event {
	long := strings.Repeat(text, 4096)
	e := Event{Action: long, Reason: long, Actor: long, Session: long, Source: long, User: long, Server: long, Project: long, Gateway: long, Detail: map[string]string{}}
	for i := range 100 {
		e.Detail[fmt.Sprintf("%03d%s", i, long)] = long
	}
	return e
}

// chain makes n rows of an instance, in epochs of three.
func chain(instance string, n int) []Row {
	var rows []Row
	var prev []byte
	for i := range n {
		r := Row{Instance: instance, Epoch: int64(1 + 2*(i/3)), Seq: int64(1 + i%3), Payload: fmt.Appendf(nil, "row %d", i)}
		r.Hash = Link(prev, r.Instance, r.Epoch, r.Seq, r.Payload)
		prev = r.Hash
		rows = append(rows, r)
	}
	return rows
}

func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func([]Row) []Row
		at    int // index of the break, -1 for none
	}{
		{"an untouched log holds", func(r []Row) []Row { return r }, -1},
		{"a flipped bit of a payload is found", func(r []Row) []Row { r[4].Payload[0] ^= 1; return r }, 4},
		{"a flipped bit of a hash is found", func(r []Row) []Row { r[4].Hash[0] ^= 1; return r }, 4},
		{"a missing first row is found", func(r []Row) []Row { return r[1:] }, 0},
		{"a missing row is found", func(r []Row) []Row { return append(r[:4:4], r[5:]...) }, 4},
		{"rows missing at the end of an epoch are found", func(r []Row) []Row { return append(r[:2:2], r[3:]...) }, 2},
		{"a whole missing epoch is found", func(r []Row) []Row { return append(r[:3:3], r[6:]...) }, 3},
		{"exchanged rows are found", func(r []Row) []Row { r[3], r[4] = r[4], r[3]; return r }, 3},
		{"a row under another instance's name is found", func(r []Row) []Row { r[0].Instance = "b"; return r }, 0},
		{"a row that came twice is found", func(r []Row) []Row { return append(r[:4:4], r[3:]...) }, 4},
		{"an epoch that goes back is found", func(r []Row) []Row { return append(r, chain("a", 1)...) }, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Verify(c.spoil(chain("a", 9)))
			var b *Break
			switch {
			case c.at < 0 && err != nil:
				t.Fatal(err)
			case c.at >= 0 && (!errors.As(err, &b) || b.Index != c.at):
				t.Fatalf("want a break at %d, got %v", c.at, err)
			}
		})
	}
}

func TestVerifierTakesPagesOfSeveralInstances(t *testing.T) {
	a, b := chain("a", 7), chain("b", 7)
	var v Verifier
	for i := range a {
		if err := v.Add(a[i], b[i]); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.Heads()) != 2 {
		t.Errorf("heads: %v", v.Heads())
	}
}

func TestLinkIsUnambiguous(t *testing.T) {
	seen := map[string]string{}
	for _, r := range []struct {
		prev, instance, payload string
		epoch, seq              int64
	}{
		{"", "a", "b", 1, 1}, {"", "ab", "", 1, 1}, {"a", "", "b", 1, 1}, {"", "a", "b", 1, 2}, {"", "a", "b", 2, 1}, {"", "", "ab", 1, 1},
	} {
		h := string(Link([]byte(r.prev), r.instance, r.epoch, r.seq, []byte(r.payload)))
		if other, ok := seen[h]; ok {
			t.Errorf("%v and %s give one hash", r, other)
		}
		seen[h] = fmt.Sprint(r)
	}
}

func TestDecodeRefusesWhatIsNotAnEvent(t *testing.T) {
	for _, in := range []string{"", "null x", "[]", `{"time":1}`} {
		if e, err := Decode([]byte(in)); err == nil {
			t.Errorf("%q became %+v", in, e)
		}
	}
	e, err := Decode([]byte(`{"time":"2026-11-20T11:00:00Z","action":"a","outcome":"denied","later":1}`))
	if err != nil || cmp.Diff(e.Action, "a") != "" {
		t.Errorf("an unknown field: %v %v", e, err)
	}
}
