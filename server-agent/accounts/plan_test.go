package accounts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// A scene is a host and a state as files, and the plan that must come of them.
// What a scene leaves out comes from base. UPDATE=1 writes the plans anew.
var base = map[string]string{
	"passwd": "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n" +
		"bob:x:1000:1000:Bob:/home/bob:/bin/bash\n",
	"group":    "root:x:0:\ndaemon:x:1:\nsudo:x:27:bob\nbob:x:1000:\n",
	"shadow":   "root:*:19000:0:99999:7:::\nbob:$y$x:19000:0:99999:7:::\n",
	"shells":   "# comment\n/bin/sh\n/bin/bash\n/bin/zsh\n",
	"register": `{"accounts":{},"groups":{}}`,
	"homes":    "bob 1000 dir\n",
	"want":     `{}`,
	"groups":   `[]`,
}

// ours is a host on which Cardea keeps alice, who is in the group ops.
var ours = map[string]string{
	"passwd": base["passwd"] + "cardea-canary:x:999:999:Cardea sshd probe:/nonexistent:/usr/sbin/nologin\nalice:x:70001:70001:Alice A:/home/alice:/bin/bash\n",
	"group":  base["group"] + "cardea-managed:x:999:alice\nops:x:80001:alice\nalice:x:70001:\n",
	"shadow": base["shadow"] + "cardea-canary:*:19000::::::\nalice:*:19000:0:99999:7:::\n",
	"shells": base["shells"],
	"register": `{"accounts":{"999":{"login":"cardea-canary"},"70001":{"login":"alice","user":"usr_a"}},
		"groups":{"999":{"name":"cardea-managed","kind":"managed"},"70001":{"name":"alice","kind":"own"},"80001":{"name":"ops","kind":"project"}}}`,
	"homes":  base["homes"] + "alice 70001 dir\n",
	"want":   `[{"user":"usr_a","login":"alice","uid":70001,"gid":70001,"full_name":"Alice A","state":"active"}]`,
	"groups": `[{"group":"grp_o","name":"ops","gid":80001,"members":["alice"]}]`,
}

func TestPlansOfScenes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenes", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			host, want := scene(t, ar)
			got := show(Decide(host, want))
			if os.Getenv("UPDATE") != "" {
				update(t, file, ar, got)
				return
			}
			if diff := cmp.Diff(section(ar, "plan"), got); diff != "" {
				t.Errorf("%s\nplan (-want +got):\n%s", ar.Comment, diff)
			}
		})
	}
}

func scene(t *testing.T, ar *txtar.Archive) (Host, Want) {
	t.Helper()
	from := base
	if strings.Contains(string(ar.Comment), "(ours)") {
		from = ours
	}
	get := func(name string) string {
		for _, f := range ar.Files {
			if f.Name == name {
				return string(f.Data)
			}
			if f.Name == name+"+" {
				return from[name] + string(f.Data)
			}
		}
		return from[name]
	}
	h := Host{
		Users: parsePasswd([]byte(get("passwd"))), Groups: parseGroup([]byte(get("group"))), Shadow: parseShadow([]byte(get("shadow"))),
		Shells: parseShells([]byte(get("shells"))), Homes: map[string]Home{}, Sudoers: map[int]string{}, Busy: map[int]bool{}, Today: 20000,
		HomeProblem: strings.TrimSpace(get("homeproblem")),
	}
	mustJSON(t, get("register"), &h.Register)
	if get("half") == "" { // of a useradd that was cut off
		h.Shadow[ident.Canary] = Shadow{Password: "*", Expires: -1}
	}
	h.OutOfStep = strings.Fields(get("outofstep"))
	for _, f := range lines(get("homes")) {
		uid, _ := strconv.Atoi(f[1])
		h.Homes[f[0]] = Home{UID: uid, Dir: f[2] == "dir"}
	}
	for _, f := range lines(get("sudoers")) {
		uid, _ := strconv.Atoi(f[0])
		h.Sudoers[uid] = strings.Join(f[1:], " ")
		if len(f) == 2 && f[1] == "ours" {
			h.Sudoers[uid] = sudoHeader + "something older\n"
		} else if len(f) == 3 && f[1] == "rule" {
			h.Sudoers[uid] = fullSudo(t, f[2])
		}
	}
	for _, f := range lines(get("busy")) {
		uid, _ := strconv.Atoi(f[0])
		h.Busy[uid] = true
	}
	h.Jobs, h.Leftovers = map[int][]string{}, map[int]leftover{}
	for _, f := range lines(get("jobs")) {
		uid, _ := strconv.Atoi(f[0])
		h.Jobs[uid] = f[1:]
	}
	for _, f := range lines(get("setid")) {
		uid, _ := strconv.Atoi(f[0])
		more, _ := strconv.Atoi(f[1])
		h.Leftovers[uid] = leftover{more: more, setID: f[2:]}
	}
	want := Want{DefaultShell: "/bin/bash", ConfirmedRemovals: get("confirmed") != "", Adopt: strings.Fields(get("adopt"))}
	if s := get("want"); s != "{}" {
		mustJSON(t, s, &want.Accounts)
	}
	mustJSON(t, get("groups"), &want.Groups)
	return h, want
}

func lines(s string) (out [][]string) {
	for l := range strings.Lines(s) {
		if f := strings.Fields(l); len(f) > 0 {
			out = append(out, f)
		}
	}
	return out
}

func mustJSON(t *testing.T, s string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), into); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
}

func show(p Plan) string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String() + "\n")
	}
	for _, s := range p.Problems {
		b.WriteString("problem: " + s + "\n")
	}
	b.WriteString("usable: " + strings.Join(p.Usable, " ") + "\n")
	if len(p.Held) > 0 {
		b.WriteString("held: " + strings.Join(p.Held, " ") + "\n")
	}
	if !p.CanaryReady {
		b.WriteString("no canary\n")
	}
	return b.String()
}

