package ident

import (
	"strings"
	"testing"
)

func TestAFingerprintIsWrittenInOneWay(t *testing.T) {
	good := "SHA256:" + strings.Repeat("A", 43)
	for text, want := range map[string]bool{
		good:                                true,
		"":                                  false,
		good[1:]:                            false,
		good + "=":                          false,
		good + "A":                          false,
		good[:len(good)-1]:                  false,
		good[:len(good)-1] + "B":            false, // bits that no byte has
		good[:len(good)-1] + "\n":           false,
		"sha256:" + good[7:]:                false,
		"MD5:" + strings.Repeat("A", 43):    false,
		"SHA256:" + strings.Repeat("_", 43): false,
	} {
		if IsFingerprint(text) != want {
			t.Errorf("%q: got %t", text, !want)
		}
	}
	if sum, ok := Fingerprint("SHA256://///////////////////////////////////////w8"); !ok || sum[0] != 0xff || sum[31] != 0x0f {
		t.Errorf("got %x %t", sum, ok)
	}
}
