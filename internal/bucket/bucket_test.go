package bucket

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

func TestWhatIsNoBucketIsSaidSoBeforeItIsUsed(t *testing.T) {
	for _, tc := range []struct{ name, url, says string }{
		{"nothing", "", "is not the URL of a bucket"},
		{"a path", "/var/lib/x", "is not the URL of a bucket"},
		{"a folder with a host", "file://var/lib/x", "file:///path"},
		{"a folder with an option", "file:///x?create_dir=1", `no option "create_dir"`},
		{"a bucket with a path", "s3://name/x", "?prefix=folder/"},
		{"no bucket", "s3://", "names no bucket"},
		{"something else", "ftp://x", "use file, s3, gs or azblob"},
		{"a prefix that is half a name", "s3://name?prefix=x", "ends with a slash"},
		{"a prefix that leads out", "file:///x?prefix=../", "a prefix ends"},
		{"a folder", "file:///var/lib/x", ""},
		{"a folder below", "file:///var/lib/x?prefix=a/b/", ""},
		{"S3", "s3://name?region=x", ""},
		{"Google", "gs://name?prefix=cardea/", ""},
		{"Azure", "azblob://name", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Check(tc.url)
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// same is what every bucket must do with an object.
func same(t *testing.T, b *blob.Bucket) {
	t.Helper()
	ctx := t.Context()
	want := make([]byte, 3<<20)
	rand.Read(want)
	const key = "prj_x/2026/11/21/gse_x/000001.seg"
	once := &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: true}
	if _, err := b.Attributes(ctx, key); gcerrors.Code(err) != gcerrors.NotFound {
		t.Fatalf("before it is there: %v", err)
	}
	if err := b.Upload(ctx, key, bytes.NewReader(want), once); err != nil {
		t.Fatal(err)
	}
	if err := b.Upload(ctx, key, strings.NewReader("other"), once); gcerrors.Code(err) != gcerrors.FailedPrecondition {
		t.Errorf("it is overwritten: %v", err)
	}
	a, err := b.Attributes(ctx, key)
	if err != nil || a.Size != int64(len(want)) {
		t.Fatalf("%+v, %v", a, err)
	}
	got, err := b.ReadAll(ctx, key)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	r, err := b.NewRangeReader(ctx, key, 100, 50, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if part, err := io.ReadAll(r); err != nil || !bytes.Equal(part, want[100:150]) || r.Size() != int64(len(want)) {
		t.Errorf("a part: %d bytes of %d, %v", len(part), r.Size(), err)
	}
}

func TestAFolderIsABucket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "recordings")
	address := "file://" + dir + "?prefix=below/"
	b, err := Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	same(t, b)
	if err := Durable(address, "prj_x/2026/11/21/gse_x/000001.seg"); err != nil {
		t.Error(err)
	}
	if err := Durable(address, "../../../etc/passwd"); err == nil {
		t.Error("a key leads out of the bucket")
	}
	info, err := os.Stat(filepath.Join(dir, "below", "prj_x"))
	if err != nil || info.Mode().Perm() != folderMode {
		t.Errorf("%v, %v", info, err)
	}
}

// googleAPI is the part of the JSON API that is used, as its documentation has it.
type googleAPI struct {
	t  *testing.T
	mu sync.Mutex
	of map[string][]byte
}

func (g *googleAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method == http.MethodPost && r.URL.Path == "/upload/storage/v1/b/name/o" {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return // it broke off: there is no object
		}
		key := r.URL.Query().Get("name")
		if _, there := g.of[key]; there && r.URL.Query().Get("ifGenerationMatch") == "0" {
			http.Error(w, `{"error":{"code":412}}`, http.StatusPreconditionFailed)
			return
		}
		g.of[key] = text
		fmt.Fprint(w, "{}")
		return
	}
	escaped, ok := strings.CutPrefix(r.URL.EscapedPath(), "/storage/v1/b/name/o/")
	key, err := url.PathUnescape(escaped)
	text, there := g.of[key]
	switch {
	case !ok || err != nil || strings.Contains(escaped, "/"):
		http.Error(w, "what?", http.StatusBadRequest)
	case !there:
		http.Error(w, `{"error":{"code":404}}`, http.StatusNotFound)
	case r.URL.Query().Get("alt") == "media":
		http.ServeContent(w, r, "", time.Now(), bytes.NewReader(text))
	default:
		json.NewEncoder(w).Encode(map[string]string{"size": strconv.Itoa(len(text)), "updated": "2026-11-21T09:00:00Z"})
	}
}

func TestGoogleCloudStorageIsABucket(t *testing.T) {
	g := &googleAPI{t: t, of: map[string][]byte{}}
	server := httptest.NewServer(g)
	defer server.Close()
	t.Setenv(gcsEmulator, server.URL)
	b, err := Open(t.Context(), "gs://name?prefix=a/")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	same(t, b)
	if _, err := Open(t.Context(), "gs://name?zonal=1"); err == nil {
		t.Error("an unknown option is taken")
	}
}

func TestAnUploadThatBreaksOffLeavesNoObject(t *testing.T) {
	g := &googleAPI{t: t, of: map[string][]byte{}}
	server := httptest.NewServer(g)
	defer server.Close()
	t.Setenv(gcsEmulator, server.URL)
	b, err := Open(t.Context(), "gs://name")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	broken := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), fails{})
	if err := b.Upload(t.Context(), "key", broken, &blob.WriterOptions{ContentType: "x/y"}); err == nil {
		t.Error("it is taken for whole")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.of) != 0 {
		t.Error("there is an object")
	}
}

type fails struct{}

func (fails) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
