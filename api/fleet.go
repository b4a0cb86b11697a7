package api

import "time"

// Server is a machine with a server agent.
type Server struct {
	ID      string `json:"id"`
	Project string `json:"project"`
	Name    string `json:"name" doc:"unique in its project"`
	// AltNames are further names; among all names of a project's servers each is given once.
	AltNames []string `json:"alt_names,omitempty"`
	// Address is host:port of sshd as gateways and clients dial it.
	Address string `json:"address"`
	// Labels come from the administrator or the token; keys that start with
	// host/ come from the host itself and never grant anything.
	Labels map[string]string `json:"labels,omitempty"`
	State  string            `json:"state" enum:"active,disabled,held"`
	// Held is why a held server is held.
	Held string `json:"held,omitempty"`
	// Confirmed is the desired state that the agent has in force.
	Confirmed StateVersion `json:"confirmed"`
	LastSeen  time.Time    `json:"last_seen,omitzero"`
	CreatedAt time.Time    `json:"created_at"`
	// Problems are what the agent could not do, in its own sentences.
	Problems []string `json:"problems,omitempty"`
	// Bastion is the id of the server through which this one is reached.
	Bastion string `json:"bastion,omitempty"`
	// Proposed is what the host would like to be and is not. It has no effect.
	Proposed *ServerProposal `json:"proposed,omitempty"`
}

// ServerProposal is what a host says of itself; an administrator may make it true.
type ServerProposal struct {
	Name     string   `json:"name,omitempty"`
	Address  string   `json:"address,omitempty"`
	AltNames []string `json:"alt_names,omitempty"`
	Bastion  string   `json:"bastion,omitempty" doc:"a name, project/name or id"`
}

// ServerPatch changes a server: PATCH /v1/servers/{server}.
type ServerPatch struct {
	Name    *string            `json:"name,omitempty"`
	Address *string            `json:"address,omitempty"`
	Labels  *map[string]string `json:"labels,omitempty"`
	State   *string            `json:"state,omitempty" enum:"active,disabled"`
	// AltNames stand in place of those that it has.
	AltNames *[]string `json:"alt_names,omitempty" doc:"at most 16"`
	Bastion  *string   `json:"bastion,omitempty" doc:"id, name or project/name of another server; empty for none"`
}

// Gateway is a member of a pool. Its address, pool, labels and egress
// addresses come from its enrolment token or an administrator.
type Gateway struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address" doc:"host:port that clients dial; members of a pool may share it"`
	// TLSAddress is where clients reach it inside TLS, host:port; empty for nowhere.
	TLSAddress string            `json:"tls_address,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Egress     []string          `json:"egress,omitempty" doc:"addresses or prefixes from which it reaches servers"`
	State      string            `json:"state" enum:"active,disabled"`
	// RefuseConnections is an administrator's word: no new sessions, the live ones run on.
	RefuseConnections bool `json:"refuse_connections,omitempty"`
	// Draining gateways take no new sessions.
	Draining bool   `json:"draining"`
	Healthy  bool   `json:"healthy"`
	Health   string `json:"health,omitempty" doc:"why it is not healthy"`
	Sessions int    `json:"sessions" doc:"as it reported last"`
	// Records says that it can record now.
	Records    bool      `json:"records,omitempty"`
	ReportedAt time.Time `json:"reported_at,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
}

// FreshReport is how young a gateway's report must be to be believed: two of them may be
// lost, since gateways report every two minutes.
const FreshReport = 5 * time.Minute

// GatewayPatch changes a gateway: PATCH /v1/gateways/{gateway}.
type GatewayPatch struct {
	Name    *string            `json:"name,omitempty"`
	Address *string            `json:"address,omitempty"`
	Labels  *map[string]string `json:"labels,omitempty"`
	Egress  *[]string          `json:"egress,omitempty"`
	State   *string            `json:"state,omitempty" enum:"active,disabled"`
	// TLSAddress empty means that it is not reached inside TLS.
	TLSAddress        *string `json:"tls_address,omitempty"`
	RefuseConnections *bool   `json:"refuse_connections,omitempty"`
}

