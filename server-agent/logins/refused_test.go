package logins

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

const (
	otherPrint = "SHA256:NR7TtzDxJDBFAoXSoWvim4KuaGDAZr8VPFvw+x9lgMA"
	failedMsg  = "Failed publickey for alice from 10.0.0.9 port 4711 ssh2: ED25519-CERT " + fingerprint + " ID " + keyID + " (serial 7) CA ED25519 " + otherPrint
)

func TestARefusedCertificate(t *testing.T) {
	ours := api.AgentEvent{At: now, Kind: Refused, Login: "alice", Serial: "7", KeyID: keyID, Source: "10.0.0.9", Key: fingerprint, CA: otherPrint}
	with := func(change func(*api.AgentEvent)) *api.AgentEvent { e := ours; change(&e); return &e }
	stranger := with(func(e *api.AgentEvent) { e.Serial, e.KeyID = "", "" })
	swap := func(from, to string) string { return strings.Replace(failedMsg, from, to, 1) }
	for name, c := range map[string]struct {
		before, line string
		want         *api.AgentEvent
	}{
		"of ours":                            {line: failedMsg, want: &ours},
		"for another server":                 {"Certificate does not contain an authorized principal", failedMsg, with(func(e *api.AgentEvent) { e.Detail = "Certificate does not contain an authorized principal" })},
		"that is over":                       {"Certificate invalid: expired", failedMsg, with(func(e *api.AgentEvent) { e.Detail = "Certificate invalid: expired" })},
		"revoked":                            {"error: Authentication key ED25519-CERT " + "SHA256:" + strings.Repeat("A", 43) + " revoked by file /etc/ssh/cardea/revoked", failedMsg, with(func(e *api.AgentEvent) { e.Detail = "revoked" })},
		"of a revoked CA":                    {"Authentication CA key ED25519 " + "SHA256:" + strings.Repeat("A", 43) + " revoked by file /etc/ssh/cardea/revoked", failedMsg, with(func(e *api.AgentEvent) { e.Detail = "revoked" })},
		"past the gateway":                   {"/etc/ssh/cardea/principals/alice:1: Authentication tried for alice with correct key but not from a permitted host (host=198.18.0.4, ip=198.18.0.4, required=198.18.0.2).", failedMsg, with(func(e *api.AgentEvent) { e.Detail = "not from a permitted host" })},
		"a reason that is none of sshd's":    {"Certificate invalid: \x1b[2J", failedMsg, &ours},
		"a stranger's own":                   {line: swap(keyID, "mallory"), want: stranger},
		"with an id of any text":             {line: swap(keyID, `we"ird (serial 9) CA ED25519 x`), want: stranger},
		"with an empty id and no serial":     {line: swap(keyID+" (serial 7)", " (serial 0)"), want: stranger},
		"with a serial of 64 bits":           {line: swap("serial 7", "serial 18446744073709551615"), want: stranger},
		"a plain key":                        {line: "Failed publickey for alice from 10.0.0.9 port 1 ssh2: ED25519 " + fingerprint},
		"a password":                         {line: "Failed password for alice from 10.0.0.9 port 1 ssh2"},
		"nobody's account":                   {line: swap("for alice", "for invalid user alice")},
		"a probe that will need a signature": {line: strings.Replace(failedMsg, "Failed", "Postponed", 1) + " [preauth]"},
		"text behind":                        {line: failedMsg + " x"},
		"text in front":                      {line: "x " + failedMsg},
		"an address that is none":            {line: swap("10.0.0.9", "10.0.0.999")},
	} {
		t.Run(name, func(t *testing.T) {
			var tr Tracker
			if c.before != "" {
				if _, ok := tr.see(record{now, "sshd", 12, c.before}, now); ok {
					t.Fatal("the reason alone is an event")
				}
				tr.see(record{now, "sshd", 13, "Certificate invalid: not yet valid"}, now) // another process
			}
			got, ok := tr.see(record{now, "sshd", 12, c.line}, now)
			if ok != (c.want != nil) || ok && !cmp.Equal(*c.want, got) {
				t.Errorf("%v %s", ok, cmp.Diff(c.want, &got))
			}
		})
	}
}

func TestACertificateShownTwiceOnAConnectionIsOneRefusal(t *testing.T) {
	var tr Tracker
	see := func(pid int, at time.Time) bool {
		_, ok := tr.see(record{at, "sshd", pid, failedMsg}, at)
		return ok
	}
	if !see(12, now) || see(12, now) {
		t.Error("the same process tells it not once")
	}
	if _, ok := tr.refusals.count(now.Add(time.Hour), false); ok {
		t.Error("what is one refusal is counted as more")
	}
	if see(13, now.Add(countEvery-1)) {
		t.Error("another connection tells it again within the minute")
	}
	if !see(14, now.Add(countEvery)) {
		t.Error("it is not told after the minute")
	}
	e, ok := tr.refusals.count(now.Add(2*countEvery), false)
	if want := (api.AgentEvent{At: now.Add(2 * countEvery), Kind: Refused, More: 1}); !ok || e != want {
		t.Errorf("counted %+v", e)
	}
	if _, ok := tr.refusals.count(now.Add(time.Hour), true); ok {
		t.Error("counted twice")
	}
}

