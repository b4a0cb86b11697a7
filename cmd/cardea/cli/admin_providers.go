package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// providerColumns are those of the list.
func providerColumns() []column[api.Provider] {
	return []column[api.Provider]{
		{"name", func(p api.Provider) string { return p.Name }},
		{"state", func(p api.Provider) string { return p.State }},
		{"issuer", func(p api.Provider) string { return p.Issuer }},
		{"client", func(p api.Provider) string { return p.ClientID }},
		{"login from", func(p api.Provider) string { return p.LoginClaim + " " + p.LoginRule }},
		{"groups from", func(p api.Provider) string { return p.GroupsClaim }},
		{"makes users", func(p api.Provider) string { return yesNo(p.Create) }},
		{"created", func(p api.Provider) string { return stamp(p.CreatedAt) }},
		{"id", func(p api.Provider) string { return p.ID }},
	}
}

// showProvider prints all of one.
func showProvider(a *app, p api.Provider) error {
	columns := append(providerColumns()[:4:4], []column[api.Provider]{
		{"title", func(p api.Provider) string { return p.Title }},
		{"redirect uri", func(p api.Provider) string { return p.RedirectURI }},
		{"client secret", func(p api.Provider) string {
			if p.HasSecret {
				return "kept"
			}
			return "none"
		}},
		{"scopes", func(p api.Provider) string { return strings.Join(p.Scopes, " ") }},
		{"domains", func(p api.Provider) string { return strings.Join(p.Domains, " ") }},
		{"required", func(p api.Provider) string { return labels(p.Require) }},
	}...)
	return showOne(a, p, append(columns, providerColumns()[4:]...))
}

func adminProviders(a *app) *cobra.Command {
	disabled, active := "disabled", "active"
	cmd := noun("providers", "Identity providers at which people sign in (OpenID Connect)",
		listVerb(a, "/v1/providers", "List identity providers", providerColumns(), nil),
		providerShow(a), providerAdd(a), providerSet(a), providerTest(a),
		onOff(a, "disable", "PROVIDER", "Let nobody sign in there; who is signed in stays so", "providers", api.ProviderPatch{State: &disabled}),
		onOff(a, "enable", "PROVIDER", "Let people sign in there again", "providers", api.ProviderPatch{State: &active}),
		deleteVerb(a, "providers", "PROVIDER", "Delete one; its users stay and cannot sign in"),
	)
	cmd.Aliases = []string{"idp"}
	return cmd
}

func providerShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show PROVIDER", Short: "Show one by id or name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("providers", args[0])
			if err != nil {
				return err
			}
			p, err := call[api.Provider](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			return showProvider(a, p)
		},
	}
}

const howLoginsAreMade = `The Unix login of somebody who comes for the first time is made of a claim. The rule "whole"
takes it as it is, "local-part" what stands before the @ of an address in one of --domain.
Capital letters become small and dots hyphens; what is then no login, or is taken, is refused,
and the page says what you type for that person. A login never changes afterwards.`

// providerFlags are what one may say of a provider.
type providerFlags struct {
	api.ProviderSettings
	secretStdin bool
}

func (f *providerFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.Title, "title", "", "what people read on the button (default the name)")
	flags.StringVar(&f.ClientID, "client-id", "", "who Cardea is at the provider")
	flags.BoolVar(&f.secretStdin, "client-secret-stdin", false, "read the client secret from stdin")
	flags.StringArrayVar(&f.Scopes, "scope", nil, "a scope to ask for; once for each (default openid, profile, email)")
	flags.StringVar(&f.LoginClaim, "login-claim", "", "claim of which a new user's login is made (default preferred_username)")
	oneOf(cmd, flags, &f.LoginRule, "login-rule", "", []string{"whole", "local-part"}, "how: whole, or local-part of an address")
	flags.StringArrayVar(&f.Domains, "domain", nil, "a domain of addresses that may have accounts, for local-part; once for each")
	flags.StringVar(&f.GroupsClaim, "groups-claim", "", "claim that lists a person's groups")
	pairsVar(flags, &f.Require, "require", "a claim that everybody must have, as claim=value; once for each")
	flags.BoolVar(&f.Create, "create", false, "make a user of whoever comes for the first time")
}

func (f *providerFlags) secret(a *app) (string, error) {
	if !f.secretStdin {
		return "", nil
	}
	return secretFrom(a.in, "client secret", "write it there as one line: pass show okta | cardea admin providers …")
}

