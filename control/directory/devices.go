package directory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/policy"
)

// checkDeviceRules sorts them, without those that are there twice.
func checkDeviceRules(rules []string) ([]string, error) {
	for _, r := range rules {
		if rule := policy.DeviceRule(r); !policy.KnownRule(rule) && rule != policy.PeopleOnly {
			return nil, fmt.Errorf("%q is no rule for devices: there are %s", r, deviceRuleWords())
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(rules))), nil
}

func deviceRuleWords() string {
	var words []string
	for _, r := range append(policy.DeviceRules(), policy.PeopleOnly) {
		words = append(words, string(r))
	}
	return strings.Join(words, ", ")
}

// tellDevices adds what a patch changes to the detail of an audit event.
func tellDevices(d map[string]string, in api.DevicePatch) {
	if in.DeviceRules != nil {
		d["device_rules"] = strings.Join(*in.DeviceRules, ",")
	}
	if in.DeviceApproval != nil {
		d["device_approval"] = strconv.FormatBool(*in.DeviceApproval)
	}
}
