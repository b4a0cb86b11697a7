package store

import (
	"bytes"
	"context"
	"time"
)

// Team is the one team of a deployment.
type Team struct {
	ID   string
	Name string
	// Epoch rises when a backup is restored, so that agents obey the restored
	// state although its counter is older.
	Epoch int64
	// Revision counts the changes of the whole directory and fleet. Each change
	// that can alter a desired state takes the next number, and marks the
	// projects and rows that it touches with it.
	Revision  int64
	CreatedAt time.Time
}

// Words of TeamSettings.SecondFactor: which local accounts must have one.
const (
	FactorNobody = ""
	FactorAdmins = "admins"
	FactorAll    = "all"
)

// TeamSettings are what the team demands of those who sign in.
type TeamSettings struct {
	SessionSeconds int    // life of a session; 0 is the program's default
	IdleSeconds    int    // how long one may go unused; 0 is no limit
	SecondFactor   string // FactorNobody, FactorAdmins, FactorAll
	DeviceCode     bool   // devices without a browser may be signed in by a typed code
	DeviceApproval bool   // an administrator approves new devices
}

// TeamChange changes what is not nil.
type TeamChange struct {
	SessionSeconds, IdleSeconds *int
	SecondFactor                *string
	DeviceCode, DeviceApproval  *bool
}

// Key is a key pair or secret of the control plane, sealed.
type Key struct {
	ID      string
	Scope   string // id of a project, or "team"
	Purpose string // of package ca
	State   string // KeyNext, Active, KeyPrevious, KeyRetired
	// Public is the public half: an authorized_keys line for SSH CAs, raw bytes
	// otherwise, empty for symmetric secrets.
	Public []byte
	// Fingerprint is unique over all keys, so that one key can never be the CA
	// of two projects.
	Fingerprint string
	Sealed      []byte
	// Revision is the one since which servers are told of it; 0 for a CA's first key.
	Revision  int64
	CreatedAt time.Time
	ChangedAt time.Time // of the state; zero if it never changed
}

// Line is the public half of an SSH CA as a line, without its end.
func (k Key) Line() string { return string(bytes.TrimSpace(k.Public)) }

// Lines are those of several.
func Lines(keys []Key) []string {
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		out = append(out, k.Line())
	}
	return out
}

// Teams is the root of everything.
type Teams interface {
	// CreateTeam makes the team, its keys and the first administrator (who gets
	// the first uid). ErrExists if there is a team.
	CreateTeam(ctx context.Context, t Team, keys []Key, admin User, passwordHash string, m Meta) (User, error)
	// Team returns it; ErrNotFound before CreateTeam.
	Team(ctx context.Context) (Team, error)
	TeamSettings(ctx context.Context) (TeamSettings, error)
	// UpdateTeam changes the settings, for sessions that begin from then on; IdleSeconds
	// counts for all at once.
	UpdateTeam(ctx context.Context, c TeamChange, m Meta) (TeamSettings, error)
	// Keys returns the keys of a scope and purpose that are not retired, the
	// active ones first, newest first. Empty arguments match all.
	Keys(ctx context.Context, scope, purpose string) ([]Key, error)
}
