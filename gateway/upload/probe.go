package upload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/cardea-ssh/cardea/internal/bucket"
)

const (
	// ProbeKey is the object by which a bucket is tried. It is made once and stays: a
	// gateway deletes nothing, and a bucket may forbid it.
	ProbeKey = ".cardea-probe"
	// probeText is what it holds, for a person who finds it.
	probeText = "By this object gateways of Cardea try whether recordings can be stored here.\n"
	// probeTime bounds one try. A cloud's credentials may have to be fetched first.
	probeTime = 30 * time.Second
)

// Probe makes sure that what has to be stored later can be: it makes a small object, unless
// it is there, and reads it back.
func (u *Uploader) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := u.probe(ctx)
	if err != nil {
		u.mu.Lock()
		u.stale = true // other credentials may do
		u.mu.Unlock()
	}
	return err
}

func (u *Uploader) probe(ctx context.Context) error {
	b, err := u.open(ctx)
	if err != nil {
		return err
	}
	// Written also where it is there already: that it could be read says nothing of that.
	err = b.WriteAll(ctx, ProbeKey, []byte(probeText), &blob.WriterOptions{
		ContentType: "text/plain", DisableContentTypeDetection: true, IfNotExist: true,
	})
	if err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return fmt.Errorf("write: %w", err)
	}
	r, err := b.NewReader(ctx, ProbeKey, nil)
	if err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	defer r.Close()
	got, err := io.ReadAll(io.LimitReader(r, int64(len(probeText))+1))
	if err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	if !bytes.Equal(got, []byte(probeText)) {
		return fmt.Errorf("%s: %w", ProbeKey, ErrConflict)
	}
	return bucket.Durable(u.opt.URL, ProbeKey)
}
