package posture

import (
	"context"
	"strings"
)

// read asks Apple's own programs. This was written from their manual pages and has not
// been tried on a Mac.
func read(ctx context.Context) Report {
	return Report{
		OS: "darwin", System: "macos", Version: say(ctx, "/usr/bin/sw_vers", "-productVersion"),
		DiskEncryption: answer(say(ctx, "/usr/bin/fdesetup", "status"), "FileVault is On", "FileVault is Off"),
		ScreenLock:     answer(say(ctx, "/usr/sbin/sysadminctl", "-screenLock", "status"), "screenLock delay is", "screenLock is off"),
	}
}

func answer(said, yes, no string) string {
	switch {
	case strings.Contains(said, no):
		return No
	case strings.Contains(said, yes):
		return Yes
	}
	return Unknown
}
