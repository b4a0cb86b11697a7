package accounts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	skeleton = "/etc/skel"
	// homeMode keeps a home to its owner; newer login.defs say the same.
	homeMode = 0o700
	// homeTemp begins the name of a home that is being made. No login begins
	// with a dot.
	homeTemp = ".cardea-new-"
	// maxSkelEntries and maxSkelFile bound what is copied from /etc/skel: number
	// of files, and bytes of each.
	maxSkelEntries, maxSkelFile = 1000, 1 << 20
)

// makeHome makes the home of a new account whole and then moves it into
// place: beside its place, in a folder that only root may enter until the end.
// Nobody else ever had access to what is written and chowned here, and a run
// that was cut off leaves no half a home.
func (a *Applier) makeHome(ctx context.Context, login string, uid, gid int) (err error) {
	final := path.Join(HomeBase, login)
	temp := path.Join(HomeBase, homeTemp+rand.Text()[:16])
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	if err := copySkeleton(skeleton, temp, uid, gid); err != nil {
		return fmt.Errorf("copy %s: %w", skeleton, err)
	}
	if err := os.Chmod(temp, homeMode); err != nil {
		return err
	}
	if err := os.Chown(temp, uid, gid); err != nil {
		return err
	}
	if err := renameNew(temp, final); err != nil {
		return err
	}
	// On a host with SELinux the copy has the labels of /home. The account does
	// not exist yet, or nobody can enter it: nobody can play with links.
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		if _, err := a.run(ctx, restorecon, "-R", final); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere are those of the logins that the host knows by any of its sources.
// Where getent fails nobody has them, or nobody can tell; then useradd judges.
func (a *Applier) elsewhere(ctx context.Context, logins []string) map[string]bool {
	out, err := a.run(ctx, append([]string{getent, "passwd"}, logins...)...)
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == notAll) {
		return nil
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(line, ":")
		known[name] = true
	}
	return known
}

// notAll is how getent ends if it did not find all that it was asked for.
const notAll = 2

// makeHomes makes homes, some at once, and returns what went wrong of each.
//
// A login that a directory service has is none of ours, of which /etc/passwd
// says nothing: useradd would refuse it only after the home was there, in the
// way of the one that the service's own login makes.
func (a *Applier) makeHomes(ctx context.Context, steps []Step) []error {
	var fresh []string
	for _, s := range steps {
		if !s.Here {
			fresh = append(fresh, s.Login)
		}
	}
	var known map[string]bool
	if len(fresh) > 0 {
		known = a.elsewhere(ctx, fresh)
	}
	return a.each(len(steps), func(i int) { a.begin(steps[i]) }, func(i int) error {
		s := steps[i]
		if !s.Here && known[s.Login] {
			return fmt.Errorf("the host has an account %s already, of a directory service", s.Login)
		}
		return a.makeHome(ctx, s.Login, s.UID, s.GID)
	})
}

// renameNew moves the home into place without replacing anything. A file
// system that cannot promise that (NFS) gets the same by looking first: only
// root can put something there in between.
func renameNew(from, to string) error {
	err := renameNoReplace(from, to)
	if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", to)
	}
	return os.Rename(from, to)
}

// copySkeleton copies plain files and folders; links and devices in /etc/skel
// are left out. Both folders are opened as roots that nothing leads out of.
func copySkeleton(from, to string, uid, gid int) error {
	src, err := os.OpenRoot(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	entries := 0
	return fs.WalkDir(src.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entries++; entries > maxSkelEntries {
			return fmt.Errorf("it has more than %d entries", maxSkelEntries)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			err = dst.Mkdir(name, info.Mode().Perm())
		case info.Mode().IsRegular():
			err = copyFile(src, dst, name, info)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		return dst.Lchown(name, uid, gid)
	})
}

func copyFile(src, dst *os.Root, name string, info fs.FileInfo) error {
	if info.Size() > maxSkelFile {
		return fmt.Errorf("%s is larger than %d bytes", name, maxSkelFile)
	}
	in, err := src.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := dst.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, maxSkelFile))
	return errors.Join(err, out.Chmod(info.Mode().Perm()), out.Close())
}

// sweepHomes removes what a killed run left. Such a folder was root's own
// until the moment of its renaming.
func sweepHomes() error {
	entries, err := os.ReadDir(HomeBase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), homeTemp) {
			if err := os.RemoveAll(filepath.Join(HomeBase, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
