package gateway

import (
	"context"
	"net/http"
	"net/url"
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
	retry := retryMin
	refused := map[string]time.Time{} // sessions that wait
	for ctx.Err() == nil {
		away := false
		wait := refusedPause
		for _, j := range r.spool.Jobs(r.key()) {
			if j.Do != spool.Tell || ctx.Err() != nil {
				continue
			}
			if until, waits := refused[j.Session]; waits && time.Now().Before(until) {
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
				away = true
			}
			if away {
				break // the others would meet the same
			}
		}
		if away {
			sleep(ctx, jitter(retry))
			retry = min(2*retry, retryMax)
			continue
		}
		retry = retryMin
		select {
		case <-ctx.Done():
		case <-r.tell:
		case <-time.After(wait):
		}
	}
	return nil
}

// tellOne tells of one; settled says that the control plane has answered for good.
func (r *Recorders) tellOne(ctx context.Context, j spool.Job) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = r.client.Send(ctx, http.MethodPost, "/v1/gateway/sessions/"+url.PathEscape(j.Session)+"/recording", j.Report, nil)
	switch api.KindOf(err) {
	case "":
		return false, r.spool.Told(j)
	case api.Invalid, api.NotFound, api.Conflict, api.Gone, api.Denied, api.Internal:
		return true, err
	}
	return false, err
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
