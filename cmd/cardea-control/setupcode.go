package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/store"
)

// setupCodeOptions are those of setup-code.
type setupCodeOptions struct {
	options
	admin string
}

func newSetupCode() *cobra.Command {
	var o setupCodeOptions
	cmd := &cobra.Command{
		Use: "setup-code", Short: "Make a code with which an administrator chooses a new password",
		Long: "Make a code with which an administrator chooses a new password, on the page /setup of\n" +
			"the control plane. It is good once, for a day, and takes the place of one before it.\n" +
			"His second factors stay. With SQLite the control plane must not run meanwhile.",
		Example: "  cardea-control setup-code --admin alice",
	}
	cmd.Flags().StringVar(&o.admin, "admin", defaultAdmin, "name of the administrator")
	return withOptions(cmd, &o.options, func(ctx context.Context) error { return o.run(ctx, cmd.OutOrStdout()) })
}

func (o *setupCodeOptions) run(ctx context.Context, out io.Writer) error {
	db, err := openStore(ctx, &o.options, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	u, err := db.UserByName(ctx, o.admin)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && (!u.Admin || u.Issuer != store.LocalIssuer):
		return commandline.Wrong(fmt.Errorf("%q is no administrator with a password of the control plane; give his name with --admin", o.admin))
	case err != nil:
		return err
	}
	code, err := invite(ctx, db, u, "cardea-control setup-code")
	if errors.Is(err, store.ErrDenied) {
		return fmt.Errorf("administrator %s is %s; another one enables him with: cardea admin users enable %s", u.Name, u.Status, u.Name)
	}
	if err != nil {
		return err
	}
	tellCode(out, cmp.Or(o.PublicURL, "http://"+o.Listen), code)
	return nil
}

// invite makes a code for a user. Only its hash is kept.
func invite(ctx context.Context, db store.Store, u store.User, source string) (string, error) {
	now := time.Now().UTC()
	code, v := signin.NewInvitation(u.ID, now)
	e := audit.Event{Time: now, Action: audit.UserInvite, Outcome: audit.Allowed, User: u.ID, Source: source, Detail: map[string]string{"name": u.Name}}
	return code, db.Invite(ctx, v, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
}

// tellCode prints where the code is to be typed: in an address it would be kept by browsers
// and logs.
func tellCode(out io.Writer, url, code string) {
	fmt.Fprintf(out, "set up at      %s/setup\n", url)
	fmt.Fprintf(out, "set-up code    %s  (told this once; good once, for %d hours)\n", code, int(signin.InvitationLife.Hours()))
}
