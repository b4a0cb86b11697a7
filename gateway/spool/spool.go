package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/recording"
)

const (
	// SyncEvery is how long written bytes wait for others, so that one sync of a file
	// serves all that was written to it meanwhile.
	SyncEvery = 200 * time.Millisecond
	// SyncLimit is the age of the oldest unsynced byte at which output waits: a power
	// cut loses no more than what was written within it.
	SyncLimit = time.Second
	// syncsAtOnce bounds syncs under way. A disk merges concurrent ones into few
	// flushes; more than this only lengthens its queue.
	syncsAtOnce = 16
	// patience is how long a write waits for room before the session is told that there
	// is none. With what comes after, it ends within ten seconds.
	patience = 5 * time.Second
	// hangs is how long a disk may take for what it was asked, before it counts as one that
	// fails: some never answer. It is counted from SyncLimit on, and ends within ten seconds, too.
	hangs = 5 * time.Second
	// lookAgain is how soon a write that waits for room looks for it.
	lookAgain = 100 * time.Millisecond
)

// Options are what a spool runs with. Zero values of the optional fields work.
type Options struct {
	Dir string
	// Reserve is what must stay free of the file system, in bytes: below it no session
	// begins. Zero means the larger of MinReserve and a tenth of the file system.
	Reserve int64
	// Only says of which sessions something may be done that are there already; nil
	// means all. In a spool that came from elsewhere nothing else is touched.
	Only func(session string) bool
	Log  *slog.Logger
	Now  func() time.Time // the clock of meta.json; nil means time.Now

	// For tests: a disk that fails or forgets, one with room at will, and limits that
	// can be waited for.
	open      func(path string) (file, error)
	syncDir   func(path string) error
	free      func(path string) (free, total int64, err error)
	syncEvery time.Duration
	syncLimit time.Duration
	patience  time.Duration
	hangs     time.Duration
}

// file is what the spool needs of a segment's file.
type file interface {
	Write([]byte) (int, error)
	Truncate(int64) error
	Sync() error
	Close() error
}

// Errors of Begin; each wraps a sentence for the log.
var (
	// ErrFull says that the disk is too full to begin a recording.
	ErrFull = errors.New("the gateway's disk is too full to record")
	// ErrFailing says that the disk did not keep what it was given, lately.
	ErrFailing = errors.New("the gateway's disk fails")
	// ErrLost is the error of a session of whose recording something was lost.
	ErrLost = errors.New("a part of the recording is lost")
	errOver = errors.New("the spool is closed")
)

// Spool is a folder of recordings. Its methods may be called at the same time.
type Spool struct {
	opt   Options
	log   *slog.Logger
	owner owner
	room  room
	disk  diskHealth
	syncs syncer

	// Changed holds one: something may have to be done, as Tasks tells.
	Changed chan struct{}

	work sync.WaitGroup // what Close waits for; begun by busy

	mu      sync.Mutex
	entries map[string]*entry // by session; of this process
	closed  bool
	aside   int               // in quarantine, counted at the start and since
	untold  map[string]string // sessions whose folder is there, and where, until the control plane knows
}

// entry is one recording. Its mutex is taken before Spool.mu, never after it.
type entry struct {
	dir     string
	session string
	started time.Time

	mu   sync.Mutex
	meta Meta
	live *Session // while it is recorded by this process
	// unsaved says that meta is further than meta.json.
	unsaved bool
	removed map[int]bool // segments whose file is known to be gone
	jobs    []Job        // what Jobs found, while known
	known   bool
}

func newEntry(dir string, m Meta) *entry {
	return &entry{dir: filepath.Join(dir, m.Session), session: m.Session, started: m.Started, meta: m}
}

