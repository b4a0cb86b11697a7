package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
taken by itself: for a new key there, type "cardea device replace". This verb only looks, and
makes no key.`,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.showDevice(cmd.Context()) },
		},
		listVerb(a, "/v1/devices/mine", "List your devices", []column[api.Device]{
			{"name", func(d api.Device) string { return d.Name }},
			{"state", func(d api.Device) string { return deviceState(d.State) }},
			{"created", func(d api.Device) string { return stamp(d.CreatedAt) }},
			{"key", func(d api.Device) string { return d.Thumbprint }},
			{"id", func(d api.Device) string { return d.ID }},
		}, nil),
		deviceApproveCode(a), deviceLost(a), deviceReplace(a),
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

// showDevice looks at the key, and makes none: that is for a sign-in.
func (a *app) showDevice(ctx context.Context) error {
	s := thisDevice{Posture: posture.Read(ctx)}
	d, err := a.home.Look()
	switch {
	case err == nil:
		s.Kind, s.Thumbprint, s.Path, s.Better = d.Kind, d.Key.Thumbprint(), d.Path, a.home.Better(d.Kind)
		s.known(ctx, a)
	case errors.Is(err, fs.ErrNotExist):
		s.State = "no device yet; " + a.makesDevice()
	default:
		return err
	}
	return showOne(a, s, []column[thisDevice]{
		{"Key", func(s thisDevice) string { return cmp.Or(s.Thumbprint, "none yet") }},
		{"Kept in", func(s thisDevice) string { return keptIn(s) }},
		{"Not in", func(s thisDevice) string { return strings.Join(s.Better, "; ") }},
		{"Device", func(s thisDevice) string {
			if s.ID == "" {
				return ""
			}
			return s.Name + " (" + s.ID + ")"
		}},
		{"State", func(s thisDevice) string {
			return cmp.Or(deviceState(s.State), "not known: not signed in, or the control plane does not answer")
		}},
		{"System", func(s thisDevice) string {
			return strings.TrimSpace(cmp.Or(s.Posture.System, s.Posture.OS) + " " + s.Posture.Version)
		}},
		{"Disk encrypted", func(s thisDevice) string { return s.Posture.DiskEncryption }},
		{"Screen locks", func(s thisDevice) string { return s.Posture.ScreenLock }},
	})
}

// deviceState is a state in the words of the other screens; programs get the wire's.
func deviceState(state string) string {
	if state == devicePending {
		return "waits for approval"
	}
	return state
}

// makesDevice is what to type where there is no key: a sign-in makes one, or, where there was
// another one, a replacement.
func (a *app) makesDevice() string {
	saved, err := a.home.Peek()
	switch {
	case err == nil && saved.KeyFile == "":
		return "the key of the one that was here is gone: to replace it type: cardea device replace"
	case saved.URL == "" && a.opt.URL == "":
		return "to make one type: cardea login https://YOUR-CONTROL-PLANE"
	}
	return "to make one type: cardea login"
}

func keptIn(s thisDevice) string {
	switch s.Kind {
	case "":
		return ""
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
