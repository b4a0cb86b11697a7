package e2e

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/recording"
)

// recorded is what a recording has, read with the recipient's key.
type recorded struct {
	header           recording.Header
	report           recording.Report
	requests         []recording.Requested
	output, errput   map[uint32][]byte // by channel
	files            []recording.FileAction
	forwards         []recording.Forwarded
	refusals         []recording.Refused
	sizes            []recording.Size
	exits            []recording.Exited
	gaps             []recording.Missing
	ended            *recording.Ended
	at               time.Duration // of the last event
	wentBack, beyond bool          // time went back, or something came after the end
}

// readRecording reads a folder of segments.
func (m *matrix) readRecording(dir string) (recorded, error) {
	r := recorded{output: map[uint32][]byte{}, errput: map[uint32][]byte{}}
	folder := os.DirFS(dir)
	keys, err := m.recordingKeys()
	if err != nil {
		return r, err
	}
	if r.report, err = recording.Verify(folder, recording.VerifyOptions{Keys: keys}); err != nil {
		return r, err
	}
	reader, err := recording.NewReader(folder, m.identity)
	if err != nil {
		return r, err
	}
	r.header = reader.Header()
	for {
		e, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		r.wentBack = r.wentBack || e.At < r.at
		r.beyond = r.beyond || r.ended != nil
		r.at = e.At
		if err := r.add(e); err != nil {
			return r, fmt.Errorf("event of kind %d: %w", e.Kind, err)
		}
	}
}

func (r *recorded) add(e recording.Event) error {
	switch e.Kind {
	case recording.Output:
		r.output[e.Channel] = append(r.output[e.Channel], e.Data...)
	case recording.Errput:
		r.errput[e.Channel] = append(r.errput[e.Channel], e.Data...)
	case recording.Request:
		return decoded(e, &r.requests)
	case recording.File:
		return decoded(e, &r.files)
	case recording.Forward:
		return decoded(e, &r.forwards)
	case recording.Refusal:
		return decoded(e, &r.refusals)
	case recording.Resize:
		return decoded(e, &r.sizes)
	case recording.Exit:
		return decoded(e, &r.exits)
	case recording.Gap:
		return decoded(e, &r.gaps)
	case recording.End:
		ended, err := recording.Decode[recording.Ended](e)
		r.ended = &ended
		return err
	}
	return nil
}

func decoded[T any](e recording.Event, to *[]T) error {
	v, err := recording.Decode[T](e)
	*to = append(*to, v)
	return err
}

// recordingKeys are those that the control plane knows.
func (m *matrix) recordingKeys() (recording.Keys, error) {
	rows, err := api.All[api.RecordingKey](m.t.Context(), m.stage.Client(), "/v1/recording-keys", nil)
	if err != nil {
		return nil, err
	}
	return func(id string) (ed25519.PublicKey, string, bool) {
		i := slices.IndexFunc(rows, func(k api.RecordingKey) bool { return k.ID == id })
		if i < 0 {
			return nil, "", false
		}
		return rows[i].Public, rows[i].Gateway, true
	}, nil
}

// stored waits until the recordings of all sessions but known ones are stored, and returns
// them, oldest first; each must be whole.
func (m *matrix) stored(known map[string]bool) []recorded {
	m.t.Helper()
	all := m.storedBy(known)
	for _, r := range all {
		if r.ended.Cause == recording.Interrupted {
			m.t.Errorf("recording of %s was interrupted", r.header.Session)
		}
	}
	return all
}

// storedBy is stored, of sessions that may have been interrupted.
func (m *matrix) storedBy(known map[string]bool) []recorded {
	m.t.Helper()
	for deadline := time.Now().Add(longest); ; time.Sleep(200 * time.Millisecond) {
		// The newest come first, and a page has more than any test begins at once.
		var page api.List[api.GatewaySession]
		_, err := m.stage.Client().Get(m.t.Context(), "/v1/gateway-sessions", url.Values{"limit": {strconv.Itoa(api.MaxPageSize)}}, &page)
		m.must(err)
		rows := page.Items
		slices.Reverse(rows)
		rows = slices.DeleteFunc(rows, func(s api.GatewaySession) bool {
			// A gateway that is killed between the claim and the first file has said nothing
			// to the user, and nothing of it is there to be finished. Nor has one that refused
			// a session because its disk did not answer in time, as on a busy machine.
			refused := s.Recording == "damaged" && s.Cause == "error" && s.Up == 0 && s.Down == 0
			return known[s.ID] || refused || !s.EndedAt.IsZero() && s.Recording == "recording" && m.folder(s.ID, "") == ""
		})
		i := slices.IndexFunc(rows, func(s api.GatewaySession) bool { return s.Recording != "stored" })
		if i < 0 {
			out := make([]recorded, 0, len(rows))
			for _, s := range rows {
				known[s.ID] = true
				out = append(out, m.recordingOf(s.ID))
			}
			return out
		}
		if time.Now().After(deadline) {
			var r api.Recording
			_, err := m.stage.Client().Get(m.t.Context(), "/v1/recordings/"+rows[i].ID, nil, &r)
			m.t.Fatalf("the recording of a session is not stored: %+v: %+v, %v", rows[i], r, err)
		}
	}
}

