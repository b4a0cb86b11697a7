package audit

import (
	"bytes"
	"testing"
)

// Whatever is read, what we write of it is read back the same.
func FuzzDecode(f *testing.F) {
	f.Add(Encode(full()))
	f.Add([]byte(`{"time":"2026-11-20T11:00:00Z","action":"\u0000","outcome":"x","detail":{"a":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := Decode(in)
		if err != nil {
			return
		}
		once := Encode(e)
		back, err := Decode(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice := Encode(back); !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s", once, twice)
		}
	})
}
