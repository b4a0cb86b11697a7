package spool

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// ending is how a recording is to be finished.
type ending struct {
	key   ed25519.PrivateKey
	cause string
	lost  int64 // bytes that are known to be missing
}

// errNoKey says that a recording waits for a key that may sign its end.
var errNoKey = errors.New("there is no key yet to sign the end of the recording with")

// Recover takes over what dead processes left, and finishes it with the cause
// "interrupted" under key, which may be nil while there is none: then it is to be
// called again. It says how many recordings wait for that.
func (s *Spool) Recover(key ed25519.PrivateKey) (waiting int, err error) {
	err = exclusively(s.opt.Dir, func() error { return s.adopt() })
	if err != nil {
		return 0, fmt.Errorf("look for what others left in the spool: %w", err)
	}
	for _, e := range s.all() {
		e.mu.Lock()
		if !s.isLive(e) && e.meta.State == Recording {
			err := s.finish(e, ending{key: key, cause: recording.Interrupted})
			if err != nil && !errors.Is(err, errNoKey) {
				s.log.Error("cannot finish a recording", "session", e.meta.Session, "error", err)
			}
			if err != nil {
				waiting++
			}
		}
		e.mu.Unlock()
	}
	return waiting, nil
}

func (s *Spool) isLive(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.live != nil
}

// adopt makes this process the owner of each folder whose owner is dead.
func (s *Spool) adopt() error {
	names, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		switch name := n.Name(); {
		case strings.HasPrefix(name, ownerMark):
			if name != s.owner.name && !alive(s.opt.Dir, name) {
				os.Remove(filepath.Join(s.opt.Dir, name))
			}
		case s.opt.Only == nil && n.IsDir() && isOurs(name):
			s.sweep(name)
		case name[0] == '.' || name == quarantineDir || !n.IsDir() || !s.mine(name):
		case ident.Check(name, ident.GatewaySession) != nil:
			// Whoever names the wrong folder keeps what is in it.
			s.log.Warn("a folder in the spool is no recording, and is left alone", "folder", filepath.Join(s.opt.Dir, ident.Text(name)))
		default:
			if err := s.adoptOne(name); err != nil {
				s.log.Error("cannot take over a recording", "session", name, "error", err)
			}
		}
	}
	return nil
}

// sweepAge is how old a folder must be that nobody has given a name yet: making one
// takes milliseconds.
const sweepAge = time.Hour

// isOurs tells the name of a folder that is being made or removed.
func isOurs(name string) bool {
	session, is := strings.CutPrefix(name, newMark)
	if !is {
		session, is = strings.CutPrefix(name, goneMark)
	}
	return is && checkID(session, ident.GatewaySession) == nil
}

// sweep removes what a death in the middle of making or removing a folder left.
func (s *Spool) sweep(name string) {
	path := filepath.Join(s.opt.Dir, name)
	info, err := os.Lstat(path)
	if err != nil || strings.HasPrefix(name, newMark) && time.Since(info.ModTime()) < sweepAge {
		return
	}
	if err := os.RemoveAll(path); err != nil {
		s.log.Warn("cannot remove an old folder", "folder", path, "error", err)
	}
}

func (s *Spool) adoptOne(name string) error {
	s.mu.Lock()
	known := s.entries[name] != nil
	s.mu.Unlock()
	if known {
		return nil
	}
	dir := filepath.Join(s.opt.Dir, name)
	m, err := readMeta(dir)
	switch {
	case errors.Is(err, errMeta), errors.Is(err, fs.ErrNotExist):
		return s.setFolderAside(name, err.Error())
	case err != nil:
		return err // a newer version, or a disk that cannot be read: another time
	case m.Owner == s.owner.name || alive(s.opt.Dir, m.Owner):
		return nil // ours are known, or were, and are being removed
	}
	m.Owner = s.owner.name
	e := newEntry(s.opt.Dir, m)
	if err := s.save(e); err != nil {
		// It goes on all the same: without room nothing could be stored that makes some.
		e.unsaved = true
	}
	s.mu.Lock()
	s.entries[name] = e
	s.mu.Unlock()
	s.log.Info("a recording was left by a process that is gone", "session", name, "state", m.State, "segments", len(m.Segments))
	s.wake()
	return nil
}

// finish brings a recording to its end: e.mu is held, and nobody writes it any more.
func (s *Spool) finish(e *entry, how ending) error {
	if e.meta.State != Recording {
		return nil
	}
	if how.key == nil {
		return errNoKey
	}
	files, err := segmentFiles(e.dir)
	if err != nil {
		return err
	}
	end, err := s.end(e, files, how)
	if err != nil {
		return err
	}
	if files, err = segmentFiles(e.dir); err != nil {
		return err
	}
	if err := e.complete(files); err != nil {
		return err
	}
	e.meta.End = &end
	e.meta.noteMissing()
	if how.cause == recording.Interrupted {
		e.noteDamage()
	}
	if err := e.meta.to(Finished); err != nil {
		return err
	}
	s.wake()
	return s.save(e)
}

