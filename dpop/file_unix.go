//go:build !windows

package dpop

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// openKey does not follow a link in the last place, and does not wait for the
// writer of a FIFO.
func openKey(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; move it away", path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return belongsToAnother(path, st)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s may be read by others; move it away and enrol again", path)
	}
	return nil
}

// belongsToAnother says whose file it is: mostly root has typed what the service's user
// has to, and an identity that is moved away is lost to it.
func belongsToAnother(path string, st *syscall.Stat_t) error {
	if st == nil {
		return fmt.Errorf("%s belongs to another user; type this as that user", path)
	}
	name := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return fmt.Errorf("%s belongs to another user; type this as %s: runuser -u %s -- …", path, name, name)
}

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("folder of identity key: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || (int(st.Uid) != os.Geteuid() && st.Uid != 0) {
		return fmt.Errorf("%s belongs to another user; choose another folder", dir)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others; type: chmod go-w %s", dir, dir)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
