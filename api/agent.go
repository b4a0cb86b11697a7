package api

import (
	"time"

	"github.com/cardea-ssh/cardea/entitlement"
)

// ServerEnrolment is POST /v1/servers/enrol: no token in the header, a proof by
// the agent's key, the secret in the body.
type ServerEnrolment struct {
	Secret string `json:"secret"`
	// Hostname and Address are proposals; the token's own values win.
	Hostname string `json:"hostname,omitempty"`
	Address  string `json:"address,omitempty"`
	// AltNames and Bastion are proposals too.
	AltNames []string `json:"alt_names,omitempty" maxItems:"16"`
	Bastion  string   `json:"bastion,omitempty"`
	// HostLabels are the host's own; they are stored below host/.
	HostLabels map[string]string `json:"host_labels,omitempty"`
	Version    string            `json:"version,omitempty"`
}

// EnrolledServer answers it. PolicyKey is pinned from here on.
type EnrolledServer struct {
	Token
	Server string `json:"server"`
	Name   string `json:"name"`
	// PolicyKey is the raw Ed25519 public key that signs desired state.
	PolicyKey []byte `json:"policy_key"`
}

// StateVersion orders desired states; it never goes back.
type StateVersion struct {
	Epoch   int64 `json:"epoch"`
	Counter int64 `json:"counter"`
}

// Less reports whether v is older than w.
func (v StateVersion) Less(w StateVersion) bool {
	return v.Epoch < w.Epoch || v.Epoch == w.Epoch && v.Counter < w.Counter
}

// SignedState answers GET /v1/agent/state?epoch=E&counter=C&wait=55; 304 when
// nothing newer came within the wait. Signature is Ed25519 by the team's policy
// key over StateDomain and then State, the exact bytes.
type SignedState struct {
	State     []byte `json:"state" doc:"JSON of DesiredState, base64"`
	Signature []byte `json:"signature"`
}

// StateDomain separates signatures over desired state from all others.
const StateDomain = "cardea desired state v1\x00"

// DesiredState is everything that a server agent must make true.
type DesiredState struct {
	Team    string       `json:"team"`
	Project string       `json:"project"`
	Server  string       `json:"server"`
	Name    string       `json:"name"`
	Version StateVersion `json:"version"`
	// IssuedAt is by the control plane's clock.
	IssuedAt time.Time `json:"issued_at"`
	// Complete is always true in a full state; an agent refuses one without it,
	// so that a truncated or empty answer can never mean "nobody".
	Complete bool      `json:"complete"`
	Accounts []Account `json:"accounts"`
	// SudoLists are what accounts may run by sudo. Whole groups have the same list:
	// written out for each of thousands it would not fit into an answer.
	SudoLists [][]entitlement.Command `json:"sudo_lists,omitempty"`
	// Groups are the project's groups with central gids.
	Groups []AccountGroup `json:"groups"`
	// UserCAs are authorized_keys lines; more than one while a rotation runs.
	UserCAs []string `json:"user_cas"`
	// HostCAs are those of the team. The first one signs: a host certificate by
	// another is to be renewed at once.
	HostCAs []string `json:"host_cas"`
	// Revoked is what sshd must refuse all the same.
	Revoked Revocations `json:"revoked,omitzero"`
	// Sources are the addresses from which managed users may come (from= in the
	// principals file); empty means any. Set where a gateway is required.
	Sources []string `json:"sources,omitempty"`
	// BreakGlass is the one that is in force, empty if none is. Sessions that began under
	// another, as their certificates' key ids say, are ended.
	BreakGlass string `json:"break_glass,omitempty"`
	// PrincipalSeconds is how long the principals files stay valid without news.
	PrincipalSeconds int `json:"principal_seconds"`
}

// ResolveSudo gives each account the commands of its list, which it then shares
// with others. An account whose list is not there gets none.
func (d *DesiredState) ResolveSudo() {
	for i := range d.Accounts {
		if a := &d.Accounts[i]; a.SudoList > 0 && a.SudoList <= len(d.SudoLists) {
			a.Sudo = d.SudoLists[a.SudoList-1]
		}
	}
}

