//go:build unix

package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func seed(t *testing.T, content string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte(content), mode))
	must(t, os.Chmod(path, mode)) // past the umask
	return path
}

func TestWrite(t *testing.T) {
	for _, tc := range []struct {
		name    string
		old     string
		oldMode fs.FileMode
		data    string
		opt     Options
		changed bool
		mode    fs.FileMode
	}{
		{"new content takes the place of the old and keeps the mode", "old", 0o640, "new", Options{}, true, 0o640},
		{"the same content changes nothing", "same", 0o640, "same", Options{}, false, 0o640},
		{"the same content with another mode is replaced", "same", 0o644, "same", Options{Mode: 0o600}, true, 0o600},
		{"other content of the same length is replaced", "aaaa", 0o600, "bbbb", Options{}, true, 0o600},
		{"a file may become empty", "old", 0o600, "", Options{}, true, 0o600},
		{"a mode without write permission is no obstacle", "old", 0o440, "new", Options{Mode: 0o440}, true, 0o440},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := seed(t, tc.old, tc.oldMode)
			changed, err := Write(path, []byte(tc.data), tc.opt)
			must(t, err)
			if changed != tc.changed {
				t.Errorf("changed = %v, want %v", changed, tc.changed)
			}
			wantFile(t, path, tc.data, tc.mode)
			wantAlone(t, path)
		})
	}
}

func TestWriteMakesANewFilePrivateWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "new")
	must(t, os.Chmod(filepath.Dir(path), 0o700)) // made with umask 0 above us
	changed, err := Write(path, []byte("x"), Options{})
	must(t, err)
	if !changed {
		t.Error("changed = false for a new file")
	}
	wantFile(t, path, "x", DefaultMode)
}

func TestAnUnchangedFileIsNotTouched(t *testing.T) {
	path := seed(t, "same", 0o600)
	before, err := os.Stat(path)
	must(t, err)
	_, err = Write(path, []byte("same"), Options{Mode: 0o600})
	must(t, err)
	after, err := os.Stat(path)
	must(t, err)
	if !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
		t.Error("the file was rewritten although nothing changed")
	}
}

func TestOwnerIsKeptOrSet(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can give files away")
	}
	path := seed(t, "old", 0o600)
	must(t, os.Chown(path, 4242, 4343))
	_, err := Write(path, []byte("new"), Options{})
	must(t, err)
	fi, err := os.Stat(path)
	must(t, err)
	if got := *ownerOf(fi); got != (Owner{4242, 4343}) {
		t.Errorf("owner = %v, want the old one kept", got)
	}
	changed, err := Write(path, []byte("new"), Options{Owner: &Owner{0, 0}})
	must(t, err)
	fi, err = os.Stat(path)
	must(t, err)
	if got := *ownerOf(fi); got != (Owner{0, 0}) || !changed {
		t.Errorf("owner = %v, changed = %v, want root and a change", got, changed)
	}
}

func TestUnsafePathsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"a symbolic link", func(t *testing.T, path string) {
			must(t, os.WriteFile(path+".real", nil, 0o600))
			must(t, os.Symlink(path+".real", path))
		}},
		{"a dangling symbolic link", func(t *testing.T, path string) { must(t, os.Symlink("nowhere", path)) }},
		{"a FIFO, which would block for ever", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }},
		{"a folder", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }},
		{"a file in a world-writable folder", func(t *testing.T, path string) { must(t, os.Chmod(filepath.Dir(path), 0o777)) }},
		{"a file in a sticky world-writable folder", func(t *testing.T, path string) {
			must(t, os.Chmod(filepath.Dir(path), 0o777|fs.ModeSticky))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			tc.make(t, path)
			if _, err := Write(path, []byte("x"), Options{}); !errors.Is(err, ErrUnsafe) {
				t.Errorf("Write: %v, want ErrUnsafe", err)
			}
			if _, err := Remove(path); !errors.Is(err, ErrUnsafe) {
				t.Errorf("Remove: %v, want ErrUnsafe", err)
			}
		})
	}
}