func providerAdd(a *app) *cobra.Command {
	var f providerFlags
	in := api.NewProvider{}
	cmd := &cobra.Command{
		Use: "add NAME", Aliases: []string{"create"}, Short: "Let people sign in at an identity provider", Args: cobra.ExactArgs(1),
		Long: "Let people sign in at an identity provider. Register the redirect URI that this prints there.\n\n" + howLoginsAreMade,
		Example: `  pass show okta | cardea admin providers add okta --title Okta --issuer https://example.okta.com --client-id 0oa1… \
      --client-secret-stdin --login-rule local-part --domain example.com --create --groups-claim groups --scope openid --scope profile --scope email --scope groups
  cardea admin providers test okta`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Name, in.ProviderSettings = args[0], f.ProviderSettings
			if in.ClientSecret, err = f.secret(a); err != nil {
				return err
			}
			p, err := call[api.Provider](cmd.Context(), a, "POST", "/v1/providers", in)
			if err != nil {
				return err
			}
			if err := showProvider(a, p); err != nil {
				return err
			}
			if a.output != asJSON {
				a.say("register this redirect URI at the provider: %s", p.RedirectURI)
				a.say("then type: cardea admin providers test %s", p.Name)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&in.Issuer, "issuer", "", "its issuer, exactly as it writes it")
	mustBeGiven(cmd, "issuer", "client-id")
	return cmd
}

func providerSet(a *app) *cobra.Command {
	var f providerFlags
	cmd := &cobra.Command{
		Use: "set PROVIDER", Aliases: []string{"update"}, Short: "Change an identity provider", Args: cobra.ExactArgs(1),
		Long:    "Change an identity provider. A list that is given stands in place of the one before. Name and issuer\nnever change: they are part of the redirect URI, and of who its people are.\n\n" + howLoginsAreMade,
		Example: "  cardea admin providers set okta --create=false\n  pass show okta | cardea admin providers set okta --client-secret-stdin",
		RunE: func(cmd *cobra.Command, args []string) error {
			err := anyChanged(cmd, "title", "client-id", "client-secret-stdin", "scope", "login-claim", "login-rule", "domain", "groups-claim", "require", "create")
			if err != nil {
				return err
			}
			path, err := pathOf("providers", args[0])
			if err != nil {
				return err
			}
			patch := api.ProviderPatch{
				Title: changed(cmd, "title", &f.Title), ClientID: changed(cmd, "client-id", &f.ClientID), Scopes: changed(cmd, "scope", &f.Scopes),
				LoginClaim: changed(cmd, "login-claim", &f.LoginClaim), LoginRule: changed(cmd, "login-rule", &f.LoginRule),
				Domains: changed(cmd, "domain", &f.Domains), GroupsClaim: changed(cmd, "groups-claim", &f.GroupsClaim),
				Require: changed(cmd, "require", &f.Require), Create: changed(cmd, "create", &f.Create),
			}
			secret, err := f.secret(a)
			if err != nil {
				return err
			}
			if f.secretStdin {
				patch.ClientSecret = &secret
			}
			p, err := call[api.Provider](cmd.Context(), a, "PATCH", path, patch)
			if err != nil {
				return err
			}
			return showProvider(a, p)
		},
	}
	f.add(cmd)
	return cmd
}

func providerTest(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "test PROVIDER", Short: "Ask a provider for what it publishes, and compare", Args: cobra.ExactArgs(1),
		Long: "Ask a provider for what it publishes, from the control plane and now, and compare that with what is set.\nWhether it takes the client and its redirect URI shows only at a sign-in. The exit code is 1 if nobody could sign in.",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("providers", args[0], "test")
			if err != nil {
				return err
			}
			t, err := call[api.ProviderTest](cmd.Context(), a, "POST", path, nil)
			if err != nil {
				return err
			}
			columns := []column[api.ProviderTest]{
				{"works", func(t api.ProviderTest) string { return yesNo(t.Works) }},
				{"answers in", func(t api.ProviderTest) string { return fmt.Sprintf("%d ms", t.Milliseconds) }},
				{"sign-in at", func(t api.ProviderTest) string { return t.AuthURL }},
				{"tokens at", func(t api.ProviderTest) string { return t.TokenURL }},
				{"signs with", func(t api.ProviderTest) string { return strings.Join(t.Algorithms, " ") }},
				{"keys", func(t api.ProviderTest) string { return fmt.Sprint(t.Keys) }},
				{"redirect uri", func(t api.ProviderTest) string { return t.RedirectURI }},
			}
			for i := range t.Problems {
				columns = append(columns, column[api.ProviderTest]{"problem", func(t api.ProviderTest) string { return t.Problems[i] }})
			}
			for i := range t.Notes {
				columns = append(columns, column[api.ProviderTest]{"note", func(t api.ProviderTest) string { return t.Notes[i] }})
			}
			if err := showOne(a, t, columns); err != nil {
				return err
			}
			if !t.Works || len(t.Problems) > 0 {
				return fmt.Errorf("nobody can sign in at %s like this; correct it there, or here: type: cardea admin providers set %s --help", args[0], args[0])
			}
			return nil
		},
	}
}
