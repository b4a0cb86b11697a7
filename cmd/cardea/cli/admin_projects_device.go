package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// deviceFlagNames are those of deviceFlags, for anyChanged.
var deviceFlagNames = [...]string{"device-rule", "device-approval"}

// deviceFlags are what a project demands of devices, as flags.
func deviceFlags(cmd *cobra.Command, s *api.DeviceSettings) {
	f := cmd.Flags()
	f.StringSliceVar(&s.DeviceRules, "device-rule", nil, "what has to hold for a device, by its own word: disk-encryption, screen-lock, hardware-key; people-only beside them lets programs in; in place of those before")
	f.BoolVar(&s.DeviceApproval, "device-approval", false, "let in devices alone that an administrator approved")
}

// devicePatch is what the flags that were given change.
func devicePatch(cmd *cobra.Command, s *api.DeviceSettings) api.DevicePatch {
	return api.DevicePatch{DeviceRules: changed(cmd, "device-rule", &s.DeviceRules), DeviceApproval: changed(cmd, "device-approval", &s.DeviceApproval)}
}

func deviceSettingColumns() []column[api.Project] {
	return []column[api.Project]{
		{"demands of devices", func(p api.Project) string {
			demands := p.DeviceRules
			if p.DeviceApproval {
				demands = append([]string{"approval"}, demands...)
			}
			return strings.Join(demands, ", ")
		}},
	}
}
