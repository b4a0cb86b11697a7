package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/login"
)

// maxTestToken bounds a token, in bytes: no platform makes larger ones.
const maxTestToken = 16 << 10

func workloadTest(a *app) *cobra.Command {
	var who string
	cmd := &cobra.Command{
		Use: "test FILE", Short: "Tell what the token of a job would come to, rule by rule", Args: cobra.ExactArgs(1),
		Long: `Tell what the token in a file (- for stdin) would come to: each check, each rule with the claims
that fit and those that do not, and as whom the job would sign in. The token is not used up,
and no session begins. That you looked is on record. It ends with code 0 if the job would
sign in, and with 5 if not.`,
		Example: "  cardea admin workloads test token.txt\n  cardea admin workloads test - <token.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.Count(args[0], ".") == 2 && strings.HasPrefix(args[0], "ey") {
				return &usageError{"a token in the arguments is in everybody's process list, and is worth a sign-in", "write it into a file, or to stdin, and type: cardea admin workloads test -"}
			}
			token, err := a.smallFile(args[0], maxTestToken, "token")
			if err != nil {
				return err
			}
			from := args[0]
			if from == "-" {
				from = "stdin"
			}
			if token, err = login.JobToken(token, from); err != nil { // what is something else is not sent
				return err
			}
			t, err := call[api.WorkloadTest](cmd.Context(), a, "POST", "/v1/workload-tests", api.NewWorkloadTest{Token: token, User: who})
			if err != nil {
				return err
			}
			return a.showTest(t)
		},
	}
	cmd.Flags().StringVar(&who, "as", "", "which service user the job says that it is")
	return cmd
}

// claimRow is one line of a rule, or of a check.
type claimRow struct{ rule, user, claim, fits, want, have, why string }

func (a *app) showTest(t api.WorkloadTest) error {
	if a.output == asJSON {
		if err := printJSON(a.out, t); err != nil {
			return err
		}
	} else if err := a.showTestTables(t); err != nil {
		return err
	}
	if t.Allow {
		return nil
	}
	return silentError{ExitDenied}
}

func (a *app) showTestTables(t api.WorkloadTest) error {
	err := show(a, t.Checks, []column[api.WorkloadCheck]{
		{"check", func(c api.WorkloadCheck) string { return c.Check }},
		{"holds", func(c api.WorkloadCheck) string { return yesNo(c.Holds) }},
		{"expected", func(c api.WorkloadCheck) string { return c.Want }},
		{"has", func(c api.WorkloadCheck) string { return c.Have }},
		{"why not", func(c api.WorkloadCheck) string { return c.Text }},
	})
	if err == nil && len(t.Rules) > 0 {
		err = show(a, claimRows(t), []column[claimRow]{
			{"rule", func(r claimRow) string { return r.rule }},
			{"service user", func(r claimRow) string { return r.user }},
			{"claim", func(r claimRow) string { return r.claim }},
			{"fits", func(r claimRow) string { return r.fits }},
			{"expected", func(r claimRow) string { return r.want }},
			{"has", func(r claimRow) string { return r.have }},
			{"why not", func(r claimRow) string { return r.why }},
		})
	}
	switch {
	case err != nil:
	case t.Allow:
		a.say("This job would sign in as %s for %s, by rule %s.", t.UserName, lasting(t.Seconds), t.Rule)
	default:
		a.say("This job would not sign in: %s. It would be told: %s", t.Reason, t.Told)
	}
	return err
}

func claimRows(t api.WorkloadTest) (rows []claimRow) {
	for _, r := range t.Rules {
		for _, c := range r.Claims {
			rows = append(rows, claimRow{r.Rule, r.UserName, c.Claim, yesNo(c.Fits), c.Pattern, commas(t.Claims[c.Claim]), c.Text})
		}
	}
	return rows
}
