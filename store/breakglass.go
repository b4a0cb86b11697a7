package store

import (
	"context"
	"time"
)

// BreakGlass is a time in which one group alone may enter a project's servers, without
// gateways and without recording: for the day on which these are what is broken. It
// brings a grant of its own; all other grants of the project are suspended, not deleted.
//
// It is in force from its beginning until Until, or until somebody ends it. No
// instance has to run for it to be over: everybody compares Until with his clock. The sweep
// only writes the end down, and wakes who waits for the project.
type BreakGlass struct {
	ID, Project      string
	Group, GroupName string // the name is filled by reads; empty for a group that is gone
	Role             string
	Grant            string
	Reason           string // for people
	BeganBy          string // id of the user
	BeganAt, Until   time.Time
	EndedBy          string    // id of the user; empty where its time was over
	EndedAt          time.Time // zero until its end was written down
	// Revision is the team's at its beginning or, once that was written down, its end.
	Revision int64
}

// InForce tells whether it lasts at now. The end itself is outside.
func (b BreakGlass) InForce(now time.Time) bool {
	return b.ID != "" && b.EndedAt.IsZero() && now.Before(b.Until)
}

// LatestBreakGlass is that of a project in what was read of one; the zero value if it had none.
func LatestBreakGlass(rows []BreakGlass, project string) BreakGlass {
	for _, b := range rows {
		if b.Project == project {
			return b
		}
	}
	return BreakGlass{}
}

// During is the project as it is at now: while b lasts nothing leads through a gateway, and
// nothing is recorded.
func (p Project) During(b BreakGlass, now time.Time) Project {
	if b.InForce(now) {
		p.Gateway, p.Recording = GatewayNone, RecordingOff
	}
	return p
}

// BreakGlasses keeps them.
type BreakGlasses interface {
	// BeginBreakGlass makes it and its grant, from m.Now on. ErrNotFound for an unknown
	// project or group, ErrExists while one of the project is in force. While it lasts,
	// RecordIssuance is ErrDenied for all other grants of the project, and
	// DeleteGrant of its grant and DeleteGroup of its group are ErrInUse.
	BeginBreakGlass(ctx context.Context, b BreakGlass, m Meta) (BreakGlass, error)
	// EndBreakGlass ends one that is in force, and its grant. ErrNotFound for any other.
	EndBreakGlass(ctx context.Context, id, by string, m Meta) (BreakGlass, error)
	// ProjectBreakGlass reads a project's latest, over or not; ErrNotFound if it never had one.
	ProjectBreakGlass(ctx context.Context, project string) (BreakGlass, error)
	// BreakGlass reads one.
	BreakGlass(ctx context.Context, id string) (BreakGlass, error)
	// BreakGlasses lists all that there were, newest first.
	BreakGlasses(ctx context.Context, p Page) ([]BreakGlass, string, error)
}
