package recording

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrTooLarge is the error of an event that no frame can hold. Nothing of it was
// written, and the writer goes on.
var ErrTooLarge = errors.New("an event of a recording is too large")

// NewEvent makes an event whose data are the JSON of v, or nothing if v is nil.
func NewEvent(at time.Duration, channel uint32, kind Kind, v any) (Event, error) {
	e := Event{At: at, Channel: channel, Kind: kind}
	if v == nil {
		return e, nil
	}
	var err error
	if e.Data, err = json.Marshal(v); err != nil {
		return Event{}, fmt.Errorf("encode a recorded event: %w", err)
	}
	if len(e.Data) > MaxData {
		return Event{}, ErrTooLarge
	}
	return e, nil
}

// Decode reads the data of an event that are JSON, such as Exited of Exit.
func Decode[T any](e Event) (v T, err error) {
	if err := json.Unmarshal(e.Data, &v); err != nil {
		return v, fmt.Errorf("read a recorded event of kind %d: %w", e.Kind, err)
	}
	return v, nil
}

// appendEvent writes one event: kind, nanoseconds since the event before it in the
// same frame (since the session began, for the first), channel, length, data. All
// but the data and the one byte of the kind are unsigned varints.
func appendEvent(b []byte, e Event, before time.Duration) []byte {
	b = append(b, byte(e.Kind))
	b = binary.AppendUvarint(b, uint64(e.At-before))
	b = binary.AppendUvarint(b, uint64(e.Channel))
	b = binary.AppendUvarint(b, uint64(len(e.Data)))
	return append(b, e.Data...)
}

// eventOverhead is the most that appendEvent adds to the data.
const eventOverhead = 1 + binary.MaxVarintLen64 + binary.MaxVarintLen32 + binary.MaxVarintLen32

var errBatch = errors.New("the events of a frame cannot be read")

// parseEvent reads one event off the front. Its data point into b.
func parseEvent(b []byte, before time.Duration) (Event, []byte, error) {
	if len(b) == 0 {
		return Event{}, nil, errBatch
	}
	kind := Kind(b[0])
	rest := b[1:]
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return Event{}, nil, errBatch
		}
		fields[i], rest = v, rest[n:]
	}
	at := before + time.Duration(fields[0])
	if int64(fields[0]) < 0 || at < before || fields[1] > 1<<32-1 || fields[2] > MaxData || fields[2] > uint64(len(rest)) {
		return Event{}, nil, errBatch
	}
	n := int(fields[2])
	e := Event{At: at, Channel: uint32(fields[1]), Kind: kind}
	if n > 0 {
		e.Data = rest[:n:n]
	}
	return e, rest[n:], nil
}
