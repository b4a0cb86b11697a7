package accounts

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/internal/ident"
)

const (
	// maxArchive bounds what one archive may hold, in bytes before compression:
	// more than a person's work, less than what fills most disks by itself.
	maxArchive = 64 << 30
	// archiveReserve stays free on the disk of the archives: the agent, the logs
	// and whoever repairs the host need it.
	archiveReserve = 256 << 20
	// maxArchived bounds the names in one archive.
	maxArchived = 5_000_000
	// archiveTemp begins the name of an archive that is being written.
	archiveTemp = ".cardea-archive-"
)

// summary is what a first walk through a home finds.
type summary struct {
	bytes  int64
	names  int
	setID  []string // at most maxFindings
	others []string // of another owner, at most maxFindings
	more   int      // further ones of either
}

func (s *summary) add(e entry, uid int) {
	kind := e.stat.Mode & unix.S_IFMT
	s.names++
	if kind == unix.S_IFREG {
		s.bytes += e.stat.Size
	}
	found := &s.others
	switch {
	case kind == unix.S_IFREG && e.stat.Mode&(unix.S_ISUID|unix.S_ISGID) != 0:
		found = &s.setID
	case int(e.stat.Uid) != uid:
	default:
		return
	}
	if len(*found) < maxFindings {
		*found = append(*found, quotePath(e.rel))
	} else {
		s.more++
	}
}

// note says what was odd, or "".
func (s summary) note() string {
	var parts []string
	if len(s.setID) > 0 {
		parts = append(parts, "set-id programs "+strings.Join(s.setID, ", "))
	}
	if len(s.others) > 0 {
		parts = append(parts, "files of other owners "+strings.Join(s.others, ", "))
	}
	if s.more > 0 {
		parts = append(parts, fmt.Sprintf("%d more of these", s.more))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; there were " + strings.Join(parts, "; ")
}

// leaveHome archives the home of somebody who is gone, if that is wanted, and
// then deletes it: first by moving it to where only root can reach it, so that
// whoever is interrupted finds it whole or finds it doomed.
func (a *Applier) leaveHome(s Step, stop func() bool) (note string, err error) {
	if err := errors.Join(ident.Login(s.Login), checkID(s.UID)); err != nil {
		return "", err
	}
	base, err := os.Open(a.base())
	if err != nil {
		return "", err
	}
	defer base.Close()
	home, err := openBelow(int(base.Fd()), s.Login, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer home.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(home.Fd()), &st); err != nil {
		return "", err
	}
	if int(st.Uid) != s.UID {
		return "", fmt.Errorf("it belongs to uid %d", st.Uid)
	}
	if mounted := mountsBelow(filepath.Join(a.base(), s.Login)); mounted != "" {
		return "", fmt.Errorf("%s is mounted; unmount it", quotePath(mounted))
	}
	var sum summary
	look := walker{stop: stop, visit: func(e entry) error { sum.add(e, s.UID); return nil }}
	err = look.walk(home, "", 0)
	if err != nil && !(errors.Is(err, errTooDeep) && s.Home == homeDelete) {
		return "", err
	}
	note = "its home was deleted" + sum.note()
	if s.Home == homeArchive {
		if note, err = a.archive(s, home, st, sum, stop); err != nil {
			return "", err
		}
	}
	if stop() {
		return "", errStopped
	}
	a.begin(Step{Op: OpLeave, Subject: "file " + oldHome(s.UID)})
	if err := moveOld(base, s.Login, s.UID, st); err != nil {
		return "", err
	}
	a.begin(Step{Op: OpWipe, Subject: "file " + oldHome(s.UID), UID: s.UID})
	return note, a.wipeOld(s.UID, stop)
}

// mountsBelow is something that is mounted on or below a folder, or "".
func mountsBelow(dir string) string {
	for point := range mountPoints("/") {
		if point == dir || strings.HasPrefix(point, dir+"/") {
			return point
		}
	}
	return ""
}

// moveOld moves a home out of everybody's reach. One that was there before it
// is of an earlier life of the account, and doomed already.
func moveOld(base *os.File, login string, uid int, was unix.Stat_t) error {
	fd, name := int(base.Fd()), filepath.Base(oldHome(uid))
	if err := unix.Mkdirat(fd, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	old, err := openBelow(fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer old.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(old.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not root's own", oldHome(uid))
	}
	if err := unix.Renameat(fd, login, int(old.Fd()), fmt.Sprintf("home-%d", was.Ino)); err != nil {
		return err
	}
	return errors.Join(base.Sync(), old.Sync())
}

// wipeOld removes what moveOld moved.
func (a *Applier) wipeOld(uid int, stop func() bool) error {
	base, err := os.Open(a.base())
	if err != nil {
		return err
	}
	defer base.Close()
	old, err := openBelow(int(base.Fd()), filepath.Base(oldHome(uid)), unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	if err := wipe(old, stop); err != nil {
		return err
	}
	return unix.Unlinkat(int(base.Fd()), filepath.Base(oldHome(uid)), unix.AT_REMOVEDIR)
}

// archive writes a home into one file that only root can read, whole and on
// the disk when it returns without an error. Its name is that of the home's last
// change, so that one that is written again replaces itself.
func (a *Applier) archive(s Step, home *os.File, st unix.Stat_t, sum summary, stop func() bool) (note string, err error) {
	if sum.bytes > maxArchive || sum.names > maxArchived {
		return "", fmt.Errorf("it holds %d MiB in %d files, more than an archive may; move it away yourself", sum.bytes>>20, sum.names)
	}
	dir := a.archives()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := rootsOwn(dir); err != nil {
		return "", err
	}
	if err := roomFor(dir, sum.bytes); err != nil {
		return "", err
	}
	changed := time.Unix(st.Ctim.Unix()).UTC()
	final := filepath.Join(dir, fmt.Sprintf("%s-%d-%s.tar.gz", s.Login, s.UID, changed.Format("20060102T150405Z")))
	temp := filepath.Join(dir, fmt.Sprintf("%s%d", archiveTemp, s.UID))
	a.begin(Step{Op: OpLeave, Subject: "file " + temp})
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that was killed
		return "", err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(temp)
		}
	}()
	left, err := pack(f, s, home, st, stop)
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", err
	}
	a.begin(Step{Op: OpLeave, Subject: "file " + final})
	if err := os.Rename(temp, final); err != nil {
		return "", err
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return "", err
	}
	note = fmt.Sprintf("its home was archived in %s and deleted%s", final, sum.note())
	if len(left) > 0 {
		note += "; not archived, because they are other people's by another name too: " + strings.Join(left, ", ")
	}
	return note, nil
}

func rootsOwn(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || ownerOf(info) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a folder that root alone can open", dir)
	}
	return nil
}