// sessions are the ids of all that there were.
func (m *matrix) sessions() map[string]bool {
	m.t.Helper()
	ids := map[string]bool{}
	for id := range m.recordedSessions() {
		ids[id] = true
	}
	return ids
}

// recordedSessions are all that there were, and whether they were recorded.
func (m *matrix) recordedSessions() map[string]bool {
	m.t.Helper()
	rows, err := api.All[api.GatewaySession](m.t.Context(), m.stage.Client(), "/v1/gateway-sessions", nil)
	m.must(err)
	ids := map[string]bool{}
	for _, s := range rows {
		ids[s.ID] = s.Recording != ""
	}
	return ids
}

// recordingOf finds a session's recording in the buckets of the gateways, which are folders.
func (m *matrix) recordingOf(session string) recorded {
	m.t.Helper()
	found := m.folder(session, "/recordings/")
	if found == "" {
		m.t.Fatalf("no bucket has a recording of %s", session)
	}
	if segments, err := filepath.Glob(filepath.Join(found, "*.seg")); err == nil && len(segments) == 0 {
		// The gateway was killed before it wrote anything, so it said nothing to the user either.
		return recorded{header: recording.Header{Session: session}, ended: &recording.Ended{Cause: recording.Interrupted}}
	}
	r, err := m.readRecording(found)
	if err != nil {
		m.t.Fatalf("recording of %s: %v", session, err)
	}
	// A kill may tear the write of a frame where a page of memory ends. Nobody has seen what
	// was in it, and the recording says how many bytes of it were dropped.
	torn := r.ended != nil && r.ended.Cause == recording.Interrupted && len(r.gaps) == 1 && r.report.Lost > 0 && len(r.report.Faults) == 0
	whole := r.report.Whole() && len(r.gaps) == 0
	if !whole && !torn || r.ended == nil || r.wentBack || r.beyond {
		m.t.Errorf("recording of %s is not whole: %+v, gaps %v, end %v", session, r.report, r.gaps, r.ended)
	}
	if r.header.Session != session || r.header.Login != "alice" || r.report.Session != session {
		m.t.Errorf("recording of %s is of %+v", session, r.header)
	}
	return r
}

