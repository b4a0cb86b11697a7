package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newPassword names the page alone: a password is typed where the second factor is shown, and
// never here.
func newPassword(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "password", GroupID: groupAccount,
		Short: "Print the address of the page on which you change your password",
		Long: `Print the address of the page on which you change your password. It asks for the present one, and
ends all your other sign-ins. Who signs in at an identity provider has his password there.`,
		Args: cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			old, _ := a.home.Load() // what is damaged names no control plane; then one is asked for
			url, _, err := a.where(loginOptions{}, old)
			if err != nil {
				return err
			}
			url += "/account/password"
			if a.output == asJSON {
				return printJSON(a.out, struct {
					URL string `json:"url"`
				}{url})
			}
			a.say("To change your password open this page:")
			_, err = fmt.Fprintln(a.out, url)
			return err
		},
	}
}
