package recording

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func record(t *testing.T, k *team, events ...Event) set {
	t.Helper()
	m := newMemory()
	o := k.options("ses_a")
	o.Header.Login, o.Header.ServerName = "alice", "web-1"
	w, err := NewWriter(m, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := w.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	return m.set()
}

func TestAsciicast(t *testing.T) {
	k := newTeam(t)
	ms := time.Millisecond
	pty := []byte(`{"type":"pty-req","term":"xterm","size":{"columns":100,"rows":30}}`)
	s := record(t, k,
		Event{At: ms, Channel: 2, Kind: Request, Data: pty},
		Event{At: 2 * ms, Channel: 1, Kind: Output, Data: []byte("of another\nchannel")},
		Event{At: 3 * ms, Channel: 2, Kind: Output, Data: []byte("gr\xc3")},
		Event{At: 4 * ms, Channel: 2, Kind: Input, Data: []byte("ls\r")},
		Event{At: 5 * ms, Channel: 2, Kind: Output, Data: []byte("\xbc\xc3\x9f <b> \x1b[1m\xff\r\n")},
		Event{At: 6 * ms, Channel: 2, Kind: Resize, Data: []byte(`{"columns":80,"rows":25}`)},
		Event{At: 7 * ms, Channel: 2, Kind: Resize, Data: []byte(`{"columns":0,"rows":4000000000}`)},
		Event{At: 8 * ms, Kind: Gap, Data: []byte(`{"why":"rain"}`)},
		Event{At: 3*time.Hour + 8*ms, Channel: 2, Kind: Output, Data: []byte("\xe2\x82")},
	)
	for channel, want := range map[uint32]string{
		0: `{"env":{"TERM":"xterm"},"height":30,"timestamp":1800000000,"title":"alice@web-1 ses_a","version":2,"width":100}
[0.003000,"o","gr"]
[0.004000,"i","ls\r"]
[0.005000,"o","üß <b> \u001b[1m\ufffd\r\n"]
[0.006000,"r","80x25"]
[0.007000,"r","80x25"]
[0.008000,"m","something is missing here: rain"]
[10800.008000,"o","\ufffd\ufffd"]
`,
		1: `{"height":24,"timestamp":1800000000,"title":"alice@web-1 ses_a","version":2,"width":80}
[0.002000,"o","of another\r\nchannel"]
[0.008000,"m","something is missing here: rain"]
`,
		3: `{"height":24,"timestamp":1800000000,"title":"alice@web-1 ses_a","version":2,"width":80}
[0.008000,"m","something is missing here: rain"]
`,
	} {
		r, err := NewReader(s.fs(), k.identity)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Asciicast(&out, r, channel); err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(out.String(), "�", `\ufffd`)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("channel %d, -want +got:\n%s", channel, d)
		}
	}
}

func TestPace(t *testing.T) {
	p := Pace{Speed: 2, Idle: 10 * time.Second}
	p.From(time.Minute)
	for _, step := range []struct{ at, want time.Duration }{
		{time.Minute, 0}, {62 * time.Second, time.Second}, {61 * time.Second, 0}, {64 * time.Second, time.Second}, {time.Hour, 5 * time.Second}, {time.Hour + 1, 0},
	} {
		if got := p.Until(step.at); got != step.want {
			t.Errorf("at %v: %v, not %v", step.at, got, step.want)
		}
	}
	if got := new(Pace).Until(3 * time.Hour); got != 3*time.Hour {
		t.Errorf("without any limit: %v", got)
	}
}

func TestSeek(t *testing.T) {
	k := newTeam(t)
	s, _ := k.three(t, "ses_a") // one event a second
	all := read(t, s.fs(), k.identity)
	r, err := NewReader(s.fs(), k.identity)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(all) - 2; i >= 0; i-- {
		for _, at := range []time.Duration{all[i].At, all[i].At - 1} {
			if err := r.Seek(at); err != nil {
				t.Fatal(err)
			}
			if e, err := r.Next(); err != nil || e.At != all[i].At || !bytes.Equal(e.Data, all[i].Data) {
				t.Fatalf("at %v: %v %q, %v", at, e.At, e.Data, err)
			}
		}
	}
	if err := r.Seek(0); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, r); len(got) != len(all) {
		t.Errorf("%d of %d from the start", len(got), len(all))
	}
	if err := r.Seek(time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, r); len(got) != 0 {
		t.Errorf("%d behind the end", len(got))
	}
	// A damaged head in the middle does not lead astray.
	s[SegmentName(2)][100] ^= 1
	if err := r.Seek(all[len(all)-2].At); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Next(); err != nil || e.At != all[len(all)-2].At {
		t.Errorf("%v, %v", e.At, err)
	}
}

func TestATerminalIsOfAPossibleSize(t *testing.T) {
	var k Terminal
	for _, size := range []Size{{maxCells, maxCells}, {maxCells + 1, 1}, {1, maxCells + 1}, {0, 1}, {1, 0}} {
		e, err := NewEvent(0, 1, Resize, size)
		if err != nil {
			t.Fatal(err)
		}
		k.Channel = 1
		if k.Shows(e); k.Size != (Size{maxCells, maxCells}) {
			t.Errorf("%v is taken", size)
		}
	}
}
