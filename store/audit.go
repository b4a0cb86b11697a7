package store

import (
	"context"
	"time"
)

// AuditRow is one row of the log. Each instance keeps one hash chain per epoch
// of its own: Hash covers the row before and the payload (package audit).
type AuditRow struct {
	ID       int64 // rises over all instances in commit order of this engine
	Instance string
	Epoch    int64 // of the instance: rises at each start (fencing)
	Seq      int64 // within Instance and Epoch, without gaps, from 1
	At       time.Time
	Payload  []byte
	Hash     []byte
}

// AuditLog is append-only.
type AuditLog interface {
	// AppendAudit stores m.Audit alone: for decisions that change nothing else.
	AppendAudit(ctx context.Context, m Meta) error
	// AuditRows returns up to limit rows with ID above after, in order.
	AuditRows(ctx context.Context, after int64, limit int) ([]AuditRow, error)
	// LastAuditRows returns up to limit rows: the newest with ID below before (of
	// all if that is 0), in order.
	LastAuditRows(ctx context.Context, before int64, limit int) ([]AuditRow, error)
}
