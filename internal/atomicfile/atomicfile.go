// Package atomicfile replaces a file durably: whoever looks, and whenever the
// power goes, finds the old content or the new, whole, with the right mode
// and owner, and never a part of either.
//
// The new content goes to a temporary file in the same folder (created
// exclusively, readable by nobody else), is synced, and is renamed over the
// target; then the folder is synced, because the rename itself lives there.
// A file that already says what it should is left alone, so that nothing which
// watches it wakes for nothing.
//
// A path in a world-writable folder is refused, and so is a target that is a
// symbolic link: both let somebody else choose what a privileged writer
// replaces.
package atomicfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DefaultMode is what a new file gets when Options.Mode is zero: most of what
// Cardea writes is nobody else's business.
const DefaultMode fs.FileMode = 0o600

// tempMark stands in the name of every temporary file, so that Sweep can tell
// what a killed process left. The leading dot and the inner dots keep such a
// file from being read by sudo, sshd and run-parts, which skip such names.
const tempMark = ".cardea-tmp."

// ErrUnsafe is wrapped by every refusal to write because of where the path
// leads: a symbolic link, something that is no regular file, or a folder that
// everybody may write to.
var ErrUnsafe = errors.New("unsafe path")

// Owner is a numeric user and group id.
type Owner struct{ UID, GID int }

// Options say how a file is to look. The zero value keeps the mode and owner of
// the file that is replaced, and makes a new one with DefaultMode.
type Options struct {
	// Mode is the permission bits; zero keeps those of the old file.
	Mode fs.FileMode
	// Owner is set before the file appears; nil keeps that of the old file.
	// It is not supported on Windows.
	Owner *Owner
	// FollowSymlink replaces the file a symbolic link leads to and leaves the
	// link, for a file of the user's own that he may keep elsewhere (a
	// ~/.ssh/config in a repository). Never set it for a privileged writer.
	FollowSymlink bool
	// Check looks at the finished temporary file before it takes the place of
	// the old one ("visudo -c -f"); an error leaves the old one untouched.
	Check func(temp string) error
}

// Write makes the file at path hold exactly data, and reports whether
// anything had to be changed. The folder must exist.
func Write(path string, data []byte, opt Options) (changed bool, err error) {
	return write(path, data, opt, func(string) error { return nil })
}

// write is Write with a hook that runs before every step, where tests make
// the step fail or the process die.
func write(path string, data []byte, opt Options, before func(step string) error) (changed bool, err error) {
	path, old, err := resolve(path, opt.FollowSymlink)
	if err != nil {
		return false, err
	}
	mode, owner := wanted(old, opt)
	if old != nil && old.Mode().Perm() == mode && sameOwner(old, owner) && sameContent(path, old, data) {
		return false, nil
	}
	if err := before("create"); err != nil {
		return false, err
	}
	temp := tempName(path)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	defer func() {
		f.Close() // a second close is harmless; the first one's error was looked at
		if err != nil {
			os.Remove(temp)
		}
	}()
	if err := fill(f, data, mode, owner, before); err != nil {
		return false, err
	}
	if opt.Check != nil {
		if err := opt.Check(temp); err != nil {
			return false, fmt.Errorf("checking the new %s: %w", path, err)
		}
	}
	if err := before("rename"); err != nil {
		return false, err
	}
	if err := os.Rename(temp, path); err != nil {
		return false, err
	}
	// From here on the new file is in place: an error now means only that a
	// power cut might bring the old one back.
	if err := before("sync folder"); err != nil {
		return true, err
	}
	return true, syncDir(filepath.Dir(path))
}

// fill writes data and attributes to f and closes it. The owner comes before
// the mode, because chown clears set-id bits and an early mode would let the
// wrong group read.
func fill(f *os.File, data []byte, mode fs.FileMode, owner *Owner, before func(string) error) error {
	if err := before("write"); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := before("attributes"); err != nil {
		return err
	}
	if err := chown(f, owner); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := before("sync"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// Remove deletes the file at path durably and reports whether there was one.
// A symbolic link is refused, as by Write.
func Remove(path string) (changed bool, err error) {
	_, old, err := resolve(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || old == nil {
		return false, err
	}
	if err := os.Remove(path); err != nil {
		return false, err
	}
	return true, syncDir(filepath.Dir(path))
}

// SyncDir makes durable what was removed from a folder otherwise than by Remove.
func SyncDir(dir string) error { return syncDir(dir) }

// Sweep removes the temporary files that a process killed in the middle of
// Write left in dir. Call it where one process alone writes to dir, before it
// begins: it cannot know whether a temporary file is still in use.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), tempMark) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// resolve finds the file to replace (nil if there is none yet) and refuses
// places where somebody else decides what is replaced.
func resolve(path string, follow bool) (string, fs.FileInfo, error) {
	if follow {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	if worldWritable(dir) {
		return "", nil, fmt.Errorf("%w: everybody may write to %s (chmod o-w it)", ErrUnsafe, filepath.Dir(path))
	}
	old, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if old.Mode()&fs.ModeSymlink != 0 {
		return "", nil, fmt.Errorf("%w: %s is a symbolic link", ErrUnsafe, path)
	}
	if !old.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%w: %s is not a regular file", ErrUnsafe, path)
	}
	return path, old, nil
}

// wanted is the mode and owner (nil: whoever writes) the file shall have.
func wanted(old fs.FileInfo, opt Options) (fs.FileMode, *Owner) {
	mode, owner := opt.Mode.Perm(), opt.Owner
	if mode == 0 {
		mode = DefaultMode
		if old != nil {
			mode = old.Mode().Perm()
		}
	}
	if owner == nil && old != nil {
		owner = ownerOf(old)
	}
	return mode, owner
}

// sameContent reports whether the file already holds data. What cannot be
// read is not the same: it is then replaced.
func sameContent(path string, old fs.FileInfo, data []byte) bool {
	if old.Size() != int64(len(data)) {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(old, now) {
		return false
	}
	have, err := io.ReadAll(io.LimitReader(f, int64(len(data))+1))
	return err == nil && bytes.Equal(have, data)
}

// tempName is a name beside path that nobody can guess. The base name is cut
// so that the whole stays within the 255 bytes of a directory entry.
func tempName(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base[:min(len(base), 200)]+tempMark+rand.Text()[:16])
}