// Account is one person's Unix account on this server.
type Account struct {
	User  string `json:"user"`
	Login string `json:"login"`
	UID   int    `json:"uid"`
	// GID is the gid of the account's own group, of the same name.
	GID      int    `json:"gid"`
	FullName string `json:"full_name,omitempty"`
	// Shell is empty for the agent's default.
	Shell string `json:"shell,omitempty"`
	// State: active, locked (a signed tombstone: lock and end sessions at once).
	State string `json:"state" enum:"active,locked"`
	// Remove, of a locked account, has the agent remove it once it is locked and
	// nothing of it runs any more. It says what becomes of the home. An agent that
	// does not know it locks; no account is ever removed for not being named.
	Remove string `json:"remove,omitempty" enum:"keep,archive,delete"`
	// WhenIdle, of a locked account, lets what runs under it come to its end first:
	// the time of an account on demand is over.
	WhenIdle bool `json:"when_idle,omitempty"`
	// Existing has the agent make no account: it uses the one of this name that the
	// host's administrator has named for that, whatever its ids are.
	Existing bool `json:"existing,omitempty"`
	// Shared is an account of several people; User is empty then. People are the ids
	// of those who may use it: sessions of others in it are ended.
	Shared bool     `json:"shared,omitempty"`
	People []string `json:"people,omitempty"`
	// Admin gives full sudo.
	Admin bool `json:"admin,omitempty"`
	// Sudo are the commands that the account may run by sudo, of all its grants.
	// On the wire they are in DesiredState.SudoLists; see ResolveSudo.
	Sudo []entitlement.Command `json:"sudo,omitempty"`
	// SudoList is which of the SudoLists it has, counting from 1; 0 is none.
	SudoList int `json:"sudo_list,omitempty"`
	// SudoLeftOut is how many more there would be if one account could have so
	// many. The agent reports it, so that the administrator sees it.
	SudoLeftOut int `json:"sudo_left_out,omitempty"`
}

// AccountGroup is a Unix group that the agent keeps.
type AccountGroup struct {
	Group   string   `json:"group"`
	Name    string   `json:"name"`
	GID     int      `json:"gid"`
	Members []string `json:"members" doc:"logins"`
}

// AgentReport is POST /v1/agent/report, after each apply and every few minutes.
type AgentReport struct {
	// Confirmed is the version that is in force.
	Confirmed StateVersion `json:"confirmed"`
	// Problems are conflicts and failures, one sentence each; at most 100.
	Problems []string `json:"problems,omitempty"`
	// HostKey is sshd's Ed25519 host key in authorized_keys form.
	HostKey string `json:"host_key,omitempty"`
	// HostCA is the fingerprint of the CA of the host certificate that sshd was seen
	// to show.
	HostCA string `json:"host_ca,omitempty" maxLength:"50"`
	// Hostname, Address, AltNames and Bastion are proposals: an administrator sees
	// them beside what is in force. Empty proposes nothing.
	Hostname string   `json:"hostname,omitempty"`
	Address  string   `json:"address,omitempty"`
	AltNames []string `json:"alt_names,omitempty" maxItems:"16"`
	Bastion  string   `json:"bastion,omitempty"`
	// HostLabels are all that the host says of itself now, in place of what it said
	// before; null leaves those as they are.
	HostLabels *map[string]string `json:"host_labels,omitempty"`
	Version    string             `json:"version,omitempty"`
	Beat       *AgentBeat         `json:"beat,omitempty"`
}

// HostCertificateRequest is POST /v1/agent/host-certificate.
type HostCertificateRequest struct {
	PublicKey string `json:"public_key" doc:"authorized_keys form, ed25519"`
}

// HostCertificate answers it.
type HostCertificate struct {
	Certificate string    `json:"certificate" doc:"authorized_keys form"`
	Serial      string    `json:"serial"`
	ExpiresAt   time.Time `json:"expires_at"`
}

// CanaryRequest is POST /v1/agent/canary: a user certificate for the reserved
// account cardea-canary on the calling server alone, with which the agent
// proves a changed sshd. Answered by HostCertificate's shape.
type CanaryRequest struct {
	PublicKey string `json:"public_key"`
}

// AgentEvents is POST /v1/agent/events: what happened on the host, in order.
// First is the sequence number of Events[0]; events that were stored before are
// skipped, so a repeated post is harmless.
type AgentEvents struct {
	First  int64        `json:"first"`
	Events []AgentEvent `json:"events" maxItems:"1000"`
}

// AgentEvent is one event of a host.
type AgentEvent struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind" enum:"login,logout,refused,sudo,alarm,account"`
	// Login is the Unix account, Serial the certificate's (decimal), KeyID its id.
	Login  string `json:"login,omitempty"`
	Serial string `json:"serial,omitempty"`
	KeyID  string `json:"key_id,omitempty"`
	Source string `json:"source,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Key and CA are, of a certificate that was refused, the fingerprints of its
	// key and of who signed it: SHA256:….
	Key string `json:"key,omitempty"`
	CA  string `json:"ca,omitempty"`
	// More is how many others of the kind are not told, because there were so many.
	More int64 `json:"more,omitempty" minimum:"0"`
}

// AgentEventsAnswer says up to where events are durable.
type AgentEventsAnswer struct {
	Next int64 `json:"next" doc:"sequence number of the next event to send"`
}
