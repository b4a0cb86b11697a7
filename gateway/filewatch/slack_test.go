package filewatch

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/recording"
)

// TestAServerTellsNothingBesideItsFiles: nobody keeps the bytes of a watched transfer, so a
// server that works together with its user must find no place in it for other things.
func TestAServerTellsNothingBesideItsFiles(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("a secret ", 300)
	more := func(b []byte) []byte { // the same packet, with something behind its fields
		b = append(b, secret...)
		n := len(b) - 4
		b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		return b
	}
	for name, do := range map[string]func(*talk){
		"a second version": func(t *talk) { t.server(packet(pktVersion, 3, "x", "y")) },
		"behind a handle": func(t *talk) {
			t.user(packet(pktOpen, 1, "/f", openRead, 0))
			t.server(more(packet(pktHandle, 1, "h")))
		},
		"behind data": func(t *talk) {
			t.open(openRead)
			t.user(packet(pktRead, 2, "h", uint64(0), 3))
			t.server(more(packet(pktData, 2, "abc")))
		},
		"data of no file":                 func(t *talk) { t.user(packet(pktRead, 2, "none", uint64(0), 3)); t.server(packet(pktData, 2, secret)) },
		"behind attributes":               func(t *talk) { t.user(packet(pktFstat, 2, "h")); t.server(more(packet(pktAttrs, 2, 0))) },
		"behind a status":                 func(t *talk) { t.user(packet(pktRemove, 2, "/f")); t.server(more(packet(pktStatus, 2, 0, "", ""))) },
		"names in answer to nothing such": func(t *talk) { t.user(packet(pktRemove, 2, "/f")); t.server(packet(pktName, 2, 1, secret, "", 0)) },
		"a reply to what was no question": func(t *talk) { t.user(packet(99, 2)); t.server(packet(pktReply, 2, "x")) },
		"a kind that nobody knows":        func(t *talk) { t.user(packet(99, 2)); t.server(packet(150, 2, secret)) },
	} {
		k := newTalk()
		do(k)
		if n := len(k.rows); n == 0 || !strings.Contains(k.rows[n-1], "followed") {
			t.Errorf("sftp, %s: %q", name, k.rows)
		}
	}
	first := &talk{}
	first.w = Subsystem("sftp", first.emit)
	first.server(more(packet(pktVersion, 3)))
	if len(first.rows) != 1 {
		t.Errorf("sftp, behind the version: %q", first.rows)
	}
	for name, tc := range map[string]struct{ command, server, user string }{
		"lines that are no answers":    {"scp -t x", "root:x:0:0\n", ""},
		"an error that is too long":    {"scp -t x", "\x01" + secret + "\n", ""},
		"errors over errors in a file": {"scp -t x", "\x00\x00\x01one\n\x01two\n", "C0644 10 f\nabc"},
		"times that are none":          {"scp -f x", "T0 0 0 secret\n", "\x00"},
		"times that are long":          {"scp -f x", "T" + strings.Repeat("7", 200) + "\n", "\x00"},
		"a mode that is long":          {"scp -f x", "C" + strings.Repeat("7", 200) + " 1 f\n", "\x00"},
		"a size with zeros before it":  {"scp -f x", "C0644 " + strings.Repeat("0", 200) + "1 f\n", "\x00"},
		"a name longer than any":       {"scp -f x", "C0644 1 " + strings.Repeat("f", maxPath+1) + "\n", "\x00"},
		"a fault that is too long":     {"scp -f x", "\x01" + secret + "\n", "\x00"},
	} {
		k := &talk{}
		k.w = Exec(tc.command, k.emit)
		if strings.Contains(tc.command, "-t") {
			k.server([]byte(tc.server[:min(2, strings.LastIndexByte(tc.server, 0)+1)]))
			if tc.user != "" {
				k.user([]byte(tc.user))
				k.server([]byte(tc.server[2:]))
			} else {
				k.server([]byte(tc.server))
			}
		} else {
			k.user([]byte(tc.user))
			k.server([]byte(tc.server))
		}
		if n := len(k.rows); n == 0 || !strings.Contains(k.rows[n-1], "followed") {
			t.Errorf("scp, %s: %q", name, k.rows)
		}
	}
	for name, do := range map[string]func(*talk){
		"names of no folder": func(t *talk) {
			t.user(packet(pktReaddir, 2, "none"))
			t.server(packet(pktName, 2, 1, secret, "", 0))
		},
		"names of a file": func(t *talk) {
			t.open(openRead)
			t.user(packet(pktReaddir, 2, "h"))
			t.server(packet(pktName, 2, 1, secret, "", 0))
		},
		"data of a folder": func(t *talk) {
			t.user(packet(pktOpendir, 1, "/d"))
			t.server(packet(pktHandle, 1, "h"))
			t.user(packet(pktRead, 2, "h", uint64(0), 9))
			t.server(packet(pktData, 2, secret))
		},
		"a number of names that is cut off": func(t *talk) {
			t.user(packet(pktOpendir, 1, "/d"))
			t.server(packet(pktHandle, 1, "h"))
			t.user(packet(pktReaddir, 2, "h"))
			t.server(packet(pktName, 2))
		},
	} {
		k := newTalk()
		do(k)
		if n := len(k.rows); n == 0 || !strings.Contains(k.rows[n-1], "followed") {
			t.Errorf("sftp, %s: %q", name, k.rows)
		}
	}
	// An empty folder is named too.
	k := &talk{}
	k.w = Exec("scp -r -f x", k.emit)
	k.user([]byte("\x00"))
	k.server([]byte("D0755 0 a secret\n"))
	k.user([]byte("\x00"))
	k.server([]byte("E\n"))
	if len(k.rows) != 1 || !strings.Contains(k.rows[0], "a secret") {
		t.Errorf("scp, an empty folder: %q", k.rows)
	}
}

