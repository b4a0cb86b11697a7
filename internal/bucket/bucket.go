// Package bucket opens the place where recordings are kept: a folder, or a bucket of
// S3, of Google Cloud Storage or of Azure, as a gocloud.dev/blob one.
//
//	file:///var/lib/cardea-gateway/recordings
//	s3://my-bucket?region=eu-central-1          (and endpoint=…, for other stores that speak S3)
//	gs://my-bucket
//	azblob://my-container
//	mem://                                      (for tests)
//
// Behind the name may stand prefix=cardea/, below which everything is kept. All that
// else stands there is the driver's own, as gocloud.dev documents it. Credentials are
// those that the cloud's own tools would find: from the environment, a file, or the
// machine's identity.
//
// Google's own client is not linked. It would cost a program 13 MB of memory and 20 of
// binary that never speaks to Google; the three calls that are needed are in gcs.go.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
)

// folderMode is that of folders which a file bucket makes. The umask takes the group out,
// unless whoever runs the gateway lets the control plane's user in by one that does not,
// or by an access list that new folders inherit.
const folderMode = 0o750

// Check finds what is wrong with a URL without reaching for the bucket.
func Check(text string) error {
	_, err := parse(text)
	return err
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("%q is not the URL of a bucket such as file:///var/lib/cardea-gateway/recordings or s3://name", text)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("%q names no folder; write it as file:///path/to/folder", text)
		}
		for name := range u.Query() {
			if name != "prefix" {
				return nil, fmt.Errorf("%q: a folder has no option %q", text, name)
			}
		}
	case s3blob.Scheme, gcsScheme, azureblob.Scheme:
		if u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("%q names no bucket; write it as %s://name, and a prefix as ?prefix=folder/", text, u.Scheme)
		}
	case memblob.Scheme:
	default:
		return nil, fmt.Errorf("%q: nothing is known of %s://; use file, s3, gs or azblob", text, u.Scheme)
	}
	if p := u.Query().Get("prefix"); p != "" && (!strings.HasSuffix(p, "/") || strings.HasPrefix(p, "/") || strings.Contains(p, "..")) {
		return nil, fmt.Errorf("%q: a prefix ends with a slash and does not begin with one", text)
	}
	return u, nil
}

// Open opens the bucket of a URL. It may not be there, or refuse: only using it tells.
func Open(ctx context.Context, text string) (*blob.Bucket, error) {
	u, err := parse(text)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	prefix := q.Get("prefix")
	q.Del("prefix")
	u.RawQuery = q.Encode()
	b, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", u.Redacted(), err)
	}
	if prefix != "" {
		b = blob.PrefixedBucket(b, prefix)
	}
	return b, nil
}

func open(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	switch u.Scheme {
	case "file":
		// Beside the object and not in /tmp: that may be another file system, from which
		// nothing can be renamed. No files beside the objects: their keys say it all.
		return fileblob.OpenBucket(filepath.FromSlash(u.Path), &fileblob.Options{
			CreateDir: true, DirFileMode: folderMode, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
	case s3blob.Scheme:
		return new(s3blob.URLOpener).OpenBucketURL(ctx, u)
	case azureblob.Scheme:
		o := azureblob.URLOpener{MakeClient: azureblob.NewDefaultClient, ServiceURLOptions: *azureblob.NewDefaultServiceURLOptions()}
		return o.OpenBucketURL(ctx, u)
	case gcsScheme:
		return openGCS(ctx, u)
	}
	return memblob.OpenBucket(nil), nil
}

// Durable returns when the object of a key that was just written survives a power cut,
// where the bucket of the URL is a folder; all others say so when they have it.
func Durable(text, key string) error {
	u, err := parse(text)
	if err != nil || u.Scheme != "file" {
		return err
	}
	base := filepath.FromSlash(u.Path)
	key = u.Query().Get("prefix") + key
	if !filepath.IsLocal(filepath.FromSlash(key)) {
		return fmt.Errorf("sync %q: it leads out of the bucket", key)
	}
	at := filepath.Join(base, filepath.FromSlash(key))
	for {
		if err := syncPath(at); err != nil {
			return fmt.Errorf("sync what was stored: %w", err)
		}
		if at == base || len(at) <= len(base) {
			return nil
		}
		at = filepath.Dir(at)
	}
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Folder is the URL of a folder, whose path is absolute.
func Folder(dir string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String()
}