// EnrolmentToken lets a server or a gateway in, or spares users' new devices the approval.
// The secret is told once.
type EnrolmentToken struct {
	ID   string `json:"id"`
	Kind string `json:"kind" enum:"server,gateway,device"`
	// Project is set for servers.
	Project string `json:"project,omitempty"`
	// Name is given to what enrols; empty lets a server propose its host name
	// (never for a token of more than one use that also names).
	Name string `json:"name,omitempty"`
	// Address is host:port; for a server empty means the address that the agent proposes.
	Address string `json:"address,omitempty"`
	// AltNames are further names of the server. HostNames has the names count that the
	// host proposes for itself, where they have no dot or a suffix that the project owns.
	AltNames  []string          `json:"alt_names,omitempty"`
	HostNames bool              `json:"host_names,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Egress    []string          `json:"egress,omitempty"`
	// TLSAddress is where clients reach a gateway inside TLS, host:port.
	TLSAddress string    `json:"tls_address,omitempty"`
	UsesLeft   int       `json:"uses_left"`
	ExpiresAt  time.Time `json:"expires_at"`
	CreatedAt  time.Time `json:"created_at"`
	// Secret is what goes into the token file; set only in the answer that made it.
	Secret string `json:"secret,omitempty"`
}

// NewEnrolmentToken asks for one: POST /v1/enrolment-tokens.
type NewEnrolmentToken struct {
	Kind      string            `json:"kind" enum:"server,gateway,device"`
	Project   string            `json:"project,omitempty"`
	Name      string            `json:"name,omitempty"`
	Address   string            `json:"address,omitempty"`
	AltNames  []string          `json:"alt_names,omitempty" doc:"at most 16; only for a server"`
	HostNames bool              `json:"host_names,omitempty" doc:"the names that the host proposes count, where they have no dot or a suffix that the project owns"`
	Labels    map[string]string `json:"labels,omitempty"`
	Egress    []string          `json:"egress,omitempty"`
	// TLSAddress is where clients reach a gateway inside TLS, host:port.
	TLSAddress string `json:"tls_address,omitempty"`
	// Uses is 1 by default.
	Uses int `json:"uses,omitempty" minimum:"0" maximum:"10000"`
	// Seconds until it is over; an hour by default, 30 days at most.
	Seconds int `json:"seconds,omitempty" minimum:"0" maximum:"2592000"`
}

// GatewayEnrolment is POST /v1/gateways/enrol: no token in the header, a proof
// by the gateway's identity key, the secret in the body.
type GatewayEnrolment struct {
	Secret  string `json:"secret"`
	Version string `json:"version,omitempty"`
}

// EnrolledGateway answers it.
type EnrolledGateway struct {
	Token
	Gateway Gateway `json:"gateway"`
	GatewayKeys
}

// GatewayKeys are what a gateway must know to judge hellos.
type GatewayKeys struct {
	// TicketKeys verify tickets: key id to raw Ed25519 public key, base64.
	TicketKeys map[string][]byte `json:"ticket_keys"`
}

// GatewayReport is POST /v1/gateway/report, every two minutes and at once when
// something in it changes.
type GatewayReport struct {
	Healthy  bool   `json:"healthy"`
	Health   string `json:"health,omitempty" doc:"why not, one sentence"`
	Draining bool   `json:"draining"`
	Sessions int    `json:"sessions"`
	// Uptime is how many seconds this process has run, at least 1. Sessions that
	// began before have ended, though nobody could tell.
	Uptime int64 `json:"uptime,omitempty" minimum:"0"`
	// UptimeMillis is the same in milliseconds, and counts where it is given: a gateway that
	// is started again at once left sessions that began within the last second.
	UptimeMillis int64 `json:"uptime_ms,omitempty" minimum:"0"`
	// SealingKeys are the X25519 public keys (32 bytes) at which hellos may be
	// sealed, newest first; at most four.
	SealingKeys []SealingKey `json:"sealing_keys"`
	Version     string       `json:"version,omitempty"`
	// RecordingKeys sign recordings from now on, newest first; at most four. None is used
	// before the answer acknowledged it.
	RecordingKeys []RecordingKey `json:"recording_keys,omitempty" maxItems:"4"`
	// Records says that it can record now: it has a spool with room, and a key.
	Records bool `json:"records,omitempty"`
	// HostKey is the SSH host key with which it stands in recorded servers' place.
	HostKey string `json:"host_key,omitempty" maxLength:"256" doc:"in authorized_keys form, ssh-ed25519"`
}

// SealingKey is one public key of a gateway.
type SealingKey struct {
	ID     []byte `json:"id" doc:"8 bytes, the start of SHA-256 of the key"`
	Public []byte `json:"public" doc:"32 bytes X25519"`
}

// GatewayReportAnswer acknowledges the sealing keys: only those may be used.
type GatewayReportAnswer struct {
	Acknowledged [][]byte `json:"acknowledged"`
	// Recording are the ids of the recording keys that are kept.
	Recording []string `json:"recording,omitempty"`
	// RefuseConnections is what an administrator wants of this gateway.
	RefuseConnections bool `json:"refuse_connections,omitempty"`
	GatewayKeys
}

// GatewayWatch answers GET /v1/gateway/watch?after=N&wait=55: what the gateway
// must do now. End lists sessions to cut (the user was disabled, the session
// revoked). It answers at once when After is behind, else when something new comes.
type GatewayWatch struct {
	After int64    `json:"after"`
	End   []string `json:"end,omitempty" doc:"ids of gateway sessions"`
	// Reasons are why, by session, for the people in them where they can be told.
	Reasons map[string]string `json:"reasons,omitempty"`
	// RefuseConnections is as in GatewayReportAnswer.
	RefuseConnections bool `json:"refuse_connections,omitempty"`
	GatewayKeys
}

// Claim is POST /v1/gateway/sessions: the opened hello, claimed exactly once.
type Claim struct {
	Hello []byte `json:"hello" doc:"the opened hello, as the protocol document's claim"`
	// Source is the client's address as the gateway saw it, for the audit.
	Source string `json:"source"`
	// Refused is why the gateway has refused the hello by itself: then it is
	// recorded and begins no session.
	Refused string `json:"refused,omitempty"`
	// HostKey is the gateway's own SSH host key, and TargetKey the key that it made for
	// this session alone, with which it will go to the server. Both only where the ticket
	// says record.
	HostKey   string `json:"host_key,omitempty" maxLength:"256" doc:"in authorized_keys form, ssh-ed25519"`
	TargetKey string `json:"target_key,omitempty" maxLength:"256" doc:"in authorized_keys form, ssh-ed25519"`
}

// Claimed answers it.
type Claimed struct {
	Session string `json:"session" doc:"id of the gateway session"`
	// EndsAt bounds the session; zero means none.
	EndsAt time.Time `json:"ends_at,omitzero"`
	// Record is there exactly where the ticket says record.
	Record *RecordOrder `json:"record,omitempty"`
}

// SessionEnd is POST /v1/gateway/sessions/{session}/end.
type SessionEnd struct {
	Cause string `json:"cause" doc:"client, server, revoked, drained, error"`
	Up    int64  `json:"up" doc:"bytes from the client"`
	Down  int64  `json:"down" doc:"bytes to the client"`
	// Unrecorded is why a session that should have been recorded went on without, which
	// happens only where recording is not required.
	Unrecorded string `json:"unrecorded,omitempty" maxLength:"400"`
	// HostKey is what the server showed in the first key exchange, in
	// authorized_keys form; empty if none was seen.
	HostKey string `json:"host_key,omitempty" maxLength:"16384"`
	// HostKeyAlgorithms are what the server offered where no key was seen, as it
	// wrote them: with commas between.
	HostKeyAlgorithms string `json:"host_key_algorithms,omitempty" maxLength:"1024"`
	// HostKeyHidden says that the gateway gave up looking for the key: what the
	// server sent is no key exchange that it can read.
	HostKeyHidden bool `json:"host_key_hidden,omitempty"`
}

// GatewaySession is one connection through a gateway.
type GatewaySession struct {
	ID        string    `json:"id"`
	Gateway   string    `json:"gateway"`
	User      string    `json:"user"`
	Server    string    `json:"server"`
	Project   string    `json:"project"`
	Login     string    `json:"login"`
	Source    string    `json:"source"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Cause     string    `json:"cause,omitempty"`
	Up        int64     `json:"up"`
	Down      int64     `json:"down"`
	// Recording is how far the recording of the session is; empty if it is not recorded.
	Recording string `json:"recording,omitempty" enum:"recording,finished,stored,damaged"`
	// Overdue says that the session is over, and that nobody finishes its recording.
	Overdue bool `json:"overdue,omitempty"`
	// EndBy and EndReason are set where the end was ordered.
	EndBy     string `json:"end_by,omitempty" doc:"id of the administrator who ordered its end; empty where no person did"`
	EndReason string `json:"end_reason,omitempty"`
}

// EndSession orders the end of one live session: POST /v1/gateway-sessions/{session}/revoke.
type EndSession struct {
	Reason string `json:"reason,omitempty" maxLength:"200" doc:"one line, for the person in it"`
}

// EndSessions orders the end of all live sessions that fit: POST /v1/gateway-sessions/revoke.
// At least one of User, Server and Project is needed; of several all must fit.
type EndSessions struct {
	User    string `json:"user,omitempty" doc:"id or name"`
	Server  string `json:"server,omitempty" doc:"id, or project/name"`
	Project string `json:"project,omitempty" doc:"id or name"`
	Reason  string `json:"reason,omitempty" maxLength:"200" doc:"one line, for the people in them"`
}

// EndedSessions answers both: how many were live and had no such order yet.
type EndedSessions struct {
	Count int `json:"count"`
}
