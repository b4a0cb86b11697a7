package cli

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

func userColumns() []column[api.User] {
	return []column[api.User]{
		{"name", func(u api.User) string { return u.Name }},
		{"login", func(u api.User) string { return u.Login }},
		{"uid", func(u api.User) string { return strconv.Itoa(u.UID) }},
		{"status", standing},
		{"kept by", keptBy},
		{"last sign-in", func(u api.User) string { return stamp(u.SignedInAt) }},
		{"admin", func(u api.User) string { return yesNo(u.Admin) }},
		{"full name", func(u api.User) string { return u.FullName }},
		{"email", func(u api.User) string { return u.Email }},
		{"created", func(u api.User) string { return stamp(u.CreatedAt) }},
		{"id", func(u api.User) string { return u.ID }},
	}
}

// standing is the status, and of who is out also who put him out.
func standing(u api.User) string {
	by := cmp.Or(u.DisabledByName, u.DisabledBy)
	switch {
	case by == "" || u.Status == "active":
		return u.Status
	case strings.HasPrefix(u.DisabledBy, ident.ScimClient):
		by = "scim " + by
	}
	return u.Status + " by " + by
}

// keptBy is who says that the user may enter.
func keptBy(u api.User) string {
	return strings.TrimSpace(u.KeptBy + " " + cmp.Or(u.KeeperName, u.Keeper))
}

// userDetails are those of one user.
func userDetails() []column[api.User] {
	return append(userColumns(),
		column[api.User]{"disabled", func(u api.User) string { return stamp(u.DisabledAt) }},
		column[api.User]{"issuer", func(u api.User) string { return u.Issuer }},
		column[api.User]{"subject", func(u api.User) string { return u.Subject }})
}

// createdColumns also show the password that was made; it is told once.
func createdColumns() []column[api.CreatedUser] {
	columns := []column[api.CreatedUser]{
		{"password (told once)", func(u api.CreatedUser) string { return u.Password }},
	}
	for _, c := range userDetails() {
		columns = append(columns, column[api.CreatedUser]{c.name, func(u api.CreatedUser) string { return c.text(u.User) }})
	}
	return columns
}

func adminUsers(a *app) *cobra.Command {
	disabled, active := "disabled", "active"
	return noun("users", "People",
		listVerb(a, "/v1/users", "List users", userColumns(), nil),
		showVerb(a, "users", "USER", userDetails()),
		userCreate(a), userUpdate(a),
		onOff(a, "disable", "USER", "End all access of a user", "users", api.UserPatch{Status: &disabled}),
		onOff(a, "enable", "USER", "Give a disabled user access again", "users", api.UserPatch{Status: &active}),
		userResetFactors(a),
		deleteVerb(a, "users", "USER", "Delete a user; the name and uid are never given again"),
	)
}

func userResetFactors(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "reset-factors USER", Short: "Take all second factors from a user who lost them", Args: cobra.ExactArgs(1),
		Long: `Take all second factors and recovery codes from a user who lost them. His password
alone signs him in then; where the team demands a second factor he has to add one before
he may go on. Be sure that it is he who asks.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("users", args[0], "reset-factors")
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "POST", path, nil, "took the second factors from "+args[0])
		},
	}
}

func userCreate(a *app) *cobra.Command {
	var in api.NewUser
	stdin := false
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Create a user", Args: cobra.ExactArgs(1),
		Long: "Create a user. Without --password-stdin a password is made and printed, once. With --provider and --subject it is one\n" +
			"who signs in there and has no password here.",
		Example: "  cardea admin users create alice --full-name 'Alice Ang'\n  cardea admin users create alice --provider okta --subject 00u1…\n  pass show alice | cardea admin users create alice --password-stdin",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Name = args[0]
			if stdin {
				if in.Password, err = passwordFrom(a.in); err != nil {
					return err
				}
			}
			u, err := call[api.CreatedUser](cmd.Context(), a, "POST", "/v1/users", in)
			if err != nil {
				return err
			}
			return showOne(a, u, createdColumns())
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Login, "login", "", "Unix login (default the name); it cannot be changed later")
	f.StringVar(&in.FullName, "full-name", "", "name as people know it")
	f.StringVar(&in.Email, "email", "", "address")
	f.BoolVar(&in.Admin, "admin", false, "may administer the team")
	f.BoolVar(&stdin, "password-stdin", false, "read the password from stdin")
	f.StringVar(&in.Provider, "provider", "", "the identity provider at which the user signs in")
	f.StringVar(&in.Subject, "subject", "", "who the user is there")
	cmd.MarkFlagsRequiredTogether("provider", "subject")
	cmd.MarkFlagsMutuallyExclusive("provider", "password-stdin")
	return cmd
}

func userUpdate(a *app) *cobra.Command {
	var fullName, email, password string
	var admin, stdin, reset bool
	cmd := &cobra.Command{
		Use: "update USER", Aliases: []string{"set"}, Short: "Change a user", Args: cobra.ExactArgs(1),
		Example: "  cardea admin users update alice --admin\n  cardea admin users update alice --reset-password",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := anyChanged(cmd, "full-name", "email", "admin", "password-stdin", "reset-password"); err != nil {
				return err
			}
			path, err := pathOf("users", args[0])
			if err != nil {
				return err
			}
			patch := api.UserPatch{
				FullName: changed(cmd, "full-name", &fullName), Email: changed(cmd, "email", &email), Admin: changed(cmd, "admin", &admin),
			}
			if stdin {
				if password, err = passwordFrom(a.in); err != nil {
					return err
				}
			}
			if stdin || reset {
				patch.Password = &password // empty: one is made
			}
			u, err := call[api.CreatedUser](cmd.Context(), a, "PATCH", path, patch)
			if err != nil {
				return err
			}
			return showOne(a, u, createdColumns())
		},
	}
	f := cmd.Flags()
	f.StringVar(&fullName, "full-name", "", "name as people know it")
	f.StringVar(&email, "email", "", "address")
	f.BoolVar(&admin, "admin", false, "may administer the team")
	f.BoolVar(&stdin, "password-stdin", false, "read a new password from stdin; it ends all his sessions")
	f.BoolVar(&reset, "reset-password", false, "have a new password made and printed, once; it ends all his sessions")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "reset-password")
	return cmd
}