func section(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func update(t *testing.T, file string, ar *txtar.Archive, plan string) {
	t.Helper()
	files := ar.Files[:0:0]
	for _, f := range ar.Files {
		if f.Name != "plan" {
			files = append(files, f)
		}
	}
	ar.Files = append(files, txtar.File{Name: "plan", Data: []byte(plan)})
	if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The names are those that other programs read as something else.
func TestHostileNamesAreRefusedEachWithAProblemAndNoStep(t *testing.T) {
	hostile := []string{
		"root", "ALL", "#0", "%admin", "+ops", "../../x", "..", "a/b", "-oProxyCommand", "a b", "a\nb:x:0:0", "a:b", "0", "123",
		"alice$", "aé", strings.Repeat("a", 33), "", "a\x00b", "sudo", "wheel", "docker", "cardea-canary", "cardea-managed", "nobody", "Alice",
		"@includedir", "all", "a,b", "a=b", "~root", "systemd-network",
	}
	host, _ := scene(t, &txtar.Archive{Comment: []byte("(ours)")})
	quiet := Decide(host, Want{ConfirmedRemovals: true})
	for _, name := range hostile {
		want := Want{ConfirmedRemovals: true, Accounts: []api.Account{{User: "usr_x", Login: name, UID: 70099, GID: 70099, State: "active", Admin: true}}}
		p := Decide(host, want)
		if len(p.Problems) == 0 || len(p.Usable) != 0 || show(Plan{Steps: p.Steps}) != show(Plan{Steps: quiet.Steps}) {
			t.Errorf("account %q:\n%s", name, show(p))
		}
		want = Want{ConfirmedRemovals: true, Groups: []api.AccountGroup{{Group: "grp_x", Name: name, GID: 80099}}}
		p = Decide(host, want)
		if len(p.Problems) == 0 || show(Plan{Steps: p.Steps}) != show(Plan{Steps: quiet.Steps}) {
			t.Errorf("group %q:\n%s", name, show(p))
		}
		for _, text := range p.Problems {
			if strings.ContainsAny(text, "\n\x00\x1b") {
				t.Errorf("the problem %q is not one safe line", text)
			}
		}
	}
}

func TestIDsAtTheLimits(t *testing.T) {
	for _, tc := range []struct {
		id int
		ok bool
	}{{-1, false}, {0, false}, {999, false}, {1000, true}, {65533, true}, {65534, false}, {65535, false}, {65536, true}, {1<<31 - 2, true}, {1<<31 - 1, false}, {1 << 32, false}} {
		if err := checkID(tc.id); (err == nil) != tc.ok {
			t.Errorf("id %d: %v", tc.id, err)
		}
	}
}

func TestFullNames(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		ok   bool
	}{
		"an ordinary one":        {"Alice Ångström, room 3", true},
		"none":                   {"", true},
		"a colon":                {"a:b", false},
		"a line end":             {"a\nroot::0:0", false},
		"an escape":              {"\x1b[2J", false},
		"a change of direction":  {"a\u202eb", false},
		"broken UTF-8":           {"a\xff", false},
		"as long as may be":      {strings.Repeat("a", maxFullName), true},
		"one byte longer":        {strings.Repeat("a", maxFullName+1), false},
		"a backslash at the end": {`a\`, false},
	} {
		if err := checkGECOS(tc.text); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of any number of accounts the brake holds back more than a fifth, from ten on.
func TestTheBrakeOnRemovalsByAbsence(t *testing.T) {
	for _, tc := range []struct {
		total, gone int
		held        bool
	}{{9, 9, false}, {10, 2, false}, {10, 3, true}, {11, 3, true}, {15, 3, false}, {100, 20, false}, {100, 21, true}, {10, 10, true}} {
		h := Host{Today: 20000, Shadow: map[string]Shadow{}, Shells: []string{"/bin/sh"}, Homes: map[string]Home{},
			Register: Register{Accounts: map[int]OwnedAccount{}, Groups: map[int]OwnedGroup{}}}
		var w Want
		for i := range tc.total {
			login, id := "u"+strconv.Itoa(i), 70000+i
			h.Users = append(h.Users, User{Name: login, UID: id, GID: id, Home: "/home/" + login, Shell: "/bin/sh"})
			h.Shadow[login] = Shadow{Password: "*", Expires: -1}
			h.Register.Accounts[id] = OwnedAccount{Login: login}
			if i >= tc.gone {
				w.Accounts = append(w.Accounts, api.Account{Login: login, UID: id, GID: id, State: "active"})
			}
		}
		for _, confirmed := range []bool{false, true} {
			w.ConfirmedRemovals = confirmed
			p := Decide(h, w)
			locks := 0
			for _, s := range p.Steps {
				if s.Op == OpEnd {
					locks++
				}
			}
			want := tc.gone
			if tc.held && !confirmed {
				want = 0
			}
			if locks != want || len(p.Held) != tc.gone-want {
				t.Errorf("%d of %d gone, confirmed %v: %d locked, %d held", tc.gone, tc.total, confirmed, locks, len(p.Held))
			}
		}
		// Signed tombstones are never delayed, however many.
		w.ConfirmedRemovals, w.Accounts = false, nil
		for i := range tc.total {
			w.Accounts = append(w.Accounts, api.Account{Login: "u" + strconv.Itoa(i), UID: 70000 + i, GID: 70000 + i, State: "locked"})
		}
		if p := Decide(h, w); len(p.Held) != 0 || strings.Count(show(p), "end the sessions") != tc.total {
			t.Errorf("%d tombstones: %s", tc.total, show(p))
		}
	}
}
