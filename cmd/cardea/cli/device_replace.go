package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/login"
)

// replacement is of a device by this one, with the key that it will have.
type replacement struct {
	login.Device
	ref, key string // of the one before: its name or id, or else the thumbprint of its key
}

// prepare is the device that signs in by the flow: the one that there is, if r is nil.
func (r *replacement) prepare(f *login.Flow, own func() (login.Device, error)) (login.Device, error) {
	if r == nil {
		return own()
	}
	f.Replaces, f.ReplacesKey = r.ref, r.key
	return r.Device, nil
}

// deviceReplace is for a new laptop, and for one whose key is gone or has got into the wrong
// hands.
func deviceReplace(a *app) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use: "replace [DEVICE]", Short: "Sign in with a new key in the place of a device that you lost or whose key is gone", Args: cobra.MaximumNArgs(1),
		Long: `Sign in with a new key, in the place of another device of yours. That one is locked out for ever in
the same moment: its sessions end, and the connections that they began.

Without DEVICE it is this machine itself that gets a new key: because its TPM was cleared, its disk
was restored elsewhere, its key was copied, it was locked out and found again, or there is a better
place for a key by now. The key before is set aside once the new one is signed in. Whatever
goes wrong before that, or if you cancel, nothing has changed.

On a new machine give the old one's name or id, as "cardea device list" shows it on any other
device of yours. If you know neither, give any name: the refusal tells which there are.

Nothing that the old device was trusted with goes over. Where your team or a project has
devices approved, the new one waits until an administrator approves it.`,
		Example: "  cardea device replace\n  cardea device replace old-laptop --url https://access.example.com\n  cardea device replace --device-key tpm",
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := ""
			if len(args) == 1 {
				ref = args[0]
			}
			return a.replaceDevice(cmd.Context(), o, ref)
		},
	}
	cmd.Flags().BoolVar(&o.deviceCode, "device-code", false, "show a code that you type in a browser on another machine")
	cmd.Flags().StringVar(&o.deviceName, "device-name", "", "what this device is called (default the host's name)")
	return cmd
}

func (a *app) replaceDevice(ctx context.Context, o loginOptions, ref string) error {
	old, _ := a.home.Load() // what is damaged is replaced; what is unsafe Check tells
	o.begun = "cardea device replace"
	if ref != "" {
		o.begun += " " + commandline.Word(ref)
	}
	if err := forPeople(old, o.begun); err != nil {
		return err
	}
	url, caFile, err := a.where(o, old)
	if err != nil {
		return err
	}
	r, err := a.replaced(old, url, ref)
	if err != nil {
		return err
	}
	if err := a.home.Check(); err != nil {
		return err
	}
	if r.Device, err = a.home.Next(); err != nil {
		return err
	}
	o.replace = &r
	if url == old.URL {
		o.before = old.Session.ID
	}
	saved, err := a.signIn(ctx, url, caFile, o)
	if api.KindOf(err) == api.Denied && !errors.Is(err, login.ErrCancelled) {
		err = errors.Join(err, a.home.Refused(r.Device))
	}
	if err != nil {
		return err
	}
	saved.CAFile = caFile
	aside, err := a.home.Replace(saved, r.Device)
	if err != nil {
		revoking, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		revokeBy(revoking, r.Key, saved, "")
		return fmt.Errorf("%w; to go on from here type: %s", err, o.begun)
	}
	old.Token = "" // that session ended with the device
	if err := a.entered(ctx, old, saved); err != nil {
		return err
	}
	if aside != "" {
		a.say("The key before is set aside in %s; the control plane takes it no more.", aside)
	}
	return nil
}

// replaced tells which device this one comes in the place of.
func (a *app) replaced(old login.Saved, url, ref string) (replacement, error) {
	var r replacement
	here := ident.Text(old.Session.DeviceTag) + " (" + old.Session.Device + ")"
	switch {
	case old.SignedIn() && old.URL != url:
		return r, &usageError{"this machine is signed in at " + old.URL, "to replace it there type: cardea device replace; to leave there type: cardea logout"}
	case old.SignedIn() && (ref == "" || ref == old.Session.Device):
		r.ref = old.Session.Device
		return r, nil
	case old.SignedIn():
		return r, &usageError{"this machine is " + here + " already", "to lock out another one type: cardea device lost DEVICE; for a new key here type: cardea device replace"}
	case ref != "":
		r.ref = ref
		return r, nil
	}
	var err error
	r.key, err = a.home.Known()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, &usageError{"this machine has no key to replace", "to sign it in as a new device type: cardea login; in the place of another one type: cardea device replace DEVICE"}
	case err != nil:
		return r, &usageError{"which device this machine is cannot be read from its key", "type its name or id: cardea device replace DEVICE"}
	}
	return r, nil
}
