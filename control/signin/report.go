package signin

import (
	"encoding/json"
	"slices"

	"github.com/cardea-ssh/cardea/api"
)

// maxWord bounds each word of a device's report that is not one of a list, in bytes.
const maxWord = 64

// report is what a device says of itself, as it is kept: empty for one that says nothing.
// What is not as it should be is left out and never keeps anybody from signing in: an older
// control plane meets newer devices.
func report(raw string) string {
	var in api.DeviceReport
	if raw == "" || len(raw) > api.MaxDeviceReport || json.Unmarshal([]byte(raw), &in) != nil {
		return ""
	}
	out, err := json.Marshal(api.DeviceReport{
		Key: known(in.Key, "tpm", "enclave", "keyring", "file"), OS: word(in.OS), System: word(in.System), Version: word(in.Version),
		DiskEncryption: known(in.DiskEncryption, "yes", "no", "unknown"), ScreenLock: known(in.ScreenLock, "yes", "no", "unknown"),
	})
	if err != nil || string(out) == "{}" {
		return ""
	}
	return string(out)
}

// known is a word that is one of these.
func known(s string, words ...string) string {
	if slices.Contains(words, s) {
		return s
	}
	return ""
}

// word is a name or a version.
func word(s string) string {
	for _, r := range s {
		if r <= ' ' || r >= 0x7f {
			return ""
		}
	}
	if len(s) > maxWord {
		return ""
	}
	return s
}
