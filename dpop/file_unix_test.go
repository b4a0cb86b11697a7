//go:build unix

package dpop_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cardea-ssh/cardea/dpop"
)

func TestAnUnsafeFileIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		says  string
	}{
		{"a symbolic link, even to a good key", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".real"))
			must(t, os.Symlink(path+".real", path))
		}, "symbolic link"},
		{"a dangling link is not written through", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink(path+".elsewhere", path))
		}, "symbolic link"},
		{"readable by the group", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o640)) }, "read by others"},
		{"readable by the world", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o604)) }, "read by others"},
		{"in a folder that others may write", func(t *testing.T, path string) { must(t, os.Chmod(filepath.Dir(path), 0o777)) }, "written by others"},
		{"a FIFO, without waiting for its writer", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, syscall.Mkfifo(path, 0o600))
		}, "regular file"},
		{"a folder", func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) }, "regular file"},
		{"far too large", func(t *testing.T, path string) { must(t, os.Truncate(path, 2<<30)) }, "larger than"},
		{"truncated", func(t *testing.T, path string) { must(t, os.Truncate(path, 100)) }, "PEM"},
		{"empty", func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }, "PEM"},
		{"another owner's", func(t *testing.T, path string) {
			if os.Geteuid() != 0 {
				t.Skip("SKIPPED: needs root to give a file away")
			}
			must(t, os.Chown(path, 65534, -1))
		}, "belongs to another user; type this as nobody: runuser -u nobody -- …"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k", "device.pem")
			if _, err := dpop.LoadOrCreate(path); err != nil {
				t.Fatal(err)
			}
			tc.spoil(t, path)
			_, err := dpop.LoadOrCreate(path)
			if err == nil {
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), tc.says) && !strings.Contains(err.Error(), "too many levels") {
				t.Errorf("%q does not say %q", err, tc.says)
			}
			if _, err := os.Lstat(path + ".elsewhere"); err == nil {
				t.Error("the link was followed")
			}
		})
	}
}
