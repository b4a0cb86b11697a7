package hooks

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func alice() Account { return Account{Login: "alice", UID: 70001, GID: 70002, Home: "/home/alice"} }

// stage is a runner with hooks of its own in a folder that root alone can write.
type stage struct {
	*testing.T
	Runner
	log strings.Builder
}

func newStage(t *testing.T, there ...int) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, because hooks have to be root's")
	}
	dir, err := os.MkdirTemp("/root", "cardea-hooks-") // no folder above may be everybody's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stage{T: t}
	s.Runner = Runner{Dir: dir, Record: filepath.Join(dir, "hooks.json"), Limit: 5 * time.Second}
	s.Log = slog.New(slog.NewTextHandler(&s.log, nil))
	for _, e := range []Event{Created, Deleted} {
		if err := os.Mkdir(filepath.Join(dir, string(e)+".d"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Open(there); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) hook(e Event, name, script string, mode os.FileMode) {
	s.Helper()
	path := filepath.Join(s.Dir, string(e)+".d", name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) show(here, gone []Account) []string {
	return s.round(context.Background(), decide(s.done, Scene{here, gone}))
}

func (s *stage) said() string {
	raw, _ := os.ReadFile(s.Dir + "/out")
	os.Remove(s.Dir + "/out")
	return string(raw)
}

func TestAHookRunsOnceForEachComingAndGoing(t *testing.T) {
	s := newStage(t)
	t.Setenv("LD_PRELOAD", "/tmp/evil.so")
	s.hook(Created, "20-second", `echo second >>`+s.Dir+`/out; echo hello; echo trouble >&2`, 0o755)
	s.hook(Created, "10-first", `{ pwd; echo "$# $0"; env | grep -v '^PWD=' | sort; } >>`+s.Dir+`/out`, 0o700)
	s.hook(Deleted, "10-gone", `echo "gone $CARDEA_LOGIN" >>`+s.Dir+`/out`, 0o755)
	here, nobody := []Account{alice()}, []Account(nil)
	for i, step := range []struct {
		here, gone []Account
		want       string
	}{
		{nobody, here, ""}, // never was here
		{here, nobody, "/\n0 " + s.Dir + "/user-created.d/10-first\nCARDEA_GID=70002\nCARDEA_HOME=/home/alice\nCARDEA_LOGIN=alice\nCARDEA_UID=70001\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nsecond\n"},
		{here, nobody, ""},
		{nobody, nobody, ""}, // neither: somebody should look, and no hook
		{nobody, here, "gone alice\n"},
		{nobody, here, ""},
	} {
		if problems := s.show(step.here, step.gone); len(problems) > 0 {
			t.Errorf("step %d: problems %q", i, problems)
		}
		if diff := cmp.Diff(step.want, s.said()); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if again, err := load(s.Record); err != nil || cmp.Diff(s.done, again) != "" {
			t.Errorf("step %d: the record is %v, %v", i, again, err)
		}
	}
	s.show(here, nobody)
	if got := s.said(); !strings.HasSuffix(got, "second\n") {
		t.Errorf("who comes back: %q", got)
	}
	if log := s.log.String(); !strings.Contains(log, `hello\\ntrouble`) && !strings.Contains(log, `hello\ntrouble`) {
		t.Errorf("log %s", log)
	}
}

// Alice and Bob are disabled by mistake, and at once let in again. The hook that
// archives homes is busy with Alice's: it must not take Bob's from under him.
func TestAHookIsNotRunForWhatIsOverMeanwhile(t *testing.T) {
	s := newStage(t, 70001, 70003)
	both := []Account{alice(), {Login: "bob", UID: 70003, GID: 70003, Home: "/home/bob"}}
	s.hook(Deleted, "archive", "echo $CARDEA_LOGIN >>"+s.Dir+"/out; while ! test -e "+s.Dir+"/back; do sleep 0.01; done", 0o755)
	s.Show(Scene{Gone: both})
	go func() {
		for s.peek() == "" {
			time.Sleep(5 * time.Millisecond)
		}
		s.Show(Scene{Here: both})
		os.WriteFile(s.Dir+"/back", nil, 0o600)
	}()
	if problems := s.show(nil, both); len(problems) > 0 {
		t.Errorf("problems %q", problems)
	}
	if got := s.said(); got != "alice\n" || s.done[70003] != Created {
		t.Errorf("ran for %q, and bob is %s", got, s.done[70003])
	}
}

func TestAccountsFromBeforeTheRecordHaveNotComeNow(t *testing.T) {
	s := newStage(t, 70001)
	s.hook(Created, "made", "echo made >>"+s.Dir+"/out", 0o755)
	s.hook(Deleted, "gone", "echo gone >>"+s.Dir+"/out", 0o755)
	s.show([]Account{alice()}, nil)
	s.show(nil, []Account{alice()})
	if got := s.said(); got != "gone\n" {
		t.Errorf("ran: %q", got)
	}
}

func TestAHookThatWasCutOffRunsAgain(t *testing.T) {
	s := newStage(t)
	s.hook(Created, "slow", "echo began >>"+s.Dir+"/out; sleep 20", 0o755)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		for s.peek() == "" {
			time.Sleep(5 * time.Millisecond)
		}
		stop()
	}()
	s.round(ctx, decide(s.done, Scene{Here: []Account{alice()}}))
	if got := s.said(); got != "began\n" {
		t.Fatalf("said %q", got)
	}
	s.hook(Created, "slow", "echo again >>"+s.Dir+"/out", 0o755)
	next := &stage{T: t, Runner: Runner{Dir: s.Dir, Record: s.Record, Log: s.Log}}
	if err := next.Open([]int{70001}); err != nil {
		t.Fatal(err)
	}
	next.show([]Account{alice()}, nil)
	if got := s.said(); got != "again\n" {
		t.Errorf("said %q", got)
	}
}

func (s *stage) peek() string { raw, _ := os.ReadFile(s.Dir + "/out"); return string(raw) }

func TestAHookThatFailsOrHangsIsAProblemAndTheNextRuns(t *testing.T) {
	s := newStage(t)
	s.Limit = 300 * time.Millisecond
	s.hook(Created, "10-fails", `echo 'no\033[2J way'; exit 3`, 0o755)
	s.hook(Created, "20-hangs", "sleep 20 & sleep 20", 0o755)
	s.hook(Created, "30-chats", "head -c 2000000 /dev/zero", 0o755)
	s.hook(Created, "40-leaves", "sleep 3 & echo left", 0o755)
	s.hook(Created, "50-works", "echo works >>"+s.Dir+"/out", 0o755)
	began := time.Now()
	got := strings.ReplaceAll(strings.Join(s.show([]Account{alice()}, nil), "\n"), s.Dir, "")
	want := `the hook /user-created.d/10-fails failed for alice: 10-fails: exit status 3: no\x1b[2J way
the hook /user-created.d/20-hangs failed for alice: 20-hangs: gave up: context deadline exceeded`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if d := time.Since(began); d > 3*time.Second || s.said() != "works\n" {
		t.Errorf("after %s", d)
	}
	if log := len(s.log.String()); log > 10*maxLogged {
		t.Errorf("%d bytes were logged", log)
	}
	if again := s.show([]Account{alice()}, nil); len(again) != 2 {
		t.Errorf("at the next look: %q", again)
	}
	s.failedAt = time.Now().Add(-keepFailures - time.Second)
	if again := s.show([]Account{alice()}, nil); len(again) != 0 {
		t.Errorf("a day later: %q", again)
	}
}

func TestWhatRootAloneDidNotWriteIsNoHook(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(dir, path string) error
		says  string
	}{
		"a file of somebody else's":         {func(_, path string) error { return os.Chown(path, 1000, 0) }, "others than root can write to it"},
		"a file that its group can write":   {func(_, path string) error { return os.Chmod(path, 0o775) }, "others than root can write to it"},
		"a file that everybody can write":   {func(_, path string) error { return os.Chmod(path, 0o757) }, "others than root can write to it"},
		"a file that cannot be run":         {func(_, path string) error { return os.Chmod(path, 0o644) }, "it is not executable"},
		"a link":                            {func(_, path string) error { os.Remove(path); return os.Symlink("/bin/true", path) }, "not a regular file"},
		"a folder":                          {func(_, path string) error { os.Remove(path); return os.Mkdir(path, 0o755) }, "not a regular file"},
		"a name with a dot":                 {func(_, path string) error { return os.Rename(path, path+".sh") }, "letters, digits"},
		"a copy of an editor's":             {func(_, path string) error { return os.Rename(path, path+"~") }, "letters, digits"},
		"a hidden file":                     {func(dir, path string) error { return os.Rename(path, dir+"/.hook") }, ""},
		"in a folder that others can write": {func(dir, _ string) error { return os.Chmod(dir, 0o777) }, "others than root can write to"},
		"below one that others can write":   {func(dir, _ string) error { return os.Chmod(filepath.Dir(dir), 0o777) }, "others than root can write to"},
		"in a folder of somebody else's":    {func(dir, _ string) error { return os.Chown(dir, 1000, 0) }, "others than root can write to"},
		"no folder":                         {func(dir, _ string) error { return os.RemoveAll(dir) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.hook(Created, "hook", "echo ran >>"+s.Dir+"/out", 0o755)
			dir := filepath.Join(s.Dir, "user-created.d")
			if err := tc.spoil(dir, filepath.Join(dir, "hook")); err != nil {
				t.Fatal(err)
			}
			problems := s.show([]Account{alice()}, nil)
			if got := s.said(); got != "" {
				t.Errorf("it ran: %q", got)
			}
			if text := strings.Join(problems, "\n"); (text == "") != (tc.says == "") || !strings.Contains(text, tc.says) {
				t.Errorf("problems %q", problems)
			}
		})
	}
}

func TestOnlySoManyHooksAreRun(t *testing.T) {
	s := newStage(t)
	for i := range maxHooks {
		s.hook(Created, fmt.Sprintf("%02d", i), "", 0o755)
	}
	if paths, problems := find(s.Dir, Created); len(paths) != maxHooks || len(problems) > 0 {
		t.Errorf("at the limit: %d hooks, %q", len(paths), problems)
	}
	s.hook(Created, "99", "", 0o755)
	if paths, problems := find(s.Dir, Created); len(paths) != maxHooks || len(problems) != 1 {
		t.Errorf("one more: %d hooks, %q", len(paths), problems)
	}
}

func TestADamagedRecordRunsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hooks.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := Runner{Record: path, Tell: func([]string) { t.Error("it ran") }}
	if err := r.Open(nil); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("error %v", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	r.Show(Scene{Here: []Account{alice()}})
	r.Run(ctx)
}
