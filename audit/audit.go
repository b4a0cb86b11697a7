// Package audit says what an audit event is, how it is written down, and how
// the log is chained so that a lost, moved or altered row is noticed.
//
// An event becomes one payload of bytes (Encode) that the store keeps and
// never looks into. Each instance of the control plane keeps one chain of
// SHA-256 hashes over its own rows (Link); Verify walks it and reports the
// first break. The chain shows that rows were changed, not who changed them:
// a writer to the whole table can compute a new chain, so the newest hash has
// to be known somewhere else too.
//
// Text in events comes from strangers: names, reasons, addresses. It is kept
// as it came (cut to a length, invalid UTF-8 replaced); whoever prints it
// escapes it for the place where it is printed.
package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Outcomes of an event.
const (
	Allowed = "allowed" // it was decided so, and done
	Denied  = "denied"  // a rule refused it; Reason says which
	Failed  = "failed"  // it was allowed and did not succeed
)

// Caps on what one event may hold: an event that a stranger caused must not
// fill the log. Together they bound a payload to 40 KiB of text (JSON makes six
// bytes of each control character, so 256 KiB at the very worst).
const (
	MaxText        = 256 // bytes of an id, an action or an address
	MaxReason      = 1024
	MaxDetails     = 32 // entries of Detail; more are dropped, last names first
	MaxDetailKey   = 64
	MaxDetailValue = 1024
)

// cut marks text that was longer than its cap.
const cut = "…"

// Event is one thing that happened or was refused.
type Event struct {
	Time    time.Time `json:"time"`
	Action  string    `json:"action"`
	Outcome string    `json:"outcome"`
	// Reason is why it was denied or failed, or by what rule it was allowed.
	Reason string `json:"reason,omitempty"`
	// Actor is the id of the user, server or gateway that asked; empty for a stranger.
	Actor   string `json:"actor,omitempty"`
	Session string `json:"session,omitempty"`
	// Source is the peer's address.
	Source string `json:"source,omitempty"`
	// User, Server, Project and Gateway are what it was about.
	User    string `json:"user,omitempty"`
	Server  string `json:"server,omitempty"`
	Project string `json:"project,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	// Detail is anything else, never a secret.
	Detail map[string]string `json:"detail,omitempty"`
}

// Encode writes an event as JSON: equal events give equal bytes (fields in the
// order of Event, detail sorted by key, time in UTC with microseconds, no
// space, nothing escaped beyond what JSON needs). It never fails, so that no
// hostile text can keep an event out of the log: what is too long is cut, what
// is not UTF-8 is replaced, and an outcome that is none of ours becomes Failed,
// never Allowed.
func Encode(e Event) []byte {
	e = bounded(e)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		// Only a year outside 0 to 9999 gets here; keep the rest of the event.
		e.Time = time.Time{}
		b.Reset()
		_ = enc.Encode(e)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// EncodeAll encodes events in order, as store.Meta takes them.
func EncodeAll(events ...Event) [][]byte {
	rows := make([][]byte, len(events))
	for i, e := range events {
		rows[i] = Encode(e)
	}
	return rows
}

// Decode reads what Encode wrote, of this version or a later one: fields that
// it does not know are ignored.
func Decode(payload []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(payload, &e); err != nil {
		return Event{}, fmt.Errorf("decode audit event: %w", err)
	}
	return e, nil
}

func bounded(e Event) Event {
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	if e.Outcome != Allowed && e.Outcome != Denied {
		e.Outcome = Failed
	}
	for _, s := range []*string{&e.Action, &e.Actor, &e.Session, &e.Source, &e.User, &e.Server, &e.Project, &e.Gateway} {
		*s = clip(*s, MaxText)
	}
	e.Reason = clip(e.Reason, MaxReason)
	if len(e.Detail) == 0 {
		e.Detail = nil
		return e
	}
	detail := make(map[string]string, min(len(e.Detail), MaxDetails))
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		if len(detail) == MaxDetails {
			break
		}
		detail[clip(k, MaxDetailKey)] = clip(e.Detail[k], MaxDetailValue)
	}
	e.Detail = detail
	return e
}

// clip keeps at most limit bytes, whole characters, with a mark where it cut.
func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	end := limit - len(cut)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cut
}
