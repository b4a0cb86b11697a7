package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Names in a spool that are no session's begin with a dot, or are quarantineDir.
const (
	ownerMark = ".owner-"
	newMark   = ".new-"
	goneMark  = ".gone-"
	lockFile  = ".lock"
)

// Is reports whether a folder is a spool, or a copy of one: it has its lock, or a
// recording in it.
func Is(dir string) (bool, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(n fs.DirEntry) bool {
		return n.Name() == lockFile && n.Type().IsRegular() || n.IsDir() && ident.Check(n.Name(), ident.GatewaySession) == nil
	}), nil
}

// lostAndFound is what a file system of its own has in its root.
const lostAndFound = "lost+found"

// claim makes a folder a spool, if it is one already or empty. Another one is of somebody
// else, who may have names like ours in it.
func claim(dir string) error {
	is, err := Is(dir)
	if err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	foreign := slices.IndexFunc(names, func(n fs.DirEntry) bool { return n.Name() != lostAndFound })
	if !is && foreign >= 0 {
		return fmt.Errorf("%s is no spool and has something in it (%s): name a folder that is empty, or not there yet", dir, ident.Text(names[foreign].Name()))
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// owner is a process that takes part in a spool. It lives while it holds the lock on
// its file: the kernel lets go of that when the process dies, however it does.
type owner struct {
	name string
	file *os.File
}

func newOwner(dir string) (owner, error) {
	name := ownerMark + strings.ToLower(rand.Text()[:16])
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return owner{}, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return owner{}, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return owner{name, f}, nil
}

// close gives up what the process owns.
func (o owner) close() error {
	return errors.Join(os.Remove(o.file.Name()), o.file.Close())
}

// alive reports whether the owner of that name still runs. One that cannot be told is
// taken to: nobody touches what may be written to.
func alive(dir, name string) bool {
	if !strings.HasPrefix(name, ownerMark) || strings.ContainsAny(name, "/\x00") {
		return false
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		return true
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// exclusively runs what only one process may do at a time.
func exclusively(dir string, do func() error) error {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return do()
}
