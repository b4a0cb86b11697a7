package store

import (
	"context"
	"time"
)

// MaxWorkloadRules is how many rules an issuer has: each is looked at for each job.
const MaxWorkloadRules = 200

// WorkloadIssuer makes tokens for jobs: a platform such as GitHub, GitLab or Kubernetes.
type WorkloadIssuer struct {
	ID        string
	Name      string // unique
	Issuer    string // unique; its URL
	Audience  string // for which a token must be made
	State     string // Active, Disabled
	CreatedAt time.Time
	// Keys are those that an administrator gave, as a JWK set; empty for an issuer that is
	// asked for them. KeysAt is when he did.
	Keys   string
	KeysAt time.Time
}

// WorkloadRule says which jobs of an issuer are which service user.
type WorkloadRule struct {
	ID, Issuer, User string
	UserName         string // filled by reads
	// Claims are patterns that all have to fit; that of sub is among them.
	Claims         map[string]string
	SessionSeconds int
	CreatedAt      time.Time
}

// WorkloadSignIn is one by a token that was verified and that a rule fits.
type WorkloadSignIn struct {
	Rule string
	// TokenHash is of what the token's signature covers, and TokenExpires when no clock
	// takes the token any more.
	TokenHash    []byte
	TokenExpires time.Time
	Session      Session // its User and Device are filled in
	Device       Device
}

// Workloads keeps issuers of tokens for jobs, and what their jobs are here.
type Workloads interface {
	// CreateWorkloadIssuer: ErrExists for a taken name or issuer.
	CreateWorkloadIssuer(ctx context.Context, i WorkloadIssuer, m Meta) (WorkloadIssuer, error)
	WorkloadIssuer(ctx context.Context, id string) (WorkloadIssuer, error)
	WorkloadIssuerByName(ctx context.Context, name string) (WorkloadIssuer, error)
	WorkloadIssuerByURL(ctx context.Context, issuer string) (WorkloadIssuer, error)
	WorkloadIssuers(ctx context.Context, p Page) ([]WorkloadIssuer, string, error)
	// SetWorkloadIssuerState: Disabled ends the sessions that its tokens brought.
	SetWorkloadIssuerState(ctx context.Context, id, state string, m Meta) (WorkloadIssuer, error)
	// SetWorkloadIssuerKeys puts keys in place of those that it had. What its tokens
	// brought goes on.
	SetWorkloadIssuerKeys(ctx context.Context, id, keys string, m Meta) (WorkloadIssuer, error)
	// DeleteWorkloadIssuer: ErrInUse while it has rules.
	DeleteWorkloadIssuer(ctx context.Context, id string, m Meta) error
	// CreateWorkloadRule: ErrNotFound for an unknown issuer or user, ErrDenied for one who
	// is no service user or deleted, ErrTooMany beyond MaxWorkloadRules.
	CreateWorkloadRule(ctx context.Context, r WorkloadRule, m Meta) (WorkloadRule, error)
	WorkloadRule(ctx context.Context, id string) (WorkloadRule, error)
	// WorkloadRules are those of an issuer, oldest first.
	WorkloadRules(ctx context.Context, issuer string) ([]WorkloadRule, error)
	// DeleteWorkloadRule ends the sessions that it brought.
	DeleteWorkloadRule(ctx context.Context, id string, m Meta) error
	// SignInWorkload makes the session of a job, and ties the token to the session's key:
	// ErrUsed if it came with another one before. ErrDenied if the rule is gone, its issuer
	// or its user not active, or the device revoked; then the token is not tied.
	SignInWorkload(ctx context.Context, v WorkloadSignIn, m Meta) (Subject, error)
	// WorkloadTokenUsed tells whether a token is tied to a key.
	WorkloadTokenUsed(ctx context.Context, tokenHash []byte) (bool, error)
}