// Open makes the folder if need be, and takes part in the spool. Recover finds what
// dead processes left in it.
func Open(opt Options) (*Spool, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	orElse(&opt.syncEvery, SyncEvery)
	orElse(&opt.syncLimit, SyncLimit)
	orElse(&opt.patience, patience)
	orElse(&opt.hangs, hangs)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.open == nil {
		opt.open = openSegment
	}
	if opt.syncDir == nil {
		opt.syncDir = atomicfile.SyncDir
	}
	if opt.free == nil {
		opt.free = freeSpace
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	s := &Spool{opt: opt, log: opt.Log, Changed: make(chan struct{}, 1), entries: map[string]*entry{}}
	s.room.init(opt)
	s.syncs.init(opt)
	s.disk.hangs = opt.hangs
	err := claim(opt.Dir)
	if err == nil {
		// Whoever looks for dead processes must not see our file before it is locked: he would
		// remove it, and all that we record would be finished under our hands.
		err = exclusively(opt.Dir, func() (err error) {
			s.owner, err = newOwner(opt.Dir)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	s.lookAside()
	s.layBallast()
	return s, nil
}

func orElse[T comparable](v *T, other T) {
	if *v == *new(T) {
		*v = other
	}
}

// openSegment makes the file of a segment, which must not be there yet.
func openSegment(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// lookEvery is how soon dead processes and a lack of room are noticed.
const lookEvery = time.Second

// Run looks after room and disk until ctx ends.
func (s *Spool) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.look()
		}
	}
}

// look measures the room, and tries a disk that has failed, and what could not be
// written down.
func (s *Spool) look() {
	if low := s.room.measure(s.recording()); !low {
		s.layBallast()
	}
	s.disk.probe(s.opt)
	for _, e := range s.all() {
		e.mu.Lock()
		if e.unsaved && s.save(e) == nil {
			s.wake()
		}
		e.mu.Unlock()
	}
}

// Close waits for what is under way and gives the spool up. Sessions that still live
// are left to whoever comes next.
func (s *Spool) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
	s.syncs.wait()
	return s.owner.close()
}

// busy holds up Close until work.Done is called. After Close it fails: the folders may
// be another process's by then, and nothing may be written under its hands.
func (s *Spool) busy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errOver
	}
	s.work.Add(1)
	return nil
}

// Begin makes the folder of a recording.
func (s *Spool) Begin(o Origin) (*Session, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	if err := s.Ready(); err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	if err := s.busy(); err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	defer s.work.Done()
	e := newEntry(s.opt.Dir, Meta{Version: metaVersion, Origin: o, Owner: s.owner.name, State: Recording})
	x := &Session{spool: s, entry: e}
	e.live = x
	// It is ours before anybody can see the folder: else whoever looks for what dead
	// processes left would finish it.
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := s.enter(e); err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	if err := s.makeFolder(e); err != nil {
		e.known = true // there is nothing to do for it
		s.forget(e)
		return nil, fmt.Errorf("begin a recording: %w", s.noRoom(err))
	}
	s.wake()
	return x, nil
}

// enter makes an entry known; e.mu is held.
func (s *Spool) enter(e *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.session] != nil {
		return fmt.Errorf("%s is recorded already", e.session)
	}
	s.entries[e.session] = e
	return nil
}

// makeFolder makes the folder with its meta.json under a name that nobody looks at,
// and then gives it its own.
func (s *Spool) makeFolder(e *entry) error {
	if _, err := os.Lstat(e.dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: %w", e.dir, err)
	}
	defer s.disk.ask()()
	temp := filepath.Join(s.opt.Dir, newMark+e.meta.Session)
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	err := e.meta.first(temp)
	if err == nil {
		err = os.Rename(temp, e.dir)
	}
	if err != nil {
		os.RemoveAll(temp)
	}
	return err
}

// noRoom makes ErrFull of what a file system says that has none.
func (s *Spool) noRoom(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// Ready says whether a recording could begin now, and why not.
func (s *Spool) Ready() error {
	if err := s.disk.failing(); err != nil {
		return err
	}
	return s.room.admit(s.recording())
}

// recording counts the sessions that are being recorded.
func (s *Spool) recording() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.entries {
		if e.live != nil { // set before it is in the map; see Session.over
			n++
		}
	}
	return n
}

// all are the entries now.
func (s *Spool) all() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	return out
}

func (s *Spool) entry(session string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[session]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("the spool has no recording of %s", session)
}

// save writes meta.json; e.mu is held. What could not be written is tried again.
func (s *Spool) save(e *entry) error {
	e.known = false
	defer s.disk.ask()()
	err := s.afloat(func() error { return e.meta.write(e.dir) })
	e.unsaved = err != nil
	if err != nil {
		s.log.Error("cannot write down how far a recording is", "session", e.meta.Session, "error", err)
		return fmt.Errorf("write down how far the recording is: %w", err)
	}
	return nil
}

// wake has somebody look at the tasks.
func (s *Spool) wake() {
	select {
	case s.Changed <- struct{}{}:
	default:
	}
}

var _ recording.Sink = (*Session)(nil)
