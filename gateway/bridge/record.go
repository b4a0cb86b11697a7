package bridge

import (
	"encoding/json"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cardea-ssh/cardea/recording"
)

// errUnrecorded ends what would have to be recorded and cannot be.
var errUnrecorded = errors.New("this session cannot be recorded any more, which the project demands, so it ends here")

// recorder puts the events of all goroutines of a session into one order.
type recorder struct {
	to       Recorder
	required bool
	began    time.Time

	mu  sync.Mutex
	err error // why nothing is recorded any more; guarded by mu
}

func (r *recorder) init(to Recorder, required bool) {
	r.to, r.required, r.began = to, required, time.Now()
}

// write returns when the event is written. An error means that what it tells of must not
// happen.
func (r *recorder) write(channel uint32, kind recording.Kind, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to == nil && r.required {
		return errUnrecorded
	}
	if r.err == nil && r.to != nil {
		r.err = r.to.Record(recording.Event{At: time.Since(r.began), Channel: channel, Kind: kind, Data: data})
	}
	if r.err != nil && r.required {
		return errUnrecorded
	}
	return nil
}

func (r *recorder) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// record writes an event, and ends the session if that was needed and failed.
func (b *bridge) record(channel uint32, kind recording.Kind, data []byte) error {
	err := b.rec.write(channel, kind, data)
	if err != nil {
		b.end(End{CauseError, err.Error()})
	}
	return err
}

// note records what is told by a structure of package recording; nil is nothing to tell.
func (b *bridge) note(channel uint32, what any) error {
	var kind recording.Kind
	switch x := what.(type) {
	case nil:
		return nil
	case recording.Opened:
		kind = recording.Open
	case recording.Requested:
		return b.noteRequest(channel, x)
	case recording.Refused:
		kind = recording.Refusal
	case recording.Size:
		kind = recording.Resize
	case recording.FileAction:
		kind = recording.File
	case recording.Missing:
		kind = recording.Gap
	case recording.Forwarded:
		kind = recording.Forward
	case recording.Exited:
		kind = recording.Exit
	}
	data, err := json.Marshal(what)
	if err == nil && len(data) > recordingMax {
		kind = recording.Gap
		data, err = json.Marshal(recording.Missing{Why: "what happened here is too long for an event"})
	}
	if err != nil {
		return err
	}
	return b.record(channel, kind, data)
}

// noteRequest records a request. A command that no event can hold takes more than one.
func (b *bridge) noteRequest(channel uint32, r recording.Requested) error {
	for {
		part := r
		part.Command = head(r.Command, commandPart)
		data, err := json.Marshal(part)
		if err != nil {
			return err
		}
		if err := b.record(channel, recording.Request, data); err != nil {
			return err
		}
		if r.Command = r.Command[len(part.Command):]; r.Command == "" {
			return nil
		}
		r.Type = continued(r.Type)
	}
}

// continued is the type of a request's further parts.
func continued(name string) string {
	const mark = " (continued)"
	if len(name) > len(mark) && name[len(name)-len(mark):] == mark {
		return name
	}
	return name + mark
}

// head is the first n bytes of s, or some less where they would cut a character in two.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
