package accounts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newcomer(login string, uid int) Step {
	return Step{
		Op: OpRun, Subject: login, Login: login, UID: uid, GID: uid, Argv: []string{useradd, login},
		New: &newAccount{gecos: "Person, " + login, home: "/home/" + login, shell: "/bin/bash", groups: []string{Managed, "ops"}},
	}
}

var before = map[string]string{
	"passwd":  "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh",
	"group":   "root:x:0:\nbob:x:1000:\ncardea-managed:x:999:old\nops:x:80001:\n",
	"shadow":  "root:*:19000:0:99999:7:::\nbob:!:19000:0:99999:7:::\ncarol:secret:19000::::::\n",
	"gshadow": "root:*::\nbob:!::\ncardea-managed:!::old\nops:!::\ncarol:x::mallory\n",
}

func bytesOf(files map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range files {
		out[name] = []byte(text)
	}
	return out
}

// What is written is also compared with what useradd writes, on a whole host
// (TestKilledAnywhereTheHostIsWholeAndConverges).
func TestManyAccountsAreAddedToTheFiles(t *testing.T) {
	files := bytesOf(before)
	if err := addAccounts(files, []Step{newcomer("alice", 70001), newcomer("carol", 70002)}, defaults{age: "0:99999:7:::"}, 20000); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, raw := range files {
		got[name] = string(raw)
	}
	want := map[string]string{
		"passwd":  before["passwd"] + "\nalice:x:70001:70001:Person, alice:/home/alice:/bin/bash\ncarol:x:70002:70002:Person, carol:/home/carol:/bin/bash\n",
		"group":   "root:x:0:\nbob:x:1000:\ncardea-managed:x:999:old,alice,carol\nops:x:80001:alice,carol\nalice:x:70001:\ncarol:x:70002:\n",
		"shadow":  "root:*:19000:0:99999:7:::\nbob:!:19000:0:99999:7:::\nalice:*:20000:0:99999:7:::\ncarol:*:20000:0:99999:7:::\n",
		"gshadow": "root:*::\nbob:!::\ncardea-managed:!::old,alice,carol\nops:!::alice,carol\nalice:!::\ncarol:!::\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestManyAccountsAreLeftToUseraddWhereSomethingIsNotFree(t *testing.T) {
	for name, change := range map[string]func(map[string]string, *Step, *defaults){
		"the name":                     func(f map[string]string, _ *Step, _ *defaults) { f["passwd"] += "\nalice:x:5:5::/:/bin/sh\n" },
		"the uid":                      func(f map[string]string, _ *Step, _ *defaults) { f["passwd"] += "\nx:x:70001:5::/:/bin/sh\n" },
		"the group's name":             func(f map[string]string, _ *Step, _ *defaults) { f["group"] += "alice:x:5:\n" },
		"the gid":                      func(f map[string]string, _ *Step, _ *defaults) { f["group"] += "x:x:70001:\n" },
		"a group that should be there": func(_ map[string]string, s *Step, _ *defaults) { s.New.group = true },
		"a group that is not there":    func(_ map[string]string, s *Step, _ *defaults) { s.New.groups = []string{"none"} },
		"NIS":                          func(f map[string]string, _ *Step, _ *defaults) { f["passwd"] += "\n+::::::\n" },
		"a line that is none":          func(f map[string]string, _ *Step, _ *defaults) { f["group"] += "nonsense\n" },
		"a colon":                      func(_ map[string]string, s *Step, _ *defaults) { s.New.gecos = "a:b" },
		"a line's end":                 func(_ map[string]string, s *Step, _ *defaults) { s.New.shell = "/bin/sh\nroot2" },
		"a uid that has a range":       func(_ map[string]string, s *Step, d *defaults) { d.subIDs, d.uidMax = true, s.UID },
	} {
		texts, alice, d := maps.Clone(before), newcomer("alice", 70001), defaults{uidMax: 60000}
		change(texts, &alice, &d)
		files := bytesOf(texts)
		if err := addAccounts(files, []Step{newcomer("carol", 70002), alice}, d, 20000); !errors.Is(err, errOneByOne) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(bytesOf(texts), files); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if err := addAccounts(bytesOf(before), []Step{newcomer("alice", 70001), newcomer("alice", 70002)}, defaults{}, 20000); !errors.Is(err, errOneByOne) {
		t.Errorf("one name twice: %v", err)
	}
}

func TestPasswordsAgeAsUseraddSays(t *testing.T) {
	shadow := []byte(before["shadow"] + "dora:*:20000:5:90:7:30:20500:\nevil:*:20000:5:90:7:30\n")
	if age, err := ageOf(shadow, "dora"); err != nil || age != "5:90:7:30:20500:" {
		t.Errorf("%q, %v", age, err)
	}
	for _, login := range []string{"nobody", "evil", "dor"} {
		if age, err := ageOf(shadow, login); !errors.Is(err, errOneByOne) {
			t.Errorf("%s: %q, %v", login, age, err)
		}
	}
}

func TestAnAdministratorWhoWantsMoreOfUseraddGetsIt(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		good       bool
	}{
		"nothing":                 {"etc/login.defs", "", true},
		"an end of every account": {"etc/default/useradd", "EXPIRE=2030-01-01\n", false},
		"no end":                  {"etc/default/useradd", "EXPIRE=\nINACTIVE=-1\n", true},
		"accounts that fall idle": {"etc/default/useradd", "INACTIVE=30\n", false},
		"a script":                {"etc/shadow-maint/useradd-post.d/10-mail", "", false},
	} {
		root := t.TempDir()
		os.MkdirAll(filepath.Dir(filepath.Join(root, c.file)), 0o755)
		os.WriteFile(filepath.Join(root, c.file), []byte(c.text), 0o644)
		d, err := readDefaults(root)
		if (err == nil) != c.good || c.good && d.uidMax != 60000 {
			t.Errorf("%s: %v %+v", name, err, d)
		}
	}
}

func TestManyAccountsAreLeftToUseraddIfADirectoryServiceHasOne(t *testing.T) {
	missing := exec.Command("/bin/sh", "-c", "exit 2").Run()
	for name, c := range map[string]struct {
		elsewhere bool
		answer    string
		err       error
		good      bool
	}{
		"there is no such service":     {false, "alice:x:1:1::/:/bin/sh\n", nil, true},
		"it has none of them":          {true, "", missing, true},
		"it has one":                   {true, "alice:x:1:1::/:/bin/sh\n", missing, false},
		"it has all":                   {true, "alice:x:1:1::/:/bin/sh\n", nil, false},
		"it says nothing and succeeds": {true, "", nil, false},
		"it cannot be asked":           {true, "", errors.New("no getent"), false},
	} {
		a := Applier{Run: func(context.Context, ...string) ([]byte, error) { return []byte(c.answer), c.err }}
		if err := a.unknownElsewhere(t.Context(), defaults{elsewhere: c.elsewhere}, []Step{newcomer("alice", 70001)}); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The locks keep useradd and its sisters out, and are taken from the dead only.
func TestTheLocksOfTheAccountFiles(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockAccounts(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"passwd", "group", "shadow", "gshadow"} {
		raw, err := os.ReadFile(filepath.Join(dir, name+".lock"))
		if err != nil || strings.TrimRight(string(raw), "\x00") != strconv.Itoa(os.Getpid()) {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	unlock()
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != ".pwd.lock" {
		t.Errorf("left: %v", left)
	}
	dead := exec.Command("/bin/true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"of a process that is gone": {fmt.Sprintf("%d\x00", dead.Process.Pid), true},
		"of a process that lives":   {"1\x00", false},
		"of nobody knows whom":      {"what", false},
	} {
		if err := os.WriteFile(filepath.Join(dir, "shadow.lock"), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		unlock, err := lockAccounts(dir)
		if (err == nil) != c.good {
			t.Errorf("a lock %s: %v", name, err)
		}
		if err == nil {
			unlock()
		}
		os.Remove(filepath.Join(dir, "shadow.lock"))
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("a lock %s: left: %v", name, left)
		}
	}
}
