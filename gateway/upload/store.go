package upload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/cardea-ssh/cardea/internal/bucket"
)

// Object is a file, and what it is to be in the bucket.
type Object struct {
	Key    string
	Path   string
	Size   int64
	SHA256 string // hex, of what was written: the disk may have changed it since
}

var (
	// ErrConflict says that the bucket has something else under that key.
	ErrConflict = errors.New("the bucket has another object in its place")
	// ErrSource says that the file is not what was written to it.
	ErrSource = errors.New("the file is not what was written to it")
)

const (
	// contentType of all that is stored.
	contentType = "application/octet-stream"
	// partSize bounds what is held in memory of an object, and is what a part of S3 has
	// at least.
	partSize = 5 << 20
	// A try takes at most tryTime, and as long as its bytes take at slowest bytes a
	// second, each way: a slow store is no broken one, one that never answers is.
	tryTime = 10 * time.Minute
	slowest = 256
)

// store is one try.
func (u *Uploader) store(ctx context.Context, o Object) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime+2*time.Duration(o.Size/slowest)*time.Second)
	defer cancel()
	b, err := u.open(ctx)
	if err != nil {
		return err
	}
	_, err = b.Attributes(ctx, o.Key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = u.put(ctx, b, o)
	}
	// Whoever made the object that was not there a moment before: it is looked at.
	if err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return err
	}
	if err := u.compare(ctx, b, o); err != nil {
		return err
	}
	return bucket.Durable(u.opt.URL, o.Key)
}

// put sends the file.
func (u *Uploader) put(ctx context.Context, b *blob.Bucket, o Object) error {
	f, err := os.OpenFile(o.Path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: it is gone", o.Path, ErrSource)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, sum, err := hash(f)
	if err != nil {
		return err
	}
	if size != o.Size || sum != o.SHA256 {
		return fmt.Errorf("%s: %w", o.Path, ErrSource)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// A reader that fails must not leave a part of the file as the object: the drivers
	// take the end of their context for that.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &source{ctx: ctx, cancel: cancel, inner: io.LimitReader(f, size), left: size, limit: u.limit}
	return b.Upload(ctx, o.Key, r, &blob.WriterOptions{
		ContentType: contentType, DisableContentTypeDetection: true, IfNotExist: true, BufferSize: partSize, MaxConcurrency: 1,
	})
}

// compare reads the object back.
func (u *Uploader) compare(ctx context.Context, b *blob.Bucket, o Object) error {
	r, err := b.NewReader(ctx, o.Key, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Size() != o.Size {
		return fmt.Errorf("%s: %w: it has %d bytes, not %d", o.Key, ErrConflict, r.Size(), o.Size)
	}
	size, sum, err := hash(io.LimitReader(r, o.Size+1))
	if err != nil {
		return fmt.Errorf("read %s back: %w", o.Key, err)
	}
	if size < o.Size {
		return fmt.Errorf("read %s back: %w", o.Key, io.ErrUnexpectedEOF)
	}
	if size != o.Size || sum != o.SHA256 {
		return fmt.Errorf("%s: %w: its SHA-256 is %s, not %s", o.Key, ErrConflict, sum, o.SHA256)
	}
	return nil
}

func hash(r io.Reader) (int64, string, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// source is a file that is being sent, no faster than it may be.
type source struct {
	ctx    context.Context
	cancel context.CancelFunc
	inner  io.Reader
	left   int64
	limit  limiter
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.inner.Read(b[:min(len(b), maxRead)])
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF // it has become shorter
	}
	if err == nil || err == io.EOF {
		if wait := s.limit.wait(s.ctx, n); wait != nil {
			err = wait
		}
	}
	if err != nil && err != io.EOF {
		s.cancel()
	}
	return n, err
}
