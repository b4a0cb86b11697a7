package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/login"
	"github.com/cardea-ssh/cardea/login/posture"
)

// thisDevice is what `cardea device show -o json` prints. Its names are for ever.
type thisDevice struct {
	Kind       string `json:"kind"`
	Thumbprint string `json:"thumbprint"`
	Path       string `json:"path"`
	ID         string `json:"id,omitempty"`
	Name       string `json:"name,omitempty"`
	State      string `json:"state,omitempty"`
	// Better says for each better place why the key is not there.
	Better []string `json:"better,omitempty"`
	// Posture is what this machine says of itself.
	Posture posture.Report `json:"posture"`
}

func newDevice(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "device", GroupID: groupAccount,
		Short: "This device's key, and your other devices",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "show", Short: "Show where this device's key is kept, and what the control plane knows of it", Args: cobra.NoArgs,
			Long: `Show where this device's key is kept, and what the control plane knows of it.

A session is good only together with this key. It is kept in the best place that there
was when it was made: in the TPM, from which nobody can copy it; in the keyring of your
desktop; or in a file that nobody else may read. A better place that comes later is not
taken by itself: to make a new key, move the file away and sign in again.`,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.showDevice(cmd.Context()) },
		},
		listVerb(a, "/v1/devices/mine", "List your devices", []column[api.Device]{
			{"name", func(d api.Device) string { return d.Name }},
			{"state", func(d api.Device) string { return d.State }},
			{"created", func(d api.Device) string { return stamp(d.CreatedAt) }},
			{"key", func(d api.Device) string { return d.Thumbprint }},
			{"id", func(d api.Device) string { return d.ID }},
		}, nil),
		deviceApproveCode(a), deviceLost(a),
	)
	return cmd
}

// deviceLost is for the moment in which somebody looks for a laptop: typed on any
// other device of his.
func deviceLost(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "lost DEVICE", Short: "Lock out a device that you lost, and end all that it began", Args: cobra.ExactArgs(1),
		Example: "  cardea device list\n  cardea device lost dev_…",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("devices", args[0], "revoke")
			if err != nil {
				return err
			}
			if here, err := a.home.Peek(); err == nil && here.Session.Device == args[0] {
				return &usageError{args[0] + " is this device, and locked out is for ever", "to sign out here type: cardea logout"}
			}
			return a.act(cmd.Context(), "POST", path, nil, "locked out "+args[0]+"; it can never sign in again")
		},
	}
}

// showDevice makes the key where there is none: that is what a sign-in would do.
func (a *app) showDevice(ctx context.Context) error {
	d, err := a.home.Device()
	if err != nil {
		return err
	}
	s := thisDevice{Kind: d.Kind, Thumbprint: d.Key.Thumbprint(), Path: d.Path, Better: a.home.Better(d.Kind), Posture: posture.Read(ctx)}
	s.known(ctx, a)
	return showOne(a, s, []column[thisDevice]{
		{"Key", func(s thisDevice) string { return s.Thumbprint }},
		{"Kept in", func(s thisDevice) string { return keptIn(s) }},
		{"Not in", func(s thisDevice) string { return strings.Join(s.Better, "; ") }},
		{"Device", func(s thisDevice) string {
			if s.ID == "" {
				return ""
			}
			return s.Name + " (" + s.ID + ")"
		}},
		{"State", func(s thisDevice) string {
			return cmp.Or(s.State, "not known: not signed in, or the control plane does not answer")
		}},
		{"System", func(s thisDevice) string {
			return strings.TrimSpace(cmp.Or(s.Posture.System, s.Posture.OS) + " " + s.Posture.Version)
		}},
		{"Disk encrypted", func(s thisDevice) string { return s.Posture.DiskEncryption }},
		{"Screen locks", func(s thisDevice) string { return s.Posture.ScreenLock }},
	})
}

func keptIn(s thisDevice) string {
	switch s.Kind {
	case login.KeyInTPM:
		return fmt.Sprintf("the TPM, which alone can use %s", s.Path)
	case login.KeyInEnclave:
		return fmt.Sprintf("the Secure Enclave, which alone can use %s", s.Path)
	case login.KeyInKeyring:
		return "the keyring"
	}
	return fmt.Sprintf("the file %s: whoever copies it can sign as this device", s.Path)
}

// known adds what the control plane says, if it says anything in time.
func (s *thisDevice) known(ctx context.Context, a *app) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return
	}
	if saved, err := a.acct.Saved(ctx); err == nil {
		s.ID, s.Name = saved.Session.Device, saved.Session.DeviceTag
	}
	mine, err := api.All[api.Device](ctx, client, "/v1/devices/mine", nil)
	if api.KindOf(err) == api.Denied { // it waits for approval, or is revoked
		s.State = err.Error()
	}
	if err != nil {
		return
	}
	for _, d := range mine {
		if d.Thumbprint == s.Thumbprint {
			s.ID, s.Name, s.State = d.ID, d.Name, d.State
		}
	}
}