// TestWhatAServerSaysBesideFilesLeavesATrace: names, words and numbers are not kept as they
// are, and still nothing passes of which nothing is on record.
func TestWhatAServerSaysBesideFilesLeavesATrace(t *testing.T) {
	t.Parallel()
	const secret = "the password is swordfish"
	list := func(k *talk, names ...string) {
		k.user(packet(pktOpendir, 1, "/d"))
		k.server(packet(pktHandle, 1, "d"))
		for _, n := range names {
			k.user(packet(pktReaddir, 2, "d"))
			k.server(packet(pktName, 2, 2, n, "-rw-r--r-- "+n, 0, "..", "", 0))
		}
		k.user(packet(pktReaddir, 2, "d"))
		k.server(packet(pktStatus, 2, 1, "End of file", ""))
		k.user(packet(pktClose, 3, "d"))
		k.server(packet(pktStatus, 3, 0, "Success", ""))
	}
	rows := func(do func(*talk)) ([]string, recording.FileAction) {
		k := newTalk()
		do(k)
		k.w.Close()
		return k.rows, k.answers
	}
	long := strings.Repeat("x", 3*keepAnswer) // more than is kept of a packet
	got, honest := rows(func(k *talk) { list(k, "a", long) })
	if d := cmp.Diff([]string{"list /d 4 names whole"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	emitted := func(names ...string) (v recording.FileAction) {
		k := &talk{}
		k.w = Subsystem("sftp", func(_ recording.Kind, row any) {
			if f, is := row.(recording.FileAction); is && f.Action == "list" {
				v = f
			}
		})
		k.user(packet(pktInit, 3))
		k.server(packet(pktVersion, 3))
		list(k, names...)
		return v
	}
	one, other := emitted(long), emitted(long[1:]+"y")
	if one.Size != int64(len(packet(0, 2, long, "-rw-r--r-- "+long, 0, "..", "", 0))-5) || one.SHA256 == "" || one.SHA256 == other.SHA256 || one.Size != other.Size {
		t.Errorf("of other names the list is %+v and %+v", one, other)
	}
	if honest.SHA256 == "" || honest.Size == 0 {
		t.Errorf("nothing is told of the answers: %+v", honest)
	}

	ask := func(kind byte, fields ...any) func(*talk) {
		return func(k *talk) {
			k.open(openRead)
			k.user(packet(kind, append([]any{5}, fields...)...))
		}
	}
	for name, c := range map[string]struct {
		ask    func(*talk)
		answer func(word string) []byte
		said   string // the row with the words, if they are written down
	}{
		"words of a success":                 {ask(pktRemove, "/x"), func(w string) []byte { return packet(pktStatus, 5, 0, w, "") }, "remove /x (" + secret + ")"},
		"words with the end of a file":       {ask(pktRead, "h", uint64(0), 9), func(w string) []byte { return packet(pktStatus, 5, 1, w, "") }, "answer /f (" + secret + ")"},
		"words where nothing is told":        {ask(pktRealpath, "."), func(w string) []byte { return packet(pktStatus, 5, 0, w, "") }, "answer  (" + secret + ")"},
		"words of a failure that no row has": {ask(pktRealpath, "."), func(w string) []byte { return packet(pktStatus, 5, 4, w, "") }, "answer  (" + secret + ")"},
		"words of an open without a handle":  {ask(pktOpen, "/y", openRead, 0), func(w string) []byte { return packet(pktStatus, 5, 0, w, "") }, "answer /y (" + secret + ")"},
		"the language of words":              {ask(pktRemove, "/x"), func(w string) []byte { return packet(pktStatus, 5, 0, "", w) }, ""},
		"a path":                             {ask(pktRealpath, "."), func(w string) []byte { return packet(pktName, 5, 1, w, "", 0) }, ""},
		"where a link leads":                 {ask(pktReadlink, "/x"), func(w string) []byte { return packet(pktName, 5, 1, w, "", 0) }, ""},
		"a path longer than is kept":         {ask(pktRealpath, "."), func(w string) []byte { return packet(pktName, 5, 1, strings.Repeat("/", keepAnswer)+w, "", 0) }, ""},
		"a handle":                           {ask(pktOpen, "/y", openRead, 0), func(w string) []byte { return packet(pktHandle, 5, w) }, ""},
		"the answer to an extension":         {ask(pktExtended, "users-groups-by-id@openssh.com", "", ""), func(w string) []byte { return packet(pktReply, 5, w) }, ""},
		"attributes":                         {ask(pktFstat, "h"), func(w string) []byte { return packet(pktAttrs, 5, 1, uint64(w[0])) }, ""},
	} {
		play := func(word string) ([]string, recording.FileAction) {
			return rows(func(k *talk) { c.ask(k); k.server(c.answer(word)) })
		}
		got, hidden := play(secret)
		_, plain := play("nothing of interest here.")
		if hidden.SHA256 == "" || hidden.SHA256 == plain.SHA256 {
			t.Errorf("%s: the answers are told of as %+v, whatever was said", name, hidden)
		}
		if c.said != "" && !slices.Contains(got, c.said) {
			t.Errorf("%s: %q", name, got)
		}
	}

	scp := func(command, server string) recording.FileAction {
		k := &talk{}
		k.w = Exec(command, k.emit)
		if strings.Contains(command, "-f") {
			k.user([]byte("\x00"))
		}
		k.server([]byte(server))
		k.w.Close()
		return k.answers
	}
	for name, pair := range map[string][3]string{
		"the mode of a file": {"scp -f x", "C0644 1 f\n", "C0600 1 f\n"},
		"its times":          {"scp -p -f x", "T1 0 1 0\n", "T2 0 1 0\n"},
		"words":              {"scp -t x", "\x01one\n", "\x01two\n"},
	} {
		a, b := scp(pair[0], pair[1]), scp(pair[0], pair[2])
		if a.Size != int64(len(pair[1])) || a.SHA256 == "" || a.SHA256 == b.SHA256 {
			t.Errorf("scp, %s: %+v and %+v", name, a, b)
		}
	}
}

// TestWordsAreWrittenDownWithinBounds: a server that never stops talking fills no recording.
func TestWordsAreWrittenDownWithinBounds(t *testing.T) {
	t.Parallel()
	word := strings.Repeat("w", 512)
	for extra := range 2 {
		k := newTalk()
		for i := range maxSaid/len(word) + extra {
			k.user(packet(pktRemove, i, "/x"))
			k.server(packet(pktStatus, i, 0, word, ""))
		}
		said := 0
		for _, r := range k.rows {
			said += strings.Count(r, word)
		}
		if said != maxSaid/len(word) {
			t.Errorf("%d beyond the bound: %d are written down", extra, said)
		}
	}
}