// folder is that of a session with these names above it, below the stage; "" for none.
func (m *matrix) folder(session, above string) (found string) {
	m.t.Helper()
	root := filepath.Dir(m.stage.Admin.Home)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == session && strings.Contains(path, above) {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	m.must(err)
	return found
}

// one is the recording of the one session of a script.
func (m *matrix) one(c column, known map[string]bool, script string) (outcome, recorded) {
	m.t.Helper()
	dir, err := os.MkdirTemp(c.person.Home, "m")
	m.must(err)
	defer os.RemoveAll(dir)
	got := m.shell(c, dir, script)
	all := m.stored(known)
	if len(all) != 1 {
		m.t.Fatalf("%d sessions were recorded, want 1: %+v", len(all), got)
	}
	return got, all[0]
}

// whatWasSeen looks into recordings: they have what the user saw, and what he did.
func (m *matrix) whatWasSeen(t *testing.T, c column) {
	known := m.sessions()
	run := func(name string, do func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			m.t = t
			do(t)
		})
	}
	run("the output of a command, byte by byte", func(t *testing.T) {
		got, r := m.one(c, known, `ssh -n $H 'head -c 200000 /dev/urandom | base64; echo wrong >&2; exit 7'`)
		if out := string(r.output[1]); out != got.Stdout {
			t.Errorf("%d bytes are recorded, and the user saw %d", len(out), len(got.Stdout))
		}
		if errs := string(r.errput[1]); errs != got.Stderr {
			t.Errorf("recorded as %q, seen as %q", errs, got.Stderr)
		}
		if len(r.exits) != 1 || r.exits[0].Code != 7 || r.ended.Cause != "client" {
			t.Errorf("ended by %+v, %+v", r.exits, r.ended)
		}
		if len(r.requests) == 0 || !strings.Contains(fmt.Sprint(r.requests), "head -c 200000 /dev/urandom") {
			t.Errorf("it ran %+v", r.requests)
		}
	})
	run("a terminal, its size, and what was on it", func(t *testing.T) {
		got := m.resized(c, c.person.Home)
		all := m.stored(known)
		if len(all) != 1 {
			t.Fatalf("%d recordings", len(all))
		}
		r := all[0]
		if out := string(r.output[1]); !strings.Contains(got.Stdout, strings.TrimSpace(out)) || !strings.Contains(out, "42 123") || !strings.Contains(out, "read hello") {
			t.Errorf("recorded as %q, seen as %q", out, got.Stdout)
		}
		if len(r.sizes) != 1 || r.sizes[0] != (recording.Size{Columns: 123, Rows: 42}) {
			t.Errorf("resized to %+v", r.sizes)
		}
	})
	for _, how := range []string{"-s", "-O"} {
		run("files by scp "+how+", with their hashes", func(t *testing.T) {
			_, r := m.one(c, known, `scp -q `+how+` $FILE $H:up.bin`)
			m.file1(r, "upload", "up.bin")
			_, r = m.one(c, known, `scp -q `+how+` $H:up.bin back.bin; ls back.bin`)
			m.file1(r, "download", "up.bin")
		})
	}
	run("files by sftp, with their hashes", func(t *testing.T) {
		_, r := m.one(c, known, `printf 'put %s a.bin\nrename a.bin b.bin\nget b.bin\nrm b.bin\n' $FILE | sftp -q -b - $H`)
		m.file1(r, "upload", "a.bin")
		m.file1(r, "download", "b.bin")
		text := fmt.Sprintf("%+v", r.files)
		for _, action := range []string{"Action:rename", "Action:remove"} {
			if !strings.Contains(text, action) {
				t.Errorf("no %s in %s", action, text)
			}
		}
	})
	run("forwarded connections, with their bytes", func(t *testing.T) {
		_, r := m.one(c, known, `ssh -W 127.0.0.1:22 $H </dev/null | head -c 8`)
		if len(r.forwards) != 1 || r.forwards[0].To != "127.0.0.1:22" || r.forwards[0].Down < 8 {
			t.Errorf("forwards %+v", r.forwards)
		}
	})
	run("what the project does not allow", func(t *testing.T) {
		no := false
		m.must(m.stage.Client().Send(t.Context(), "PATCH", "/v1/projects/web", api.ProjectPatch{PortForwarding: &no, AgentForwarding: &no}, nil))
		got, r := m.one(c, known, `ssh -W 127.0.0.1:22 $H </dev/null; echo $?`)
		if strings.Contains(got.Stdout, "SSH-2.0") || !strings.Contains(got.Stderr, "forward") {
			t.Errorf("it was %+v", got)
		}
		if len(r.refusals) == 0 || r.refusals[0].Type != "direct-tcpip" || r.refusals[0].Sentence == "" {
			t.Errorf("refusals %+v", r.refusals)
		}
		m.refusedEvent("direct-tcpip", r.header.Session)
		got, r = m.one(c, known, `ssh -n -A $H 'echo "<$SSH_AUTH_SOCK>"'`)
		if got.Stdout != "<>\n" || len(r.refusals) == 0 {
			t.Errorf("the agent: %+v, refusals %+v", got, r.refusals)
		}
		m.refusedEvent("auth-agent-req@openssh.com", r.header.Session)
	})
	m.t = t
}

// file1 looks for one transfer of the file of the matrix.
func (m *matrix) file1(r recorded, action, name string) {
	m.t.Helper()
	for _, f := range r.files {
		if f.Action == action && filepath.Base(f.Path) == name && f.Whole && f.Size == fileBytes() && f.SHA256 == m.sum {
			return
		}
	}
	m.t.Errorf("no %s of %s, %d bytes with SHA-256 %s, among %+v", action, name, fileBytes(), m.sum, r.files)
}

// refusedEvent waits for the audit's word of a refusal.
func (m *matrix) refusedEvent(kind, session string) {
	m.t.Helper()
	for deadline := time.Now().Add(longest); ; time.Sleep(200 * time.Millisecond) {
		var newest api.List[api.AuditEvent]
		_, err := m.stage.Client().Get(m.t.Context(), "/v1/audit?last=100", nil, &newest)
		m.must(err)
		for _, e := range newest.Items {
			if text := fmt.Sprintf("%+v", e); e.Action == audit.SessionRefused && e.Outcome == audit.Denied && strings.Contains(text, kind) && strings.Contains(text, session) {
				return
			}
		}
		if time.Now().After(deadline) {
			m.t.Errorf("no audit event tells that %s was refused in %s", kind, session)
			return
		}
	}
}
