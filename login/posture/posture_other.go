//go:build !linux && !darwin && !windows

package posture

import (
	"context"
	"runtime"
)

func read(context.Context) Report {
	return Report{OS: runtime.GOOS, DiskEncryption: Unknown, ScreenLock: Unknown}
}