// Ten thousand a second are one event each for the first few, then a number;
// the login among them is told at once.
func TestManyRefusalsAreCountedAndHideNoLogin(t *testing.T) {
	var tr Tracker
	told, login := 0, false
	const all = 10000
	for i := range all {
		line := strings.Replace(failedMsg, "serial 7", fmt.Sprintf("serial %d", i+1), 1)
		if _, ok := tr.see(record{now, "sshd", i + 1, line}, now.Add(time.Duration(i)*time.Second/all)); ok {
			told++
		}
		if i == all/2 {
			_, login = tr.see(record{now, "sshd", all + 1, acceptedMsg}, now)
		}
	}
	if told != refusalsAtOnce || !login {
		t.Errorf("%d told, login %v", told, login)
	}
	if _, ok := tr.refusals.count(now.Add(countEvery-time.Second), false); ok {
		t.Error("counted too early")
	}
	if e, ok := tr.refusals.count(now.Add(countEvery+time.Second), false); !ok || e.More != all-refusalsAtOnce {
		t.Errorf("counted %+v", e)
	}
	for tr.refusals.bucket.AllowN(now.Add(countEvery), 1) { // none is left
	}
	for i, want := range []bool{true, false} { // one each refusalEvery
		line := strings.Replace(failedMsg, "serial 7", fmt.Sprintf("serial %d", all+1+i), 1)
		if _, ok := tr.see(record{now, "sshd", 1, line}, now.Add(countEvery+refusalEvery)); ok != want {
			t.Errorf("the %d. one after a while: %v", i+1, ok)
		}
	}
	if len(tr.refusals.told) > 2*refusalsAtOnce {
		t.Errorf("%d are kept in memory", len(tr.refusals.told))
	}
}

func TestReasonsThatWaitAreBounded(t *testing.T) {
	var tr Tracker
	for pid := range 3 * maxWhy {
		tr.see(record{now, "sshd", pid + 1, "Certificate invalid: expired"}, now)
		if len(tr.refusals.why) > maxWhy {
			t.Fatalf("%d wait", len(tr.refusals.why))
		}
	}
}

func TestTheAuthLogTellsRefusalsAndHowManyMore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.log")
	os.WriteFile(path, nil, 0o600)
	clock := now
	a := &AuthLog{Path: path, Position: filepath.Join(dir, "position"), Now: func() time.Time { return clock }}
	var got []api.AgentEvent
	tell := func(e api.AgentEvent) { got = append(got, e) }
	if err := a.look(tell); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range 3 * refusalsAtOnce {
		fmt.Fprintf(&text, "Jan  2 11:59:07 web-1 sshd[%d]: %s\n", i+1, strings.Replace(failedMsg, "serial 7", fmt.Sprintf("serial %d", i+1), 1))
	}
	text.WriteString("Jan  2 11:59:07 web-1 sshd[900]: " + acceptedMsg + "\n")
	os.WriteFile(path, []byte(text.String()), 0o600)
	if err := a.look(tell); err != nil {
		t.Fatal(err)
	}
	if len(got) != refusalsAtOnce+1 || got[refusalsAtOnce].Kind != Login {
		t.Fatalf("%d events", len(got))
	}
	clock = clock.Add(countEvery)
	if e, ok := a.tracker.refusals.count(clock, false); !ok || e.More != 2*refusalsAtOnce {
		t.Errorf("%+v", e)
	}
}

// An attack may end with no line behind it: the number is told all the same.
func TestTheJournalTellsHowManyMoreWithoutAnotherLine(t *testing.T) {
	j := &Journal{Position: filepath.Join(t.TempDir(), "cursor")}
	j.tracker.refusals.more, j.tracker.refusals.since = 7, time.Now().Add(-countEvery)
	told, over := make(chan api.AgentEvent, 2), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.count(over, func(e api.AgentEvent) { told <- e })
	}()
	select {
	case e := <-told:
		if e.Kind != Refused || e.More != 7 {
			t.Errorf("told %+v", e)
		}
	case <-time.After(10 * pollEvery):
		t.Error("nothing is told")
	}
	j.mu.Lock()
	j.tracker.refusals.more, j.tracker.refusals.since = 3, time.Now()
	j.mu.Unlock()
	close(over) // the agent ends, or journalctl did
	<-done
	if e := <-told; e.More != 3 {
		t.Errorf("told %+v at the end", e)
	}
}
