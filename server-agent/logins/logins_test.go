package logins

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

const (
	fingerprint = "SHA256:y4nrAA1Wcy11LYSR3MEhp9HWWnLbIRmkrdLc7w6qTMQ"
	keyID       = "cardea:user=usr_a:session=ses_b:device=dev_c:login=alice"
	acceptedMsg = "Accepted publickey for alice from 10.0.0.9 port 4711 ssh2: ED25519-CERT " + fingerprint + " ID " + keyID + " (serial 7) CA ED25519 " + fingerprint
	closedMsg   = "pam_unix(sshd:session): session closed for user alice"
)

var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestParseLine(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want record
		ok   bool
	}{
		"the traditional form":             {"Jan  2 11:59:07 web-1 sshd[12]: hello: you", record{time.Date(2026, 1, 2, 11, 59, 7, 0, time.UTC), "sshd", 12, "hello: you"}, true},
		"a line of last December":          {"Dec 31 23:59:07 web-1 sshd[12]: x", record{time.Date(2025, 12, 31, 23, 59, 7, 0, time.UTC), "sshd", 12, "x"}, true},
		"the newer form":                   {"2026-01-02T11:00:00.5+01:00 web-1 sshd-session[9]: x", record{time.Date(2026, 1, 2, 10, 0, 0, 5e8, time.UTC), "sshd-session", 9, "x"}, true},
		"no process id":                    {"Jan  2 11:59:07 web-1 sshd: x", record{}, false},
		"a process id that is none":        {"Jan  2 11:59:07 web-1 sshd[-1]: x", record{}, false},
		"no message":                       {"Jan  2 11:59:07 web-1 sshd[1]", record{}, false},
		"nothing":                          {"", record{}, false},
		"half a time stamp":                {"Jan  2", record{}, false},
		"a time that there is not":         {"Jan 99 11:59:07 web-1 sshd[1]: x", record{}, false},
		"a line at the limit":              {"Jan  2 11:59:07 h sshd[1]: " + strings.Repeat("a", maxLine-27), record{time.Date(2026, 1, 2, 11, 59, 7, 0, time.UTC), "sshd", 1, strings.Repeat("a", maxLine-27)}, true},
		"a line of one byte more than may": {"Jan  2 11:59:07 h sshd[1]: " + strings.Repeat("a", maxLine-26), record{}, false},
	} {
		got, ok := parseLine(tc.line, now)
		got.at = got.at.UTC()
		if !tc.ok {
			got = record{}
		}
		tc.want.at = tc.want.at.UTC()
		if ok != tc.ok || got != tc.want {
			t.Errorf("%s: got %+v, %v", name, got, ok)
		}
	}
}

func TestALoginAndItsEnd(t *testing.T) {
	var tr Tracker
	e, ok := tr.see(record{now, "sshd", 12, acceptedMsg}, now)
	want := api.AgentEvent{At: now, Kind: Login, Login: "alice", Serial: "7", KeyID: keyID, Source: "10.0.0.9"}
	if diff := cmp.Diff(want, e); !ok || diff != "" {
		t.Fatal(ok, diff)
	}
	if _, ok := tr.see(record{now, "sshd", 13, closedMsg}, now); ok {
		t.Error("another process ends the session")
	}
	later := now.Add(time.Minute)
	e, ok = tr.see(record{later, "sshd", 12, closedMsg}, now)
	want.Kind, want.At = Logout, later
	if diff := cmp.Diff(want, e); !ok || diff != "" {
		t.Fatal(ok, diff)
	}
	if _, ok := tr.see(record{later, "sshd", 12, closedMsg}, now); ok {
		t.Error("a session ends twice")
	}
}

