package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// metaFile stands in each session's folder.
const metaFile = "meta.json"

// metaVersion is what this code writes. A higher one was written by a newer gateway,
// and is set aside rather than misunderstood.
const metaVersion = 1

// maxMeta bounds meta.json: some 200 bytes for each segment that there can be.
const maxMeta = 32 << 20

// Origin says what is recorded.
type Origin struct {
	Session string    `json:"session"` // of the gateway
	Gateway string    `json:"gateway"`
	Project string    `json:"project"`
	Started time.Time `json:"started"`
}

// check refuses what could lead out of a folder: a disk may come from anywhere.
func (o Origin) check() error {
	return errors.Join(
		checkID(o.Session, ident.GatewaySession), checkID(o.Project, ident.Project), checkID(o.Gateway, ident.Gateway), o.checkStart())
}

// maxID bounds what stands behind the prefix of an id. It has 20 characters today.
const maxID = 40

// checkID refuses what is no id of that prefix: these become names of files and keys.
func checkID(id, prefix string) error {
	random, ok := strings.CutPrefix(id, prefix)
	if !ok || random == "" || len(random) > maxID || strings.Trim(random, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return fmt.Errorf("%s is not an id that begins with %s", ident.Text(id), prefix)
	}
	return nil
}

func (o Origin) checkStart() error {
	if y := o.Started.UTC().Year(); y < 2000 || y > 9999 {
		return fmt.Errorf("a session of the year %d", y)
	}
	return nil
}

// Place is the key of the folder in a bucket in which the recording is kept.
func (o Origin) Place() string {
	return path.Join(o.Project, o.Started.UTC().Format("2006/01/02"), o.Session)
}

// Meta is how far a recording is. meta.json is the only truth about it.
type Meta struct {
	Version int `json:"version"`
	Origin
	// Owner is the process that looks after it.
	Owner string `json:"owner"`
	State State  `json:"state"`
	// Segments are those that are complete, in order.
	Segments []Segment `json:"segments,omitempty"`
	// End is set once the recording is over.
	End *End `json:"end,omitempty"`
	// Damaged says that something of it is in quarantine.
	Damaged bool `json:"damaged,omitempty"`
	// Faults are what went wrong, each in a sentence, the first ones.
	Faults []string `json:"faults,omitempty"`
	// Told is what the control plane has taken of it, as Report.digest has it.
	Told string `json:"told,omitempty"`
}

// End is how a recording ended.
type End struct {
	Cause   string `json:"cause"`
	Seconds int64  `json:"seconds"`
	// Head is the last link of the chain in hex, Key the id of the key that signed it.
	Head string `json:"head,omitempty"`
	Key  string `json:"key,omitempty"`
	// Lost counts bytes that were written and are not there.
	Lost int64 `json:"lost,omitempty"`
}

// Segment is a complete one.
type Segment struct {
	Number int    `json:"n"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex, of the file as it was completed
	Kept   Kept   `json:"kept"`
}

// maxFaults bounds what is noted: the first ones tell more than the last.
const maxFaults = 8

// fault notes what went wrong.
func (m *Meta) fault(format string, args ...any) {
	if len(m.Faults) < maxFaults {
		m.Faults = append(m.Faults, fmt.Sprintf(format, args...))
	}
}

// segment is the one of that number, or nil.
func (m *Meta) segment(number int) *Segment {
	for i := range m.Segments {
		if m.Segments[i].Number == number {
			return &m.Segments[i]
		}
	}
	return nil
}

// last is the number of the last complete segment, or 0.
func (m *Meta) last() int {
	if len(m.Segments) == 0 {
		return 0
	}
	return m.Segments[len(m.Segments)-1].Number
}

// errMeta is that of a meta.json which says nothing usable.
var errMeta = errors.New("meta.json is damaged")

// readMeta reads and checks the meta.json of a folder, whose name is the session's.
func readMeta(dir string) (Meta, error) {
	var m Meta
	f, err := os.OpenFile(filepath.Join(dir, metaFile), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return m, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil || len(text) > maxMeta {
		return m, errMeta
	}
	if m.Version > metaVersion {
		return m, fmt.Errorf("meta.json is of version %d, which a newer gateway wrote", m.Version)
	}
	return m, m.check(filepath.Base(dir))
}

// check refuses a meta.json that no gateway wrote.
func (m *Meta) check(session string) error {
	if err := m.Origin.check(); err != nil {
		return fmt.Errorf("%w: %w", errMeta, err)
	}
	if m.Session != session {
		return fmt.Errorf("%w: it is of another session", errMeta)
	}
	if !m.State.known() || m.State != Recording && m.End == nil {
		return fmt.Errorf("%w: state %q", errMeta, m.State)
	}
	before := 0
	for _, s := range m.Segments {
		if s.Number <= before || s.Number > recording.MaxSegments || s.Size < 0 || !s.Kept.known() {
			return fmt.Errorf("%w: segment %d", errMeta, s.Number)
		}
		before = s.Number
	}
	return nil
}

// write replaces meta.json. When it returns nil no power cut brings the old one back.
func (m *Meta) write(dir string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = atomicfile.Write(filepath.Join(dir, metaFile), text, atomicfile.Options{Mode: 0o600})
	return err
}

// first writes the first meta.json of a folder that nobody else sees yet, and leaves
// it to the first sync of the session to make it durable: the user waits.
func (m *Meta) first(dir string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, metaFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Close()
}
