package api

import (
	"regexp"
	"testing"
)

func TestConfirmationCode(t *testing.T) {
	code := ConfirmationCode("challenge", "thumbprint")
	if !regexp.MustCompile(`^[A-HJ-NP-Z2-9]{4}-[A-HJ-NP-Z2-9]{4}$`).MatchString(code) {
		t.Errorf("code %q is not two groups of four unmistakable characters", code)
	}
	// Both ends must agree for ever, also when they are of different versions.
	if want := "AUGL-M38E"; code != want {
		t.Errorf("code of the fixed request is %q, want %q", code, want)
	}
	for name, other := range map[string]string{
		"another challenge":               ConfirmationCode("challengf", "thumbprint"),
		"another device key":              ConfirmationCode("challenge", "thumbprinu"),
		"the border between them is part": ConfirmationCode("challenget", "humbprint"),
	} {
		if other == code {
			t.Errorf("%s gives the same code", name)
		}
	}
}