// roomFor refuses what may not fit, as if nothing could be compressed.
func roomFor(dir string, bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes+archiveReserve {
		return fmt.Errorf("its archive may need %d MiB and %d MiB more must stay free, but %s has %d MiB", bytes>>20+1, archiveReserve>>20, dir, free>>20)
	}
	return nil
}

// packer writes entries into a tar.
type packer struct {
	out   *tar.Writer
	login string
	uid   int
	seen  map[uint64]string // hard links: the first name of each
	left  []string
	stop  func() bool
}

func pack(to io.Writer, s Step, home *os.File, st unix.Stat_t, stop func() bool) (left []string, err error) {
	zip, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	p := packer{out: tar.NewWriter(zip), login: s.Login, uid: s.UID, seen: map[uint64]string{}, stop: stop}
	if err := p.out.WriteHeader(p.header("", st)); err != nil {
		return nil, err
	}
	if _, err := home.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := (walker{visit: p.add, stop: stop}).walk(home, "", 0); err != nil {
		return nil, err
	}
	return p.left, errors.Join(p.out.Close(), zip.Close())
}

func (p *packer) header(rel string, st unix.Stat_t) *tar.Header {
	h := &tar.Header{
		Name: filepath.Join(p.login, rel), Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX, Typeflag: tar.TypeDir,
	}
	if int(st.Uid) == p.uid {
		h.Uname = p.login
	}
	return h
}

func (p *packer) add(e entry) error {
	h := p.header(e.rel, e.stat)
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFREG:
		return p.file(e, h)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(e.parent, e.name, buf)
		if err != nil {
			return fmt.Errorf("%s: %w", quotePath(e.rel), err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(buf[:n])
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil // a socket is nothing without its program; devices are no person's
	}
	return p.out.WriteHeader(h)
}

func (p *packer) file(e entry, h *tar.Header) error {
	h.Typeflag, h.Size = tar.TypeReg, e.stat.Size
	if e.stat.Nlink > 1 {
		if int(e.stat.Uid) != p.uid {
			// A link to what somebody else has elsewhere: it goes on being there.
			if len(p.left) < maxFindings {
				p.left = append(p.left, quotePath(e.rel))
			}
			return nil
		}
		if first, seen := p.seen[e.stat.Ino]; seen {
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, first
			return p.out.WriteHeader(h)
		}
		p.seen[e.stat.Ino] = h.Name
	}
	f, err := openBelow(e.parent, e.name, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("%s: %w", quotePath(e.rel), err)
	}
	defer f.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil || now.Mode&unix.S_IFMT != unix.S_IFREG || now.Ino != e.stat.Ino || now.Dev != e.stat.Dev || now.Size != e.stat.Size {
		return fmt.Errorf("%s was exchanged meanwhile", quotePath(e.rel))
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.Copy(p.out, stoppable{f, p.stop}); err != nil {
		return fmt.Errorf("%s: %w", quotePath(e.rel), err)
	}
	return nil
}

// stoppable is a file whose reading ends early when the agent has other work.
type stoppable struct {
	f    *os.File
	stop func() bool
}

func (s stoppable) Read(b []byte) (int, error) {
	if s.stop() {
		return 0, errStopped
	}
	return s.f.Read(b)
}
