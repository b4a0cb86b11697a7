package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/span"
)

func tokenColumns() []column[api.EnrolmentToken] {
	return []column[api.EnrolmentToken]{
		{"id", func(t api.EnrolmentToken) string { return t.ID }},
		{"kind", func(t api.EnrolmentToken) string { return t.Kind }},
		{"project", func(t api.EnrolmentToken) string { return t.Project }},
		{"name", func(t api.EnrolmentToken) string { return t.Name }},
		{"address", func(t api.EnrolmentToken) string { return t.Address }},
		{"tls address", func(t api.EnrolmentToken) string { return t.TLSAddress }},
		{"uses left", func(t api.EnrolmentToken) string { return strconv.Itoa(t.UsesLeft) }},
		{"expires", func(t api.EnrolmentToken) string { return stamp(t.ExpiresAt) }},
		{"labels", func(t api.EnrolmentToken) string { return labels(t.Labels) }},
	}
}

func adminTokens(a *app) *cobra.Command {
	remove := deleteVerb(a, "enrolment-tokens", "TOKEN", "Make an enrolment token worthless")
	remove.Aliases = append(remove.Aliases, "revoke")
	return noun("tokens", "Enrolment tokens, which let servers and gateways in, and devices of a fleet",
		listVerb(a, "/v1/enrolment-tokens", "List enrolment tokens", tokenColumns(), nil),
		tokenCreate(a), remove,
	)
}

func tokenCreate(a *app) *cobra.Command {
	var in api.NewEnrolmentToken
	var life time.Duration
	quiet := false
	cmd := &cobra.Command{
		Use: "create", Aliases: []string{"add"}, Short: "Create an enrolment token; its secret is printed once", Args: cobra.NoArgs,
		Example: `  cardea admin tokens create --kind server --project web -q >enrollment.token
  cardea admin tokens create --kind gateway --name gw-1 --address gw-1.example.com:7234
  cardea admin tokens create --kind device --uses 500 --life 720h -q >device-enrollment.token`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if in.Uses < 1 {
				return usageErrorf(cmd, "--uses is %d; give 1 or more", in.Uses)
			}
			if in.Seconds, err = wholeSeconds(life); err != nil {
				return err
			}
			switch {
			case in.Kind == "server" && in.Project == "":
				return lacks(cmd, "project")
			case in.Kind == "gateway" && in.Address == "":
				return lacks(cmd, "address")
			}
			t, err := call[api.EnrolmentToken](cmd.Context(), a, "POST", "/v1/enrolment-tokens", in)
			if err != nil {
				return err
			}
			if quiet {
				_, err = fmt.Fprintln(a.out, ident.Text(t.Secret))
				return err
			}
			return showNamed(cmd.Context(), a, t, append(tokenColumns(),
				column[api.EnrolmentToken]{"secret (told once)", func(t api.EnrolmentToken) string { return t.Secret }}))
		},
	}
	f := cmd.Flags()
	oneOf(cmd, f, &in.Kind, "kind", "", []string{"server", "gateway", "device"}, "server, gateway or device")
	f.StringVar(&in.Project, "project", "", "project of the servers")
	f.StringVar(&in.Name, "name", "", "name of what enrols (default a server's own host name)")
	f.StringSliceVar(&in.AltNames, "alt-name", nil, "further names of a server")
	f.BoolVar(&in.HostNames, "host-names", false, "let the names count that a server's agent proposes: without a dot, or with a suffix of the project")
	f.StringVar(&in.Address, "address", "", "`host:port` to dial (default what a server proposes)")
	f.StringVar(&in.TLSAddress, "tls-address", "", "host:port at which clients reach a gateway inside TLS")
	pairsVar(f, &in.Labels, "label", "labels of what enrols; once for each")
	f.StringSliceVar(&in.Egress, "egress", nil, "addresses from which a gateway reaches servers")
	f.IntVar(&in.Uses, "uses", 1, "how often it is good")
	span.Var(f, &life, "life", time.Hour, "how long it is good, 720h at most")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the secret alone")
	return cmd
}
