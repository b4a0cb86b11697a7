package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ballastFile takes room that nobody needs, until the disk is full: then it is thrown
// away, and how far recordings are can be written down. Without that nothing could be
// stored any more, and so no room be made.
const ballastFile = ".ballast"

const (
	// maxBallast is enough for a good many of the largest meta.json.
	maxBallast = 1 << 20
	// ballastPart of what is free it takes on a small disk, one in so many.
	ballastPart = 64
	// minBallast is a page for each of some sessions: all fail at the same time, and each
	// writes an end and its meta.json.
	minBallast = 32 << 10
)

// layBallast takes the room, if it is not taken and there is enough.
func (s *Spool) layBallast() {
	path := filepath.Join(s.opt.Dir, ballastFile)
	if exists(path) {
		return
	}
	free, _, err := s.opt.free(s.opt.Dir)
	if err != nil {
		return
	}
	size := min(max(free/ballastPart, minBallast), maxBallast)
	if free < 2*size {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	// Written and not only made as long as that: a file with holes takes no room.
	_, err = f.Write(make([]byte, size))
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
	}
}

// afloat does what needs a little room, without the ballast if it must.
func (s *Spool) afloat(do func() error) error {
	err := do()
	if !isFull(err) {
		return err
	}
	if drop := os.Remove(filepath.Join(s.opt.Dir, ballastFile)); drop != nil {
		if !errors.Is(drop, fs.ErrNotExist) {
			err = errors.Join(err, drop)
		}
		return err
	}
	s.log.Warn("the disk of the spool is full: its ballast is thrown away", "folder", s.opt.Dir)
	return do()
}
