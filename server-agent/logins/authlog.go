package logins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// AuthLog follows a log file across rotation and across restarts of ours.
type AuthLog struct {
	// Path is the log, usually /var/log/auth.log or /var/log/secure.
	Path string
	// Position is the file that remembers how far it was read.
	Position string
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	tracker Tracker
	pos     position
	loaded  bool
	kept    position  // what the file Position says
	keptAt  time.Time // since when
}

// position is how far which file was read.
type position struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
}

// Follow calls tell for every event until ctx ends. What tell was called for
// is not told again, but for a crash between the two, where the control plane
// sees a login twice rather than never.
func (a *AuthLog) Follow(ctx context.Context, tell func(api.AgentEvent)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := a.look(tell); err != nil {
			return err
		}
		if e, ok := a.tracker.refusals.count(a.now(), ctx.Err() != nil); ok {
			tell(e)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look reads what is new.
func (a *AuthLog) look(tell func(api.AgentEvent)) error {
	if !a.loaded {
		if err := a.load(); err != nil {
			return err
		}
	}
	f, here, err := open(a.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // between two files of a rotation
	}
	if err != nil {
		return err
	}
	defer f.Close()
	told := false
	count := func(e api.AgentEvent) {
		told = true
		tell(e)
	}
	if here.Device != a.pos.Device || here.Inode != a.pos.Inode {
		a.finishRotated(count)
		a.pos = position{Device: here.Device, Inode: here.Inode}
	} else if here.Offset < a.pos.Offset {
		a.pos.Offset = 0 // truncated in place
	} else if here.Offset == a.pos.Offset {
		return nil
	}
	if err := a.read(f, count); err != nil {
		return err
	}
	// Lines that were not ours may be read again after a crash: a busy log must
	// not make us sync a file every two seconds.
	if a.pos == a.kept || !told && time.Since(a.keptAt) < keepEvery {
		return nil
	}
	return a.save()
}

// finishRotated reads the rest of the file that was here before, under the
// name that logrotate gives it.
func (a *AuthLog) finishRotated(tell func(api.AgentEvent)) {
	f, old, err := open(a.Path + ".1")
	if err != nil {
		return
	}
	defer f.Close()
	if old.Device == a.pos.Device && old.Inode == a.pos.Inode && old.Offset > a.pos.Offset {
		a.read(f, tell)
	}
}

// read takes whole lines from the position on, and moves it behind them.
func (a *AuthLog) read(f *os.File, tell func(api.AgentEvent)) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for {
		buf := make([]byte, min(maxBatch, max(info.Size()-a.pos.Offset, 0)+1))
		n, err := f.ReadAt(buf, a.pos.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := bytes.LastIndexByte(buf[:n], '\n') + 1
		if end == 0 && n >= maxBatch {
			end = n // one line of a megabyte is nobody's
		}
		if end == 0 {
			return nil
		}
		for line := range bytes.Lines(buf[:end]) {
			a.line(string(bytes.TrimRight(line, "\n")), tell)
		}
		a.pos.Offset += int64(end)
	}
}

func (a *AuthLog) line(line string, tell func(api.AgentEvent)) {
	r, ok := parseLine(line, a.now())
	if !ok {
		return
	}
	if e, ok := a.tracker.see(r, a.now()); ok {
		tell(e)
	}
}

// load takes up where the last run ended. The first run ever begins at the end
// of the log: what was before Cardea is none of its business.
func (a *AuthLog) load() error {
	raw, err := os.ReadFile(a.Position)
	if err == nil && json.Unmarshal(raw, &a.pos) == nil && a.pos.Offset >= 0 {
		a.loaded = true
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, here, err := open(a.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the log begins with us
	case err != nil:
		return err
	default:
		f.Close()
		a.pos = here
	}
	a.loaded = true
	return a.save()
}

func (a *AuthLog) save() error {
	raw, err := json.Marshal(a.pos)
	if err != nil {
		return err
	}
	if _, err := atomicfile.Write(a.Position, raw, atomicfile.Options{Mode: 0o600}); err != nil {
		return err
	}
	a.kept, a.keptAt = a.pos, time.Now()
	return nil
}

// open opens the log and says which file it is and how long.
func open(path string) (*os.File, position, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, position{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, position{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		f.Close()
		return nil, position{}, errors.New(path + " is not a log file")
	}
	return f, position{Device: uint64(st.Dev), Inode: st.Ino, Offset: info.Size()}, nil
}

func (a *AuthLog) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}
