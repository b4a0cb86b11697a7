package cli

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

// accountFlags are how the accounts of a project's servers come and go, as flags.
type accountFlags struct {
	api.AccountSettings
	life, removeAfter time.Duration
}

// accountFlagNames are those of accountFlags, for anyChanged.
var accountFlagNames = [...]string{"accounts", "account-life", "removal", "removal-home", "remove-after", "shared-account", "shared-admin-account"}

func (s *accountFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	oneOf(cmd, f, &s.Accounts, "accounts", "", []string{"create", "on-demand", "existing"},
		"who makes accounts: create for everybody with a grant, on-demand with the first certificate, existing for none but those that the host has")
	span.Var(f, &s.life, "account-life", 24*time.Hour, "how long an account on demand lives after the last certificate")
	oneOf(cmd, f, &s.Removal, "removal", "", []string{"lock", "remove"}, "what becomes of accounts whose people may not enter any more: lock or remove")
	oneOf(cmd, f, &s.RemovalHome, "removal-home", "", []string{"archive", "delete", "keep"}, "what becomes of the home of a removed account: archive, delete or keep")
	span.Var(f, &s.removeAfter, "remove-after", 30*24*time.Hour, "how long after the end of access accounts are removed; they are locked at once")
	f.StringVar(&s.SharedAccount, "shared-account", "", "one account for all who enter as user (default each has his own)")
	f.StringVar(&s.SharedAdminAccount, "shared-admin-account", "", "one account for all who enter as administrator")
}

// patch is what the flags that were given change.
func (s *accountFlags) patch(cmd *cobra.Command) (p api.AccountPatch, err error) {
	life, err := wholeSeconds(s.life)
	if err != nil {
		return p, err
	}
	after, err := wholeSeconds(s.removeAfter)
	return api.AccountPatch{
		Accounts: changed(cmd, "accounts", &s.Accounts), AccountSeconds: changed(cmd, "account-life", &life),
		Removal: changed(cmd, "removal", &s.Removal), RemovalHome: changed(cmd, "removal-home", &s.RemovalHome),
		RemovalSeconds: changed(cmd, "remove-after", &after),
		SharedAccount:  changed(cmd, "shared-account", &s.SharedAccount), SharedAdminAccount: changed(cmd, "shared-admin-account", &s.SharedAdminAccount),
	}, err
}

// settings are for a new project; what was not given is the control plane's.
func (s *accountFlags) settings(cmd *cobra.Command) (api.AccountSettings, error) {
	p, err := s.patch(cmd)
	out := api.AccountSettings{RemovalSeconds: p.RemovalSeconds, SharedAccount: s.SharedAccount, SharedAdminAccount: s.SharedAdminAccount}
	for to, given := range map[*string]*string{&out.Accounts: p.Accounts, &out.Removal: p.Removal, &out.RemovalHome: p.RemovalHome} {
		if given != nil {
			*to = *given
		}
	}
	if p.AccountSeconds != nil {
		out.AccountSeconds = *p.AccountSeconds
	}
	return out, err
}

func accountColumns() []column[api.Project] {
	return []column[api.Project]{
		{"accounts", func(p api.Project) string {
			if p.Accounts == "on-demand" {
				return "on demand, for " + seconds(p.AccountSeconds)
			}
			return p.Accounts
		}},
		{"after access", func(p api.Project) string {
			if p.Removal != "remove" || p.RemovalSeconds == nil {
				return "locked"
			}
			return "locked, removed after " + seconds(*p.RemovalSeconds) + ", home: " + p.RemovalHome
		}},
		{"shared account", func(p api.Project) string { return cmp.Or(p.SharedAccount, "none") }},
		{"shared admin account", func(p api.Project) string { return cmp.Or(p.SharedAdminAccount, "none") }},
	}
}

func seconds(n int) string { return span.Text(time.Duration(n) * time.Second) }
