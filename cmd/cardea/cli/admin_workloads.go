package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func workloadColumns() []column[api.WorkloadIssuer] {
	return []column[api.WorkloadIssuer]{
		{"name", func(i api.WorkloadIssuer) string { return i.Name }},
		{"state", func(i api.WorkloadIssuer) string { return i.State }},
		{"issuer", func(i api.WorkloadIssuer) string { return i.Issuer }},
		{"audience", func(i api.WorkloadIssuer) string { return i.Audience }},
		{"rules", func(i api.WorkloadIssuer) string { return strconv.Itoa(len(i.Rules)) }},
		{"keys given", func(i api.WorkloadIssuer) string { return stamp(i.KeysAt) }},
		{"created", func(i api.WorkloadIssuer) string { return stamp(i.CreatedAt) }},
		{"id", func(i api.WorkloadIssuer) string { return i.ID }},
	}
}

func workloadRuleColumns() []column[api.WorkloadRule] {
	return []column[api.WorkloadRule]{
		{"rule", func(r api.WorkloadRule) string { return r.ID }},
		{"service user", func(r api.WorkloadRule) string { return r.UserName }},
		{"claims", func(r api.WorkloadRule) string { return labels(r.Claims) }},
		{"session", func(r api.WorkloadRule) string { return span.Text(time.Duration(r.Seconds) * time.Second) }},
		{"created", func(r api.WorkloadRule) string { return stamp(r.CreatedAt) }},
	}
}

func workloadKeyColumns() []column[api.WorkloadKey] {
	return []column[api.WorkloadKey]{
		{"key", func(k api.WorkloadKey) string { return k.ID }},
		{"kind", func(k api.WorkloadKey) string { return k.Kind }},
		{"algorithm", func(k api.WorkloadKey) string { return k.Algorithm }},
		{"thumbprint", func(k api.WorkloadKey) string { return k.Thumbprint }},
	}
}

func adminWorkloads(a *app) *cobra.Command {
	cmd := noun("workloads", "Platforms whose jobs sign in with tokens of theirs, and as whom",
		listVerb(a, "/v1/workload-issuers", "List platforms", workloadColumns(), nil),
		workloadShow(a), workloadAdd(a), workloadKeysSet(a), workloadRuleAdd(a), workloadRuleRemove(a), workloadTest(a),
		onOff(a, "disable", "WORKLOAD", "End the sessions of its jobs, and let none in any more", "workload-issuers", api.WorkloadIssuerPatch{State: "disabled"}),
		onOff(a, "enable", "WORKLOAD", "Let its jobs in again", "workload-issuers", api.WorkloadIssuerPatch{State: "active"}),
		deleteVerb(a, "workload-issuers", "WORKLOAD", "Delete a platform that has no rules"),
	)
	return cmd
}

func workloadShow(a *app) *cobra.Command {
	return showWith(a, "workload-issuers", "WORKLOAD", "Show one by id or name, with its rules and the keys that it was given", workloadColumns(),
		func(i api.WorkloadIssuer) error { return showSome(a, i.Keys, workloadKeyColumns()) },
		func(i api.WorkloadIssuer) error { return showSome(a, i.Rules, workloadRuleColumns()) })
}

func workloadAdd(a *app) *cobra.Command {
	var in api.NewWorkloadIssuer
	var keys string
	cmd := &cobra.Command{
		Use: "add NAME", Aliases: []string{"create"}, Short: "Trust the tokens that a platform gives to its jobs", Args: cobra.ExactArgs(1),
		Long: `Trust the tokens that a platform gives to its jobs. By itself this lets nobody in: rules say
which jobs are which service user.`,
		Example: `  cardea admin workloads add github --issuer https://token.actions.githubusercontent.com
  cardea admin workloads add-rule github --user deploy --claim sub=repo:acme/web:ref:refs/heads/main`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if keys != "" {
				var err error
				if in.Set, err = a.keySet(keys); err != nil {
					return err
				}
			}
			i, err := call[api.WorkloadIssuer](cmd.Context(), a, "POST", "/v1/workload-issuers", in)
			if err != nil {
				return err
			}
			if err := showOne(a, i, workloadColumns()); err != nil {
				return err
			}
			if a.output != asJSON {
				a.say("no rule yet; to say which jobs are whom type: cardea admin workloads add-rule %s --help", i.Name)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Issuer, "issuer", "", "its issuer, exactly as it writes it into tokens")
	cmd.Flags().StringVar(&in.Audience, "audience", "", "for whom alone the tokens have to be made (default this control plane's URL)")
	cmd.Flags().StringVar(&keys, "keys", "", "its public keys, a JWK set in this file (- for stdin), where it cannot be asked for them")
	mustBeGiven(cmd, "issuer")
	return cmd
}

func workloadKeysSet(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "set-keys WORKLOAD FILE", Short: "Give a platform its public keys, in place of those that it had", Args: cobra.ExactArgs(2),
		Long: `Give a platform its public keys, in place of those that it had: a JWK set in a file, or - for
stdin. From then on it is not asked for its keys. Sessions that its jobs have go on.`,
		Example: "  kubectl get --raw /openid/v1/jwks | cardea admin workloads set-keys cluster-1 -",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("workload-issuers", args[0], "keys")
			if err != nil {
				return err
			}
			var in api.WorkloadKeys
			if in.Set, err = a.keySet(args[1]); err != nil {
				return err
			}
			i, err := call[api.WorkloadIssuer](cmd.Context(), a, "PUT", path, in)
			if err != nil {
				return err
			}
			if a.output == asJSON {
				return printJSON(a.out, i)
			}
			return show(a, i.Keys, workloadKeyColumns())
		},
	}
}

