package api

import "encoding/json"

// DeviceSettings are what a project demands of the devices from which people enter.
type DeviceSettings struct {
	// DeviceRules have to hold by the word of the device: disk-encryption, screen-lock,
	// hardware-key. What is unknown does not hold.
	DeviceRules []string `json:"device_rules,omitempty" doc:"disk-encryption, screen-lock, hardware-key; people-only lets programs in, of whom nothing is demanded then"`
	// DeviceApproval lets in devices alone that an administrator approved.
	DeviceApproval bool `json:"device_approval,omitempty"`
}

// DevicePatch changes DeviceSettings; nil leaves a field alone.
type DevicePatch struct {
	DeviceRules    *[]string `json:"device_rules,omitempty" doc:"disk-encryption, screen-lock, hardware-key; people-only lets programs in, of whom nothing is demanded then"`
	DeviceApproval *bool     `json:"device_approval,omitempty"`
}

// ReadDeviceReport reads a report; nil if it is none.
func ReadDeviceReport(text string) *DeviceReport {
	var out DeviceReport
	if text == "" || json.Unmarshal([]byte(text), &out) != nil {
		return nil
	}
	return &out
}
