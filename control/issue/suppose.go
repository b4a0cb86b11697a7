package issue

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// Supposed is whom an administrator asks about, and what he supposes.
type Supposed struct {
	User string
	At   time.Time // zero is now
	// Device is one that the user has; empty is one on which all is in order, but for what
	// Without names: rules for devices, and Approval.
	Device  string
	Without []string
}

// Approval is what a supposed device can be without, beside the rules for devices.
const Approval = "approval"

// supposedDevice is the device at which the user is supposed to be signed in.
func (s *Service) supposedDevice(ctx context.Context, u store.User, suppose Supposed) (store.Device, error) {
	if suppose.Device == "" {
		return assumedDevice(u, suppose)
	}
	if len(suppose.Without) > 0 {
		return store.Device{}, api.Errorf(api.Invalid, "a device that there is, is as it is").WithHint("leave out the device, or what it is without")
	}
	d, err := store.Device{}, store.ErrNotFound
	if ident.Check(suppose.Device, ident.Device) == nil {
		d, err = s.Store.Device(ctx, suppose.Device)
	}
	if errors.Is(err, store.ErrNotFound) || err == nil && d.User != u.ID {
		return d, api.Errorf(api.NotFound, "%s has no device %s", u.Name, lookup.Shown(suppose.Device)).
			WithHint("to see what there is type: cardea admin devices list --user %s", u.Name)
	}
	return d, err
}

// assumedDevice says the best of itself.
func assumedDevice(u store.User, suppose Supposed) (store.Device, error) {
	for _, w := range suppose.Without {
		if w != Approval && !policy.KnownRule(policy.DeviceRule(w)) {
			return store.Device{}, api.Errorf(api.Invalid, "a device cannot be without %s", lookup.Shown(w)).
				WithHint("give some of %v, or %s", policy.DeviceRules(), Approval)
		}
	}
	say := func(r policy.DeviceRule, yes, no string) string {
		if slices.Contains(suppose.Without, string(r)) {
			return no
		}
		return yes
	}
	report, err := json.Marshal(api.DeviceReport{
		DiskEncryption: say(policy.RuleDiskEncryption, "yes", "no"), ScreenLock: say(policy.RuleScreenLock, "yes", "no"), Key: say(policy.RuleHardwareKey, "tpm", "file"),
	})
	d := store.Device{ID: assumedID, User: u.ID, State: store.Active, Report: string(report), ReportedAt: suppose.At}
	if !slices.Contains(suppose.Without, Approval) {
		d.ApprovedAt = suppose.At
	}
	return d, err
}
