package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/gateway/spool"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// vault is where a test's gateway keeps what it records.
type vault struct {
	t        testing.TB
	plane    *plane
	state    string
	bucket   string
	identity *age.X25519Identity

	mu   sync.Mutex
	told map[string][]api.RecordingReport // by session
	away bool
}

func newVault(t testing.TB, p *plane) *vault {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &vault{t: t, plane: p, state: t.TempDir(), bucket: filepath.Join(t.TempDir(), "recordings"), identity: id, told: map[string][]api.RecordingReport{}}
}

// options are those of a gateway that records there; the machine's disk may be full.
func (r *vault) options() RecordingOptions {
	return RecordingOptions{Bucket: "file://" + r.bucket, Reserve: 1}
}

func (r *vault) with(o *Options) { o.StateDir, o.Recording = r.state, r.options() }

// open makes Recorders alone, and runs them until the test or the returned function ends it.
func (r *vault) open() (*Recorders, func()) {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{r.t}, nil))
	rec, err := NewRecorders("gw_a", r.state, r.options(), r.plane.Client(), log)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); rec.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return rec, stop
}

// acknowledged gives Recorders a key.
func acknowledged(t testing.TB, r *Recorders) *Recorders {
	t.Helper()
	if err := r.keys.renew(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := r.keys.acknowledge([]string{r.keys.public()[0].ID}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

// header is that of a new session, of which the control plane hears.
func (r *vault) header() recording.Header {
	h := recording.Header{
		Session: ident.New(ident.GatewaySession), Gateway: "gw_a", User: "usr_alice", Server: "srv_web1", Project: ident.New(ident.Project),
		Login: "alice", Source: "192.0.2.1:1000", Started: time.Now(),
	}
	r.plane.On("POST", "/v1/gateway/sessions/"+h.Session+"/recording", func(c apitest.Call) (any, error) {
		var in api.RecordingReport
		c.Into(r.t, &in)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.away {
			return nil, api.Errorf(api.Unavailable, "the database is away")
		}
		r.told[h.Session] = append(r.told[h.Session], in)
		return nil, nil
	})
	r.plane.Reply("GET", "/v1/gateway/sessions/"+h.Session+"/recording", api.HeldRecording{Session: h.Session, Gateway: h.Gateway, Project: h.Project, State: api.RecordingRunning})
	return h
}

func (r *vault) order() *api.RecordOrder {
	return &api.RecordOrder{Required: true, Recipients: []string{r.identity.Recipient().String()}}
}

// last is the last state that the control plane has heard of.
func (r *vault) last(session string) (last api.RecordingReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if told := r.told[session]; len(told) > 0 {
		last = told[len(told)-1]
	}
	return last
}

func (r *vault) waitFor(session, state string) api.RecordingReport {
	r.t.Helper()
	eventually(r.t, session+" "+state, func() bool { return r.last(session).State == state })
	return r.last(session)
}

func (r *vault) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

func sayTo(t testing.TB, x *Recording, text string) {
	t.Helper()
	if err := x.Record(recording.Event{Channel: 1, Kind: recording.Output, Data: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

// verify checks what is in the bucket against the keys that the control plane has.
func (r *vault) verify(rep api.RecordingReport, session string) recording.Report {
	r.t.Helper()
	var known []ed25519.PublicKey
	r.plane.mu.Lock()
	for _, in := range r.plane.reports {
		for _, k := range in.RecordingKeys {
			known = append(known, k.Public)
		}
	}
	r.plane.mu.Unlock()
	got, err := recording.Verify(os.DirFS(filepath.Join(r.bucket, rep.Place)), recording.VerifyOptions{Keys: recording.KeySet(known...), Session: session, Head: rep.Head})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func TestAGatewayRecordsStoresAndTells(t *testing.T) {
	p := newPlane(t)
	r := newVault(t, p)
	g := runGateway(t, p, r.with)
	eventually(t, "the word that it records", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.reports[len(p.reports)-1].Records
	})
	p.mu.Lock()
	if p.reports[0].Records || len(p.reports[0].RecordingKeys) != 1 {
		t.Errorf("before a key was acknowledged: %+v", p.reports[0])
	}
	p.mu.Unlock()
	h := r.header()
	x, err := g.recorders.Begin(h, r.order())
	if err != nil {
		t.Fatal(err)
	}
	r.waitFor(h.Session, api.RecordingRunning)
	sayTo(t, x, "hello\n")
	if err := x.Close(recording.Ended{Cause: causeClient}); err != nil {
		t.Fatal(err)
	}
	rep := r.waitFor(h.Session, api.RecordingStored)
	if got := r.verify(rep, h.Session); !got.Whole() || rep.Cause != causeClient || rep.Segments != 1 || rep.Fault != "" {
		t.Errorf("%+v of %+v", got, rep)
	}
	if !strings.HasPrefix(rep.Place, h.Project+"/") || !strings.HasSuffix(rep.Place, "/"+h.Session) {
		t.Errorf("place %q", rep.Place)
	}
	if w := askHealth(g, "/readyz"); !strings.Contains(w.Body.String(), `"stored_objects":`) {
		t.Errorf("no figures: %s", w.Body)
	}
	eventually(t, "an empty spool", func() bool {
		names, err := os.ReadDir(filepath.Join(r.state, SpoolDir))
		return err == nil && !slices.ContainsFunc(names, os.DirEntry.IsDir)
	})
}

// A bucket that cannot be used is found at the start, and holds up nothing.
func TestABucketIsTriedAtTheStart(t *testing.T) {
	r := newVault(t, newPlane(t))
	var log logText
	try := func() {
		rec, err := NewRecorders("gw_a", r.state, r.options(), r.plane.Client(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); rec.Run(ctx) }()
		defer func() { cancel(); <-done }()
		eventually(t, "the word of it", func() bool { return strings.Contains(log.String(), "recordings c") })
	}
	if err := os.WriteFile(r.bucket, nil, 0o600); err != nil { // a file in its place
		t.Fatal(err)
	}
	try()
	if text := log.String(); strings.Count(text, "recordings cannot be stored now: ") != 1 || !strings.Contains(text, "bucket=file://"+r.bucket+" ") {
		t.Errorf("it said: %s", text)
	}
	if err := os.Remove(r.bucket); err != nil {
		t.Fatal(err)
	}
	log.forget()
	try()
	if text := log.String(); !strings.Contains(text, "recordings can be stored") {
		t.Errorf("it said: %s", text)
	}
}

func TestNothingIsRecordedUnderAKeyThatTheControlPlaneHasNot(t *testing.T) {
	p := newPlane(t)
	p.acks = false
	r := newVault(t, p)
	g := runGateway(t, p, r.with)
	if _, err := g.recorders.Begin(r.header(), r.order()); err == nil {
		t.Error("a recording begins")
	}
	if err := g.recorders.Records(); err == nil {
		t.Error("it says that it records")
	}
	if w := askHealth(g, "/readyz"); w.Code != 200 {
		t.Errorf("a gateway that never recorded is not ready: %s", w.Body)
	}
}

func TestWithoutRecipientsNothingBegins(t *testing.T) {
	r := newVault(t, newPlane(t))
	rec, _ := r.open()
	acknowledged(t, rec)
	for _, to := range [][]string{nil, {"rubbish"}} {
		if _, err := rec.Begin(r.header(), &api.RecordOrder{Recipients: to}); err == nil {
			t.Errorf("recipients %q are taken", to)
		}
	}
	if f := rec.spool.Figures(); f.Recording != 0 {
		t.Errorf("%+v", f)
	}
}

func TestWhatAKilledGatewayRecordedIsFinishedStoredAndToldByTheNext(t *testing.T) {
	r := newVault(t, newPlane(t))
	first, stop := r.open()
	acknowledged(t, first)
	h := r.header()
	x, err := first.Begin(h, r.order())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		sayTo(t, x, "what the user saw\n")
	}
	r.waitFor(h.Session, api.RecordingRunning)
	r.setAway(true)
	stop()
	first.spool.Close() // as the kernel does it
	second, _ := r.open()
	eventually(t, "the end of the recording", func() bool { return second.spool.Figures().Untold == 1 && second.waiting.Load() == 0 })
	time.Sleep(10 * time.Millisecond)
	if last := r.last(h.Session); last.State != api.RecordingRunning {
		t.Errorf("told %+v while the control plane is away", last)
	}
	r.setAway(false)
	rep := r.waitFor(h.Session, api.RecordingStored)
	if rep.Cause != recording.Interrupted {
		t.Errorf("%+v", rep)
	}
	reader, err := recording.NewReader(os.DirFS(filepath.Join(r.bucket, rep.Place)), r.identity)
	if err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	for {
		e, err := reader.Next()
		if err != nil {
			break
		}
		if e.Kind == recording.Output {
			seen.Write(e.Data)
		}
	}
	if seen.String() != strings.Repeat("what the user saw\n", 100) {
		t.Errorf("%d bytes were seen", seen.Len())
	}
}

func TestAReportThatIsRefusedHoldsUpNoOther(t *testing.T) {
	p := newPlane(t)
	r := newVault(t, p)
	rec, _ := r.open()
	acknowledged(t, rec)
	bad := r.header()
	p.Fail("POST", "/v1/gateway/sessions/"+bad.Session+"/recording", api.Errorf(api.NotFound, "no such session"))
	for _, h := range []recording.Header{bad, r.header()} {
		x, err := rec.Begin(h, r.order())
		if err != nil {
			t.Fatal(err)
		}
		x.Close(recording.Ended{Cause: causeClient})
		if h.Session != bad.Session {
			r.waitFor(h.Session, api.RecordingStored)
		}
	}
	eventually(t, "the file of the refused one", func() bool {
		found, _ := filepath.Glob(filepath.Join(r.bucket, bad.Project, "*", "*", "*", bad.Session, spool.ManifestName))
		return len(found) == 1
	})
	eventually(t, "the other one to be done", func() bool { return rec.spool.Figures().Untold == 1 })
}

func TestRecordingKeysAreChangedDailyAndSharedWithWhoTakesOver(t *testing.T) {
	dir := t.TempDir()
	load := func() *recordKeys {
		k, err := loadRecordKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	a := load()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(a.renew(now))
	if _, err := a.signing(); err == nil || !a.wants() {
		t.Error("a key signs that nobody has acknowledged")
	}
	do(a.renew(now.Add(100 * time.Hour)))
	if len(a.public()) != 1 {
		t.Error("keys pile up while nobody acknowledges them")
	}
	do(a.acknowledge([]string{"something else"}, now))
	if _, err := a.signing(); err == nil {
		t.Error("another id is taken for the key's")
	}
	do(a.acknowledge([]string{a.public()[0].ID}, now))
	first, err := a.signing()
	do(err)
	b := load()
	if key, err := b.signing(); err != nil || !key.Equal(first) {
		t.Errorf("after a restart the key is not there: %v", err)
	}
	do(b.renew(now.Add(recordKeyLife - time.Second)))
	if len(b.public()) != 1 {
		t.Error("a key is changed before its time")
	}
	do(b.renew(now.Add(recordKeyLife)))
	do(a.renew(now.Add(recordKeyLife)))
	if len(a.public()) != 2 || a.public()[0].ID != b.public()[0].ID {
		t.Error("two processes make a key each")
	}
	if key, _ := b.signing(); !key.Equal(first) {
		t.Error("the new key signs before it is acknowledged")
	}
	do(b.acknowledge([]string{b.public()[0].ID}, now.Add(recordKeyLife)))
	if key, _ := b.signing(); key.Equal(first) {
		t.Error("the old key still signs")
	}
	info, err := os.Stat(filepath.Join(dir, recordKeysFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestADeadGatewaysDiskIsImported(t *testing.T) {
	r := newVault(t, newPlane(t))
	dead, stop := r.open()
	acknowledged(t, dead)
	var all []recording.Header
	for range 3 {
		h := r.header()
		x, err := dead.Begin(h, r.order())
		if err != nil {
			t.Fatal(err)
		}
		sayTo(t, x, "what the user saw\n")
		all = append(all, h)
	}
	stop()
	dead.spool.Close()
	disk := copyOf(t, r.state)
	damaged := filepath.Join(disk, SpoolDir, all[2].Session, "meta.json")
	if err := os.WriteFile(damaged, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.state = t.TempDir() // another gateway
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil))
	run := func() (string, error) {
		var out bytes.Buffer
		err := Import(t.Context(), "gw_b", r.state, disk, r.options(), r.plane.Client(), &out, log)
		return out.String(), err
	}
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "start it once") {
		t.Fatalf("without a key: %v", err)
	}
	living, err := loadRecordKeys(r.state)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged(t, &Recorders{keys: living})
	out, err := run()
	if err == nil || !strings.Contains(err.Error(), "set aside") {
		t.Errorf("nothing is said of what is damaged: %v", err)
	}
	for i, h := range all[:2] {
		rep := r.last(h.Session)
		if rep.State != api.RecordingStored || rep.Cause != recording.Interrupted || !strings.Contains(out, h.Session) {
			t.Errorf("%d: %+v in %q", i, rep, out)
		}
		if _, err := os.Stat(filepath.Join(r.bucket, h.Project, h.Started.UTC().Format("2006/01/02"), h.Session, recording.SegmentName(1))); err != nil {
			t.Error(err)
		}
	}
	if out, err := run(); err != nil || !strings.HasPrefix(out, "nothing to do: ") || strings.Count(out, "\n") != 1 {
		t.Errorf("once more: %q, %v", out, err)
	}
	newer := r.header().Session
	if err := os.MkdirAll(filepath.Join(disk, SpoolDir, newer), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(disk, SpoolDir, newer, "meta.json"), []byte(`{"version": 1000}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(); err == nil || !strings.Contains(err.Error(), "1 of 1 recordings could not be taken over, as the log says") {
		t.Errorf("of what cannot be taken over: %q, %v", out, err)
	}
	if err := Import(t.Context(), "gw_b", r.state, filepath.Join(disk, "none"), r.options(), r.plane.Client(), &bytes.Buffer{}, log); err == nil {
		t.Error("a folder that is not there is imported")
	}
	wrong := t.TempDir()
	if err := os.MkdirAll(filepath.Join(wrong, "lib", "postgresql"), 0o700); err != nil {
		t.Fatal(err)
	}
	err = Import(t.Context(), "gw_b", r.state, wrong, r.options(), r.plane.Client(), &bytes.Buffer{}, log)
	if err == nil || !strings.Contains(err.Error(), "give the state folder") {
		t.Errorf("of a folder that is no spool it says: %v", err)
	}
	if names, _ := os.ReadDir(wrong); len(names) != 1 {
		t.Errorf("a folder that is no spool was changed: %v", names)
	}
}

// A disk may come from anywhere. What the control plane does not say is ours to store is not
// stored, not told of, and not touched.
func TestAnImportLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	r := newVault(t, newPlane(t))
	dead, stop := r.open()
	acknowledged(t, dead)
	plane := func(h recording.Header, answer any) {
		r.plane.On("GET", "/v1/gateway/sessions/"+h.Session+"/recording", func(apitest.Call) (any, error) {
			if err, is := answer.(error); is {
				return nil, err
			}
			return answer, nil
		})
	}
	held := func(h recording.Header, change func(*api.HeldRecording)) api.HeldRecording {
		v := api.HeldRecording{Session: h.Session, Gateway: h.Gateway, Project: h.Project, State: api.RecordingRunning}
		change(&v)
		return v
	}
	cases := map[string]struct {
		answer func(recording.Header) any
		says   string
	}{
		"a session that the control plane does not know": {func(recording.Header) any { return api.Errorf(api.NotFound, "no") }, "knows of no such"},
		"one that was not handed over":                   {func(recording.Header) any { return api.Errorf(api.Denied, "not handed over") }, "not handed over"},
		"one of a gateway that is alive":                 {func(recording.Header) any { return api.Errorf(api.Conflict, "it is alive") }, "it is alive"},
		"one of another gateway than it says": {func(h recording.Header) any {
			return held(h, func(v *api.HeldRecording) { v.Gateway = "gw_b" })
		}, "gw_b did"},
		"one of another project than it says": {func(h recording.Header) any {
			return held(h, func(v *api.HeldRecording) { v.Project = "prj_other" })
		}, "does not belong"},
		"one that stands at another place": {func(h recording.Header) any {
			return held(h, func(v *api.HeldRecording) { v.Place = h.Project + "/2020/01/01/" + h.Session })
		}, "does not belong"},
	}
	sessions := map[string]recording.Header{}
	for name, c := range cases {
		h := r.header()
		x, err := dead.Begin(h, r.order())
		if err != nil {
			t.Fatal(err)
		}
		sayTo(t, x, "what the user saw\n")
		plane(h, c.answer(h))
		sessions[name] = h
	}
	damaged, ours := r.header(), r.header()
	for _, h := range []recording.Header{damaged, ours} {
		x, err := dead.Begin(h, r.order())
		if err != nil {
			t.Fatal(err)
		}
		sayTo(t, x, "what the user saw\n")
	}
	plane(damaged, api.Errorf(api.NotFound, "no"))
	stop()
	dead.spool.Close()
	disk := copyOf(t, r.state)
	dir := filepath.Join(disk, SpoolDir)
	if err := os.WriteFile(filepath.Join(dir, damaged.Session, "meta.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, ".gone-"+damaged.Session)
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	before := fileTree(t, dir, ours.Session)
	r.state = t.TempDir() // another gateway
	living, err := loadRecordKeys(r.state)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged(t, &Recorders{keys: living})
	run := func() (string, error) {
		var out bytes.Buffer
		err := Import(t.Context(), "gw_b", r.state, disk, r.options(), r.plane.Client(), &out, slog.New(slog.NewTextHandler(testWriter{t}, nil)))
		return out.String(), err
	}

	// While the control plane gives no answer, not even what is ours is begun.
	plane(ours, api.Errorf(api.Unavailable, "the database is away"))
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("without an answer: %v", err)
	}
	stored, err := filepath.Glob(filepath.Join(r.bucket, "*", "*", "*")) // the folder is made when the bucket is tried
	if err != nil || len(stored) > 0 {
		t.Errorf("%v was stored without an answer: %v", stored, err)
	}
	plane(ours, held(ours, func(*api.HeldRecording) {}))
	for range 2 {
		out, err := run()
		if err == nil || !strings.Contains(err.Error(), "left alone") {
			t.Errorf("nothing is said of what was left: %v", err)
		}
		for name, c := range cases {
			h := sessions[name]
			if line := lineWith(out, h.Session); !strings.Contains(line, "left alone") || !strings.Contains(line, c.says) {
				t.Errorf("%s: says %q", name, line)
			}
			if _, err := os.Stat(filepath.Join(r.bucket, h.Project)); err == nil {
				t.Errorf("%s: it was stored", name)
			}
		}
		if !strings.Contains(lineWith(out, damaged.Session), "left alone") {
			t.Errorf("damaged: %q", out)
		}
		sessions["damaged"] = damaged
		for name, h := range sessions {
			if told := r.last(h.Session); told.State != "" && told.State != api.RecordingRunning {
				t.Errorf("%s: the control plane was told %+v", name, told)
			}
		}
		if diff := cmp.Diff(before, fileTree(t, dir, ours.Session)); diff != "" {
			t.Errorf("the spool was changed (-before +after):\n%s", diff)
		}
	}
	if r.last(ours.Session).State != api.RecordingStored {
		t.Errorf("ours is %+v", r.last(ours.Session))
	}
}

// copyOf is a copy of a dead gateway's disk: its writers live on in this process, and sign
// after a second.
func copyOf(t *testing.T, state string) string {
	t.Helper()
	disk := t.TempDir()
	if err := os.CopyFS(disk, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	return disk
}

func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// fileTree is what is in the folders of a spool but that of a session, with hashes.
func fileTree(t *testing.T, dir, but string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(path, but) {
			return err
		}
		if d.IsDir() {
			out[path] = "folder"
			return nil
		}
		if !strings.Contains(path, "/") {
			return nil // locks and what belongs to processes
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		out[path] = fmt.Sprintf("%d bytes %x", len(text), sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