func TestWhatIsNoLoginOfOurs(t *testing.T) {
	for name, r := range map[string]record{
		"another program":              {now, "logger", 1, acceptedMsg},
		"text in front":                {now, "sshd", 1, "Invalid user x " + acceptedMsg},
		"text behind":                  {now, "sshd", 1, acceptedMsg + " x"},
		"an escaped line end":          {now, "sshd", 1, strings.Replace(acceptedMsg, "alice", `alice\nx`, 1)},
		"a key instead of certificate": {now, "sshd", 1, "Accepted publickey for alice from 10.0.0.9 port 1 ssh2: ED25519 " + fingerprint},
		"a password":                   {now, "sshd", 1, "Accepted password for alice from 10.0.0.9 port 1 ssh2"},
		"another CA's key id":          {now, "sshd", 1, strings.Replace(acceptedMsg, "cardea:", "other:", 1)},
		"a quote in the key id":        {now, "sshd", 1, strings.Replace(acceptedMsg, "usr_a", `usr"a`, 1)},
		"serial zero":                  {now, "sshd", 1, strings.Replace(acceptedMsg, "serial 7", "serial 0", 1)},
		"a serial of 64 bits":          {now, "sshd", 1, strings.Replace(acceptedMsg, "serial 7", "serial 9223372036854775808", 1)},
		"an address that is none":      {now, "sshd", 1, strings.Replace(acceptedMsg, "10.0.0.9", "10.0.0.999", 1)},
		"an end without a beginning":   {now, "sshd", 1, closedMsg},
	} {
		if e, ok := new(Tracker).see(r, now); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestOpenSessionsAreBounded(t *testing.T) {
	var tr Tracker
	for pid := range maxOpen + 1 {
		tr.see(record{now, "sshd", pid + 1, acceptedMsg}, now)
	}
	if len(tr.open) != maxOpen || len(tr.order) != maxOpen {
		t.Fatalf("%d sessions and %d of their order are kept", len(tr.open), len(tr.order))
	}
	if _, ok := tr.see(record{now, "sshd", 1, closedMsg}, now); ok {
		t.Error("the oldest is still known")
	}
}

func TestJournalEntries(t *testing.T) {
	line := func(change ...string) []byte {
		s := `{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1767355200000000","_UID":"0","_PID":"12","_COMM":"sshd","_EXE":"/usr/sbin/sshd","MESSAGE":"hello"}`
		return []byte(strings.NewReplacer(change...).Replace(s))
	}
	if r, cursor, ok := parseEntry(line()); !ok || cursor != "c1" || r != (record{time.UnixMicro(1767355200000000), "sshd", 12, "hello"}) {
		t.Errorf("%+v %q %v", r, cursor, ok)
	}
	for name, raw := range map[string][]byte{
		"another user's process":   line(`"_UID":"0"`, `"_UID":"1000"`),
		"no user":                  line(`"_UID":"0",`, ``),
		"a program that says sshd": line(`/usr/sbin/sshd`, `/home/x/notsshd`),
		"another program":          line(`"_COMM":"sshd"`, `"_COMM":"logger"`),
		"bytes":                    line(`"hello"`, `[104,105]`),
		"no text":                  line(`"hello"`, `null`),
		"half a line":              line()[:40],
	} {
		if _, _, ok := parseEntry(raw); ok {
			t.Errorf("%s is taken", name)
		}
	}
}

// The log is rotated, truncated, and the agent restarted; every login is told
// once.
func TestAnEntryOfTheJournalThatIsTooLongHidesNoOther(t *testing.T) {
	entry := func(n int) string { return strings.Repeat("x", n-1) + "\n" }
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"at the limit", "a\n" + entry(maxEntry) + "b\n", 3},
		{"one byte more", "a\n" + entry(maxEntry+1) + "b\n", 2},
		{"many times the limit", "a\n" + entry(5*maxEntry) + "b\n", 2},
		{"two, one after the other", entry(2*maxEntry) + entry(maxEntry+1) + "a\nb\n", 2},
		{"an end without a line end", "a\nb\nc", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			if err := eachLine(strings.NewReader(c.text), func(b []byte) { got = append(got, string(b)) }); err != nil {
				t.Fatal(err)
			}
			if len(got) != c.want {
				t.Errorf("%d lines, want %d", len(got), c.want)
			}
		})
	}
}

func TestTheAuthLogAcrossRotationAndRestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.log")
	serial := 0
	write := func(n int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range n {
			serial++
			msg := strings.Replace(acceptedMsg, "serial 7", "serial "+strconv.Itoa(serial), 1)
			f.WriteString("Jan  2 11:59:07 web-1 sshd[12]: " + msg + "\n")
		}
	}
	var got []string
	tell := func(e api.AgentEvent) { got = append(got, e.Serial) }
	start := func() *AuthLog {
		return &AuthLog{Path: path, Position: filepath.Join(dir, "position"), Now: func() time.Time { return now }}
	}
	look := func(a *AuthLog) {
		t.Helper()
		if err := a.look(tell); err != nil {
			t.Fatal(err)
		}
	}
	write(1) // before Cardea
	a := start()
	look(a)
	write(2)
	look(a)
	a = start() // restarted
	look(a)
	write(1)
	os.Rename(path, path+".1") // rotated before we looked
	look(a)
	write(1)
	look(a)
	os.Truncate(path, 0)
	look(a)
	write(1)
	f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString("Jan  2 11:59:07 web-1 sshd[12]: Accepted publ") // half a line
	f.Close()
	look(a)
	os.Remove(path + ".1")
	os.Rename(path, path+".1")
	write(1)
	look(a)
	if diff := cmp.Diff([]string{"2", "3", "4", "5", "6", "7"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("Jan  2 11:59:07 web-1 sshd[12]: " + acceptedMsg)
	f.Add("2026-01-02T11:00:00.5+01:00 web-1 sshd-session[9]: " + closedMsg)
	f.Add("Jan  2 11:59:07 web-1 sshd[12]: " + failedMsg)
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		r, ok := parseLine(line, now)
		if !ok {
			return
		}
		var tr Tracker
		if e, ok := tr.see(r, now); ok {
			if e.Login == "" || e.Kind != Refused && e.Serial == "" || e.Source == "" || strings.ContainsAny(e.Login+e.KeyID+e.Source+e.Key+e.CA+e.Detail, "\n\"\x1b") {
				t.Errorf("event %+v of %q", e, line)
			}
		}
	})
}

func FuzzJournalEntry(f *testing.F) {
	f.Add([]byte(`{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1767355200000000","_UID":"0","_PID":"12","_COMM":"sshd","MESSAGE":"hello"}`))
	f.Fuzz(func(t *testing.T, raw []byte) { parseEntry(raw) })
}
