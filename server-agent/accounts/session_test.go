package accounts

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The log says of every process of sshd's that it is a session in the account
// deploy (70010). That is true of those of ben and eve only.
func TestWhatALineSaysOfAProcessOfSSHDsIsNotBelieved(t *testing.T) {
	root := [4]int{}
	of := func(uid int) [4]int { return [4]int{uid, uid, uid, uid} }
	all := []process{
		{1, 0, "systemd", root},
		{100, 1, "sshd", root},                                                               // listens
		{200, 100, "sshd", root}, {201, 200, "sshd", of(70010)}, {202, 201, "sh", of(70010)}, // ben
		{300, 100, "sshd", root}, {301, 300, "bash", root}, // root's own session
		{400, 100, "sshd", root}, {401, 400, "sshd", of(70001)}, // alice
		{500, 100, "sshd", root}, {501, 500, "sshd", of(110)}, // somebody, before he is in
		{600, 100, "sshd", root},                                 // between the login and the session
		{700, 1, "sshd-session", root},                           // the same since 9.8, where sshd has ended
		{710, 1, "sshd-session", root}, {711, 710, "sshd", root}, // on its way, or root's
		{800, 1, "sshd", root}, {801, 800, "sshd", of(70010)}, // eve, by a socket of systemd's
		{900, 1, "sshd", root}, // a listener without sessions, or one of a socket's that begins
	}
	for pid, want := range map[int]bool{200: true, 500: true, 600: true, 700: true, 800: true,
		1: false, 100: false, 300: false, 400: false, 710: false, 900: false, 999: false} {
		if sessionFor(all, pid, 70010) != want {
			t.Errorf("%d: %v", pid, !want)
		}
	}
	for pid, want := range map[int]int{200: 70010, 1: 0, 999: 0} {
		if uid, ok := sessionUID(all, pid); uid != want || ok != (want > 0) {
			t.Errorf("%d is the session of %d, %v", pid, uid, ok)
		}
	}
	// In a container sshd may be the first process, to which all orphans come.
	if sessionFor([]process{{1, 0, "sshd", root}, {7, 1, "sleep", of(70010)}}, 1, 70010) {
		t.Error("the first process counts as a session")
	}
}

// What is gathered of a session is the process, what descends from it and what is
// of the same login and uid; nobody else's.
func TestWhatASessionIs(t *testing.T) {
	dir := t.TempDir()
	all := []process{
		{100, 1, "sshd", [4]int{}},
		{200, 100, "sshd", [4]int{}},
		{201, 200, "sshd", [4]int{70010, 70010, 70010, 70010}},
		{250, 1, "sleep", [4]int{70010, 70010, 70010, 70010}}, // left the tree
		{260, 1, "sleep", [4]int{70010, 70010, 70010, 70010}}, // of another login
		{270, 1, "daemon", [4]int{}},                          // root's, begun there
	}
	for pid, session := range map[int]string{100: noSession, 200: "5", 201: "5", 250: "5", 260: "6", 270: "5"} {
		at := filepath.Join(dir, "proc", fmt.Sprint(pid))
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"sessionid": session, "status": "Name:\tsshd\nState:\tS\nPPid:\t1\nUid:\t0\t0\t0\t0\n",
			"stat": fmt.Sprintf("%d (sshd) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0", pid),
		} {
			if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, _ := sessionOf(dir, all, 200, "4711", 70010, nil)
	if fmt.Sprint(got) != "[200 201 250]" {
		t.Errorf("got %v", got)
	}
	if got, _ := sessionOf(dir, all, 200, "4712", 70010, nil); len(got) > 0 {
		t.Errorf("a later process of that number: %v", got)
	}
}
