package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// batchTime bounds one transaction, with the wait for other instances.
const batchTime = 30 * time.Second

// batch is what one transaction has gathered.
type batch struct {
	head   head
	rows   []auditRow
	topics []string
	kept   int // commands whose changes are in it
	// quick: no savepoints, and what must have changed a row is counted at the end.
	quick bool
	must  []*int64
}

// carefulBatches go behind savepoints after one that needed them: who makes
// commands fail on purpose has few batches run twice.
const carefulBatches = 16

// errSpoiled: a command of a quick transaction failed, so it came to nothing.
var errSpoiled = errors.New("a command of the batch failed")

// attempt runs commands in one transaction. When it returns nil each command
// has its own outcome; else none of them happened.
//
// Nearly always all commands of a batch succeed. So it goes quickly first:
// without savepoints, and without waiting for each answer. If anything fails it
// is undone whole and done again carefully, with every command behind a
// savepoint, so that each fails alone and hears why.
func (w *writer) attempt(cmds []*command) error {
	ctx, cancel := w.context()
	defer cancel()
	if w.careful > 0 {
		w.careful--
		return w.transact(ctx, cmds, false)
	}
	err := w.transact(ctx, cmds, true)
	if !errors.Is(err, errSpoiled) {
		return err
	}
	if len(cmds) > 1 {
		w.careful = carefulBatches
	}
	return w.transact(ctx, cmds, false)
}

// transact is one try of an attempt.
func (w *writer) transact(ctx context.Context, cmds []*command, quick bool) error {
	if err := w.begin(ctx); err != nil {
		return w.judge(ctx, err)
	}
	b := &batch{head: w.head, quick: quick}
	if err := w.runAll(ctx, cmds, b); err != nil {
		return w.fail(ctx, b, err)
	}
	if b.kept == 0 {
		w.rollback(ctx)
		return nil
	}
	if err := w.seal(ctx, b); err != nil {
		return w.fail(ctx, b, err)
	}
	begin := time.Now()
	if _, err := w.conn.exec(ctx, "COMMIT"); err != nil {
		if err := w.settle(err, b.head); err != nil {
			return err
		}
	}
	w.took = time.Since(begin)
	w.head = b.head
	w.hub.touch(b.topics)
	return nil
}

// fail ends a transaction before its commit. What a statement of a quick one
// says is not an answer yet: it may be another command's.
func (w *writer) fail(ctx context.Context, b *batch, err error) error {
	if !b.quick || errors.Is(err, ErrFenced) || w.lost(err) {
		return w.judge(ctx, err)
	}
	w.conn.queue = nil
	w.rollback(ctx)
	return errSpoiled
}

// lost reports whether err takes the whole transaction with it, however it is run.
func (w *writer) lost(err error) bool {
	f := w.eng.classify(err)
	return f == conflict || f == lost || w.conn.lost()
}

// context: SQLite runs in this process and has its own time-outs, and a context
// that can end costs a goroutine for each statement.
func (w *writer) context() (context.Context, context.CancelFunc) {
	if w.eng.postgres == nil {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), batchTime)
}

func (w *writer) begin(ctx context.Context) error {
	if w.fenced {
		return ErrFenced
	}
	if err := w.conn.open(ctx); err != nil {
		return err
	}
	if !w.known {
		if err := w.reload(ctx); err != nil {
			return err
		}
	}
	begin := "BEGIN IMMEDIATE"
	if w.eng.postgres != nil {
		begin = "BEGIN"
	}
	_, err := w.conn.later(ctx, begin)
	return err
}

// runAll runs each command, behind a savepoint unless it is quick (one alone
// needs none). It returns an error only if the whole transaction is lost.
func (w *writer) runAll(ctx context.Context, cmds []*command, b *batch) error {
	if w.eng.postgres != nil && anyDirectory(cmds) {
		// First of all locks, so that two instances never wait for each other.
		if _, err := w.conn.later(ctx, "SELECT revision FROM team /*lock*/"); err != nil {
			return err
		}
	}
	for i, c := range cmds {
		savepoint := ""
		if len(cmds) > 1 && !b.quick {
			// Names of their own: should one not have been set, a rollback to it must
			// fail and not undo the command before.
			savepoint = "SAVEPOINT c" + strconv.Itoa(i)
		}
		if err := w.runOne(ctx, c, b, savepoint); err != nil {
			return err
		}
	}
	return nil
}

