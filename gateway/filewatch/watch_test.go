package filewatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packet builds one of SFTP: uint32 and uint64 as they are, strings with their length.
func packet(kind byte, fields ...any) []byte {
	b := []byte{0, 0, 0, 0, kind}
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(f))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, f)
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		default:
			panic(fmt.Sprintf("%T", f))
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// talk is a conversation: what the user says, and what the server does.
type talk struct {
	w *Watcher
	seen
}

func newTalk() *talk {
	t := &talk{}
	t.w = Subsystem("sftp", t.emit)
	t.user(packet(pktInit, 3))
	t.server(packet(pktVersion, 3))
	return t
}

func (t *talk) user(b ...[]byte)   { t.w.FromUser(slices.Concat(b...)) }
func (t *talk) server(b ...[]byte) { t.w.FromServer(slices.Concat(b...)) }

// open opens a file with the handle h.
func (t *talk) open(flags int) {
	t.user(packet(pktOpen, 1, "/f", flags, 0))
	t.server(packet(pktHandle, 1, "h"))
}

func (t *talk) close() []string {
	t.user(packet(pktClose, 2, "h"))
	t.server(packet(pktStatus, 2, 0, "", ""))
	return t.rows
}

func TestSFTP(t *testing.T) {
	ok := func(id int) []byte { return packet(pktStatus, id, 0, "", "") }
	read := func(id int, offset uint64) []byte { return packet(pktRead, id, "h", offset, 3) }
	write := func(id int, offset uint64, data string) []byte { return packet(pktWrite, id, "h", offset, data) }
	six := sum([]byte("abcdef"))
	for _, tc := range []struct {
		name  string
		flags int
		do    func(*talk)
		want  []string
	}{
		{"answers to reads in another order are hashed in the file's", openRead, func(t *talk) {
			t.user(read(10, 0), read(11, 3), read(12, 6))
			t.server(packet(pktData, 11, "def"), packet(pktStatus, 12, 1, "", ""), packet(pktData, 10, "abc"))
		}, []string{"download /f 6 " + six + " whole"}},
		{"a short answer is asked for again", openRead, func(t *talk) {
			t.user(read(10, 0), read(11, 3))
			t.server(packet(pktData, 10, "a"), packet(pktData, 11, "def"))
			t.user(read(10, 1), read(11, 6))
			t.server(packet(pktData, 10, "bc"), packet(pktStatus, 11, 1))
		}, []string{"download /f 6 " + six + " whole"}},
		{"without an end the file may go on", openRead, func(t *talk) {
			t.user(read(10, 0), read(11, 3))
			t.server(packet(pktData, 10, "abc"), packet(pktData, 11, "def"))
		}, []string{"download /f 6 " + six}},
		{"the size that the server says is an end too", openRead, func(t *talk) {
			t.user(packet(pktFstat, 9, "h"), read(10, 0), read(11, 3))
			t.server(packet(pktAttrs, 9, 1, uint64(6)), packet(pktData, 10, "abc"), packet(pktData, 11, "def"))
		}, []string{"download /f 6 " + six + " whole"}},
		{"a hole has no hash", openRead, func(t *talk) {
			t.user(read(10, 0), read(11, 6))
			t.server(packet(pktData, 10, "abc"), packet(pktData, 11, "ghi"))
		}, []string{"download /f"}},
		{"what is read twice has no hash", openRead, func(t *talk) {
			t.user(read(10, 0), read(11, 0))
			t.server(packet(pktData, 10, "abc"), packet(pktData, 11, "abc"))
		}, []string{"download /f"}},
		{"writes in another order are hashed in the file's, if they begin with the first", openWrite | openCreate | openTrunc, func(t *talk) {
			t.user(write(10, 0, "ab"), write(11, 4, "ef"), write(12, 2, "cd"))
			t.server(ok(10), ok(12), ok(11))
		}, []string{"upload /f 6 " + six + " whole"}},
		{"a write that failed", openWrite | openCreate | openTrunc, func(t *talk) {
			t.user(write(10, 0, "abc"), write(11, 3, "def"))
			t.server(ok(10), packet(pktStatus, 11, 4, "No space left on device", ""))
		}, []string{"upload /f 6 " + six + ": No space left on device"}},
		{"an open file that was there before may be longer", openWrite | openCreate, func(t *talk) {
			t.user(write(10, 0, "abcdef"))
			t.server(ok(10))
		}, []string{"upload /f 6 " + six}},
		{"unless it is cut", openWrite | openCreate, func(t *talk) {
			t.user(write(10, 0, "abcdef"), packet(pktFsetstat, 11, "h", 1, uint64(6)))
			t.server(ok(10), ok(11))
		}, []string{"setstat /f", "upload /f 6 " + six + " whole"}},
		{"a cut that failed is none", openWrite | openCreate, func(t *talk) {
			t.user(write(10, 0, "abcdef"), packet(pktFsetstat, 11, "h", 1, uint64(6)))
			t.server(ok(10), packet(pktStatus, 11, 3))
		}, []string{"setstat /f: permission denied", "upload /f 6 " + six}},
		{"a file that is read and written is two rows", openRead | openWrite, func(t *talk) {
			t.user(write(10, 3, "abcdef"), read(11, 0))
			t.server(ok(10), packet(pktData, 11, "abc"))
		}, []string{"upload /f 6 " + six, "download /f 3 " + sum([]byte("abc"))}},
		{"the same id twice hides no failure", openRead, func(t *talk) {
			t.user(packet(pktRemove, 10, "/x"), packet(17, 10, "/y"))
			t.server(ok(10), packet(pktStatus, 10, 2))
		}, []string{"remove /x", "download /f"}},
		{"extensions that change files, and one that nobody knows", openRead, func(t *talk) {
			t.user(packet(pktExtended, 10, "posix-rename@openssh.com", "/a", "/b"), packet(pktExtended, 11, "hardlink@openssh.com", "/a", "/b"),
				packet(pktExtended, 12, "statvfs@openssh.com", "/"), packet(pktExtended, 13, "erase-all@example.com"),
				packet(pktExtended, 14, "copy-data", "h", uint64(0), uint64(0), "h", uint64(9)), packet(pktExtended, 15, "lsetstat@openssh.com", "/l", 0))
			t.server(ok(10), ok(11), ok(12), ok(13), ok(14), ok(15))
		}, []string{"rename /a -> /b", "link /b -> /a", "extended erase-all@example.com", "copy /f -> /f", "setstat /l", "download /f"}},
		{"a path that is too long is cut, and the rest goes on", openRead, func(t *talk) {
			t.user(packet(pktRemove, 10, strings.Repeat("x", 100_000)), packet(pktRemove, 11, "/y"))
			t.server(packet(pktStatus, 10, 2), ok(11))
		}, []string{"remove " + strings.Repeat("x", maxPath) + "…: no such file", "remove /y", "download /f"}},
		{"bytes that are no text are written out", openRead, func(t *talk) {
			t.user(packet(pktRemove, 10, "/\xff\xc3\xa4�\x1b"))
			t.server(ok(10))
		}, []string{"remove /\\xff\u00e4\ufffd\x1b", "download /f"}},
		{"an answer without a request", openRead, func(t *talk) { t.server(ok(77)) },
			[]string{"download /f: it was not finished", "GAP the file transfer could not be followed: an answer has no request"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newTalk()
			k.open(tc.flags)
			tc.do(k)
			if d := cmp.Diff(tc.want, k.close()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestAnotherProtocolIsSaidNotToBeFollowed(t *testing.T) {
	for name, said := range map[string][]byte{
		"version 6":                     packet(pktVersion, 6),
		"what a login script prints":    []byte("Welcome to web-1!\n"),
		"an answer before any version":  packet(pktStatus, 1, 0),
		"a packet without even a type":  {0, 0, 0, 0, 0},
		"a packet of one byte too many": append(binary.BigEndian.AppendUint32(nil, maxPacket+1), pktStatus),
	} {
		var s seen
		w := Subsystem("sftp", s.emit)
		w.FromUser(packet(pktInit, 3))
		w.FromServer(said)
		w.FromServer([]byte{0})
		w.FromServer(said)
		w.Close()
		if len(s.rows) != 1 || !strings.HasPrefix(s.rows[0], "GAP ") {
			t.Errorf("%s: %q", name, s.rows)
		}
	}
}

func TestLimitsOfSFTP(t *testing.T) {
	for _, tc := range []struct {
		name string
		n    int
		do   func(k *talk, n int)
	}{
		{"requests under way", maxPending, func(k *talk, n int) {
			for i := range n {
				k.user(packet(17, i, "/"))
			}
		}},
		{"open files", maxHandles, func(k *talk, n int) {
			for i := range n {
				k.user(packet(pktOpen, i, "/", openRead, 0))
				k.server(packet(pktHandle, i, fmt.Sprint(i)))
			}
		}},
		{"long names", maxNames / maxPath, func(k *talk, n int) {
			for i := range n {
				k.user(packet(pktRemove, i, strings.Repeat("x", maxPath)))
			}
		}},
	} {
		for extra := range 2 {
			k := newTalk()
			tc.do(k, tc.n+extra)
			gap := slices.ContainsFunc(k.rows, func(r string) bool { return strings.HasPrefix(r, "GAP") })
			if gap != (extra == 1) {
				t.Errorf("%s, %d beyond the limit: gap %v", tc.name, extra, gap)
			}
		}
	}
}

func TestWhatComesTooEarlyIsHeldBackWithinBounds(t *testing.T) {
	piece := strings.Repeat("x", 1<<10)
	for extra := range 2 {
		k := newTalk()
		k.open(openWrite | openTrunc)
		k.user(packet(pktWrite, 5, "h", uint64(0), "x"))
		for i := range maxParked + extra {
			k.user(packet(pktWrite, 10+i, "h", uint64(1+len(piece)*(i+1)), piece))
		}
		k.user(packet(pktWrite, 6, "h", uint64(1), piece))
		row := k.close()[0]
		if hashed := len(strings.Fields(row)) > 2; hashed != (extra == 0) {
			t.Errorf("%d packets beyond the limit: %q", extra, row)
		}
	}
	k := newTalk()
	k.open(openWrite | openTrunc)
	k.user(packet(pktWrite, 5, "h", uint64(0), "x"), packet(pktWrite, 6, "h", uint64(2), strings.Repeat("x", maxParkedBytes+1)))
	if row := k.close()[0]; row != "upload /f: it was not finished" && row != "upload /f" {
		t.Errorf("more bytes than may be held back: %q", row)
	}
}

func TestSCP(t *testing.T) {
	type step struct {
		user bool
		b    string
	}
	u := func(s string) step { return step{true, s} }
	d := func(s string) step { return step{false, s} }
	hello := sum([]byte("hello"))
	for _, tc := range []struct {
		name, command string
		steps         []step
		want          []string
	}{
		{"a refused file sends no bytes", "scp -t -- '/tmp/a b'", []step{d("\x00"), u("C0644 5 x\n"), d("\x01scp: no\n"), u("C0644 5 y\n"), d("\x00"), u("hello\x00"), d("\x00")},
			[]string{"upload /tmp/a b -> x: scp: no", "upload /tmp/a b -> y 5 " + hello + " whole"}},
		{"a sender who does not wait hides nothing behind a refusal", "scp -d -t /tmp", []step{u("C0644 5 x\nC0644 5 y\nhello\x00"), d("\x00"), d("\x01no\n"), d("\x00"), d("\x00")},
			[]string{"upload /tmp/x: no", "upload /tmp/y 5 " + hello + " whole"}},
		{"the disk is full", "scp -t /tmp/x", []step{d("\x00"), u("C0644 5 x\n"), d("\x00"), u("hello\x00"), d("\x01full\n")},
			[]string{"upload /tmp/x 5 " + hello + ": full"}},
		{"a file that could not be read to its end", "scp -f /tmp/x", []step{u("\x00"), d("C0644 5 x\n"), u("\x00"), d("hello\x01I/O error\n"), u("\x00")},
			[]string{"download /tmp/x 5 " + hello + ": I/O error"}},
		{"files of a pattern", "scp -f '/tmp/*'", []step{u("\x00"), d("C0644 5 x\n"), u("\x00"), d("hello\x00"), u("\x00"), d("C0644 0 y\n"), u("\x00"), d("\x00"), u("\x00")},
			[]string{"download /tmp/x 5 " + hello + " whole", "download /tmp/y 0 " + sum(nil) + " whole"}},
		{"a tree of which a folder is refused", "scp -r -t /tmp/", []step{d("\x00"), u("D0755 0 t\n"), d("\x00"), u("D0755 0 no\n"), d("\x01no\n"), u("C0644 5 x\n"), d("\x00"), u("hello\x00"), d("\x00"), u("E\n"), d("\x00")},
			[]string{"mkdir /tmp/t", "mkdir /tmp/t/no: no", "upload /tmp/t/x 5 " + hello + " whole"}},
		{"a transfer that breaks off", "scp -t /tmp/x", []step{d("\x00"), u("C0644 5 x\n"), d("\x00"), u("hel")},
			[]string{"upload /tmp/x 3 " + sum([]byte("hel")) + ": it was not finished"}},
		{"what is no scp", "scp -t /tmp/x", []step{d("\x00"), u("GET / HTTP/1.1\r\n")},
			[]string{"GAP the file transfer could not be followed: this is no line of scp"}},
		{"a size that is none", "scp -t /tmp/x", []step{d("\x00"), u("C0644 -5 x\n")},
			[]string{"GAP the file transfer could not be followed: a line of scp has no size"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, one := range []bool{false, true} {
				var s seen
				w := Exec(tc.command, s.emit)
				for _, st := range tc.steps {
					parts := []string{st.b}
					if one {
						parts = strings.Split(st.b, "")
					}
					for _, p := range parts {
						if st.user {
							w.FromUser([]byte(p))
						} else {
							w.FromServer([]byte(p))
						}
					}
				}
				w.Close()
				if diff := cmp.Diff(tc.want, s.rows); diff != "" {
					t.Errorf("byte by byte %v, -want +got:\n%s", one, diff)
				}
			}
		})
	}
}

func TestLimitsOfSCP(t *testing.T) {
	for _, tc := range []struct {
		name string
		at   func(extra int) []string // what the sender says, each answered by 0
	}{
		{"a name", func(extra int) []string { return []string{"C0644 0 " + strings.Repeat("x", maxPath+extra) + "\n"} }},
		{"a mode", func(extra int) []string { return []string{"C" + strings.Repeat("0", maxMode+extra) + " 0 x\n"} }},
		{"a size", func(extra int) []string { return []string{"C0644 " + strings.Repeat("0", maxDigits+extra) + " x\n"} }},
		{"times", func(extra int) []string { return []string{"T" + strings.Repeat("0", maxTimes-1+extra) + "\n"} }},
		{"an error", func(extra int) []string {
			return []string{"C0644 0 x\n", "\x01" + strings.Repeat("x", maxWords-1+extra) + "\n"}
		}},
		{"nested folders", func(extra int) []string { return slices.Repeat([]string{"D0755 0 d\n"}, maxDepth+extra) }},
	} {
		for extra := range 2 {
			var s seen
			w := Exec("scp -r -t .", s.emit)
			w.FromServer([]byte{0})
			for _, line := range tc.at(extra) {
				w.FromUser([]byte(line))
				w.FromServer([]byte{0})
			}
			gap := len(s.rows) > 0 && strings.HasPrefix(s.rows[len(s.rows)-1], "GAP")
			if gap != (extra == 1) {
				t.Errorf("%s, %d beyond the limit: %v", tc.name, extra, gap)
			}
		}
	}
	for extra := range 2 {
		var s seen
		w := Exec("scp -t .", s.emit)
		w.FromServer([]byte{0})
		w.FromUser(bytes.Repeat([]byte("C"), maxLine+extra))
		if gap := len(s.rows) == 1; gap != (extra == 1) {
			t.Errorf("a line, %d beyond the limit: %v", extra, gap)
		}
	}
	for extra := range 2 {
		var s seen
		w := Exec("scp -t .", s.emit)
		w.FromUser(make([]byte, maxAhead+extra))
		if gap := len(s.rows) == 1; gap != (extra == 1) {
			t.Errorf("held back, %d beyond the limit: %v", extra, gap)
		}
	}
}

func TestOnlyFileTransfersAreWatched(t *testing.T) {
	for command, want := range map[string]bool{
		"scp -t x": true, "/usr/bin/scp -v -f -- x": true, "/usr/lib/openssh/sftp-server -l INFO": true, "scp a b": false, "scp": false, "": false,
		"scp -f *.txt ~/x": true, `scp -t -- '/tmp/a; b$c'`: true, `scp -t "/tmp/a b" /tmp/c\ d`: true,
		// A user's own program in the guise of one, or something else behind it, would pass without its bytes being kept.
		"scp -t x; sh": false, "scp -t x\nsh": false, "scp -f x | sh": false, "scp -t $(sh)": false, "scp -t `sh`": false, `scp -t "$(sh)"`: false,
		"scp -t x &": false, "scp -t 'x": false, "/tmp/scp -t x": false, "./sftp-server": false, "/usr/bin/../../tmp/scp -t x": false, "A=b scp -t x": false,
		"ls": false, "rsync --server -e.LsfxCIvu . x": false, "'scp' -t x": true,
	} {
		if got := Exec(command, nil) != nil; got != want {
			t.Errorf("%q: %v", command, got)
		}
	}
	var none *Watcher // what is not watched can be used all the same
	none.FromUser([]byte("x"))
	none.FromServer([]byte("x"))
	none.Close()
}

// both plays bytes into a watcher: the first of each chunk says who speaks and how much.
func both(w *Watcher, b []byte) {
	for len(b) > 1 {
		n := min(int(b[0]>>1)+1, len(b)-1)
		if b[0]&1 == 0 {
			w.FromUser(b[1 : 1+n])
		} else {
			w.FromServer(b[1 : 1+n])
		}
		b = b[1+n:]
	}
	w.Close()
}

// chunks is the inverse of both.
func chunks(parts ...[]byte) []byte {
	var out []byte
	for i, p := range parts {
		for len(p) > 0 {
			n := min(len(p), 128)
			out = append(append(out, byte((n-1)<<1|i&1)), p[:n]...)
			p = p[n:]
		}
	}
	return out
}

func FuzzSFTP(f *testing.F) {
	ok := packet(pktStatus, 2, 0, "", "")
	f.Add(chunks(packet(pktInit, 3), packet(pktVersion, 3), packet(pktOpen, 1, "/f", openWrite|openTrunc, 0), packet(pktHandle, 1, "h"),
		packet(pktWrite, 2, "h", uint64(0), "hello"), ok, packet(pktClose, 2, "h"), ok))
	f.Add(chunks(packet(pktInit, 3), packet(pktVersion, 3), packet(pktOpen, 1, "/f", openRead, 0), packet(pktHandle, 1, "h"),
		packet(pktRead, 2, "h", uint64(0), 9), packet(pktData, 2, "hello"), packet(pktRename, 2, "/a", "/b"), ok, packet(pktExtended, 2, "posix-rename@openssh.com", "a", "b"), ok))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s seen
		both(Subsystem("sftp", s.emit), b)
		oneGap(t, s.rows)
	})
}

func FuzzSCP(f *testing.F) {
	f.Add("scp -t /tmp", chunks(nil, []byte("\x00"), []byte("C0644 5 x\n"), []byte("\x00"), []byte("hello\x00"), []byte("\x00")))
	f.Add("scp -r -f 'a b'", chunks([]byte("\x00"), []byte("T1 0 1 0\n"), []byte("\x00"), []byte("D0755 0 x\n"), []byte("\x00"), []byte("\x01no\nE\n"), []byte("\x00")))
	f.Fuzz(func(t *testing.T, command string, b []byte) {
		var s seen
		w := Exec(command, s.emit)
		if w == nil {
			return
		}
		both(w, b)
		oneGap(t, s.rows)
	})
}

// oneGap checks that nothing follows a gap.
func oneGap(t *testing.T, rows []string) {
	for i, r := range rows {
		if strings.HasPrefix(r, "GAP") && i < len(rows)-1 {
			t.Fatalf("rows after a gap: %q", rows)
		}
	}
}

func TestMemoryIsBoundedWhateverPasses(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	k := newTalk()
	k.open(openRead | openWrite)
	big := bytes.Repeat([]byte("x"), 32<<10)
	for i := range 4096 { // 128 MiB, each at a place of its own
		k.user(packet(pktWrite, i, "h", random.Uint64(), string(big)))
		k.server(packet(pktStatus, i, 0))
	}
	k.rows = nil
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 64<<20 {
		t.Errorf("%d MiB are held", m.HeapAlloc>>20)
	}
	runtime.KeepAlive(k)
}

func BenchmarkUpload(b *testing.B) {
	k := newTalk()
	k.open(openWrite | openTrunc)
	data := strings.Repeat("x", 32<<10)
	b.SetBytes(int64(len(data)))
	for i := range b.N {
		k.w.FromUser(packet(pktWrite, i, "h", uint64(i*len(data)), data))
		k.w.FromServer(packet(pktStatus, i, 0))
	}
}
