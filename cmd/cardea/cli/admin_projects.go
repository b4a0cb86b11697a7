package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func projectColumns() []column[api.Project] {
	return []column[api.Project]{
		{"name", func(p api.Project) string { return p.Name }},
		{"certificates", func(p api.Project) string { return span.Text(time.Duration(p.CertificateSeconds) * time.Second) }},
		{"gateway", func(p api.Project) string { return p.Gateway }},
		{"gateway selector", func(p api.Project) string { return p.GatewaySelector }},
		{"port forwarding", func(p api.Project) string { return yesNo(p.PortForwarding) }},
		{"agent forwarding", func(p api.Project) string { return yesNo(p.AgentForwarding) }},
		{"asks who you are", func(p api.Project) string {
			if p.ReauthSeconds == 0 {
				return "once"
			}
			return "each " + seconds(p.ReauthSeconds)
		}},
		{"recording", func(p api.Project) string { return p.Recording }},
		{"name suffixes", func(p api.Project) string { return strings.Join(p.NameSuffixes, " ") }},
		{"created", func(p api.Project) string { return stamp(p.CreatedAt) }},
		{"id", func(p api.Project) string { return p.ID }},
	}
}

func projectShowColumns() []column[api.Project] {
	return append(slices.Concat(projectColumns(), accountColumns(), recordColumns(), deviceSettingColumns()),
		column[api.Project]{"user CA", func(p api.Project) string { return p.UserCA }},
		column[api.Project]{"break-glass", func(p api.Project) string { return breakGlassLine(p.BreakGlass) }})
}

func adminProjects(a *app) *cobra.Command {
	return noun("projects", "Scopes of a certificate authority, of accounts and of rules",
		listVerb(a, "/v1/projects", "List projects", projectColumns(), nil),
		showVerb(a, "projects", "PROJECT", projectShowColumns()),
		projectCreate(a), projectUpdate(a),
		deleteVerb(a, "projects", "PROJECT", "Delete a project that has no servers"),
	)
}

// projectFlags are the settings of a project, as flags with their defaults.
func projectFlags(cmd *cobra.Command, s *api.ProjectSettings, life, reauth *time.Duration) {
	f := cmd.Flags()
	span.Var(f, life, "certificate-life", 3*time.Minute, "life of a user certificate, 1m to 10m")
	span.Var(f, reauth, "reauth-after", 0, "ask a person again who he is after so long, 1m to 25h; 0s for never")
	oneOf(cmd, f, &s.Gateway, "gateway", "", []string{"allowed", "none", "required"}, "whether connections go through one: none, allowed or required")
	f.StringVar(&s.GatewaySelector, "gateway-selector", "", "labels of the gateways, for example region=eu (default all)")
	f.StringSliceVar(&s.NameSuffixes, "name-suffix", nil, "domains of yours in which servers may have names, for example prod.example.com")
	f.BoolVar(&s.PortForwarding, "port-forwarding", true, "certificates allow to forward ports")
	f.BoolVar(&s.AgentForwarding, "agent-forwarding", false, "certificates allow to forward the user's own agent")
}

func wholeSeconds(life time.Duration) (int, error) {
	if life%time.Second != 0 || life < 0 {
		return 0, &usageError{fmt.Sprintf("%s is no number of whole seconds", life), "give a duration such as 90s or 24h"}
	}
	return int(life / time.Second), nil
}

func projectCreate(a *app) *cobra.Command {
	var in api.NewProject
	var life, reauth time.Duration
	var accounts accountFlags
	var record api.RecordSettings
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Create a project with its certificate authority", Args: cobra.ExactArgs(1),
		Example: "  cardea admin projects create web\n  cardea admin projects create db --gateway required --gateway-selector region=eu\n" +
			"  cardea admin projects create pay --gateway required --recording required --recording-recipient age1…",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Name = args[0]
			if in.CertificateSeconds, err = wholeSeconds(life); err != nil {
				return err
			}
			if in.ReauthSeconds, err = wholeSeconds(reauth); err != nil {
				return err
			}
			if in.AccountSettings, err = accounts.settings(cmd); err != nil {
				return err
			}
			if in.RecordSettings = record; !cmd.Flags().Changed("recording") {
				in.Recording = "" // the control plane's own default
			}
			p, err := call[api.Project](cmd.Context(), a, "POST", "/v1/projects", in)
			if err != nil {
				return err
			}
			a.noteForwarding(p)
			return showOne(a, p, projectShowColumns())
		},
	}
	projectFlags(cmd, &in.ProjectSettings, &life, &reauth)
	accounts.add(cmd)
	recordFlags(cmd, &record)
	deviceFlags(cmd, &in.DeviceSettings)
	return cmd
}

func projectUpdate(a *app) *cobra.Command {
	var s api.ProjectSettings
	var life, reauth time.Duration
	var accounts accountFlags
	cmd := &cobra.Command{
		Use: "update PROJECT", Aliases: []string{"set"}, Short: "Change the settings of a project", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := anyChanged(cmd, append(slices.Concat(accountFlagNames[:], recordFlagNames[:], deviceFlagNames[:]), "certificate-life", "gateway", "gateway-selector", "port-forwarding", "agent-forwarding", "name-suffix", "reauth-after")...); err != nil {
				return err
			}
			path, err := pathOf("projects", args[0])
			if err != nil {
				return err
			}
			if s.CertificateSeconds, err = wholeSeconds(life); err != nil {
				return err
			}
			if s.ReauthSeconds, err = wholeSeconds(reauth); err != nil {
				return err
			}
			rules, err := accounts.patch(cmd)
			if err != nil {
				return err
			}
			p, err := call[api.Project](cmd.Context(), a, "PATCH", path, api.ProjectPatch{
				CertificateSeconds: changed(cmd, "certificate-life", &s.CertificateSeconds),
				Gateway:            changed(cmd, "gateway", &s.Gateway),
				GatewaySelector:    changed(cmd, "gateway-selector", &s.GatewaySelector),
				PortForwarding:     changed(cmd, "port-forwarding", &s.PortForwarding),
				AgentForwarding:    changed(cmd, "agent-forwarding", &s.AgentForwarding),
				AccountPatch:       rules,
				RecordPatch:        recordPatch(cmd, &s.RecordSettings),
				NameSuffixes:       changed(cmd, "name-suffix", &s.NameSuffixes),
				ReauthSeconds:      changed(cmd, "reauth-after", &s.ReauthSeconds),
				DevicePatch:        devicePatch(cmd, &s.DeviceSettings),
			})
			if err != nil {
				return err
			}
			a.noteForwarding(p)
			return showOne(a, p, projectShowColumns())
		},
	}
	projectFlags(cmd, &s, &life, &reauth)
	accounts.add(cmd)
	recordFlags(cmd, &s.RecordSettings)
	deviceFlags(cmd, &s.DeviceSettings)
	return cmd
}
