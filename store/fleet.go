package store

import (
	"context"
	"maps"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Server is a machine with a server agent.
type Server struct {
	ID, Project string
	Name        string   // unique in its project among all names of servers
	AltNames    []string // further names, each as unique
	Address     string   // host:port
	Labels      map[string]string
	HostLabels  map[string]string // the host's own, keys without host/
	State       string            // Active, Disabled, Held
	HostKey     string            // authorized_keys form, as reported
	HostCA      string            // fingerprint of the CA of the host certificate that sshd shows
	// ConfirmedEpoch and ConfirmedCounter are the state that is in force.
	ConfirmedEpoch, ConfirmedCounter int64
	Problems                         []string
	AgentVersion                     string
	// EventsNext is the sequence number of the next host event; the first is 1.
	EventsNext int64
	// Revision is the team's at the last change to this server's desired state alone.
	Revision int64
	// Held is why a held server is held, for people.
	Held      string
	LastSeen  time.Time
	CreatedAt time.Time
	// Bastion is the id of the server through which this one is reached; "" is none.
	Bastion string
	// Proposed is what the host would like to be; it has no effect.
	Proposed Proposal
}

// Proposal is what a host says it should be called and where it is.
type Proposal struct {
	Name     string   `json:"name,omitempty"`
	Address  string   `json:"address,omitempty"`
	AltNames []string `json:"alt_names,omitempty"`
	Bastion  string   `json:"bastion,omitempty"` // a name or project/name
}

// AllLabels are those that were given to the server, and the host's own with
// ident.HostLabelPrefix in front. Nothing is granted by them.
func (s Server) AllLabels() map[string]string {
	all := make(map[string]string, len(s.Labels)+len(s.HostLabels))
	for k, v := range s.HostLabels {
		all[ident.HostLabelPrefix+k] = v
	}
	maps.Copy(all, s.Labels)
	return all
}

// Held is the state of a server whose credential two hosts use, as it seems: it
// gets nothing, and nobody gets in, until an administrator has looked.
const Held = "held"

// ServerChange changes what is not nil.
type ServerChange struct {
	Name, Address, State *string
	Labels               *map[string]string
	AltNames             *[]string
	Bastion              *string // an id; "" for none
}

// ServerReport is what an agent tells of itself.
type ServerReport struct {
	ConfirmedEpoch, ConfirmedCounter int64
	Problems                         []string
	HostKey, AgentVersion            string
	// HostLabels, keys without host/, are in place of those before; nil leaves them.
	HostLabels *map[string]string
	Proposed   *Proposal // in place of that before; nil leaves it
	HostCA     string    // see Server; empty leaves the one before
	// Beat is nil for agents that do not send one.
	Beat *Beat
}

// Gateway is a member of a pool.
type Gateway struct {
	ID      string
	Name    string // unique
	Address string
	Labels  map[string]string
	Egress  []string
	State   string // Active, Disabled
	// SealingKeys as last reported, newest first: pairs of id and public key.
	SealingKeys []SealingKey
	Healthy     bool
	Health      string
	Draining    bool
	Sessions    int
	Version     string
	Records     bool // it can record now
	// EgressRevision is the revision at which Egress last changed: a server must
	// have confirmed it before this gateway is a candidate where one is required.
	EgressRevision int64
	ReportedAt     time.Time // by the control plane's clock
	CreatedAt      time.Time
	TLSAddress     string // where it is reached inside TLS; empty for nowhere
	// RefuseConnections is an administrator's word that it is no candidate.
	RefuseConnections bool
	HostKey           string // of its SSH side in record mode, authorized_keys form; empty if it has none
}

// SealingKey is one public key of a gateway.
type SealingKey struct {
	ID, Public []byte
}

// GatewayChange changes what is not nil.
type GatewayChange struct {
	Name, Address, State *string
	Labels               *map[string]string
	Egress               *[]string
	TLSAddress           *string
	RefuseConnections    *bool
}

// GatewayReport is what a gateway tells of itself.
type GatewayReport struct {
	Healthy, Draining bool
	Health            string
	Sessions          int
	SealingKeys       []SealingKey
	Version           string
	Records           bool
	HostKey           string
	// RecordingKeys are added to those that are kept for ever.
	RecordingKeys []RecordingKey
}

// Kinds of enrolment tokens and of machine credentials.
const (
	KindServer  = "server"
	KindGateway = "gateway"
	KindDevice  = "device" // of enrolment tokens alone: spares a user's new device the approval
	KindUser    = "user"
)

// EnrolmentToken lets servers or gateways in. Only the hash of the secret is kept.
type EnrolmentToken struct {
	ID         string
	SecretHash []byte // SHA-256
	Kind       string // KindServer, KindGateway, KindDevice
	Project    string // for servers
	Name       string
	Address    string
	AltNames   []string // of servers
	HostNames  bool     // what the host proposes as its names counts
	Labels     map[string]string
	Egress     []string
	TLSAddress string // of gateways
	UsesLeft   int
	ExpiresAt  time.Time
	CreatedAt  time.Time
}

// Credential is a machine's token: hash, and the key that it is bound to.
type Credential struct {
	TokenHash  []byte // SHA-256
	Thumbprint string
	ExpiresAt  time.Time // zero: none
}

// Fleet keeps machines.
type Fleet interface {
	CreateEnrolmentToken(ctx context.Context, t EnrolmentToken, m Meta) error
	// EnrolmentToken finds a usable one by hash, to read what it says. ErrUsed
	// when it is used up or over at now, ErrNotFound when there is none.
	EnrolmentToken(ctx context.Context, secretHash []byte, now time.Time) (EnrolmentToken, error)
	EnrolmentTokens(ctx context.Context, p Page) ([]EnrolmentToken, string, error)
	DeleteEnrolmentToken(ctx context.Context, id string, m Meta) error

	// EnrolServer takes one use of the token and makes the server and its
	// credential. The caller filled Server from the token and the proposal; the
	// store checks the token's hash, kind, project, uses and end in the write.
	// ErrUsed as above (also for a wrong kind); ErrExists for a name, its own or
	// another, that a server of the project has, or a thumbprint that has a
	// credential, and then no use is taken.
	EnrolServer(ctx context.Context, secretHash []byte, s Server, c Credential, m Meta) (Server, error)
	Server(ctx context.Context, id string) (Server, error)
	// ServersByName finds the servers that have that name, as their own or as
	// another, in all projects.
	ServersByName(ctx context.Context, name string) ([]Server, error)
	// Servers lists those of a project, or all for "".
	Servers(ctx context.Context, project string, p Page) ([]Server, string, error)
	// UpdateServer: ErrExists for a name that another server of the project has,
	// ErrNotFound also for a bastion that there is not. ErrDenied for a bastion that
	// is the server itself, and to make a held server active. One that is not active
	// has its gateway sessions ordered to end.
	UpdateServer(ctx context.Context, id string, c ServerChange, m Meta) (Server, error)
	// DeleteServer revokes its credential with it, and orders the end of its gateway
	// sessions. ErrInUse while it is a bastion.
	DeleteServer(ctx context.Context, id string, m Meta) error
	// ReportServer stores a report; the confirmed version never goes back within
	// an epoch, and an empty host key or version leaves the one before. It raises
	// no revision, and wakes nobody who waits for the project: ten thousand hosts that
	// each say something new of themselves must not wake ten thousand others each. A
	// beat is judged first (Rhythm.Judge): of a doubtful report nothing else is stored, and
	// with a copied one the server is held and an audit row tells of it.
	ReportServer(ctx context.Context, id string, r ServerReport, m Meta) (Pulse, error)
	// SeenServer notes at most once a minute that a server polls.
	SeenServer(ctx context.Context, id string, now time.Time) error
	// AppendServerEvents stores the audit rows of m for the host's events first,
	// first+1, …: rows whose number is below the server's next are dropped, and
	// a gap is refused with ErrDenied. It returns the next number.
	AppendServerEvents(ctx context.Context, id string, first int64, m Meta) (int64, error)

	// EnrolGateway is to gateways what EnrolServer is to servers.
	EnrolGateway(ctx context.Context, secretHash []byte, g Gateway, c Credential, m Meta) (Gateway, error)
	Gateway(ctx context.Context, id string) (Gateway, error)
	GatewayByName(ctx context.Context, name string) (Gateway, error)
	Gateways(ctx context.Context, p Page) ([]Gateway, string, error)
	// UpdateGateway: disabling one orders the end of its sessions.
	UpdateGateway(ctx context.Context, id string, c GatewayChange, m Meta) (Gateway, error)
	DeleteGateway(ctx context.Context, id string, m Meta) error
	// ReportGateway stores a report with ReportedAt = m.Now. It raises no revision.
	// ErrExists for a recording key whose id or public half another key, or another
	// gateway, has: then nothing of the report is stored.
	ReportGateway(ctx context.Context, id string, r GatewayReport, m Meta) error

	// ProjectFacts reads, at one instant, all that the desired states of a
	// project's servers and the catalogs of its users are made of.
	ProjectFacts(ctx context.Context, project string) (ProjectFacts, error)
}

// ProjectFacts is one consistent read.
type ProjectFacts struct {
	Team    Team
	Project Project
	UserCAs []Key // of the project, not retired
	HostCAs []Key // of the team, not retired
	Revoked Revocations
	Grants  []Grant
	// BreakGlass is the latest one, over or not; its group is among Groups.
	BreakGlass []BreakGlass
	// Entitlements are those that the grants name, each once.
	Entitlements []Entitlement
	Groups       []Group  // those that have a grant here
	Members      []Member // of those groups
	Users        []User   // of those members, whatever their status
	// Leavers and Left (the users among them who are Over) are read where accounts
	// are removed at all; Shared are the project's shared accounts.
	Leavers  []Leaver
	Left     []User
	Shared   []Shared
	Gateways []Gateway
}
