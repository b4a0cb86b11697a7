package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const aliceUID, bobUID = 70001, 70002

// tree makes files below a new root: "path owner", "path/ owner mode" for a
// folder, "path -> target owner" for a link.
func tree(t *testing.T, specs ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to give files away")
	}
	root := t.TempDir()
	for _, spec := range specs {
		path, rest, _ := strings.Cut(spec, " ")
		full, owner, mode, target := filepath.Join(root, path), 0, os.FileMode(0o755), ""
		if link, ok := strings.CutPrefix(rest, "-> "); ok {
			target, rest, _ = strings.Cut(link, " ")
		}
		fmt.Sscanf(rest, "%d %o", &owner, &mode)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch {
		case strings.HasSuffix(path, "/"):
			err = errors.Join(err, os.MkdirAll(full, 0o755))
		case target != "":
			err = errors.Join(err, os.Symlink(target, full))
		default:
			err = errors.Join(err, os.WriteFile(full, []byte("x"), 0o600))
		}
		err = errors.Join(err, os.Lchown(full, owner, owner))
		if target == "" {
			// By hand, because of the bits above the nine.
			bits := mode.Perm()
			for bit, flag := range map[os.FileMode]os.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
				if mode&bit != 0 {
					bits |= flag
				}
			}
			err = errors.Join(err, os.Chmod(full, bits))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestWhatActsForSomebodyIsFoundAndRemovedAndNothingElse(t *testing.T) {
	root := tree(t,
		"var/lib/systemd/linger/alice 0", "var/lib/systemd/linger/bob 0",
		"var/spool/cron/crontabs/ 0 1730", "var/spool/cron/crontabs/alice 70001", "var/spool/cron/crontabs/bob 70002", "var/spool/cron/crontabs/alice2 70001",
		"var/spool/cron/alice 0",
		"var/spool/cron/atjobs/ 1 1770", "var/spool/cron/atjobs/a0001 70001", "var/spool/cron/atjobs/a0002 70002", "var/spool/cron/atjobs/.SEQ 1",
		"var/spool/at/a0003 70001", "var/spool/at/trap -> /etc/passwd 70001",
		"run/sudo/ts/alice 0", "run/sudo/ts/70001 0", "run/sudo/ts/70002 0", "run/sudo/ts/070001 0",
		"var/lib/sudo/ts/alice 70002", // a stranger's of that name
		"etc/passwd 0",
	)
	want := []string{
		"/run/sudo/ts/70001", "/run/sudo/ts/alice", "/var/lib/systemd/linger/alice", "/var/spool/at/a0003", "/var/spool/at/trap",
		"/var/spool/cron/alice", "/var/spool/cron/atjobs/a0001", "/var/spool/cron/crontabs/alice",
	}
	found, err := findBelongings(root, map[int]string{aliceUID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int][]string{aliceUID: want}, pathsByUID(found)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	before := files(t, root)
	if n, err := removeBelongings(root, "alice", aliceUID); n != len(want) || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	after := files(t, root)
	for _, path := range before {
		if gone := !slices.Contains(after, path); gone != slices.Contains(want, path) {
			t.Errorf("%s: gone %v", path, gone)
		}
	}
	if n, err := removeBelongings(root, "alice", aliceUID); n != 0 || err != nil {
		t.Errorf("the second time: removed %d, %v", n, err)
	}
}

func files(t *testing.T, root string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestASpoolThatOthersCouldExchangeIsNotTouched(t *testing.T) {
	for name, tc := range map[string]struct {
		specs []string
		found bool
	}{
		"the system's":                   {[]string{"var/spool/at/ 1 770", "var/spool/at/a1 70001"}, true},
		"writable for everybody":         {[]string{"var/spool/at/ 0 777", "var/spool/at/a1 70001"}, false},
		"sticky, as /tmp is":             {[]string{"var/spool/at/ 0 1777", "var/spool/at/a1 70001"}, false},
		"a person's":                     {[]string{"var/spool/at/ 70002", "var/spool/at/a1 70001"}, false},
		"below a person's":               {[]string{"var/spool/ 70002", "var/spool/at/a1 70001"}, false},
		"by a link of the system's":      {[]string{"disk/at/a1 70001", "var/spool/at -> ../../disk/at 0"}, true},
		"by a link of a person's":        {[]string{"disk/at/a1 70001", "var/spool/at -> ../../disk/at 70002"}, false},
		"by a link to a person's folder": {[]string{"disk/at/ 70002", "disk/at/a1 70001", "var/spool/at -> ../../disk/at 0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, append(tc.specs, "run/sudo/ts/alice 0")...)
			n, err := removeBelongings(root, "alice", aliceUID)
			want := 1 // what is elsewhere goes all the same
			if tc.found {
				want = 2
			}
			if n != want || (err == nil) != tc.found {
				t.Errorf("removed %d, %v", n, err)
			}
		})
	}
}

func TestLeftoversAreToldAndSetIDProgramsOneByOne(t *testing.T) {
	specs := []string{
		"tmp/sh 70001 4755", "tmp/deep/er/sh 70001 2755", "dev/shm/notes 70001 644", "var/tmp/bobs 70002 4755", "tmp/roots 0 4755",
		"tmp/link -> sh 70001", "home/sh 70001 4755", "var/mail/alice 70001",
	}
	for i := range maxFindings {
		specs = append(specs, fmt.Sprintf("var/tmp/%d 70001 4755", i))
	}
	root := tree(t, specs...)
	found := findLeftovers(root, map[int]string{aliceUID: "alice"})
	l := found[aliceUID]
	if len(found) != 1 || len(l.setID) != maxFindings || l.more != 2 || l.files != 1 || l.example != "/dev/shm/notes" {
		t.Errorf("found %+v", found)
	}
	if got := setIDProblems("alice", l); len(got) != maxFindings+1 || !strings.Contains(got[0], `"/tmp/deep/er/sh"`) || !strings.Contains(got[maxFindings], "2 more") {
		t.Errorf("problems %q", got)
	}
	text := leftBehind(root, "alice", l, []process{{pid: 7, name: "evil\x1b[2J", uids: [4]int{0, 0, 0, 0}}})
	if want := `left behind, and not touched: 1 files in /tmp, /var/tmp, /dev/shm, such as "/dev/shm/notes"; mail; process 7 ("evil\x1b[2J") of uid 0, begun in a session of this account`; text != want {
		t.Errorf("text %s", text)
	}
	if got := leftBehind(t.TempDir(), "alice", leftover{}, nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestTheWalkForLeftoversIsBounded(t *testing.T) {
	within, below := strings.Repeat("d/", maxDepth), strings.Repeat("d/", maxDepth+1)
	root := tree(t, "tmp/"+within+"in 70001", "tmp/"+below+"out 70001", "tmp/mounted here/x 70001")
	if err := errors.Join(os.MkdirAll(root+"/proc/self", 0o755), os.WriteFile(root+"/proc/self/mountinfo", []byte(
		"36 35 98:0 / / rw - ext4 /dev/x rw\n37 36 0:50 / /tmp/mounted\\040here rw - fuse x rw\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if l := findLeftovers(root, map[int]string{aliceUID: "alice"})[aliceUID]; l.files != 1 || l.example != "/tmp/"+within+"in" {
		t.Errorf("found %+v", l)
	}
}

func TestProcessesOfOthersAreKnownByWhoLoggedIn(t *testing.T) {
	root := t.TempDir()
	for pid, loginuid := range map[string]string{"10": "70001", "11": "70001", "12": "4294967295", "13": "70002"} {
		if err := errors.Join(os.MkdirAll(root+"/proc/"+pid, 0o755), os.WriteFile(root+"/proc/"+pid+"/loginuid", []byte(loginuid), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	all := []process{{pid: 10}, {pid: 11, uids: [4]int{aliceUID}}, {pid: 12}, {pid: 13}, {pid: 14}}
	if got := strays(root, all, aliceUID); len(got) != 1 || got[0].pid != 10 {
		t.Errorf("strays %v", got)
	}
}
