package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/version"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: groupSetup,
		Short:       "Tell which build this is",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{rawKey: ""},
		RunE: func(*cobra.Command, []string) error {
			if a.output == asJSON {
				return printJSON(a.out, version.Get())
			}
			_, err := fmt.Fprintln(a.out, "cardea", version.Get())
			return err
		},
	}
}