// maxKeySet bounds a file of keys, in bytes: the control plane takes no more.
const maxKeySet = 64 << 10

// keySet reads keys. What is private among them stays here: the control plane would refuse
// it, and by then it would have been sent.
func (a *app) keySet(path string) (string, error) {
	text, err := a.smallFile(path, maxKeySet, "keys")
	if err != nil {
		return "", err
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	private := strings.Contains(text, "PRIVATE KEY")
	if json.Unmarshal([]byte(text), &set) == nil {
		for _, k := range set.Keys {
			private = private || k["d"] != nil || k["k"] != nil
		}
	}
	if private {
		return "", &usageError{path + " holds a private key or a shared secret, and was not sent: who has it can be every job there is", "give the public keys alone"}
	}
	return text, nil
}

// smallFile reads a file, or stdin for -, of so many bytes at the most.
func (a *app) smallFile(path string, most int64, what string) (string, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", api.Errorf(api.Invalid, "read the %s: %s", what, err).WithCause(err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	switch {
	case err != nil:
		return "", err
	case int64(len(text)) > most:
		return "", &usageError{text: fmt.Sprintf("%s is larger than %d bytes, and holds no %s", path, most, what)}
	}
	return strings.TrimSpace(string(text)), nil
}

func workloadRuleAdd(a *app) *cobra.Command {
	var in api.NewWorkloadRule
	var life time.Duration
	cmd := &cobra.Command{
		Use: "add-rule WORKLOAD", Short: "Say which jobs of a platform are which service user", Args: cobra.ExactArgs(1),
		Long: `Say which jobs of a platform are which service user. Every claim that is given must fit, and
sub must be among them. In a pattern * is any run of characters without / and :, and ** is any
run; all else is itself. The oldest rule that fits counts.

Platforms that make tokens for everybody need a sub that says whose jobs are meant before the
first star: repo:acme/web:** and never repo:**.`,
		Example: `  cardea admin workloads add-rule github --user deploy --claim sub=repo:acme/web:ref:refs/heads/main
  cardea admin workloads add-rule gitlab --user deploy --claim 'sub=project_path:acme/web:**' --claim ref_protected=true --session 15m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("workload-issuers", args[0], "rules")
			if err != nil {
				return err
			}
			in.Seconds = int(life / time.Second)
			r, err := call[api.WorkloadRule](cmd.Context(), a, "POST", path, in)
			if err != nil {
				return err
			}
			return showOne(a, r, workloadRuleColumns())
		},
	}
	cmd.Flags().StringVar(&in.User, "user", "", "the service user that they are")
	pairsVar(cmd.Flags(), &in.Claims, "claim", "a claim with its pattern, as claim=pattern; once for each")
	span.Var(cmd.Flags(), &life, "session", time.Hour, "how long their sessions last: 1m to 1h")
	mustBeGiven(cmd, "user", "claim")
	return cmd
}

func workloadRuleRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove-rule WORKLOAD RULE", Aliases: []string{"rm-rule"}, Short: "Delete a rule, and end the sessions that it brought", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("workload-issuers", args[0], "rules", args[1])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "DELETE", path, nil, "deleted rule "+args[1]+" of "+args[0])
		},
	}
}
