package upload

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob"
)

func probed(t *testing.T, opt Options) error {
	t.Helper()
	u, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	first := u.Probe(t.Context())
	if second := u.Probe(t.Context()); (first == nil) != (second == nil) {
		t.Errorf("first %v, then %v", first, second)
	}
	return first
}

func TestABucketIsTriedByAnObjectThatStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recordings")
	if err := probed(t, Options{URL: "file://" + dir + "?prefix=cardea/"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cardea", ProbeKey))
	if err != nil || !strings.Contains(string(text), "recordings can be stored here") {
		t.Errorf("%q, %v", text, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := probed(t, Options{URL: "file://" + file}); err == nil {
		t.Error("a file was taken for a bucket")
	}
}

func TestABucketThatKeepsSomethingElseIsFound(t *testing.T) {
	b, open := memory(t)
	if err := b.WriteAll(t.Context(), ProbeKey, []byte("no such thing"), nil); err != nil {
		t.Fatal(err)
	}
	if err := probed(t, Options{URL: "mem://", open: open}); !errors.Is(err, ErrConflict) {
		t.Errorf("err = %v", err)
	}
}

// A store that lets nobody write, or nobody read, is found by the trial; and other
// credentials are taken the next time.
func TestAStoreThatAllowsHalfIsFound(t *testing.T) {
	for _, forbidden := range []string{"PUT", "GET"} {
		t.Run(forbidden, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == forbidden {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				w.Header().Set("ETag", `"x"`)
				w.Write([]byte(probeText))
			}))
			defer server.Close()
			t.Setenv("AWS_ACCESS_KEY_ID", "id")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			err := probed(t, Options{URL: "s3://recordings?region=x&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)})
			if err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestABucketThatDoesNotOpenIsOpenedAgain(t *testing.T) {
	b, _ := memory(t)
	away := errors.New("away")
	u, err := New(Options{URL: "mem://", open: func(context.Context, string) (*blob.Bucket, error) { return b, away }})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Probe(t.Context()); !errors.Is(err, away) {
		t.Errorf("err = %v", err)
	}
	away = nil
	if err := u.Probe(t.Context()); err != nil {
		t.Errorf("when it was back: %v", err)
	}
}
