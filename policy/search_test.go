package policy

import (
	"strings"
	"testing"
)

func TestASearchMayAskForWhatAHostSays(t *testing.T) {
	labels := map[string]string{"env": "prod", "host/os": "debian"}
	for text, want := range map[string]bool{
		"":                            true,
		"host/os=debian":              true,
		"host/os!=debian":             false,
		"host/os=debian,env=prod":     true,
		"host/os=debian,env=dev":      false,
		"host/env=prod":               false,
		"host/missing!=x,env != dev ": true,
	} {
		s, err := ParseSearch(text)
		if err != nil || s.Matches(labels) != want {
			t.Errorf("%q: %v, %v, want %v", text, s.Matches(labels), err, want)
		}
	}
	at := strings.Repeat("host/a=b,", MaxRequirements-1) + "host/a=b"
	if _, err := ParseSearch(at); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, text := range []string{"host/=x", "host/host/a=b", "Host/a=b", "host/a", "host/a=b,", "host/../env=x", "other/a=b", at + ",env=x"} {
		if _, err := ParseSearch(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
