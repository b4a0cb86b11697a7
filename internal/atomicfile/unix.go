//go:build unix

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// worldWritable reports whether everybody may put files into dir. A sticky
// folder like /tmp is no better: names in it can be taken first.
func worldWritable(dir fs.FileInfo) bool { return dir.Mode().Perm()&0o002 != 0 }

func ownerOf(fi fs.FileInfo) *Owner {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return &Owner{UID: int(st.Uid), GID: int(st.Gid)}
}

func sameOwner(fi fs.FileInfo, want *Owner) bool {
	have := ownerOf(fi)
	return want == nil || have != nil && *have == *want
}

// chown gives f to its owner, and asks the kernel only where that changes
// something: an unprivileged user may not even chown to himself everywhere.
func chown(f *os.File, want *Owner) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if sameOwner(fi, want) {
		return nil
	}
	return f.Chown(want.UID, want.GID)
}

// syncDir makes a rename or a removal in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems (FUSE, some network ones) cannot sync a folder and
	// say EINVAL; they have no stronger promise to give.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
