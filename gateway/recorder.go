package gateway

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway/spool"
	"github.com/cardea-ssh/cardea/gateway/upload"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

const (
	// adoptEvery is how soon what a dead process of this gateway left is noticed.
	adoptEvery = 15 * time.Second
	// awayWarning is how long a bucket may be away before the log says so, and says so
	// again. The spool is there for that, so the gateway stays ready.
	awayWarning = time.Hour
	// flushStored bounds what a gateway that stops waits for its bucket. What is left
	// then is stored by whoever starts next, or imported from the disk.
	flushStored = 15 * time.Second
	// closeSpool bounds what it then waits for its disk.
	closeSpool = 5 * time.Second
	// lookTime bounds what somebody who asks for figures waits.
	lookTime = time.Second
)

// RecordingOptions say where recordings go. Without a Bucket the gateway records nothing.
type RecordingOptions struct {
	Bucket string // as the package internal/bucket has it
	Spool  string // folder; empty means spool below the state folder
	// Reserve is what must stay free for sessions to begin; see spool.Options.
	Reserve int64
	// Rate bounds what is uploaded, in bytes a second; zero means no bound.
	Rate int64
}

// SpoolDir is the folder of the spool below the state folder, if no other is given.
const SpoolDir = "spool"

// Recorders make the recordings of a gateway, and bring them to their bucket.
type Recorders struct {
	gateway string
	bucket  string // its URL, for the log
	spool   *spool.Spool
	upload  *upload.Uploader
	keys    *recordKeys
	client  *api.Client
	log     *slog.Logger

	store, tell chan struct{} // each holds one: look for what is to be done
	begun       atomic.Bool   // a session was recorded by this process
	records     atomic.Bool   // what was reported last
	waiting     atomic.Int64  // recordings that wait to be finished
	looking     atomic.Bool   // somebody is at the figures
	seen        atomic.Pointer[spool.Figures]

	mu     sync.Mutex
	jobs   map[string]spool.Job // what is being stored, by object
	denied map[string]error     // sessions whose report the control plane does not take, and why
	told   func(spool.Job)      // nil, or hears what was told
	warned time.Time            // when the bucket was last said to be away
}

// NewRecorders opens the spool. Client is the one whose requests this gateway signs.
func NewRecorders(gateway, stateDir string, opt RecordingOptions, client *api.Client, log *slog.Logger) (*Recorders, error) {
	return newRecorders(gateway, stateDir, opt, nil, client, log)
}

// newRecorders takes what is left in the spool of those sessions only; nil means all.
func newRecorders(gateway, stateDir string, opt RecordingOptions, only func(session string) bool, client *api.Client, log *slog.Logger) (*Recorders, error) {
	if opt.Spool == "" {
		opt.Spool = filepath.Join(stateDir, SpoolDir)
	}
	keys, err := loadRecordKeys(stateDir)
	if err != nil {
		return nil, err
	}
	up, err := upload.New(upload.Options{URL: opt.Bucket, Rate: opt.Rate, Log: log})
	if err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	s, err := spool.Open(spool.Options{Dir: opt.Spool, Reserve: opt.Reserve, Only: only, Log: log})
	if err != nil {
		return nil, err
	}
	return &Recorders{
		gateway: gateway, bucket: shownBucket(opt.Bucket), spool: s, upload: up, keys: keys, client: client, log: log, jobs: map[string]spool.Job{}, denied: map[string]error{},
		store: make(chan struct{}, 1), tell: make(chan struct{}, 1),
	}, nil
}

// Recording is the recording of one session.
type Recording struct {
	writer  *recording.Writer
	session *spool.Session
	keys    *recordKeys
	once    sync.Once
	err     error
}

// Begin begins the recording of a session, as the control plane ordered it. An error
// means that the session cannot be recorded.
func (r *Recorders) Begin(h recording.Header, order *api.RecordOrder) (*Recording, error) {
	recipients, err := recording.ParseRecipients(order.Recipients)
	if err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	if _, err := r.keys.signing(); err != nil {
		return nil, fmt.Errorf("begin a recording: %w", err)
	}
	h.Input = order.Input
	session, err := r.spool.Begin(spool.Origin{Session: h.Session, Gateway: h.Gateway, Project: h.Project, Started: h.Started})
	if err != nil {
		return nil, err
	}
	r.begun.Store(true)
	x := &Recording{session: session, keys: r.keys}
	x.writer, err = recording.NewWriter(session, recording.WriterOptions{Header: h, Recipients: recipients, Key: r.keys.signing})
	if err != nil {
		return nil, errors.Join(err, x.finish(recording.Ended{Cause: causeError}))
	}
	return x, nil
}

