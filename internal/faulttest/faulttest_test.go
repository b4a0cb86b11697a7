//go:build linux && (amd64 || arm64)

package faulttest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/faulttest"
)

func TestMain(m *testing.M) {
	faulttest.Main(func(path string) error {
		if filepath.Base(path) == "ugly" {
			return errors.New("an ugly file\nis there")
		}
		return nil
	})
	os.Exit(m.Run())
}

// under runs a shell script under a plan, in a folder of its own.
func under(t *testing.T, p faulttest.Plan, script string) (dir, out string, code int, points, bad []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: seccomp_unotify without no_new_privs needs root")
	}
	dir = t.TempDir()
	p.Log = filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(os.Args[0], "/bin/bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), buildtest.RaceOptions), p.Env()...)
	raw, _ := cmd.CombinedOutput()
	if strings.Contains(string(raw), "has no seccomp_unotify") {
		t.Skip("SKIPPED: this kernel has no seccomp_unotify")
	}
	log, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	points, bad = faulttest.Read(string(log))
	return dir, string(raw), cmd.ProcessState.ExitCode(), points, bad
}

func point(dir, who, call, file string, nth int) string {
	return fmt.Sprintf("%s %s %q %d", who, call, digits(filepath.Join(dir, file)), nth)
}

// digits is what becomes of numbers in a name.
func digits(path string) string {
	var b strings.Builder
	for i, c := range path {
		if c >= '0' && c <= '9' {
			if i == 0 || path[i-1] < '0' || path[i-1] > '9' {
				b.WriteByte('#')
			}
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

const script = `echo one >a; echo two >a; mv a b; mkdir d; (echo three >d/c); rm b; echo >/dev/null; echo said`

func TestEveryChangeOfTheProgramAndItsChildrenIsAPoint(t *testing.T) {
	dir, out, code, points, _ := under(t, faulttest.Plan{}, script)
	if code != 0 || out != "said\n" {
		t.Fatalf("code %d, %s", code, out)
	}
	want := []string{
		point(dir, "bash", "create", "a", 1), point(dir, "bash", "write", "a", 1),
		point(dir, "bash", "create", "a", 2), point(dir, "bash", "write", "a", 2),
		point(dir, "mv", "rename", "b", 1), point(dir, "mkdir", "mkdir", "d", 1),
		point(dir, "bash", "create", "d/c", 1), point(dir, "bash", "write", "d/c", 1),
		point(dir, "rm", "unlink", "b", 1),
	}
	if !slices.Equal(points, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(points, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhatHappensAtAPoint(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   faulttest.Effect
		who  string
		call string
		file string
		nth  int
		// files are there afterwards; code is how it ends; said is part of its output.
		files string
		code  int
		said  string
	}{
		{"one call fails", faulttest.Fail("ENOSPC"), "bash", "write", "a", 1, "d d/c", 0, "No space left"},
		{"all fail from there on that need room", faulttest.FailOn("ENOSPC"), "bash", "write", "a", 2, "a", 0, "No space left"},
		{"a disk that breaks", faulttest.FailOn("EIO"), "mkdir", "mkdir", "d", 1, "b", 0, "Input/output error"},
		{"all die", faulttest.Kill, "mkdir", "mkdir", "d", 1, "b", 137, ""},
		{"one dies", faulttest.KillOne, "mkdir", "mkdir", "d", 1, "", 0, "said"},
		{"the child goes on alone", faulttest.Orphan, "mkdir", "mkdir", "d", 1, "b d", 137, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, _, _, points, _ := under(t, faulttest.Plan{}, script)
			want := point(dir, tc.who, tc.call, tc.file, tc.nth)
			if !slices.Contains(points, want) {
				t.Fatalf("there is no point %s", want)
			}
			dir, out, code, _, _ := under(t, faulttest.Plan{At: want, Do: tc.do}, script)
			var files []string
			filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
				if rel, _ := filepath.Rel(dir, path); rel != "." {
					files = append(files, rel)
				}
				return nil
			})
			if got := strings.Join(files, " "); got != tc.files || code != tc.code || !strings.Contains(out, tc.said) {
				t.Errorf("files %q, code %d, said %s", got, code, out)
			}
		})
	}
}

func TestTheProbeIsAskedBetweenTwoChanges(t *testing.T) {
	dir, _, _, _, bad := under(t, faulttest.Plan{}, "echo >fine; mkdir ugly; rmdir ugly; echo >fine")
	want := "before " + point(dir, "rmdir", "unlink", "ugly", 1) + ": an ugly file; is there"
	if len(bad) == 0 || bad[0] != want {
		t.Errorf("got %q, want %q first", bad, want)
	}
}

func TestWhatAFileSystemCouldSay(t *testing.T) {
	for _, tc := range []struct {
		call, errno string
		want        bool
	}{
		{"write", "ENOSPC", true}, {"unlink", "ENOSPC", false}, {"open", "ENOSPC", false},
		{"create", "EDQUOT", true}, {"chown", "EIO", true}, {"unlink", "EROFS", true}, {"write", "EROFS", false},
		{"write", "ENOENT", false},
	} {
		if got := faulttest.Could("useradd "+tc.call+` "/etc/passwd" 1`, faulttest.Fail(tc.errno)); got != tc.want {
			t.Errorf("%s of %s: %v", tc.errno, tc.call, got)
		}
		if got := faulttest.Could("useradd "+tc.call+` "/etc/passwd" 1`, faulttest.FailOn(tc.errno)); got != tc.want {
			t.Errorf("%s of %s and on: %v", tc.errno, tc.call, got)
		}
	}
}
