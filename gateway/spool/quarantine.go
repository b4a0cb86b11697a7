package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// What is damaged is set aside in quarantineDir, in a folder for each session, with
// reasonFile beside it. Nothing there is ever touched again: it is for a person.
const (
	quarantineDir = "quarantine"
	reasonFile    = "reason.txt"
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
	s.log.Error("a recording was set aside", "session", ident.Text(name), "folder", to, "reason", why)
	return nil
}

// setFileAside sets one segment aside; e.mu is held.
func (s *Spool) setFileAside(e *entry, number int, why string) error {
	dir := filepath.Join(s.opt.Dir, quarantineDir, e.meta.Session)
	if err := os.MkdirAll(dir, 0o700); err != nil {
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
	e.meta.fault("segment %d was set aside: %s", number, why)
	s.log.Error("a segment was set aside", "session", e.meta.Session, "segment", number, "file", to, "reason", why)
	return errors.Join(atomicfile.SyncDir(dir), atomicfile.SyncDir(e.dir))
}

// asideName is a free name in the quarantine.
func (s *Spool) asideName(name string) (string, error) {
	dir := filepath.Join(s.opt.Dir, quarantineDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
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
	f, err := os.OpenFile(filepath.Join(dir, reasonFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s %s\n", s.opt.Now().UTC().Format("2006-01-02T15:04:05Z"), why)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		s.log.Warn("cannot write down why something was set aside", "folder", dir, "error", err)
	}
}

// countQuarantine counts the sessions of which something is set aside.
func (s *Spool) countQuarantine() int {
	names, _ := os.ReadDir(filepath.Join(s.opt.Dir, quarantineDir))
	return len(names)
}