// Record keeps an event: a process that is killed afterwards has not lost it. It waits
// while the disk does not keep up. After an error nothing more can be recorded.
func (x *Recording) Record(e recording.Event) error { return x.writer.Record(e) }

// Close ends the recording. It is closed once, whoever is first.
func (x *Recording) Close(why recording.Ended) error {
	x.once.Do(func() { x.err = errors.Join(x.writer.Close(why), x.finish(why)) })
	return x.err
}

// finish hands it to those who store it.
func (x *Recording) finish(why recording.Ended) error {
	key, err := x.keys.signing()
	if err != nil {
		return err
	}
	return x.session.Finish(why.Cause, key)
}

// Records says whether a session could be recorded now, and why not.
func (r *Recorders) Records() error {
	if _, err := r.keys.signing(); err != nil {
		return err
	}
	return r.spool.Ready()
}

// unable is Records where it makes the gateway unready: one that never recorded
// anything can do all that it ever did.
func (r *Recorders) unable(context.Context) error {
	err := r.spool.Ready()
	if err == nil {
		return nil
	}
	if f := r.look(); r.begun.Load() || f.Waiting+f.Recording > 0 {
		return err
	}
	return nil
}

// look is the spool in figures, or what it was where the disk does not let it tell.
func (r *Recorders) look() spool.Figures {
	if !r.looking.CompareAndSwap(false, true) {
		return *cmp.Or(r.seen.Load(), new(spool.Figures))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f := r.spool.Figures()
		r.seen.Store(&f)
		r.looking.Store(false)
	}()
	timer := time.NewTimer(lookTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return *cmp.Or(r.seen.Load(), new(spool.Figures))
}

// figures are what a monitor wants to know.
func (r *Recorders) figures() map[string]int64 {
	f, up := r.look(), r.upload.Status()
	away := int64(0)
	if !up.Since.IsZero() {
		away = int64(time.Since(up.Since) / time.Second)
	}
	return map[string]int64{
		"recording_sessions": int64(f.Recording), "waiting_segments": int64(f.Waiting), "waiting_bytes": f.WaitingBytes,
		"untold_recordings": int64(f.Untold), "quarantined": int64(f.Quarantined), "spool_free_bytes": f.Free, "spool_reserve_bytes": f.Reserve,
		"stored_objects": up.Objects, "stored_bytes": up.Bytes, "bucket_away_seconds": away,
	}
}

// Run finishes what dead processes left, stores what is whole, and tells the control
// plane, until ctx ends.
func (r *Recorders) Run(ctx context.Context) error {
	parts := daemon.NewGroup(ctx)
	parts.Go("spool", r.spool.Run)
	parts.Go("adopt", r.adoptLoop)
	parts.Go("wake", r.wakeLoop)
	parts.Go("store", func(ctx context.Context) error { return r.upload.Run(ctx, r, r.store) })
	parts.Go("tell", r.tellLoop)
	parts.Go("probe", r.probeLoop)
	return within(ctx, closeSpool, parts.Wait)
}

// within is what do returns, which may hang after ctx has ended: then no longer than limit.
func within(ctx context.Context, limit time.Duration, do func() error) error {
	result := make(chan error, 1)
	go func() { result <- do() }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	case <-time.After(limit):
		return errDiskHangs
	}
}

// adoptLoop finishes what others left behind, at the start, when there is a key to do
// it with, and when another process of this gateway has died.
func (r *Recorders) adoptLoop(ctx context.Context) error {
	for ctx.Err() == nil {
		r.adopt()
		wait := adoptEvery
		if r.waiting.Load() > 0 {
			wait = retryMin
		}
		sleep(ctx, wait)
		r.warn()
	}
	return nil
}

func (r *Recorders) adopt() {
	waiting, err := r.spool.Recover(r.key())
	if err != nil {
		r.log.Error("cannot look for recordings that were left", "error", err)
		return
	}
	r.waiting.Store(int64(waiting))
}

// key is nil while there is none.
func (r *Recorders) key() ed25519.PrivateKey {
	key, err := r.keys.signing()
	if err != nil {
		return nil
	}
	return key
}

// warn logs that the bucket is away.
func (r *Recorders) warn() {
	st := r.upload.Status()
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.Since.IsZero() || time.Since(st.Since) < awayWarning || time.Since(r.warned) < awayWarning {
		return
	}
	r.warned = time.Now()
	f := r.spool.Figures()
	r.log.Error("recordings cannot be stored; they wait in the spool", "since", st.Since, "segments", f.Waiting,
		"bytes", f.WaitingBytes, "free", f.Free, "reserve", f.Reserve, "error", st.Err)
}

