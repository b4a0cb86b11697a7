package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// approveDeviceOptions are those of approve-device.
type approveDeviceOptions struct {
	options
	device string
}

// newApproveDevice is the way in for a team that has devices approved, and no active device
// of an administrator left.
func newApproveDevice() *cobra.Command {
	var o approveDeviceOptions
	cmd := &cobra.Command{
		Use: "approve-device", Short: "Approve a device, where no administrator has an active one",
		Long: "Approve a device that waits for approval, where no administrator has an active one to do\n" +
			"it with. The device's own refusals name it. With SQLite the control plane must not run\n" +
			"meanwhile.",
		Example: "  cardea-control approve-device --device dev_…",
	}
	cmd.Flags().StringVar(&o.device, "device", "", "id of the device")
	return withOptions(cmd, &o.options, func(ctx context.Context) error { return o.run(ctx, cmd.OutOrStdout()) })
}

func (o *approveDeviceOptions) run(ctx context.Context, out io.Writer) error {
	unknown := commandline.Wrong(fmt.Errorf("there is no device %q; give its id with --device", o.device))
	if ident.Check(o.device, ident.Device) != nil {
		return unknown
	}
	db, err := openStore(ctx, &o.options, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	d, err := db.Device(ctx, o.device)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return unknown
	case err != nil:
		return err
	}
	now := time.Now().UTC()
	e := audit.Event{Time: now, Action: audit.DeviceApprove, Outcome: audit.Allowed, User: d.User, Source: "cardea-control approve-device",
		Detail: map[string]string{"device": d.ID, "key": d.Thumbprint}}
	d, err = db.ApproveDevice(ctx, d.ID, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrDenied) {
		return fmt.Errorf("device %s does not wait for approval", o.device)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "approved       %s  (%s)\n", d.ID, ident.Text(d.Name))
	return nil
}
