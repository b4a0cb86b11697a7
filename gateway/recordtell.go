package gateway

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway/spool"
)

// refusedPause is how long a report waits that the control plane understands and does
// not take, as it does with one of a session that a restored database has forgotten.
// It is told again for ever; the others go on.
const refusedPause = 5 * time.Minute

// tellLoop tells the control plane how far each recording is. What is to be told
// stands in the spool and outlives this process; of one recording the newest is told,
// which says all that those before it would have.
func (r *Recorders) tellLoop(ctx context.Context) error {
	var retry backoff
	refused := map[string]time.Time{} // until when sessions wait
	for ctx.Err() == nil {
		if !r.tellRound(ctx, refused) {
			sleep(ctx, retry.next())
			continue
		}
		retry = 0
		select {
		case <-ctx.Done():
		case <-r.tell:
		case <-time.After(refusedPause):
		}
	}
	return nil
}

// tellRound tells of each recording once, but for those that wait. It is false when the
// control plane is away: the others would meet the same.
func (r *Recorders) tellRound(ctx context.Context, refused map[string]time.Time) bool {
	for _, j := range r.spool.Jobs(r.key()) {
		if j.Do != spool.Tell || ctx.Err() != nil || time.Now().Before(refused[j.Session]) {
			continue
		}
		delete(refused, j.Session)
		switch settled, err := r.tellOne(ctx, j); {
		case err == nil:
			r.note(j, nil)
		case settled:
			r.log.Error("the control plane does not take the state of a recording", "session", j.Session, "state", j.Report.State, "error", err)
			refused[j.Session] = time.Now().Add(refusedPause)
			r.note(j, err)
		default:
			r.log.Warn("cannot tell the control plane how far a recording is", "session", j.Session, "error", err)
			return false
		}
	}
	return true
}

// tellOne tells of one; settled says that the control plane has answered for good.
func (r *Recorders) tellOne(ctx context.Context, j spool.Job) (settled bool, err error) {
	err = post(ctx, r.client, j.Session, "recording", j.Report)
	if err == nil {
		return false, r.spool.Told(j)
	}
	kind := api.KindOf(err)
	return forGood(err) || kind == api.Denied || kind == api.Internal, err
}

// note remembers how the control plane took a report.
func (r *Recorders) note(j spool.Job, err error) {
	r.mu.Lock()
	told := r.told
	delete(r.denied, j.Session)
	if err != nil {
		r.denied[j.Session] = err
	}
	r.mu.Unlock()
	if err == nil && told != nil {
		told(j)
	}
}
