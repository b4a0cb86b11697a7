package store

import (
	"context"
	"time"
)

// EnrolmentRule lets instances of a cloud in that prove what they are. What a
// server may be called and which labels grants see come from the rule.
type EnrolmentRule struct {
	ID      string
	Cloud   string // aws, gcp, azure
	Account string // AWS account, GCP project, Azure subscription
	// Regions are patterns with *; none means any.
	Regions []string
	// Identities are patterns of role names (AWS) or service accounts (GCP); none
	// means any.
	Identities []string
	// Within bounds how long ago the instance was started; 0 means any time.
	Within     time.Duration
	Project    string
	ServerName string // with {instance_id} and others in it
	Labels     map[string]string
	CreatedAt  time.Time
}

// Enrolments keeps the ways in besides tokens.
type Enrolments interface {
	CreateEnrolmentRule(ctx context.Context, r EnrolmentRule, m Meta) error
	// EnrolmentRules lists all, oldest first.
	EnrolmentRules(ctx context.Context, p Page) ([]EnrolmentRule, string, error)
	// EnrolmentRulesOf are those of one account of a cloud, oldest first.
	EnrolmentRulesOf(ctx context.Context, cloud, account string) ([]EnrolmentRule, error)
	DeleteEnrolmentRule(ctx context.Context, id string, m Meta) error

	// EnrolInstance makes the server of an instance and its credential if the rule
	// still stands. The challenge is claimed: ErrReplayed for one that was, and
	// then nothing happened. An instance enrols once for ever: ErrUsed, also when
	// its server was deleted since. ErrNotFound where the rule is gone, ErrExists
	// as for EnrolServer.
	EnrolInstance(ctx context.Context, in InstanceEnrolment, s Server, c Credential, m Meta) (Server, error)
	// EnrolAgain gives a server that enrolled by the very same way (its token's id,
	// or the instance) and key, at most AgainWithin ago, a new credential in place
	// of the first one: the answer to its enrolment was lost. ErrNotFound if there
	// is no such server.
	EnrolAgain(ctx context.Context, way string, c Credential, m Meta) (Server, error)
	// ReleaseServer makes a held server active, and forgets its rhythm: the first
	// report begins a new one. ErrDenied if it is not held.
	ReleaseServer(ctx context.Context, id string, m Meta) (Server, error)
}

// AgainWithin is how long a machine may ask for the answer to its enrolment
// again: longer than any outage that it would wait for.
const AgainWithin = 24 * time.Hour

// InstanceEnrolment is by what an instance gets in.
type InstanceEnrolment struct {
	Rule     string // its id
	Instance string // CLOUD/ACCOUNT/ID
	// Challenge is 32 bytes that stand for the challenge and the machine's key;
	// they are remembered until ChallengeEnds.
	Challenge     []byte
	ChallengeEnds time.Time
}
