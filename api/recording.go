package api

import "time"

// RecordOrder comes with a claim in record mode: all that a gateway needs to stand
// between a user and a server, and to record what passes.
type RecordOrder struct {
	// Required sessions end when they cannot be recorded any more. Others go on, which
	// is told with the session's end.
	Required bool `json:"required"`
	// Input says that what the user types is recorded as well.
	Input bool `json:"input"`
	// Recipients are those who can read the recording, as age writes them; never empty.
	Recipients []string `json:"recipients"`
	// HostCertificate is the gateway's host key, certified by the gateway CA for this
	// server and a few minutes; TargetCertificate its fresh key, by the project's user CA.
	HostCertificate   string `json:"host_certificate" doc:"in authorized_keys form"`
	TargetCertificate string `json:"target_certificate" doc:"in authorized_keys form"`
	// UserCAs sign the certificates that users show to a gateway, HostCAs those that
	// servers show.
	UserCAs []string `json:"user_cas"`
	HostCAs []string `json:"host_cas"`
	// ServerName is what people call the server.
	ServerName string `json:"server_name,omitempty"`
	// What the session may do besides a shell, commands and file transfer.
	PortForwarding  bool `json:"port_forwarding"`
	AgentForwarding bool `json:"agent_forwarding"`
	X11Forwarding   bool `json:"x11_forwarding"`
}

// RecordingKey is the public half of a key with which a gateway signs recordings. The
// control plane keeps it for ever, so that they can be verified for ever.
type RecordingKey struct {
	ID     string `json:"id" doc:"the first 8 bytes of the SHA-256 of the key, in hex"`
	Public []byte `json:"public" doc:"32 bytes, Ed25519"`
	// Gateway and Since are the control plane's word.
	Gateway string    `json:"gateway,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// States of a recording.
const (
	RecordingRunning  = "recording" // the session lives
	RecordingFinished = "finished"  // it is whole, in the gateway's spool
	RecordingStored   = "stored"    // all segments are stored and verified; nothing is in the spool
	RecordingDamaged  = "damaged"   // some of it was set aside, on the gateway; the rest is stored
)

// RecordingReport is POST /v1/gateway/sessions/{session}/recording: how far a recording
// is. It may come long after the session's end, from another gateway too, whose
// administrator has given it a dead one's spool.
type RecordingReport struct {
	State string `json:"state" enum:"recording,finished,stored,damaged"`
	// Segments and Bytes are what is stored so far, Place where: the key of its folder
	// in the bucket.
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"`
	Place    string `json:"place,omitempty" maxLength:"512"`
	// Head is the hash of the chain at its end, hex, and Key the id of the key that
	// signed it: whoever takes segments away later cannot hide it.
	Head string `json:"head,omitempty" maxLength:"64"`
	Key  string `json:"key,omitempty" maxLength:"16"`
	// Seconds is how long it is, and Cause why it ended, once it did.
	Seconds int64  `json:"seconds,omitempty"`
	Cause   string `json:"cause,omitempty" maxLength:"32"`
	// Fault says what went wrong, if something did.
	Fault string `json:"fault,omitempty" maxLength:"400"`
}

// HeldRecording is GET /v1/gateway/sessions/{session}/recording: what a gateway asks before
// it stores what it found in a spool.
type HeldRecording struct {
	Session string `json:"session"`
	// Gateway ran the session; Project is that of the server.
	Gateway string `json:"gateway"`
	Project string `json:"project"`
	State   string `json:"state" enum:"recording,finished,stored,damaged"`
	Place   string `json:"place,omitempty" doc:"where it is stored, once some of it is"`
}

// HandOver is POST /v1/gateways/{gateway}/hand-over: an administrator's word that a gateway is
// gone, and which other one has its spool and may tell of its recordings.
type HandOver struct {
	To string `json:"to" doc:"id or name; empty takes it back"`
}

// HandedOver is the answer.
type HandedOver struct {
	Gateway     string    `json:"gateway"`
	GatewayName string    `json:"gateway_name,omitempty" doc:"empty for one that was deleted"`
	To          string    `json:"to,omitempty"`
	ToName      string    `json:"to_name,omitempty"`
	Until       time.Time `json:"until,omitzero"`
}

// SessionRefusals is POST /v1/gateway/sessions/{session}/refusals: what the gateway
// refused to a user within a session. Each goes into the audit log.
type SessionRefusals struct {
	Refusals []SessionRefusal `json:"refusals" maxItems:"64"`
	// Unsaid counts those beyond what is told.
	Unsaid int `json:"unsaid,omitempty"`
}

// SessionRefusal is one of them.
type SessionRefusal struct {
	Time     time.Time `json:"time"`
	Type     string    `json:"type" maxLength:"64" doc:"the channel or request, as SSH calls it"`
	Sentence string    `json:"sentence" maxLength:"400" doc:"what the user was told"`
}
