package sqlstore

import "time"

const (
	// maxBatch commands share a commit: more would make the first wait for the last.
	maxBatch = 64
	// maxLinger bounds the wait for a batch to fill, see linger.
	maxLinger = 500 * time.Microsecond
)

// gather takes everything that waits, up to a batch.
func (w *writer) gather(first *command) []*command {
	batch := w.drain([]*command{first})
	if wait := w.linger(len(batch)); wait > 0 {
		batch = w.await(batch, wait)
	}
	w.last = len(batch)
	return batch
}

// linger is how long to wait for more. While a commit runs, the callers that it
// will wake cannot ask again: without a wait a batch of all but one and a batch
// of that one would alternate, and half of the waits for the disk be wasted. So
// if the last batch was larger, wait for as many, but never for more than a
// quarter of what a commit costs. A lone caller never waits.
func (w *writer) linger(have int) time.Duration {
	if w.last <= have {
		return 0
	}
	return min(w.took/4, maxLinger)
}

// drain takes what waits now.
func (w *writer) drain(batch []*command) []*command {
	for len(batch) < maxBatch {
		select {
		case c, ok := <-w.queue:
			if !ok {
				return batch
			}
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// await takes what comes until the batch is as large as the last one, and then
// whatever waits beside it.
func (w *writer) await(batch []*command, wait time.Duration) []*command {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for len(batch) < w.last {
		select {
		case c, ok := <-w.queue:
			if !ok {
				return batch
			}
			batch = append(batch, c)
		case <-timer.C:
			return batch
		}
	}
	return w.drain(batch)
}
