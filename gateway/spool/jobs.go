package spool

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// Job is a Task that others do: store an object, or tell the control plane.
type Job struct {
	Session string
	Task
	// Object is the key in the bucket, Path the file with its content.
	Object string
	Path   string
	Size   int64
	SHA256 string // hex
	// Report is what is told.
	Report api.RecordingReport
}

// Jobs are all that can be done now, the oldest sessions first; key signs manifests,
// and without it those wait. What the spool can do by itself it does first.
func (s *Spool) Jobs(key ed25519.PrivateKey) []Job {
	entries := s.all()
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(a.started.Compare(b.started), strings.Compare(a.session, b.session))
	})
	out := s.tellAside()
	for _, e := range entries {
		out = append(out, s.jobsOf(e, key)...)
	}
	return out
}

func (s *Spool) jobsOf(e *entry, key ed25519.PrivateKey) (out []Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known {
		return e.jobs // nothing has happened: there may be thousands that wait
	}
	e.known = !e.unsaved
	defer func() { e.jobs = out }()
	report := e.meta.report()
	here := func(number int) bool { return !e.removed[number] && exists(e.file(number)) }
	for _, t := range tasks(&e.meta, here, e.meta.Told == digest(report)) {
		j := Job{Session: e.meta.Session, Task: t, Report: report}
		switch t.Do {
		case StoreSegment:
			seg := e.meta.segment(t.Number)
			j.Object, j.Path = path.Join(e.meta.Place(), recording.SegmentName(t.Number)), e.file(t.Number)
			j.Size, j.SHA256 = seg.Size, seg.SHA256
		case StoreManifest:
			err := s.afloat(func() (err error) {
				j.Path, j.Size, j.SHA256, err = e.manifest(key)
				return err
			})
			if err != nil {
				if !errors.Is(err, errNoKey) {
					s.log.Error("cannot write the manifest of a recording", "session", e.meta.Session, "error", err)
				}
				e.known = false
				continue
			}
			j.Object = path.Join(e.meta.Place(), ManifestName)
		case RemoveSegment, RemoveFolder:
			if !e.unsaved && !s.remove(e, t) {
				e.known = false
			}
			continue
		}
		out = append(out, j)
	}
	return out
}

func (e *entry) file(number int) string { return filepath.Join(e.dir, recording.SegmentName(number)) }

// remove is the only place where something of a recording is removed. meta.json says
// already, durably, that it is stored; e.mu is held.
func (s *Spool) remove(e *entry, t Task) bool {
	var err error
	switch t.Do {
	case RemoveSegment:
		if err = os.Remove(e.file(t.Number)); err == nil {
			if e.removed == nil {
				e.removed = map[int]bool{}
			}
			e.removed[t.Number] = true
			e.known = false // it may have been the last
			s.wake()
		}
	case RemoveFolder:
		if err = e.onlyStored(); err != nil {
			s.forget(e)
			err = errors.Join(err, s.setFolderAside(e.session, err.Error()))
			break
		}
		gone := filepath.Join(s.opt.Dir, goneMark+e.meta.Session)
		if err = os.Rename(e.dir, gone); err == nil {
			s.forget(e)
			err = os.RemoveAll(gone)
		}
	}
	if err != nil {
		s.log.Error("cannot remove what is stored", "session", e.meta.Session, "segment", t.Number, "error", err)
	}
	return err == nil
}

// onlyStored fails where a folder has a segment of which meta.json does not say that it is
// stored, whatever else that says.
func (e *entry) onlyStored() error {
	files, err := segmentFiles(e.dir)
	for _, number := range files {
		if seg := e.meta.segment(number); seg == nil || seg.Kept != There {
			return fmt.Errorf("segment %d is here, and nobody has stored it", number)
		}
	}
	return err
}

func (s *Spool) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, e.session)
}

// ErrChanged says that what was stored is not what was recorded.
var ErrChanged = errors.New("what was read back is not what was recorded")

// Stored says that a job's object was read back from the bucket, with that size and
// SHA-256. Only what is the same as what was recorded counts.
func (s *Spool) Stored(j Job, size int64, sha256 string) error {
	e, err := s.entry(j.Session)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	defer s.wake()
	before := e.meta.clone()
	switch j.Do {
	case StoreSegment:
		seg := e.meta.segment(j.Number)
		if seg == nil || seg.Size != size || seg.SHA256 != sha256 {
			return fmt.Errorf("segment %d of %s: %w", j.Number, j.Session, ErrChanged)
		}
		err = e.meta.keep(j.Number, There)
	case StoreManifest:
		if size != j.Size || sha256 != j.SHA256 {
			return fmt.Errorf("the manifest of %s: %w", j.Session, ErrChanged)
		}
		err = e.meta.to(Stored)
	default:
		err = fmt.Errorf("nothing is stored by %q", j.Do)
	}
	if err != nil {
		return err
	}
	if err := s.save(e); err != nil {
		e.meta, e.known = before, false // it is stored once more, which changes nothing there
		return err
	}
	return nil
}

// clone is a copy that shares nothing that changes.
func (m *Meta) clone() Meta {
	c := *m
	c.Segments, c.Faults = slices.Clone(m.Segments), slices.Clone(m.Faults)
	return c
}