// end finds the last segment that has a head and sees to it that it has an end.
func (s *Spool) end(e *entry, files []int, how ending) (End, error) {
	out := End{Cause: how.cause, Lost: how.lost}
	for _, number := range slices.Backward(files) {
		known := e.meta.segment(number)
		stored := known != nil && known.Kept != Here
		r, err := s.endSegment(e.file(number), how, stored)
		if stored && err != nil {
			e.meta.fault("what came after segment %d is missing", number)
			return out, nil
		}
		if errors.Is(err, recording.ErrNoHead) {
			if err := s.headless(e, number); err != nil {
				return out, err
			}
			continue
		}
		if err != nil {
			return out, err
		}
		if r.Session != e.meta.Session || r.Segment != number {
			return out, s.setFileAside(e, number, fmt.Sprintf("it is segment %d of %s", r.Segment, ident.Text(r.Session)))
		}
		e.meta.forget(number) // it may have changed
		out.Head, out.Key, out.Cause = r.Head, r.Key, r.Cause
		out.Lost += r.Dropped + r.Damaged
		out.Seconds = int64(r.Last / time.Second)
		return out, nil
	}
	if len(e.meta.Segments) == 0 {
		e.meta.fault("nothing of the recording is there")
	}
	return out, nil
}

// headless takes a segment away that was just begun when its process died. What has a
// byte in it is set aside.
func (s *Spool) headless(e *entry, number int) error {
	info, err := os.Lstat(e.file(number))
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return os.Remove(e.file(number))
	}
	return s.setFileAside(e, number, "it has no head")
}

// endSegment sees to it that a segment ends the recording. One that is stored already
// is not changed any more: it has its end, or that is an error.
func (s *Spool) endSegment(path string, how ending, stored bool) (recording.Recovered, error) {
	f, err := openPlain(path, os.O_RDWR)
	if err != nil {
		return recording.Recovered{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return recording.Recovered{}, err
	}
	var segment recording.SegmentFile = f
	if stored {
		segment = fixed{f}
	}
	return recording.Recover(segment, info.Size(), recording.RecoverOptions{Key: how.key, Cause: how.cause, Lost: how.lost, Now: s.opt.Now})
}

// fixed is a file that is not changed any more.
type fixed struct{ *os.File }

var errFixed = errors.New("the segment is stored already")

func (fixed) Truncate(int64) error               { return errFixed }
func (fixed) WriteAt([]byte, int64) (int, error) { return 0, errFixed }

// complete hashes the segments that nobody has hashed yet.
func (e *entry) complete(files []int) error {
	for _, number := range files {
		if e.meta.segment(number) != nil {
			continue
		}
		seg, err := hashed(e.dir, number)
		if err != nil {
			return err
		}
		e.meta.add(seg)
	}
	return nil
}

// forget takes a segment out that is here alone.
func (m *Meta) forget(number int) {
	m.Segments = slices.DeleteFunc(m.Segments, func(s Segment) bool { return s.Number == number && s.Kept == Here })
}

// noteMissing notes gaps in the numbers.
func (m *Meta) noteMissing() {
	next := 1
	for _, s := range m.Segments {
		for ; next < s.Number; next++ {
			m.fault("segment %d is missing", next)
		}
		next = s.Number + 1
	}
}

// noteDamage looks at what a dead process left, which a disk may have been through much
// with. It is stored as it is: what is not damaged can be read.
func (e *entry) noteDamage() {
	report, err := recording.Verify(os.DirFS(e.dir), recording.VerifyOptions{Session: e.meta.Session})
	if err != nil {
		e.meta.fault("it cannot be looked at: %v", err)
	}
	for _, f := range report.Faults {
		// Whose signatures those are is for others to say, and gaps were noted.
		if f.Bytes > 0 && (!f.Readable || strings.HasPrefix(f.What, "damaged")) {
			e.meta.fault("%s", f)
		}
	}
}

// segmentFiles are the numbers of the segments in a folder, in order.
func segmentFiles(dir string) ([]int, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, n := range names {
		var number int
		if _, err := fmt.Sscanf(n.Name(), "%06d.seg", &number); err == nil && number > 0 && number <= recording.MaxSegments &&
			n.Name() == recording.SegmentName(number) && n.Type().IsRegular() {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out, nil
}
