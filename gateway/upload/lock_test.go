package upload

import (
	"io"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cardea-ssh/cardea/internal/bucket"
)

// TestALockedBucketKeepsWhatWasStored: with Object Lock a bucket takes recordings as any other,
// and whoever has its credentials later can neither change nor remove them.
func TestALockedBucketKeepsWhatWasStored(t *testing.T) {
	s := newStore(t)
	s.versions = filepath.Join(s.dir, "versions")
	if err := os.Mkdir(s.versions, 0o700); err != nil {
		t.Fatal(err)
	}
	s.start("first", "first-secret")
	where := "s3://locked?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape("http://"+s.addr)
	b, err := bucket.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	var client *s3.Client
	if !b.As(&client) {
		t.Fatal("the bucket is none of S3")
	}
	name, lock, days := "locked", true, int32(1)
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: &lock}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{Bucket: &name, ObjectLockConfiguration: &types.ObjectLockConfiguration{
		ObjectLockEnabled: types.ObjectLockEnabledEnabled,
		Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: &days}},
	}}); err != nil {
		t.Fatal(err)
	}

	f := newFolder(t)
	all := []Object{f.add("small", 1000), f.add("big", 11<<20)} // by one request, and in parts
	start(t, f, Options{URL: where})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	for _, o := range all {
		if n, why := f.outcome(o); n != 1 {
			t.Errorf("%s is stored %d times, %v", o.Key, n, why)
		}
		sameAsFile(t, b, o)
		head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &name, Key: &o.Key})
		if err != nil || head.VersionId == nil {
			t.Fatalf("%s has no version: %v", o.Key, err)
		}
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &name, Key: &o.Key, VersionId: head.VersionId}); err == nil {
			t.Errorf("%s was removed", o.Key)
		}
		// What is written over it is another version, and what is hidden is still there.
		_ = b.WriteAll(t.Context(), o.Key, []byte("not so"), nil)
		_ = b.Delete(t.Context(), o.Key)
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &name, Key: &o.Key, VersionId: head.VersionId})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || sumOf(text) != o.SHA256 {
			t.Errorf("%s: %d bytes, %v", o.Key, len(text), err)
		}
	}
}