func anyDirectory(cmds []*command) bool {
	for _, c := range cmds {
		if c.directory {
			return true
		}
	}
	return false
}

func (w *writer) runOne(ctx context.Context, c *command, b *batch, savepoint string) error {
	if savepoint != "" {
		if _, err := w.conn.later(ctx, savepoint); err != nil {
			return err
		}
	}
	t := &tx{w: w, ctx: ctx, now: c.meta.Now, audit: c.meta.Audit}
	if b.quick {
		t.quick = b
	}
	c.err = t.command(c)
	var keep kept
	switch {
	case c.err == nil:
		b.add(w, t)
	case errors.As(c.err, &keep):
		c.err, t.audit = keep.error, keep.audit
		b.add(w, t)
	case b.quick:
		return c.err
	case !sentinel(c.err):
		if w.lost(c.err) {
			return c.err
		}
		fallthrough
	default:
		if savepoint != "" {
			if _, err := w.conn.exec(ctx, "ROLLBACK TO "+savepoint); err != nil {
				return err
			}
		}
	}
	if savepoint != "" {
		if _, err := w.conn.later(ctx, "RELEASE "+savepoint); err != nil {
			return err
		}
	}
	return nil
}

// sentinel reports whether err is an answer rather than a fault.
func sentinel(err error) bool {
	for _, s := range []error{store.ErrNotFound, store.ErrExists, store.ErrDenied, store.ErrUsed, store.ErrReplayed,
		store.ErrInUse, store.ErrLastAdmin, store.ErrMismatch, store.ErrTooMany, store.ErrSamePerson,
		store.ErrChanged, store.ErrBraked} {
		if errors.Is(err, s) {
			return true
		}
	}
	var r *store.Repeated
	return errors.As(err, &r)
}

func (w *writer) rollback(ctx context.Context) {
	if w.conn.lost() {
		w.conn.drop()
		return
	}
	if _, err := w.conn.exec(ctx, "ROLLBACK"); err != nil && w.eng.postgres != nil {
		w.conn.drop()
	}
}

// judge ends a transaction that failed before its commit.
func (w *writer) judge(ctx context.Context, err error) error {
	if errors.Is(err, ErrFenced) {
		w.fenced = true
		w.log.Error("this instance is fenced off: it writes nothing any more", "instance", w.instance, "epoch", w.epoch)
		w.rollback(ctx)
		return ErrFenced
	}
	f := w.eng.classify(err)
	broken := w.conn.pg != nil && w.conn.lost()
	w.rollback(ctx)
	switch {
	case f == conflict:
		return again{error: fmt.Errorf("races with other instances: %w", err)}
	case f == lost || broken:
		w.conn.drop()
		w.known = false
		return again{error: fmt.Errorf("lost the database: %w", err), lost: true}
	}
	return fmt.Errorf("write: %w", err)
}

// settle finds out whether a commit that failed to answer happened: the head of
// the chain moves with every commit.
func (w *writer) settle(cause error, want head) error {
	ctx, cancel := w.context()
	defer cancel()
	w.known = false
	if w.eng.postgres != nil {
		w.conn.drop()
	} else {
		w.rollback(ctx)
	}
	if err := w.conn.open(ctx); err != nil {
		return fmt.Errorf("commit: outcome unknown: %w", cause)
	}
	if err := w.reload(ctx); err != nil {
		return fmt.Errorf("commit: outcome unknown: %w", errors.Join(cause, err))
	}
	if w.head.batch == want.batch {
		return nil
	}
	if w.eng.postgres == nil {
		return fmt.Errorf("commit: %w", cause)
	}
	return again{error: fmt.Errorf("commit: %w", cause), lost: true}
}
