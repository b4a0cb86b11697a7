package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/login"
)

// deviceApproveCode is the page for typed codes, in a terminal of a signed-in device.
func deviceApproveCode(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "approve CODE", Short: "Let a device without a browser sign in as you, by the code that it shows", Args: cobra.ExactArgs(1),
		Long: `Let a device without a browser sign in as you, by the code that "cardea login --device-code"
shows there. Your browser opens: the page names the device and from where it asks, you show
there who you are, and say yes or no.

Type a code only if that device is yours and you began this yourself just now. If somebody
sent you the code, his device would act as you. It is not for administrators.`,
		Example: "  cardea device approve BCDF-GHJK",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.approveCode(cmd.Context(), args[0]) },
	}
}

func (a *app) approveCode(ctx context.Context, typed string) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	saved, err := a.acct.Saved(ctx)
	if err != nil {
		return err
	}
	// Before a code is used up that nobody is here to say yes to.
	flow, err := a.flow(ctx, saved.URL, saved.CAFile, loginOptions{begun: "cardea device approve CODE"}, "To show who you are, and to say yes or no")
	if err != nil {
		return err
	}
	var w api.WaitingDevice
	if err := client.Send(ctx, "POST", "/v1/device-codes", api.TypedCode{Code: typed}, &w); err != nil {
		return err
	}
	if ident.Check(w.Request, ident.AuthRequest) != nil {
		return api.Errorf(api.Foreign, "%s names no request", saved.URL).WithHint("check that both are of one version: cardea version")
	}
	fmt.Fprint(a.err, waitingText(w, saved.Session.UserName))
	flow.Waiting = w.Request
	err = flow.Approve(ctx, client)
	if errors.Is(err, login.ErrCancelled) {
		if err := client.Send(ctx, "POST", "/v1/device-codes/"+url.PathEscape(w.Request)+"/refuse", nil, nil); err != nil {
			return err
		}
		return api.Errorf(api.Denied, "you said no; the device was told").WithHint("if you did not begin this, tell your administrator who gave you the code")
	}
	if err != nil {
		return err
	}
	a.say("%s acts as %s from now on.", ident.Text(w.Device), saved.Session.UserName)
	return nil
}

// waitingText is what the page shows.
func waitingText(w api.WaitingDevice, user string) string {
	text := fmt.Sprintf("Device:       %s\nIts address:  %s\nYour address: %s\nActs as:      %s\n", ident.Text(w.Device), ident.Text(w.Origin), ident.Text(w.Source), ident.Text(user))
	if w.Elsewhere {
		text += "It is in another network than you are. "
	}
	return text + "Whoever holds it will act as you.\n"
}
