package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// Trusted makes sure that the program at the absolute path is one that root alone
// can change or exchange: no folder on the way, and none to which a symbolic link
// leads, may be written to by others.
func Trusted(name string) error { return trusted(name, false) }

// TrustedConfig is Trusted for a file that is read and not run: what is in it can
// name programs and folders. It may also lie below a folder such as /tmp, in which
// everybody can make files and nobody can exchange root's.
func TrustedConfig(name string) error { return trusted(name, true) }

func trusted(name string, config bool) error {
	if !path.IsAbs(name) {
		return fmt.Errorf("%q is not an absolute path", name)
	}
	links, at, rest := 0, "/", split(name)
	if err := trustedFolder(at, config); err != nil {
		return err
	}
	for len(rest) > 0 {
		next := path.Join(at, rest[0])
		info, err := os.Lstat(next)
		if err != nil {
			return err
		}
		rest = rest[1:]
		switch {
		case config && !roots(info):
			return fmt.Errorf("%s is not root's own", next)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if err != nil {
				return err
			}
			if links++; links > maxLinks {
				return fmt.Errorf("%s leads through too many links", name)
			}
			if path.IsAbs(target) {
				at = "/"
			}
			rest = append(split(target), rest...)
		case len(rest) == 0:
			return trustedFile(next, info, config)
		default:
			if err := trustedFolder(next, config); err != nil {
				return err
			}
			at = next
		}
	}
	return fmt.Errorf("%s is not a regular file", name)
}

// split keeps "..", which path.Join of a folder that was resolved takes as the
// kernel does.
func split(name string) (parts []string) {
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

func trustedFolder(dir string, config bool) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case config && roots(info) && info.Mode()&fs.ModeSticky != 0:
	case !RootsAlone(info):
		return fmt.Errorf("others than root can write to %s", dir)
	}
	return nil
}

func trustedFile(name string, info fs.FileInfo, config bool) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", name)
	case !RootsAlone(info):
		return fmt.Errorf("others than root can write to %s", name)
	case !config && info.Mode().Perm()&0o100 == 0:
		return errors.New("it is not executable")
	}
	return nil
}

// RootsAlone reports whether root alone can write.
func RootsAlone(info fs.FileInfo) bool {
	return roots(info) && info.Mode().Perm()&0o022 == 0
}

func roots(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}
