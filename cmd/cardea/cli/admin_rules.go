package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func ruleColumns() []column[api.EnrolmentRule] {
	return []column[api.EnrolmentRule]{
		{"id", func(r api.EnrolmentRule) string { return r.ID }},
		{"cloud", func(r api.EnrolmentRule) string { return r.Cloud }},
		{"account", func(r api.EnrolmentRule) string { return r.Account }},
		{"regions", func(r api.EnrolmentRule) string { return anyOf(r.Regions) }},
		{"identities", func(r api.EnrolmentRule) string { return anyOf(r.Identities) }},
		{"within", func(r api.EnrolmentRule) string {
			if r.Within == 0 {
				return "any"
			}
			return span.Text(time.Duration(r.Within) * time.Second)
		}},
		{"project", func(r api.EnrolmentRule) string { return r.Project }},
		{"name", func(r api.EnrolmentRule) string { return r.ServerName }},
		{"labels", func(r api.EnrolmentRule) string { return labels(r.Labels) }},
		{"created", func(r api.EnrolmentRule) string { return stamp(r.CreatedAt) }},
	}
}

func anyOf(patterns []string) string {
	if len(patterns) == 0 {
		return "any"
	}
	return strings.Join(patterns, " ")
}

func adminRules(a *app) *cobra.Command {
	return noun("enrolment-rules", "Which instances of clouds enrol by themselves",
		listVerb(a, "/v1/enrolment-rules", "List enrolment rules", ruleColumns(), nil),
		ruleCreate(a),
		deleteVerb(a, "enrolment-rules", "RULE", "End a way in; servers that came by it stay"),
	)
}

func ruleCreate(a *app) *cobra.Command {
	var in api.NewEnrolmentRule
	var within time.Duration
	cmd := &cobra.Command{
		Use: "create", Aliases: []string{"add"}, Short: "Let instances of one account of a cloud enrol by themselves", Args: cobra.NoArgs,
		Long: "Let instances of one account of a cloud enrol by themselves.\n\nThe cloud's signature says which instance it is. Name and labels of the server come from the rule, never from the\n" +
			"host. On the servers set cloud: auto in /etc/cardea/server-agent.yaml. An instance enrols once; AWS instances need\n" +
			"a role, which needs no permissions.",
		Example: `  cardea admin enrolment-rules create --cloud aws --account 123456789012 --region 'eu-*' --project web --label env=prod
  cardea admin enrolment-rules create --cloud gcp --account acme-web --project web --name '{instance_name}' --within 24h
  cardea admin enrolment-rules create --cloud azure --account 8d10da13-8125-4ba9-a717-bf7490507b3d --project web`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if in.Within, err = wholeSeconds(within); err != nil {
				return err
			}
			r, err := call[api.EnrolmentRule](cmd.Context(), a, "POST", "/v1/enrolment-rules", in)
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, r, ruleColumns())
		},
	}
	f := cmd.Flags()
	oneOf(cmd, f, &in.Cloud, "cloud", "", []string{"aws", "gcp", "azure"}, "aws, gcp or azure")
	f.StringVar(&in.Account, "account", "", "AWS account, GCP project or Azure subscription")
	f.StringArrayVar(&in.Regions, "region", nil, "a region or pattern such as eu-* (aws, gcp); once for each")
	f.StringArrayVar(&in.Identities, "identity", nil, "a role (aws) or service account (gcp), or a pattern; once for each")
	span.Var(f, &within, "within", 0, "how long ago the instance was started at most (aws, gcp; default 1h)")
	f.StringVar(&in.Project, "project", "", "project of the servers")
	f.StringVar(&in.ServerName, "name", "", "their names, with {instance_id}, {account}, {region}, {instance_name} (default {instance_id})")
	pairsVar(f, &in.Labels, "label", "their labels; once for each")
	return cmd
}
