package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// What is damaged is set aside in quarantineDir, in a folder for each session, with
// reasonFile beside it. Nothing there is ever touched again: it is for a person.
const (
	quarantineDir = "quarantine"
	reasonFile    = "reason.txt"
	// untoldFile says that the control plane has not heard yet that a whole recording
	// is there: nothing else is left of it that could tell.
	untoldFile = "untold"
)

// setFolderAside sets aside all of a session of which nothing can be told.
func (s *Spool) setFolderAside(name, why string) error {
	to, err := s.asideName(name)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.opt.Dir, name), to); err != nil {
		return fmt.Errorf("set %s aside: %w", name, err)
	}
	s.note(to, why)
	if err := os.WriteFile(filepath.Join(to, untoldFile), nil, 0o600); err != nil {
		s.log.Warn("the control plane may never hear of a recording that was set aside", "session", ident.Text(name), "error", err)
	}
	s.mu.Lock()
	s.untold[name] = to
	s.mu.Unlock()
	s.wake()
	s.log.Error("a recording was set aside", "session", ident.Text(name), "folder", to, "reason", why)
	return nil
}

// setFileAside sets one segment aside; e.mu is held.
func (s *Spool) setFileAside(e *entry, number int, why string) error {
	dir := filepath.Join(s.opt.Dir, quarantineDir, e.meta.Session)
	if err := errors.Join(plainDir(filepath.Dir(dir)), plainDir(dir)); err != nil {
		return fmt.Errorf("set segment %d aside: %w", number, err)
	}
	name := recording.SegmentName(number)
	to := filepath.Join(dir, name)
	for n := 2; exists(to); n++ {
		to = filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
	}
	// What is gone needs no room there, and still a line.
	if err := os.Rename(filepath.Join(e.dir, name), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set segment %d aside: %w", number, err)
	}
	s.note(dir, fmt.Sprintf("%s: %s", filepath.Base(to), why))
	e.meta.Damaged = true
	e.meta.fault("segment %d was set aside: %s", number, why)
	s.log.Error("a segment was set aside", "session", e.meta.Session, "segment", number, "file", to, "reason", why)
	return errors.Join(atomicfile.SyncDir(dir), atomicfile.SyncDir(e.dir))
}

// asideName is a free name in the quarantine.
func (s *Spool) asideName(name string) (string, error) {
	dir := filepath.Join(s.opt.Dir, quarantineDir)
	if err := plainDir(dir); err != nil {
		return "", fmt.Errorf("make the quarantine: %w", err)
	}
	to := filepath.Join(dir, name)
	for n := 2; exists(to); n++ {
		to = filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
	}
	return to, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// note adds a reason, as well as a disk that may be full takes it.
func (s *Spool) note(dir, why string) {
	s.mu.Lock()
	s.aside++
	s.mu.Unlock()
	f, err := openPlain(filepath.Join(dir, reasonFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s %s\n", s.opt.Now().UTC().Format("2006-01-02T15:04:05Z"), why)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		s.log.Warn("cannot write down why something was set aside", "folder", dir, "error", err)
	}
}

// lookAside counts the sessions of which something is set aside, and finds those of which
// the control plane is to hear.
func (s *Spool) lookAside() {
	s.aside = len(asideIn(s.opt.Dir))
	s.untold = untoldIn(s.opt.Dir)
	maps.DeleteFunc(s.untold, func(session, _ string) bool { return !s.mine(session) })
}

// tellAside are the jobs of recordings that are aside as a whole.
func (s *Spool) tellAside() (out []Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range slices.Sorted(maps.Keys(s.untold)) {
		if checkID(session, ident.GatewaySession) != nil {
			continue // nobody knows of it
		}
		out = append(out, Job{Session: session, Task: Task{Do: Tell}, Report: api.RecordingReport{
			State: api.RecordingDamaged, Cause: recording.Interrupted, Fault: "nothing could be told of it, and it was set aside on the gateway: look for it in the quarantine of its spool",
		}})
	}
	return out
}

// toldAside says whether a report was of one of these, which is heard of now.
func (s *Spool) toldAside(session string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, was := s.untold[session]
	if !was {
		return false, nil
	}
	if _, err := atomicfile.Remove(filepath.Join(dir, untoldFile)); err != nil {
		return true, err
	}
	delete(s.untold, session)
	return true, nil
}
