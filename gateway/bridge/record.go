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

// errHangs ends a session whose recorder does not return. Where it needed none, it ends as well:
// somebody waits there with what passes.
var errHangs = errors.New("the gateway's disk does not answer, so this session ends here")

// recorder puts the events of all goroutines of a session into one order.
type recorder struct {
	to       Recorder
	required bool
	began    time.Time
	limit    time.Duration // for one event
	late     func()        // called once when it is over

	turn  chan struct{} // holds one: whoever records
	timer *time.Timer   // of whose turn it is
	err   error         // why nothing is recorded any more; the same
	once  sync.Once
	hangs chan struct{} // closed when the recorder does not return
}

func (r *recorder) init(to Recorder, required bool, limit time.Duration, late func()) {
	*r = recorder{to: to, required: required, began: time.Now(), limit: limit, late: late, turn: make(chan struct{}, 1), hangs: make(chan struct{})}
}

// write returns when the event is written. An error means that what it tells of must not
// happen.
func (r *recorder) write(channel uint32, kind recording.Kind, data []byte) error {
	select {
	case r.turn <- struct{}{}:
	case <-r.hangs:
		return errHangs
	}
	defer func() { <-r.turn }()
	if r.to == nil && r.required {
		return errUnrecorded
	}
	if r.err == nil && r.to != nil {
		r.watch()
		r.err = r.to.Record(recording.Event{At: time.Since(r.began), Channel: channel, Kind: kind, Data: data})
		r.timer.Stop()
	}
	if r.err != nil && r.required {
		return errUnrecorded
	}
	return nil
}

// watch begins the time of one event.
func (r *recorder) watch() {
	if r.timer != nil {
		r.timer.Reset(r.limit)
		return
	}
	r.timer = time.AfterFunc(r.limit, func() {
		r.once.Do(func() {
			close(r.hangs)
			r.late()
		})
	})
}

// hung reports whether a goroutine of the session will not return soon.
func (r *recorder) hung() bool {
	select {
	case <-r.hangs:
		return true
	default:
		return false
	}
}

// lost is why nothing is recorded any more.
func (r *recorder) lost() error {
	if r.hung() {
		return errHangs
	}
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
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