// SetAside sets a job's file aside, so that the rest can go on.
func (s *Spool) SetAside(j Job, why string) error {
	e, err := s.entry(j.Session)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	defer s.wake()
	switch j.Do {
	case StoreSegment:
		if seg := e.meta.segment(j.Number); seg == nil || seg.Kept != Here {
			return fmt.Errorf("segment %d of %s is not here", j.Number, j.Session)
		}
		if err := s.setFileAside(e, j.Number, why); err != nil {
			return err
		}
		err = e.meta.keep(j.Number, Aside)
	case StoreManifest:
		// The recording is stored; what stands in its manifest's place is another's.
		e.meta.fault("the manifest could not be stored: %s", why)
		s.log.Error("a manifest could not be stored", "session", j.Session, "reason", why)
		err = e.meta.to(Stored)
	}
	return errors.Join(err, s.save(e))
}

// Told says that the control plane has taken a report.
func (s *Spool) Told(j Job) error {
	if was, err := s.toldAside(j.Session); was {
		return err
	}
	e, err := s.entry(j.Session)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	defer s.wake()
	e.meta.Told = digest(j.Report)
	return s.save(e)
}

// maxFault bounds what is told of faults, in bytes.
const maxFault = 400

// report is what the control plane is to know.
func (m *Meta) report() api.RecordingReport {
	r := api.RecordingReport{State: api.RecordingRunning, Place: m.Place()}
	for _, s := range m.Segments {
		if s.Kept == There {
			r.Segments++
			r.Bytes += s.Size
		}
	}
	if m.End != nil {
		r.Head, r.Key, r.Seconds, r.Cause = m.End.Head, m.End.Key, m.End.Seconds, m.End.Cause
		if m.End.Lost > 0 {
			r.Fault = fmt.Sprintf("%d bytes are lost; ", m.End.Lost)
		}
	}
	switch {
	case m.State == Stored && m.Damaged:
		r.State = api.RecordingDamaged
	case m.State == Stored:
		r.State = api.RecordingStored
	case m.State == Finished:
		r.State = api.RecordingFinished
	}
	r.Fault = strings.TrimSuffix(r.Fault+ident.Text(strings.Join(m.Faults, "; ")), "; ")
	if len(r.Fault) > maxFault {
		r.Fault = strings.ToValidUTF8(r.Fault[:maxFault], "")
	}
	return r
}

func digest(r api.RecordingReport) string {
	text, _ := json.Marshal(r) // strings and numbers
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// ManifestName is the last object of a recording: with it the recording is whole.
const ManifestName = "manifest.json"

// Manifest tells of a recording that is over. It is signed.
type Manifest struct {
	Version int `json:"version"`
	Origin
	End
	Segments []Segment `json:"segments"`
	Faults   []string  `json:"faults,omitempty"`
	Made     time.Time `json:"made"`
}

// SignedManifest is the content of the object. The signature is of manifestDomain and
// the bytes of Manifest as they stand there.
type SignedManifest struct {
	Manifest  json.RawMessage `json:"manifest"`
	Signer    string          `json:"signer"` // id of the recording key
	Signature []byte          `json:"signature"`
}

// manifestDomain begins what is signed, so that the signature is good for nothing else.
const manifestDomain = "cardea recording 1 manifest\n"

// manifest makes the manifest once, durably: tried again, the same bytes are stored.
func (e *entry) manifest(key ed25519.PrivateKey) (file string, size int64, sum string, err error) {
	file = filepath.Join(e.dir, ManifestName)
	text, err := readManifest(file)
	if errors.Is(err, os.ErrNotExist) {
		if key == nil {
			return "", 0, "", errNoKey
		}
		if text, err = e.meta.signedManifest(key, time.Now()); err == nil {
			_, err = atomicfile.Write(file, text, atomicfile.Options{Mode: 0o600})
		}
	}
	if err != nil {
		return "", 0, "", err
	}
	h := sha256.Sum256(text)
	return file, int64(len(text)), hex.EncodeToString(h[:]), nil
}

// readManifest reads one that a process before this has written.
func readManifest(file string) ([]byte, error) {
	f, err := openPlain(file, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err == nil && len(text) > maxMeta {
		err = fmt.Errorf("%s is larger than a manifest can be", file)
	}
	return text, err
}

func (m *Meta) signedManifest(key ed25519.PrivateKey, now time.Time) ([]byte, error) {
	out := Manifest{Version: metaVersion, Origin: m.Origin, End: *m.End, Segments: m.Segments, Faults: m.Faults, Made: now.UTC().Truncate(time.Second)}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	message := append([]byte(manifestDomain), text...)
	public := key.Public().(ed25519.PublicKey)
	signature := ed25519.Sign(key, message)
	if !ed25519.Verify(public, message, signature) {
		return nil, errors.New("the signature that was just made is wrong; this machine cannot be trusted")
	}
	return json.Marshal(SignedManifest{Manifest: text, Signer: recording.KeyID(public), Signature: signature})
}

// VerifyManifest checks the content of the object and returns it.
func VerifyManifest(text []byte, known func(id string) ed25519.PublicKey) (Manifest, error) {
	var s SignedManifest
	var m Manifest
	if err := json.Unmarshal(text, &s); err != nil {
		return m, fmt.Errorf("read the manifest: %w", err)
	}
	public := known(s.Signer)
	if len(public) != ed25519.PublicKeySize {
		return m, fmt.Errorf("the manifest is signed by the unknown key %s", ident.Text(s.Signer))
	}
	if !ed25519.Verify(public, append([]byte(manifestDomain), s.Manifest...), s.Signature) {
		return m, errors.New("the signature of the manifest is wrong")
	}
	if err := json.Unmarshal(s.Manifest, &m); err != nil {
		return m, fmt.Errorf("read the manifest: %w", err)
	}
	return m, nil
}
