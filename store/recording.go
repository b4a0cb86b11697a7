package store

import (
	"context"
	"time"
)

// Kinds of issuance to gateways that record.
const (
	IssueTarget      = "target"       // with which it goes to the server, as a user
	IssueGatewayHost = "gateway-host" // with which it stands for the server
)

// Words of Recording.State.
const (
	RecordingRunning  = "recording"
	RecordingFinished = "finished"
	RecordingStored   = "stored"
	RecordingDamaged  = "damaged"
)

// ClaimedRecord is what the claim of a recorded session writes besides.
type ClaimedRecord struct {
	Required bool
	// Target and Host are the certificates that will be signed for the gateway.
	Target, Host Issued
}

// RecordingKey is the public half of a key that signs recordings.
type RecordingKey struct {
	ID      string
	Gateway string
	Public  []byte // 32 bytes, Ed25519
	Since   time.Time
}

// Recording is how far the recording of one session is.
type Recording struct {
	// GatewaySession is the session; filled by reads.
	GatewaySession
	Required bool
	State    string
	// Keeper is the gateway that told of it last: another than the session's, if
	// that one's spool was imported.
	Keeper    string
	Segments  int
	Bytes     int64
	Place     string
	Head      string // hex
	Key       string // id of a RecordingKey
	Seconds   int64
	EndCause  string // of the recording; GatewaySession has that of the session
	Fault     string
	ChangedAt time.Time
	OverdueAt time.Time // when it was noticed that nobody finishes it
}

// RecordingsOf are those of a user and of a server, by their ids; "" is for all.
type RecordingsOf struct{ User, Server string }

// Recordings keeps what is known of recorded sessions. Nothing of it is ever removed.
type Recordings interface {
	// RecordingKeys lists all keys, those of gateways that are gone too, oldest first.
	RecordingKeys(ctx context.Context, p Page) ([]RecordingKey, string, error)
	RecordingKey(ctx context.Context, id string) (RecordingKey, error)

	// ReportRecording stores what v says of the session's recording: Keeper, State,
	// Segments, Bytes, Place, Head, Key, Seconds, EndCause and Fault. ErrNotFound for a
	// session that is not recorded. Nothing that is known is undone: older news (states
	// come in the order recording, finished, damaged, stored), and what is known already,
	// is nil and leaves no audit row. ErrDenied for a change of one that is stored, for
	// another place, for fewer segments, and for another head than the known one, but for
	// one that is damaged; and for a Keeper that is neither the session's gateway nor the
	// heir of that.
	ReportRecording(ctx context.Context, session string, v Recording, m Meta) error
	// HandOver lets heir, and no other, speak for the recordings of a gateway that is gone,
	// until then. An empty heir takes that back. The gateway may be deleted. ErrNotFound
	// for one that never recorded and is not there, and for an heir that is none.
	HandOver(ctx context.Context, gateway, heir string, until time.Time, m Meta) error
	// Heir is who may speak for a gateway at now, "" for nobody.
	Heir(ctx context.Context, gateway string, now time.Time) (string, error)
	// Recording: ErrNotFound for a session that is not recorded.
	Recording(ctx context.Context, session string) (Recording, error)
	// Recordings lists them, newest session first.
	Recordings(ctx context.Context, of RecordingsOf, p Page) ([]Recording, string, error)
	// LateRecordings are at most limit recordings that nobody has stored, of sessions that
	// ended before, or whose gateway was last heard of before, and of which it is not
	// noted yet.
	LateRecordings(ctx context.Context, before time.Time, limit int) ([]Recording, error)
	// NoteLate notes it, with the audit rows of m, once: a second call is nil.
	NoteLate(ctx context.Context, session string, m Meta) error
}
