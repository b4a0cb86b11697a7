package bucket

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// gcs speaks the JSON API of Google Cloud Storage as far as recordings need it:
// objects.insert, objects.get and its media
// (https://cloud.google.com/storage/docs/json_api/v1).
type gcs struct {
	client   *http.Client
	endpoint string
	name     string
}

const (
	gcsScheme   = "gs"
	gcsEndpoint = "https://storage.googleapis.com"
	gcsScope    = "https://www.googleapis.com/auth/devstorage.read_write"
	// gcsEmulator is the variable that Google's own clients look at.
	gcsEmulator = "STORAGE_EMULATOR_HOST"
	// maxAnswer bounds what is read of an answer that is no object.
	maxAnswer = 1 << 20
)

func openGCS(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	for name := range u.Query() {
		return nil, fmt.Errorf("nothing is known of the option %q", name)
	}
	g := &gcs{endpoint: gcsEndpoint, name: u.Host}
	if host := os.Getenv(gcsEmulator); host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		g.endpoint, g.client = strings.TrimSuffix(host, "/"), &http.Client{}
		return blob.NewBucket(g), nil
	}
	found, err := google.FindDefaultCredentials(ctx, gcsScope)
	if err != nil {
		return nil, err
	}
	g.client = oauth2.NewClient(context.WithoutCancel(ctx), found.TokenSource)
	return blob.NewBucket(g), nil
}

// gcsError is an answer that is none of success.
type gcsError struct {
	status int
	text   string
}

func (e *gcsError) Error() string {
	return fmt.Sprintf("Google Cloud Storage answers %d: %s", e.status, e.text)
}

// errUnused is that of what recordings never do.
var errUnused = errors.New("not done with Google Cloud Storage here")

func (g *gcs) ErrorCode(err error) gcerrors.ErrorCode {
	var e *gcsError
	if !errors.As(err, &e) {
		if errors.Is(err, errUnused) {
			return gcerrors.Unimplemented
		}
		return gcerrors.Unknown
	}
	switch e.status {
	case http.StatusNotFound:
		return gcerrors.NotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return gcerrors.PermissionDenied
	case http.StatusPreconditionFailed:
		return gcerrors.FailedPrecondition
	case http.StatusTooManyRequests:
		return gcerrors.ResourceExhausted
	case http.StatusBadRequest:
		return gcerrors.InvalidArgument
	}
	return gcerrors.Unknown
}

func (g *gcs) As(any) bool             { return false }
func (g *gcs) ErrorAs(error, any) bool { return false }
func (g *gcs) Close() error            { return nil }

// object is the path of an object, whose key is one escaped word.
func (g *gcs) object(key string) string {
	return g.endpoint + "/storage/v1/b/" + url.PathEscape(g.name) + "/o/" + url.PathEscape(key)
}

// do returns the answer of a call that succeeded; whoever calls closes its body.
func (g *gcs) do(r *http.Request) (*http.Response, error) {
	res, err := g.client.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	return nil, &gcsError{res.StatusCode, strings.Join(strings.Fields(string(text)), " ")}
}

func (g *gcs) get(ctx context.Context, address string) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
}

func (g *gcs) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	r, err := g.get(ctx, g.object(key))
	if err != nil {
		return nil, err
	}
	res, err := g.do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var o struct {
		Size        string            `json:"size"`
		ContentType string            `json:"contentType"`
		MD5         string            `json:"md5Hash"`
		ETag        string            `json:"etag"`
		Created     time.Time         `json:"timeCreated"`
		Updated     time.Time         `json:"updated"`
		Metadata    map[string]string `json:"metadata"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&o); err != nil {
		return nil, fmt.Errorf("read what Google Cloud Storage says of an object: %w", err)
	}
	size, err := strconv.ParseInt(o.Size, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read what Google Cloud Storage says of an object: %w", err)
	}
	sum, _ := base64.StdEncoding.DecodeString(o.MD5)
	return &driver.Attributes{
		Size: size, ContentType: o.ContentType, MD5: sum, ETag: o.ETag, CreateTime: o.Created, ModTime: o.Updated, Metadata: o.Metadata,
		AsFunc: func(any) bool { return false },
	}, nil
}

type gcsReader struct {
	io.ReadCloser
	attributes driver.ReaderAttributes
}

func (r *gcsReader) Attributes() *driver.ReaderAttributes { return &r.attributes }
func (r *gcsReader) As(any) bool                          { return false }

func (g *gcs) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	r, err := g.get(ctx, g.object(key)+"?alt=media")
	if err != nil {
		return nil, err
	}
	switch {
	case length > 0:
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case length < 0 && offset > 0:
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := g.do(r)
	if err != nil {
		return nil, err
	}
	size := res.ContentLength
	if _, total, ok := strings.Cut(res.Header.Get("Content-Range"), "/"); ok {
		if n, err := strconv.ParseInt(total, 10, 64); err == nil {
			size = n
		}
	}
	modified, _ := http.ParseTime(res.Header.Get("Last-Modified"))
	body := res.Body
	if length == 0 {
		body.Close()
		body = http.NoBody
	}
	return &gcsReader{body, driver.ReaderAttributes{ContentType: res.Header.Get("Content-Type"), ModTime: modified, Size: size}}, nil
}

// gcsWriter sends an object as the body of one request.
type gcsWriter struct {
	gcs     *gcs
	request *http.Request
	pipe    *io.PipeWriter // of what is written; nil before the first byte
	done    chan error
}

// Upload sends all of r. Where r fails the body breaks off, and there is no object.
func (w *gcsWriter) Upload(r io.Reader) error {
	w.request.Body = io.NopCloser(r)
	w.done <- w.send()
	return nil // Close says
}

func (w *gcsWriter) send() error {
	res, err := w.gcs.do(w.request)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	return err
}

func (w *gcsWriter) Write(b []byte) (int, error) {
	if w.pipe == nil {
		body, pipe := io.Pipe()
		w.pipe, w.request.Body = pipe, body
		go func() {
			err := w.send()
			body.CloseWithError(err)
			w.done <- err
		}()
	}
	return w.pipe.Write(b)
}

// Close returns what became of the object. A context that has ended is how a writer is
// given up.
func (w *gcsWriter) Close() error {
	switch {
	case w.pipe != nil:
		w.pipe.CloseWithError(w.request.Context().Err())
	case w.request.Body == nil: // an object without a byte
		w.done <- w.send()
	}
	return <-w.done
}

func (g *gcs) NewTypedWriter(ctx context.Context, key, contentType string, opts *driver.WriterOptions) (driver.Writer, error) {
	q := url.Values{"uploadType": {"media"}, "name": {key}}
	if opts.IfNotExist {
		q.Set("ifGenerationMatch", "0")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.endpoint+"/upload/storage/v1/b/"+url.PathEscape(g.name)+"/o?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	return &gcsWriter{gcs: g, request: r, done: make(chan error, 1)}, nil
}

func (g *gcs) ListPaged(context.Context, *driver.ListOptions) (*driver.ListPage, error) {
	return nil, errUnused
}
func (g *gcs) Copy(context.Context, string, string, *driver.CopyOptions) error { return errUnused }
func (g *gcs) Delete(context.Context, string, *driver.DeleteOptions) error     { return errUnused }
func (g *gcs) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errUnused
}