func TestFollowSymlinkReplacesTheFileBehindTheLink(t *testing.T) {
	real := seed(t, "old", 0o644)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(real, link))
	_, err := Write(link, []byte("new"), Options{FollowSymlink: true})
	must(t, err)
	wantFile(t, real, "new", 0o644)
	if fi, _ := os.Lstat(link); fi.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link itself was replaced")
	}
}

func TestAFailedCheckLeavesTheOldFile(t *testing.T) {
	path := seed(t, "old", 0o600)
	refused := errors.New("syntax error")
	_, err := Write(path, []byte("new"), Options{Check: func(temp string) error {
		got, err := os.ReadFile(temp)
		must(t, err)
		if string(got) != "new" {
			t.Errorf("the check saw %q, want the finished new file", got)
		}
		return refused
	}})
	if !errors.Is(err, refused) {
		t.Errorf("err = %v, want that of the check", err)
	}
	wantFile(t, path, "old", 0o600)
	wantAlone(t, path)
}

var steps = []string{"create", "write", "attributes", "sync", "rename", "sync folder"}

func TestAFaultAtAnyStepLeavesOldOrNewAndNoTemporaryFile(t *testing.T) {
	fault := errors.New("disk full")
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			path := seed(t, "old", 0o600)
			changed, err := write(path, []byte("new"), Options{}, func(s string) error {
				if s == step {
					return fault
				}
				return nil
			})
			if !errors.Is(err, fault) {
				t.Fatalf("err = %v, want the fault: the step never ran", err)
			}
			want := map[bool]string{false: "old", true: "new"}[changed]
			wantFile(t, path, want, 0o600)
			wantAlone(t, path)
		})
	}
}

// A process killed at a step cannot tidy up; what it leaves must be whole, and
// Sweep must clear the rest. The test binary starts itself to be that process.
func TestAKillAtAnyStepLeavesOldOrNew(t *testing.T) {
	const env = "CARDEA_ATOMICFILE_KILL"
	if spec := os.Getenv(env); spec != "" {
		step, path, _ := strings.Cut(spec, ":")
		_, err := write(path, bytes.Repeat([]byte("new"), 100_000), Options{}, func(s string) error {
			if s == step {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		})
		fmt.Println("survived:", err)
		os.Exit(1)
	}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			path := seed(t, "old", 0o640)
			cmd := exec.Command(os.Args[0], "-test.run=^"+strings.Split(t.Name(), "/")[0]+"$")
			cmd.Env = append(os.Environ(), env+"="+step+":"+path)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("the child was not killed: %v: %s", err, out)
			}
			got, err := os.ReadFile(path)
			must(t, err)
			if s := string(got); s != "old" && s != strings.Repeat("new", 100_000) {
				t.Errorf("the file holds %d bytes, neither old nor new", len(s))
			}
			must(t, Sweep(filepath.Dir(path)))
			wantAlone(t, path)
		})
	}
}

func TestRemove(t *testing.T) {
	path := seed(t, "x", 0o600)
	for _, want := range []bool{true, false} {
		if changed, err := Remove(path); err != nil || changed != want {
			t.Errorf("Remove = %v, %v; want %v", changed, err, want)
		}
	}
	if changed, err := Remove(filepath.Join(path, "no/such/folder")); err == nil && changed {
		t.Error("Remove of a path in a missing folder reports a change")
	}
}

func TestALongNameStillHasRoomForTheTemporaryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 255))
	_, err := Write(path, []byte("x"), Options{})
	must(t, err)
}

func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	fi, err := os.Stat(path)
	must(t, err)
	if string(got) != content || fi.Mode().Perm() != mode {
		t.Errorf("%s holds %q, mode %o; want %q, %o", path, got, fi.Mode().Perm(), content, mode)
	}
}

// wantAlone fails if anything but the file itself is in its folder.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("the folder holds %v, want the file alone", entries)
	}
}
