package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// recorded is a session on disk, with who can read and who can verify it.
type recorded struct{ dir, segment, identity, sshKey, keys, head string }

type onDisk string

func (d onDisk) Create(n int) (recording.Segment, error) {
	return os.Create(filepath.Join(string(d), recording.SegmentName(n)))
}

const bell = "\x07"

// record makes a session of alice's with a terminal, a command and a transfer.
func record(t *testing.T) recorded {
	t.Helper()
	return recordEach(t, time.Hour)
}

// recordEach has so much time between two events.
func recordEach(t *testing.T, step time.Duration) recorded {
	t.Helper()
	dir := t.TempDir()
	r := recorded{dir: filepath.Join(dir, "ses"), identity: filepath.Join(dir, "id"), sshKey: filepath.Join(dir, "ssh"), keys: filepath.Join(dir, "keys")}
	r.segment = filepath.Join(r.dir, recording.SegmentName(1))
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := recording.ParseRecipients([]string{identity.Recipient().String(), string(ssh.MarshalAuthorizedKey(sshPublic))})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{r.identity: "# a key\n" + identity.String() + "\n", r.sshKey: string(pem.EncodeToMemory(block)), r.keys: hex.EncodeToString(public)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := recording.NewWriter(onDisk(r.dir), recording.WriterOptions{
		Header:     recording.Header{Session: "ses_abcdefghij2345672345", Gateway: "gw_a", User: "alice", ServerName: "web-1", Login: "alice", Started: time.Unix(1_800_000_000, 0).UTC()},
		Recipients: recipients, Key: func() (ed25519.PrivateKey, error) { return key, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range []recording.Event{
		{Channel: 1, Kind: recording.Request, Data: []byte(`{"type":"pty-req","term":"xterm","size":{"columns":100,"rows":30}}`)},
		{Channel: 1, Kind: recording.Output, Data: []byte("\x1b[1mhello\x1b[0m\r\n")},
		{Channel: 1, Kind: recording.Output, Data: []byte("\x1b]52;c;c3RvbGVu" + bell + "\x1b[6n\x1b[c\u009b6n")},
		{Channel: 1, Kind: recording.Output, Data: []byte("b\xc3\xa4r \xff\x1b[?1000h\r\n")},
		{Channel: 2, Kind: recording.Output, Data: []byte("of another channel\n")},
		{Channel: 3, Kind: recording.File, Data: []byte(`{"action":"upload","path":"/tmp/\u001b[31mx","size":6,"sha256":"abcd","whole":true}`)},
		{Channel: 1, Kind: recording.Exit, Data: []byte(`{"code":3}`)},
	} {
		e.At = time.Duration(i) * step
		if err := w.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(recording.Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	r.head = w.Progress().Head
	return r
}

func TestSessionsVerbs(t *testing.T) {
	r := record(t)
	other := record(t)
	damaged := record(t)
	b, err := os.ReadFile(damaged.segment)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 { // more than a link, without which all can be read
		b[len(b)/2+i] ^= 1
	}
	if err := os.WriteFile(damaged.segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "locked")
	if err := os.WriteFile(short, []byte("AGE-SECRET-KEY-1NONSENSE"), 0o600); err != nil {
		t.Fatal(err)
	}
	const hour = `"at":3600`
	for _, tc := range []struct {
		name string
		args []string
		code ExitCode
		want []string // in what is printed
		not  []string
	}{
		{"play without a terminal waits for nothing", []string{"play", "-i", r.identity, r.dir}, 0, []string{"\x1b[1mhello\x1b[0m\r\n?6nbär ?\r\n"}, []string{"stolen", "\x1b[6n", "\x1b[c", "1000", "another"}},
		{"play one file, another channel, with a key of ssh", []string{"play", "-i", r.sshKey, r.segment, "--channel", "2"}, 0, []string{"of another channel\n"}, []string{"hello"}},
		{"play from a time on shows what stood there", []string{"play", "-i", r.identity, r.dir, "--at", "1h5m"}, 0, []string{"hello", "bär"}, nil},
		{"play from an instant on", []string{"play", "-i", r.identity, r.dir, "--at", "2027-01-15T10:30:00Z"}, 0, []string{"bär"}, []string{"hello"}},
		{"play behind the end", []string{"play", "-i", r.identity, r.dir, "--at", "9:00:00"}, 1, []string{"ends before"}, nil},
		{"a time that is none", []string{"play", "-i", r.identity, r.dir, "--at", "noon"}, 2, []string{"--at"}, nil},
		{"a speed that is none", []string{"play", "-i", r.identity, r.dir, "--speed", "0"}, 2, []string{"--speed"}, nil},
		{"without an identity", []string{"play", r.dir}, 2, []string{"type: cardea sessions play " + r.dir + " --identity FILE\n"}, nil},
		{"without an identity, to a file", []string{"export", r.dir, "--format", "text"}, 2, []string{"type: cardea sessions export " + r.dir + " --format text --identity FILE\n"}, nil},
		{"with a stranger's", []string{"play", "-i", other.identity, r.dir}, 1, []string{"none of the identities"}, nil},
		{"an identity that is none is not shown", []string{"play", "-i", short, r.dir}, 1, []string{"holds no identity"}, []string{"NONSENSE"}},
		{"a folder that is not there", []string{"play", "-i", r.identity, "/none"}, 1, []string{"000001.seg"}, nil},
		{"a folder without a recording", []string{"play", "-i", r.identity, t.TempDir()}, 1, []string{"not a recording", "; give the folder"}, nil},
		{"a channel that there is not", []string{"play", "-i", r.identity, r.dir, "--channel", "9"}, 2, []string{"no channel 9", "the last is 3"}, nil},
		{"a channel that is none", []string{"play", "-i", r.identity, r.dir, "--channel", "x"}, 2, []string{`--channel is "x"; give a whole number`}, nil},
		{"export of a channel that there is not", []string{"export", "-i", r.identity, r.dir, "--channel", "4"}, 2, []string{"no channel 4"}, []string{"version"}},
		{"asciicast of another channel", []string{"export", "-i", r.identity, r.dir, "--channel", "2"}, 0, []string{"another"}, []string{"hello"}},
		{"asciicast", []string{"export", "-i", r.identity, r.dir}, 0, []string{`"width":100`, `[3600.000000,"o","\u001b[1mhello`, `\u009b6n`}, []string{"\x1b", "\u009b", "another"}},
		{"text", []string{"export", "-i", r.identity, r.dir, "--format", "text"}, 0, []string{"hello\n?6nbär ?\n"}, []string{"\x1b", "52"}},
		{"json", []string{"export", "-i", r.identity, r.dir, "--format", "json"}, 0, []string{`"kind":"header"`, hour, `"text":"\u001b[1mhello`, `"bytes":"YsOk`, `"data":{"code":3}`, `"kind":"end"`}, []string{"\x1b", "\u009b"}},
		{"json of one channel", []string{"export", "-i", r.identity, r.dir, "--format", "json", "--channel", "2"}, 0, []string{"another"}, []string{"hello"}},
		{"files", []string{"export", "-i", r.identity, r.dir, "--format", "files"}, 0, []string{"upload", `/tmp/\x1b[31mx`, "2027-01-15T13:00:00Z"}, []string{"\x1b"}},
		{"files as JSON", []string{"export", "-i", r.identity, r.dir, "--format", "files", "-o", "json"}, 0, []string{`"sha256": "abcd"`}, []string{"\x1b"}},
		{"no files", []string{"export", "-i", r.identity, r.dir, "--format", "files", "--channel", "1"}, 0, []string{"no file passed"}, nil},
		{"what is damaged is said in each form", []string{"export", "-i", damaged.identity, damaged.dir, "--format", "text"}, 0, []string{"something is missing: 000001.seg is damaged at byte"}, nil},
		{"the fastest", []string{"play", "-i", r.identity, r.dir, "--speed", "1000"}, 0, []string{"hello"}, nil},
		{"too fast", []string{"play", "-i", r.identity, r.dir, "--speed", "1001"}, 2, []string{"--speed"}, nil},
		{"a file of keys that is too large", []string{"play", "-i", sizedFile(t, maxKeyFile+1), r.dir}, 1, []string{"too large"}, nil},
		{"a file of keys that is as large as it may be", []string{"play", "-i", sizedFile(t, maxKeyFile), r.dir}, 1, []string{"holds no identity"}, nil},
		{"verify", []string{"verify", r.dir, "--keys", r.keys, "--head", r.head, "--session", "ses_abcdefghij2345672345"}, 0, []string{"whole, and as", "client"}, nil},
		{"verify with the key in ssh's form", []string{"verify", r.dir, "--keys", sshPublicOf(t, r)}, 0, []string{"whole, and as"}, nil},
		{"verify with another key", []string{"verify", r.dir, "--keys", other.keys}, 3, []string{"NOT as", "key that is not known"}, nil},
		{"verify against another end", []string{"verify", r.dir, "--keys", r.keys, "--head", other.head}, 3, []string{"another state"}, nil},
		{"verify against a piece of a hash", []string{"verify", r.dir, "--keys", r.keys, "--head", r.head[:8]}, 2, []string{"give all 64 hex digits"}, []string{"NOT as"}},
		{"verify against what is no hash", []string{"verify", r.dir, "--keys", r.keys, "--head", strings.Repeat("x", 64)}, 2, []string{"give all 64 hex digits"}, []string{"NOT as"}},
		{"verify a folder without a recording", []string{"verify", t.TempDir(), "--keys", r.keys}, 1, []string{"there is no recording in", "; give the folder"}, []string{"NOT as"}},
		{"text of a channel that shows nothing", []string{"export", "-i", r.identity, r.dir, "--format", "text", "--channel", "3"}, 0, []string{"nothing was shown", "--format files"}, nil},
		{"play of a channel that shows nothing", []string{"play", "-i", r.identity, r.dir, "--channel", "3"}, 0, []string{"nothing was shown", "--format files"}, nil},
		{"verify what is damaged", []string{"verify", damaged.dir, "--keys", damaged.keys}, 3, []string{"NOT as", "000001.seg", "damaged"}, nil},
		{"verify what is damaged, for a program", []string{"verify", damaged.dir, "--keys", damaged.keys, "-o", "json"}, 3, []string{`"segment": 1`, `"offset": `}, nil},
		{"verify with keys that are none", []string{"verify", r.dir, "--keys", r.identity}, 1, []string{"holds no public key"}, []string{"AGE-SECRET"}},
		{"verify without keys asks the control plane", []string{"verify", r.dir}, 4, []string{"cardea login", "--keys FILE"}, nil},
		{"two choices of whose", []string{"ls", "--mine", "--user", "alice"}, 2, []string{"--mine and --user exclude each other; type: cardea sessions ls --help"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, stdout, stderr := testApp(t)
			code := a.run(context.Background(), append([]string{"sessions"}, tc.args...))
			got := stdout.String() + stderr.String()
			if code != tc.code {
				t.Errorf("code %d, not %d: %q", code, tc.code, got)
			}
			for _, w := range tc.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %q in %q", w, got)
				}
			}
			for _, n := range tc.not {
				if strings.Contains(got, n) {
					t.Errorf("%q in %q", n, got)
				}
			}
		})
	}
}

func sizedFile(t *testing.T, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func sshPublicOf(t *testing.T, r recorded) string {
	t.Helper()
	text, err := os.ReadFile(r.keys)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(ed25519.PublicKey(b))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, append([]byte("# gateways\n"), ssh.MarshalAuthorizedKey(public)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAScreenDrawsAndDoesNothingElse(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"text, lines and colours", "a\tb\r\n\x1b[1;31mred\x1b[m\x1b[38;5;9mx", "a\tb\r\n\x1b[1;31mred\x1b[m\x1b[38;5;9mx"},
		{"moving and erasing", "\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[3A\x1b7\x1b8\x1bM\x1b[?25l\x1b[?1049h", "\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[3A\x1b7\x1b8\x1bM\x1b[?25l\x1b[?1049h"},
		{"character sets, not of the terminal's own coding", "\x1b(0lqk\x1b(B\x1b%@", "\x1b(0lqk\x1b(B"},
		{"characters of all lengths", "ä€😀", "ä€😀"},
		{"broken ones", "\xff\xc3(\xe2\x82", "?" + "?(" + ""},
		{"the title", "\x1b]0;evil" + bell + "a\x1b]2;evil\x1b\\b", "ab"},
		{"the clipboard", "\x1b]52;c;aGk=" + bell, ""},
		{"strings to the terminal", "\x1bPq#0\x1b\\a\x1b_G\x1b\\b\x1b^x\x1b\\c\x1bXy\x1b\\d", "abcd"},
		{"a string that another code ends", "\x1b]0;evil\x1b[1mb", "\x1b[1mb"},
		{"questions", "\x05\x1b[6n\x1b[c\x1b[>c\x1b[=c\x1b[?6n\x1b[x\x1b[18t\x1b[>q\x1b[?2026$p\x1bZ\x1b[?u\x1b[0x", ""},
		{"keys, mouse and pasting", "\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?1h\x1b=\x1b>\x1b[>1u\x1b[>4;2m\x1b[2h", ""},
		{"a mode among others", "\x1b[?1049;1000h\x1b[4h\x1b[4l", "\x1b[4h\x1b[4l"},
		{"printing", "\x1b[5i\x1b[?4i", ""},
		{"C1 controls in both forms", "\x9b6n\xc2\x9b6n\xc2\x9d0;x", "?6n?6n?0;x"},
		{"a code with a control in it", "\x1b[1\r;3\x0531m", "\r\x1b[1;331m"},
		{"a code that is cut off", "\x1b[1\x18a\x1b[2\x1b[3mb", "a\x1b[3mb"},
		{"the longest code", "\x1b[" + strings.Repeat("1", maxCode-3) + "m", "\x1b[" + strings.Repeat("1", maxCode-3) + "m"},
		{"one byte longer", "\x1b[" + strings.Repeat("1", maxCode-2) + "m" + bell + "a", "a"},
		{"a code without end", "\x1b[" + strings.Repeat("1", 300) + "m" + bell + "a", "a"},
	} {
		for step := 1; step <= 3; step++ {
			var out bytes.Buffer
			s := &screen{out: &out}
			for b := []byte(tc.in); len(b) > 0; b = b[min(step, len(b)):] {
				s.Write(b[:min(step, len(b))])
			}
			if out.String() != tc.want {
				t.Errorf("%s, %d bytes at a time: %q, not %q", tc.name, step, out.String(), tc.want)
			}
		}
	}
}

func TestTheOtherScreenIsLeftIfItIsShown(t *testing.T) {
	for in, want := range map[string]bool{"": false, "\x1b[?1049h": true, "\x1b[?47h\x1b[?25l": true, "\x1b[?1049h\x1b[?1049l": false, "\x1b[47m1049h": false, "\x1b[?1000;1049h": false} {
		s := &screen{out: &bytes.Buffer{}}
		s.Write([]byte(in))
		if got := strings.HasSuffix(s.undo(), "\x1b[?1049l"); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("\x1b[1mhello\x1b]0;x\x07\xc2\x9b"), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		var once, twice, text bytes.Buffer
		(&screen{out: &once}).Write(b)
		s := &screen{out: &twice}
		cut = max(min(cut, len(b)), 0)
		s.Write(b[:cut])
		s.Write(b[cut:])
		if !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Fatalf("%q cut at %d: %q, not %q", b, cut, twice.Bytes(), once.Bytes())
		}
		var again bytes.Buffer
		(&screen{out: &again}).Write(once.Bytes())
		if !bytes.Equal(once.Bytes(), again.Bytes()) {
			t.Fatalf("%q became %q, then %q", b, once.Bytes(), again.Bytes())
		}
		(&words{screen{out: &text}}).Write(b)
		if bytes.ContainsAny(text.Bytes(), "\x1b\x05\r\x07") || strings.ContainsRune(text.String(), 0x9b) {
			t.Fatalf("%q became %q", b, text.Bytes())
		}
	})
}

func TestInstant(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]time.Duration{"": 0, "90s": 90 * time.Second, "1:30": 90 * time.Second, "1:00:01": time.Hour + time.Second, "2027-01-15T08:00:05Z": 5 * time.Second, "2020-01-01T00:00:00Z": 0} {
		if got, err := instant(text, start); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"5", "-3s", "1:2:3:4", "1:", "x:1", "1:-1", fmt.Sprint(1 << 60)} {
		if got, err := instant(text, start); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
