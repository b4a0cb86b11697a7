package dpop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardea-ssh/cardea/dpop"
)

func TestAKeySurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "cardea", "device.pem")
	first, err := dpop.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := dpop.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if first.Thumbprint() != again.Thumbprint() {
		t.Error("another key was read than was written")
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, info.Mode().Perm(), want, err)
		}
	}
	if left, _ := filepath.Glob(path + ".new*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProcessesThatCreateAtOnceGetOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k", "device.pem")
	const many = 16
	prints := make([]string, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			k, err := dpop.LoadOrCreate(path)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = k.Thumbprint()
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] {
			t.Fatal("two keys came out")
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyP256KeysAreTaken(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	if _, err := dpop.FromSigner(other); err == nil {
		t.Error("a P-384 key is taken")
	}
	k, err := dpop.NewKey()
	must(t, err)
	text, err := k.MarshalPEM()
	must(t, err)
	if _, err := dpop.ParseKey(append(text, text...)); err == nil {
		t.Error("two keys in one file are taken")
	}
	back, err := dpop.ParseKey(text)
	if err != nil || back.Thumbprint() != k.Thumbprint() {
		t.Errorf("parsing what was marshalled: %v", err)
	}
}

func TestAProofNeedsAnAbsoluteURL(t *testing.T) {
	k, err := dpop.NewKey()
	must(t, err)
	for _, u := range []string{"", "/v1/connect", "access.example.com/v1", "ftp://access.example.com/", "https://"} {
		if _, err := k.Proof("GET", u, "", ""); err == nil {
			t.Errorf("%q is taken", u)
		}
	}
}

func TestTheTokenOfARequest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []string
		want   string
	}{
		{"the DPoP scheme", []string{"DPoP abc"}, "abc"},
		{"the scheme in another case", []string{"dpop abc"}, "abc"},
		{"a bound token as Bearer is refused", []string{"Bearer abc"}, ""},
		{"two fields", []string{"DPoP abc", "DPoP abc"}, ""},
		{"two tokens", []string{"DPoP abc, Bearer def"}, ""},
		{"no token", []string{"DPoP "}, ""},
		{"no field", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := dpop.Token(http.Header{"Authorization": tc.values})
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
