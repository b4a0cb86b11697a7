package signin

import (
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
)

func TestWhatADeviceSaysOfItselfIsKeptWithinBounds(t *testing.T) {
	for _, c := range []struct{ name, said, kept string }{
		{"all of it", `{"key":"tpm","os":"linux","system":"debian","version":"12","disk_encryption":"yes","screen_lock":"unknown"}`,
			`{"key":"tpm","os":"linux","system":"debian","version":"12","disk_encryption":"yes","screen_lock":"unknown"}`},
		{"words that we do not know", `{"key":"pocket","os":"plan9","disk_encryption":"maybe","colour":"red"}`, `{"os":"plan9"}`},
		{"spaces and escapes", `{"os":"li nux","system":"\u001b[2J","version":"1\u202e2"}`, ""},
		{"a word at the limit", `{"os":"` + strings.Repeat("x", maxWord) + `"}`, `{"os":"` + strings.Repeat("x", maxWord) + `"}`},
		{"a word above it", `{"os":"` + strings.Repeat("x", maxWord+1) + `"}`, ""},
		{"a report above its limit", `{"os":"linux","x":"` + strings.Repeat("x", api.MaxDeviceReport) + `"}`, ""},
		{"no JSON", `x`, ""}, {"a list", `[]`, ""}, {"nothing", ``, ""}, {"an empty one", `{}`, ""},
	} {
		got := report(c.said)
		if got != c.kept {
			t.Errorf("%s: kept %q, want %q", c.name, got, c.kept)
		}
		if read := api.ReadDeviceReport(got); (read == nil) != (c.kept == "") {
			t.Errorf("%s: read %+v", c.name, read)
		}
	}
}
