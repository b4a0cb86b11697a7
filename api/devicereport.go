package api

// DeviceReport is what a device says of itself when it signs in, in the form field
// device_report of POST /oauth/token, as JSON. It is the device's own word: whoever rules the
// machine can have it say anything.
type DeviceReport struct {
	// Key is where the device's key is kept.
	Key string `json:"key,omitempty" enum:"tpm,enclave,keyring,file" doc:"where its key is kept"`
	// OS is Go's word; System and Version are as the system itself writes them.
	OS      string `json:"os,omitempty"`
	System  string `json:"system,omitempty"`
	Version string `json:"version,omitempty"`
	// DiskEncryption and ScreenLock are yes, no or unknown.
	DiskEncryption string `json:"disk_encryption,omitempty" enum:"yes,no,unknown"`
	ScreenLock     string `json:"screen_lock,omitempty" enum:"yes,no,unknown" doc:"locks itself after some time without use"`
}

// NextToken is the body of POST /v1/session/token, which may be left out.
type NextToken struct {
	// DeviceReport is a DeviceReport as JSON, as in the form: no word of a newer device may
	// keep it from its token.
	DeviceReport string `json:"device_report,omitempty" doc:"what the device says of itself now, as JSON; left out, what it said before stays"`
}

// MaxDeviceReport bounds it on the wire, in bytes: it has some 150.
const MaxDeviceReport = 2 << 10
