package gateway

import (
	"context"
	"net/url"
	"time"
)

// probeEvery is how soon a bucket that could not be used at the start is tried again.
const probeEvery = time.Minute

// probeLoop tries the bucket at the start, and until it does what it must: a wrong name or
// a wrong right is found on the day of the installation, and not by the first recording.
// Nothing depends on it. What is recorded meanwhile waits in the spool.
func (r *Recorders) probeLoop(ctx context.Context) error {
	for told := false; ctx.Err() == nil; sleep(ctx, probeEvery) {
		err := r.upload.Probe(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			r.log.Info("recordings can be stored", "bucket", r.bucket)
			return nil
		case !told:
			told = true
			r.log.Error("recordings cannot be stored now: see that the bucket is there, and that this gateway may create and read objects in it; until then they wait in the spool",
				"bucket", r.bucket, "error", err)
		}
	}
	return nil
}

// shownBucket is a bucket's URL without what might be secret in it.
func shownBucket(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Redacted()
}
