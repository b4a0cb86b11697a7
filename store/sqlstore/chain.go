package sqlstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// head is the end of this instance's chain in its epoch.
type head struct {
	seq   int64
	batch int64 // rises with every commit, with or without audit rows
	hash  []byte
}

type auditRow struct {
	seq           int64
	at            time.Time
	payload, hash []byte
}

// add takes over what a command changed.
func (b *batch) add(w *writer, t *tx) {
	b.kept++
	b.topics = append(b.topics, t.topics...)
	for _, payload := range t.audit {
		b.head.seq++
		b.head.hash = audit.Link(b.head.hash, w.instance, w.epoch, b.head.seq, payload)
		b.rows = append(b.rows, auditRow{seq: b.head.seq, at: t.now, payload: payload, hash: b.head.hash})
	}
}

// takeEpoch fences off any process that runs under this name: from here on its
// commits fail. The chain goes on from the last hash of the epoch before.
func (w *writer) takeEpoch(ctx context.Context) error {
	err := one(w.direct(ctx), []any{&w.epoch, &w.head.hash}, `INSERT INTO audit_chains (instance, epoch, seq, batch, hash) VALUES (?, 1, 0, 0, ?)
		ON CONFLICT (instance) DO UPDATE SET epoch = audit_chains.epoch + 1, seq = 0, batch = 0
		RETURNING epoch, hash`, w.instance, []byte{})
	if err != nil {
		return fmt.Errorf("take the next epoch: %w", err)
	}
	w.known = true
	return nil
}

// reload reads the head after a commit whose outcome was not heard. The lock
// waits for that commit, should it still be on its way.
func (w *writer) reload(ctx context.Context) error {
	var epoch int64
	var h head
	err := one(w.direct(ctx), []any{&epoch, &h.seq, &h.batch, &h.hash},
		`SELECT epoch, seq, batch, hash FROM audit_chains WHERE instance = ? /*lock*/`, w.instance)
	if err != nil {
		return fmt.Errorf("read the head of the audit chain: %w", err)
	}
	if epoch != w.epoch {
		return ErrFenced
	}
	w.head, w.known = h, true
	return nil
}

// direct asks on the writer's connection outside of a command.
func (w *writer) direct(ctx context.Context) querier { return &tx{w: w, ctx: ctx} }

// auditChunk rows go into the table with one statement.
const auditChunk = 16

var (
	insertAudit      = insertAuditRows(1)
	insertAuditChunk = insertAuditRows(auditChunk)
)

func insertAuditRows(n int) string {
	return "INSERT INTO audit (id, instance, epoch, seq, at, payload, hash) VALUES " +
		strings.Join(slices.Repeat([]string{"(?, ?, ?, ?, ?, ?, ?)"}, n), ", ")
}

// seal ends a transaction: it moves the head (which fails for a fenced
// instance), appends the audit rows and tells the other instances. The row that
// gives out ids is held until the commit, so ids rise in the order of commits.
func (w *writer) seal(ctx context.Context, b *batch) error {
	b.head.batch++
	moved, err := w.conn.later(ctx, `UPDATE audit_chains SET seq = ?, batch = ?, hash = ? WHERE instance = ? AND epoch = ?`,
		b.head.seq, b.head.batch, b.head.hash, w.instance, w.epoch)
	if err != nil {
		return err
	}
	last := int64(0)
	if len(b.rows) > 0 {
		b.topics = append(b.topics, store.AuditTopic)
		last, err = w.lastID(ctx, len(b.rows))
	}
	if err == nil {
		err = w.conn.flush(ctx)
	}
	if err != nil {
		return err
	}
	if *moved == 0 {
		return ErrFenced
	}
	for _, n := range b.must {
		if *n == 0 {
			return errSpoiled
		}
	}
	if err := w.appendAudit(ctx, b.rows, last); err != nil {
		return err
	}
	slices.Sort(b.topics)
	b.topics = slices.Compact(b.topics)
	if w.eng.postgres == nil {
		return nil
	}
	return w.notify(ctx, b.topics)
}

// appendAudit appends rows whose ids end with last.
func (w *writer) appendAudit(ctx context.Context, rows []auditRow, last int64) error {
	id := last - int64(len(rows))
	for len(rows) > 0 {
		n, q := 1, insertAudit
		if len(rows) >= auditChunk {
			n, q = auditChunk, insertAuditChunk
		}
		values := make([]any, 0, 7*n)
		for _, r := range rows[:n] {
			id++
			values = append(values, id, w.instance, w.epoch, r.seq, r.at, r.payload, r.hash)
		}
		if _, err := w.conn.later(ctx, q, values...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// lastID takes n ids and returns the last of them.
func (w *writer) lastID(ctx context.Context, n int) (last int64, err error) {
	err = one(w.direct(ctx), []any{&last}, `UPDATE counters SET value = value + ? WHERE name = 'audit' RETURNING value`, n)
	return last, err
}

// AppendAudit implements store.AuditLog.
func (s *Store) AppendAudit(ctx context.Context, m store.Meta) error {
	return s.do(ctx, m, func(*tx) error { return nil })
}

// AuditRows implements store.AuditLog.
func (s *Store) AuditRows(ctx context.Context, after int64, limit int) ([]store.AuditRow, error) {
	return all(s.reader(ctx), auditInto, auditForward, after, clamp(limit))
}

// LastAuditRows implements store.AuditLog.
func (s *Store) LastAuditRows(ctx context.Context, before int64, limit int) ([]store.AuditRow, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	rows, err := all(s.reader(ctx), auditInto, auditBackward, before, clamp(limit))
	slices.Reverse(rows)
	return rows, err
}

// Both walk the primary key from where they begin, however long the log is.
const (
	auditForward  = `SELECT id, instance, epoch, seq, at, payload, hash FROM audit WHERE id > ? ORDER BY id LIMIT ?`
	auditBackward = `SELECT id, instance, epoch, seq, at, payload, hash FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?`
)

func auditInto(r *store.AuditRow) []any {
	return []any{&r.ID, &r.Instance, &r.Epoch, &r.Seq, &r.At, &r.Payload, &r.Hash}
}
