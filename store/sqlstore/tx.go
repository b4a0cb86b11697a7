package sqlstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// idempotencyTime is how long a repeated command is recognised.
const idempotencyTime = 24 * time.Hour

// tx is one command inside the writer's transaction.
type tx struct {
	w   *writer
	ctx context.Context
	now time.Time
	// audit rows to append if the command succeeds: its Meta's, unless it changes them.
	audit  [][]byte
	topics []string
	rev    int64 // the revision that this command took, 0 for none yet
	// quick is the batch that counts at its end what must have changed a row; nil
	// if each statement is answered for at once.
	quick *batch
}

func (t *tx) query(q string, vs ...any) (rows, error) {
	r, err := t.w.conn.query(t.ctx, q, vs...)
	if err != nil {
		return nil, t.known(err)
	}
	return r, nil
}

// exec returns how many rows it changed; store.ErrExists for a unique value
// that is taken.
func (t *tx) exec(q string, vs ...any) (int64, error) {
	n, err := t.w.conn.exec(t.ctx, q, vs...)
	return n, t.known(err)
}

func (t *tx) known(err error) error {
	if err != nil && t.w.eng.classify(err) == exists {
		return fmt.Errorf("%w: %w", store.ErrExists, err)
	}
	return err
}

// must changes exactly one row, or gives otherwise.
func (t *tx) must(otherwise error, q string, vs ...any) error {
	n, err := t.exec(q, vs...)
	if err == nil && n == 0 {
		return otherwise
	}
	return err
}

// mustLater is must for a statement on whose rows nothing else of the command
// rests: in a quick batch it travels with the next one.
func (t *tx) mustLater(otherwise error, q string, vs ...any) error {
	if t.quick == nil {
		return t.must(otherwise, q, vs...)
	}
	n, err := t.w.conn.later(t.ctx, q, vs...)
	t.quick.must = append(t.quick.must, n)
	return t.known(err)
}

func (t *tx) touch(topics ...string) { t.topics = append(t.topics, topics...) }

// command runs c behind the claims of its Meta.
func (t *tx) command(c *command) error {
	if c.meta.Proof == nil {
		return t.unclaimed(c)
	}
	claimed, err := t.claimProof(c.meta.Proof)
	if err != nil {
		return err
	}
	if t.quick != nil {
		t.quick.must = append(t.quick.must, claimed)
		return t.unclaimed(c)
	}
	// The claim travels with the first statement of the command. A proof that was
	// claimed before overrules whatever came after, which is rolled back.
	err = t.unclaimed(c)
	if err == nil || sentinel(err) {
		if err := t.w.conn.flush(t.ctx); err != nil {
			return err
		}
		if *claimed == 0 {
			return store.ErrReplayed
		}
	}
	return err
}

func (t *tx) unclaimed(c *command) error {
	if i := c.meta.Idempotency; i != nil {
		if err := t.claimKey(i); err != nil {
			return err
		}
	}
	return c.run(t)
}

// claimProof points to 1 when the claim succeeded. The row of a proof that is
// over may be claimed anew, whether it was swept or not.
func (t *tx) claimProof(p *store.Proof) (*int64, error) {
	h := sha256.New()
	h.Write([]byte(p.Thumbprint))
	h.Write([]byte{0}) // ends the thumbprint, which is base64url
	h.Write([]byte(p.JTI))
	return t.w.conn.later(t.ctx, `INSERT INTO proofs (id, expires_at) VALUES (?, ?)
		ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE proofs.expires_at <= ?`,
		h.Sum(nil), p.Expires, t.now)
}

func (t *tx) claimKey(i *store.Idempotency) error {
	n, err := t.exec(`INSERT INTO idempotency (scope, name, hash, ref, expires_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (scope, name) DO UPDATE SET hash = excluded.hash, ref = excluded.ref, expires_at = excluded.expires_at
		WHERE idempotency.expires_at <= ?`,
		i.Scope, i.Key, i.Hash, i.Ref, t.now.Add(idempotencyTime), t.now)
	if err != nil || n == 1 {
		return err
	}
	var hash []byte
	var ref string
	err = one(t, []any{&hash, &ref}, `SELECT hash, ref FROM idempotency WHERE scope = ? AND name = ?`, i.Scope, i.Key)
	if err != nil {
		return err
	}
	if string(hash) != string(i.Hash) {
		return store.ErrMismatch
	}
	return &store.Repeated{Ref: ref}
}

// revision takes the team's next revision, once for each command.
func (t *tx) revision() (int64, error) {
	if t.rev != 0 {
		return t.rev, nil
	}
	err := one(t, []any{&t.rev}, `UPDATE team SET revision = revision + 1 RETURNING revision`)
	if errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("team: %w", err)
	}
	return t.rev, err
}

// mark writes this command's revision to the projects whose ids the query
// gives, and touches them.
func (t *tx) mark(projects string, vs ...any) error {
	rev, err := t.revision()
	if err != nil {
		return err
	}
	ids, err := texts(t, `UPDATE projects SET revision = ? WHERE id IN (`+projects+`) RETURNING id`, append([]any{rev}, vs...)...)
	for _, id := range ids {
		t.touch(store.ProjectTopic(id))
	}
	return err
}
