package dpop

import (
	"path/filepath"
	"strings"
	"testing"
)

// A thumbprint that begins with a hyphen is a flag to whoever types it: such a key is drawn anew.
func TestThumbprintsOfNewFilesCanBeTyped(t *testing.T) {
	like := func(hyphen bool) *Key {
		for {
			k, err := NewKey()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(k.Thumbprint(), "-") == hyphen {
				return k
			}
		}
	}
	drawn := []*Key{like(true), like(true), like(false)}
	want, i := drawn[2].Thumbprint(), 0
	got, err := loadOrCreate(filepath.Join(t.TempDir(), "k", "key.pem"), func() (*Key, error) {
		i++
		return drawn[i-1], nil
	})
	if err != nil || got.Thumbprint() != want {
		t.Errorf("got %v, %v; want the third that was drawn", got, err)
	}
}
