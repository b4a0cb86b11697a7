package posture

import (
	"context"
	"fmt"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// read asks the registry. Whether BitLocker is on only an administrator can read. This
// was written from Microsoft's documents and has not been tried.
func read(context.Context) Report {
	v := windows.RtlGetVersion()
	return Report{
		OS: "windows", System: "windows", Version: fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber),
		DiskEncryption: Unknown, ScreenLock: locks(),
	}
}

// locks is about the screen saver; a policy that locks by itself is not seen here, so
// that its absence says nothing.
func locks() string {
	k, err := registry.OpenKey(registry.CURRENT_USER, `Control Panel\Desktop`, registry.QUERY_VALUE)
	if err != nil {
		return Unknown
	}
	defer k.Close()
	active, _, err := k.GetStringValue("ScreenSaveActive")
	secure, _, err2 := k.GetStringValue("ScreenSaverIsSecure")
	if err == nil && err2 == nil && active == "1" && secure == "1" {
		return Yes
	}
	return Unknown
}
