package cli

import (
	"cmp"
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/agent/offer"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// offers are what a Tab may offer, each alone or with a tab and what it is behind it.
type offers func(context.Context, *api.Client) ([]string, error)

// namesOf are the names in a list of the control plane.
func namesOf(path string) offers {
	return idsOf(path, nil, func(v struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}) (string, string) {
		return cmp.Or(v.Name, v.ID), ""
	})
}

// harmless is a word that means itself in every shell, and on every terminal.
var harmless = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+:/-]*$`)

// idsOf are the words that a list of the control plane comes to, but for those that are not
// harmless. What one is says who typed nothing yet which of them he means.
func idsOf[T any](path string, query url.Values, word func(T) (word, what string)) offers {
	return func(ctx context.Context, c *api.Client) ([]string, error) {
		rows, err := api.All[T](ctx, c, path, query)
		var out []string
		for _, r := range rows {
			w, what := word(r)
			if !harmless.MatchString(w) {
				continue
			}
			if what != "" {
				w += "\t" + ident.Text(what)
			}
			out = append(out, w)
		}
		return out, err
	}
}

// namedBy are the names that an argument of an administrator's verb may be, by the word for it
// in the verb's use.
var namedBy = map[string]offers{
	"USER": namesOf("/v1/users"), "GROUP": namesOf("/v1/groups"), "PROJECT": namesOf("/v1/projects"), "SERVER": namesOf("/v1/servers"),
	"GATEWAY": namesOf("/v1/gateways"), "ENTITLEMENT": namesOf("/v1/entitlements"), "PROVIDER": namesOf("/v1/providers"), "CLIENT": namesOf("/v1/scim-clients"),
	"SERVICE-USER": namesOf("/v1/service-users"), "WORKLOAD": namesOf("/v1/workload-issuers"),
	"CA": idsOf("/v1/cas", nil, func(c api.CA) (string, string) { return c.CA, "" }),
}

// flagNames are the flags of administrators' verbs that take one of those.
var flagNames = map[string]string{
	"user": "USER", "group": "GROUP", "project": "PROJECT", "all-of-project": "PROJECT", "server": "SERVER", "gateway": "GATEWAY", "provider": "PROVIDER",
	"askers": "GROUP", "approvers": "GROUP", "bastion": "SERVER", "to": "GATEWAY",
}

// requestsIn are the requests of a list that are in one of these states, or in any.
func requestsIn(path string, states ...string) offers {
	return idsOf(path, nil, func(r api.AccessRequest) (string, string) {
		if len(states) > 0 && !slices.Contains(states, r.State) {
			return "", ""
		}
		return r.ID, r.State + ", " + r.UserName + ", " + cmp.Or(r.ServerName, r.ProjectName) + " for " + lasting(r.Seconds) + ": " + r.Reason
	})
}

// devicesIn are the devices of a list that are in one of these states.
func devicesIn(path string, states ...string) offers {
	return idsOf(path, nil, func(d api.Device) (string, string) {
		if !slices.Contains(states, d.State) {
			return "", ""
		}
		return d.ID, d.Name + ", " + deviceState(d.State)
	})
}

// signInsIn are the sign-ins of a list that last.
func (a *app) signInsIn(path string) offers {
	return idsOf(path, nil, func(s api.Session) (string, string) {
		if !s.RevokedAt.IsZero() || !a.now().Before(s.ExpiresAt) {
			return "", ""
		}
		return s.ID, s.UserName + " on " + cmp.Or(s.DeviceTag, s.Kind) + a.ifHere(s) + ", since " + stamp(s.CreatedAt)
	})
}

// idsBy are the ids that an argument may be, by verb and the word for it.
func (a *app) idsBy(verb, word string) offers {
	switch verb + " " + word {
	case "requests show ID":
		return requestsIn("/v1/requests")
	case "requests cancel ID":
		return requestsIn("/v1/requests", api.RequestPending)
	case "requests end ID":
		return requestsIn("/v1/requests", api.RequestApproved)
	case "requests approve ID", "requests deny ID":
		return requestsIn("/v1/requests/pending")
	case "device lost DEVICE", "device replace DEVICE":
		return devicesIn("/v1/devices/mine", "active", "pending")
	case "admin devices approve DEVICE":
		return devicesIn("/v1/devices", "pending")
	case "admin devices revoke DEVICE":
		return devicesIn("/v1/devices", "active", "pending")
	case "sign-ins revoke SIGN-IN":
		return a.signInsIn("/v1/sessions/mine")
	case "admin sessions revoke SESSION":
		return a.signInsIn("/v1/sessions")
	case "admin sessions end CONNECTION", "admin connections end CONNECTION":
		return idsOf("/v1/gateway-sessions", url.Values{"live": {"true"}}, func(s api.GatewaySession) (string, string) {
			return s.ID, "as " + s.Login + " from " + s.Source + ", since " + stamp(s.StartedAt)
		})
	case "admin request-rules delete ID":
		return idsOf("/v1/request-rules", nil, func(r api.RequestRule) (string, string) {
			return r.ID, "to be in " + r.GroupName + " of " + r.ProjectName
		})
	case "requests preauthorizations delete ID":
		return idsOf("/v1/preauthorizations", nil, func(p api.Preauthorization) (string, string) {
			return p.ID, p.UserName + ", to be in " + p.GroupName + " of " + p.ProjectName + " until " + stamp(p.Until)
		})
	case "requests preauthorizations create USER":
		return namedBy[word]
	case "sessions show SESSION":
		return idsOf("/v1/recordings", nil, func(r api.Recording) (string, string) {
			return r.Session, r.UserName + " on " + r.ServerName + ", " + stamp(r.StartedAt)
		})
	}
	return nil
}

// offerLists has a Tab behind each verb and flag that has no words of its own offer what the
// control plane lists, where that has any, and else nothing: the files that happen to lie about
// are meant only where the verb or the flag speaks of some.
func (a *app) offerLists(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil && !fileArguments.MatchString(cmd.Use) {
		cmd.ValidArgsFunction = a.completeListed
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, has := cmd.GetFlagCompletionFunc(f.Name); has || fileFlags.MatchString(f.Usage) {
			return
		}
		cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			from := namedBy[flagNames[f.Name]]
			if !forAdmins(cmd) {
				from = nil
			}
			return a.offerFrom(cmd.Context(), list{from, true}, nil, typed), cobra.ShellCompDirectiveNoFileComp
		})
	})
	for _, c := range cmd.Commands() {
		a.offerLists(c)
	}
}

// fileArguments are the words of a verb's use for what may be a file or folder here, and
// fileFlags those of a flag's.
var (
	fileArguments = regexp.MustCompile(`FILE|FOLDER|RECORDING`)
	fileFlags     = regexp.MustCompile(`(?i)\b(file|folder|files)\b`)
)

func forAdmins(cmd *cobra.Command) bool { return strings.HasPrefix(cmd.CommandPath(), "cardea admin ") }

// completeListed offers what the argument to come may be. Of an argument that may be there many
// times none is offered twice.
func (a *app) completeListed(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	word, before := argumentOf(cmd.Use, args)
	from := a.idsBy(strings.TrimPrefix(cmd.CommandPath(), "cardea "), word)
	if from == nil && forAdmins(cmd) {
		from = namedBy[word]
	}
	return a.offerFrom(cmd.Context(), list{from, forAdmins(cmd) || namedBy[word] != nil}, before, typed), cobra.ShellCompDirectiveNoFileComp
}

// argumentOf is the word for the argument behind args in a verb's use, empty where there is
// none; and for one with dots behind it which of it stand there.
func argumentOf(use string, args []string) (word string, before []string) {
	words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(use))[1:]
	last := len(words) - 1
	switch {
	case last >= 0 && len(args) >= last && strings.HasSuffix(words[last], "..."):
		return strings.TrimSuffix(words[last], "..."), args[last:]
	case len(args) <= last:
		return words[len(args)], nil
	}
	return "", nil
}

// plainInPowerShell has the script for PowerShell ask for words alone. Outside Windows that
// script gives out each word with what it is for what is to be written: who chose one from the
// menu would have in his line, in brackets, what others wrote, and an Enter would run it.
func plainInPowerShell(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion", "powershell"}); err == nil {
		c.RunE = func(*cobra.Command, []string) error { return root.GenPowerShellCompletion(root.OutOrStdout()) }
	}
}

// howToComplete has the verb that others stand below say what to type for the common shells,
// and refuse others as every verb does: cobra adds it later than ours are finished.
func (a *app) howToComplete(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Short = "Have a shell offer servers, names and flags at a Tab"
		c.Long = c.Short + ". The package does so by itself. Without it\ntype the line of your shell; --help of each verb below says how to keep it."
		c.Example = "  source <(cardea completion bash)\n  source <(cardea completion zsh)\n  cardea completion fish | source"
		a.finish(c)
	}
}

// list is what is offered, and whether the control plane shows it to administrators alone.
type list struct {
	words  offers
	admins bool
}

// offerFrom are the words that begin with what was typed, but for some. Whoever may not list them
// is offered nothing; who is no administrator does not even ask for what administrators see,
// for a refusal stands in the audit, and he has only pressed Tab.
func (a *app) offerFrom(ctx context.Context, from list, but []string, typed string) []string {
	if from.words == nil || a.configure() != nil {
		return nil
	}
	if saved, err := a.home.Peek(); err != nil || from.admins && !saved.Session.Admin {
		return nil
	}
	all := inTime(ctx, func(ctx context.Context) []string {
		client, err := a.client(ctx)
		if err != nil {
			return nil
		}
		all, err := from.words(ctx, client)
		if err != nil {
			return nil
		}
		return all
	})
	all = slices.DeleteFunc(all, func(w string) bool { return slices.Contains(but, alone(w)) })
	slices.Sort(all)
	// A shell writes what all that it was offered have in common: of a word that came twice that
	// would be what it is as well.
	all = slices.CompactFunc(all, func(x, y string) bool { return alone(x) == alone(y) })
	return offer.Beginning(all, typed, maxNames)
}

// alone is an offer without what it is.
func alone(offered string) string {
	word, _, _ := strings.Cut(offered, "\t")
	return word
}
