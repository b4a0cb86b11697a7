package api

import "time"

// Purposes of CAs.
const (
	CAUser    = "user"    // of a project: certificates of people
	CAHost    = "host"    // of the team: certificates of servers
	CAGateway = "gateway" // of the team: certificates between people and recording gateways
)

// CA is one key of a certificate authority: GET /v1/cas. In a path and in a
// Rotation a CA is named host, gateway or user/PROJECT.
type CA struct {
	ID string `json:"id"`
	// CA is what it is called in paths and commands. A project that was deleted has left
	// its id there.
	CA      string `json:"ca,omitempty" doc:"host, gateway or user/PROJECT"`
	Purpose string `json:"purpose" enum:"user,host,gateway"`
	// Project is the id of a user CA's project.
	Project string `json:"project,omitempty"`
	// State: next is trusted and does not sign yet, previous is trusted and signs
	// only for servers that do not know the active one, retired is gone.
	State       string    `json:"state" enum:"next,active,previous,retired"`
	Fingerprint string    `json:"fingerprint"`
	PublicKey   string    `json:"public_key" doc:"authorized_keys form"`
	CreatedAt   time.Time `json:"created_at"`
	ChangedAt   time.Time `json:"changed_at,omitzero" doc:"when its state last changed"`
}

// Phases of a rotation.
const (
	PhaseIdle      = "idle"      // no rotation runs
	PhasePublished = "published" // the next key is made known; what follows is a switch
	PhaseSwitched  = "switched"  // the new key signs; what follows is to retire the old one
)

// Rotation is how far the rotation of a CA has come: GET /v1/cas/{ca}, and the
// answer to each of its steps.
type Rotation struct {
	CA       string `json:"ca"`
	Phase    string `json:"phase" enum:"idle,published,switched"`
	Active   CA     `json:"active"`
	Next     *CA    `json:"next,omitempty"`
	Previous *CA    `json:"previous,omitempty"`
	// Servers is how many active servers there are, Done how many of them are ready
	// for the next step.
	Servers int `json:"servers"`
	Done    int `json:"done"`
	// Blocking are the others, at most MaxBlocking; those not heard of first.
	Blocking []BlockingServer `json:"blocking,omitempty"`
	// NotBefore is when the old key can be retired at the earliest.
	NotBefore time.Time `json:"not_before,omitzero"`
}

// MaxBlocking bounds how many servers a Rotation names.
const MaxBlocking = 200

// BlockingServer keeps a rotation from its next step.
type BlockingServer struct {
	ID       string    `json:"id"`
	Name     string    `json:"name" doc:"project/name"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	// Absent is true if its agent has not been heard of for so long that waiting
	// alone will not do.
	Absent bool   `json:"absent"`
	Why    string `json:"why"`
}

// RotationStep is the body of POST /v1/cas/{ca}/rotate, switch, retire and abort.
type RotationStep struct {
	// Without names servers that need not be waited for, as project/name, name or
	// id. People are locked out of them until their agents are back.
	Without []string `json:"without,omitempty" maxItems:"1000"`
	// Force waits for none, and not for the end of certificates either.
	Force bool `json:"force,omitempty"`
}

// RevokedKey is a key that no server accepts any more: GET and POST
// /v1/revoked-keys, DELETE /v1/revoked-keys/{fingerprint}.
type RevokedKey struct {
	Fingerprint string    `json:"fingerprint" doc:"SHA256:…, of a person's key or of a CA; as printed by ssh-keygen -l"`
	Reason      string    `json:"reason"`
	CreatedAt   time.Time `json:"created_at"`
}

// NewRevokedKey asks for one.
type NewRevokedKey struct {
	Fingerprint string `json:"fingerprint" maxLength:"50"`
	Reason      string `json:"reason,omitempty" maxLength:"200"`
}

// Revocations are what a server's sshd must refuse of the accounts that Cardea
// keeps, also if it is signed by a CA that is trusted.
type Revocations struct {
	// Keys are fingerprints (SHA256:…) of keys and of CAs.
	Keys []string `json:"keys,omitempty"`
	// Serials are certificates of any CA, decimal.
	Serials []string `json:"serials,omitempty"`
}
