package accounts

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxTreeDepth bounds how many folders inside each other are held open.
	maxTreeDepth = 200
	// treeBatch is how many names of one folder are read at once.
	treeBatch = 1024
)

var (
	errStopped = errors.New("stopped")
	errTooDeep = fmt.Errorf("it has more than %d folders inside each other", maxTreeDepth)
)

// entry is one name below a home, as fstatat(2) sees it.
type entry struct {
	parent int    // descriptor of its folder, good while it is visited
	name   string // in that folder
	rel    string // below the home
	stat   unix.Stat_t
}

// openBelow opens a name in a folder that is open, and nothing that the name
// leads to: no link, and nothing that is mounted there.
func openBelow(parent int, name string, flags int) (*os.File, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	how := &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	fd, err := retry(func() (int, error) { return unix.Openat2(parent, name, how) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // EPERM: of a filter that is older than the call
		return openBelowOld(parent, name, flags)
	}
	if err != nil {
		return nil, mountedThere(name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openBelowOld is for kernels before 5.6. A single name that is no link cannot
// lead anywhere but to a mount, and the kernel says on which mount each is.
func openBelowOld(parent int, name string, flags int) (*os.File, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, unix.EINVAL
	}
	fd, err := retry(func() (int, error) { return unix.Openat(parent, name, flags, 0) })
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	above, err1 := mountOf(parent)
	here, err2 := mountOf(fd)
	if err := errors.Join(err1, err2); err != nil || above != here {
		f.Close()
		return nil, errors.Join(err, mountedThere(name, unix.EXDEV))
	}
	return f, nil
}

// mostTries bounds how often an open is tried that could not be done just now.
const mostTries = 8

// errHeld: somebody has a file of his own in the home, and a lease on it (fcntl(2)).
// He could keep it for ever, so he is not waited for.
var errHeld = errors.New("a program holds a lease on it; it is tried again")

func retry(open func() (int, error)) (fd int, err error) {
	for try := 1; ; try++ {
		fd, err = open()
		switch {
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			return fd, err
		case try >= mostTries: // else something was renamed while the kernel looked (openat2(2))
			return fd, errHeld
		}
	}
}

// mountOf reads proc_pid_fdinfo(5).
func mountOf(fd int) (string, error) {
	raw, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	for line := range strings.Lines(string(raw)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", errors.Join(err, errors.New("the kernel does not say what is mounted"))
}

func mountedThere(name string, err error) error {
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%s is mounted; unmount it", quotePath(name))
	}
	return err
}

// walker goes through what is below a folder, and sees each folder before what is in it.
type walker struct {
	visit func(entry) error
	stop  func() bool
}

func (t walker) walk(dir *os.File, rel string, depth int) error {
	if depth > maxTreeDepth {
		return errTooDeep
	}
	for {
		names, err := dir.Readdirnames(treeBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if t.stop() {
				return errStopped
			}
			if err := t.one(dir, name, path.Join(rel, name), depth); err != nil {
				return err
			}
		}
	}
}

func (t walker) one(dir *os.File, name, rel string, depth int) error {
	e := entry{parent: int(dir.Fd()), name: name, rel: rel}
	err := unix.Fstatat(e.parent, name, &e.stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", quotePath(rel), err)
	}
	if err := t.visit(e); err != nil {
		return err
	}
	if e.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	sub, err := openBelow(e.parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", quotePath(rel), err)
	}
	defer sub.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(sub.Fd()), &now); err != nil || now.Ino != e.stat.Ino || now.Dev != e.stat.Dev {
		return fmt.Errorf("%s was exchanged meanwhile", quotePath(rel))
	}
	return t.walk(sub, rel, depth+1)
}

// wipe removes all that is in a folder of root's own. Names are removed, never
// followed. What lies too deep is moved up first: nobody else can reach the
// folder, so nobody plays with what is there.
func wipe(top *os.File, stop func() bool) error { return wipeDir(top, top, 0, stop) }

func wipeDir(top, dir *os.File, depth int, stop func() bool) error {
	for {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := dir.Readdirnames(treeBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if stop() {
				return errStopped
			}
			if err := wipeOne(top, dir, name, depth, stop); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("%s: %w", quotePath(name), err)
			}
		}
	}
}

func wipeOne(top, dir *os.File, name string, depth int, stop func() bool) error {
	fd := int(dir.Fd())
	err := unix.Unlinkat(fd, name, 0)
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) { // EPERM is POSIX's word for a folder
		return err
	}
	if depth >= maxTreeDepth {
		return unix.Renameat(fd, name, int(top.Fd()), "deep-"+rand.Text())
	}
	sub, openErr := openBelow(fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if openErr != nil {
		return errors.Join(openErr, err)
	}
	err = wipeDir(top, sub, depth+1, stop)
	sub.Close()
	if err != nil {
		return err
	}
	return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
}