// wakeLoop passes on that something has changed to both who look.
func (r *Recorders) wakeLoop(ctx context.Context) error {
	for {
		for _, c := range []chan struct{}{r.store, r.tell} {
			wakeUp(c)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.spool.Changed:
		}
	}
}

// Objects are what has to be stored, for the uploader.
func (r *Recorders) Objects() (out []upload.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.jobs)
	for _, j := range r.spool.Jobs(r.key()) {
		if j.Do != spool.StoreSegment && j.Do != spool.StoreManifest {
			continue
		}
		r.jobs[j.Object] = j
		out = append(out, upload.Object{Key: j.Object, Path: j.Path, Size: j.Size, SHA256: j.SHA256})
	}
	return out
}

func (r *Recorders) job(o upload.Object) spool.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[o.Key]
}

// Stored is the uploader's word that an object was read back.
func (r *Recorders) Stored(o upload.Object) error { return r.spool.Stored(r.job(o), o.Size, o.SHA256) }

// Refused sets aside what can never be stored.
func (r *Recorders) Refused(o upload.Object, why error) {
	if err := r.spool.SetAside(r.job(o), why.Error()); err != nil {
		r.log.Error("cannot set aside what cannot be stored", "object", o.Key, "error", err)
	}
}

// done says whether there is nothing left to do.
func (r *Recorders) done() bool { return len(r.spool.Jobs(r.key())) == 0 && r.waiting.Load() == 0 }

// Close stores for a while what is left, and gives the spool up.
func (r *Recorders) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushStored)
	defer cancel()
	return within(ctx, closeSpool, func() error {
		r.runUntilDone(ctx, func() bool { return r.upload.Status().Err != nil })
		return r.spool.Close()
	})
}

// doneLook is how often somebody who waits for the end looks whether it is there.
const doneLook = 20 * time.Millisecond

// runUntilDone runs until there is nothing left to do, ctx ends, or giveUp says so.
func (r *Recorders) runUntilDone(ctx context.Context, giveUp func() bool) {
	ctx, cancel := context.WithCancel(ctx)
	running := make(chan struct{})
	go func() {
		defer close(running)
		r.Run(ctx)
	}()
	for ctx.Err() == nil && !r.done() && !giveUp() {
		sleep(ctx, doneLook)
	}
	cancel()
	<-running
}

// prepareRecording makes what record mode needs, unless a test brings its own.
func (g *Gateway) prepareRecording() (err error) {
	g.recording = g.opt.recording
	if o := g.opt.Recording; o.Bucket != "" && g.recording == nil {
		if g.recorders, err = NewRecorders(g.opt.Credential.Gateway, g.opt.StateDir, o, g.opt.Client, g.log); err != nil {
			return fmt.Errorf("%w; folders that it may write are named with --spool and --state-dir", err)
		}
		g.health.checks.Ready("recording", g.recorders.unable)
		g.health.checks.Figures(g.health.figures(g.recorders.figures))
		g.recording = func(h recording.Header, order *api.RecordOrder) (sessionRecorder, error) {
			x, err := g.recorders.Begin(h, order)
			if err != nil {
				return nil, err
			}
			return x, nil
		}
	}
	if g.recording != nil {
		g.hostKey, err = loadHostKey(g.opt.StateDir)
	}
	return err
}

// reportRecording adds to a report what there is to say of recordings.
func (g *Gateway) reportRecording(in *api.GatewayReport) {
	if g.hostKey != nil {
		in.HostKey = sshcert.Line(g.hostKey.PublicKey())
	}
	r := g.recorders
	if r == nil {
		return
	}
	if err := r.keys.renew(g.clock.local()); err != nil {
		g.log.Error("no new recording key", "error", err)
	}
	in.RecordingKeys = r.keys.public()
	in.Records = r.Records() == nil
	r.records.Store(in.Records)
}

// acknowledgeRecording takes the answer. The first key may be used from now on, which
// is to be reported, and what waits for it finished.
func (g *Gateway) acknowledgeRecording(ids []string) {
	r := g.recorders
	if r == nil {
		return
	}
	if err := r.keys.acknowledge(ids, g.clock.local()); err != nil {
		g.log.Error("cannot keep that the control plane has a recording key", "error", err)
	}
	if r.changed() {
		g.wakeReport()
	}
}

// changed says whether there is something to report at once.
func (r *Recorders) changed() bool {
	return r != nil && r.records.Load() != (r.Records() == nil)
}

// wantsKey says whether there is a key that the control plane may not have.
func (r *Recorders) wantsKey() bool { return r != nil && r.keys.wants() }
