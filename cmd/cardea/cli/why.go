package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

type whyOptions struct {
	server, login, user string
	// What is supposed of the device, for what-if alone.
	device  string
	without []string
}

func newWhy(a *app) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use: "why SERVER", GroupID: groupAccess,
		Short:             "Tell whether you may enter a server, and why",
		Long:              "Tell whether you may enter a server, and why. It ends with code 0 if you may and 5 if not.",
		Example:           "  cardea why web-1\n  cardea why web-1 --user bob",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.server = args[0]
			return a.why(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.login, "login", "", "the Unix account (default your own)")
	cmd.Flags().StringVar(&o.user, "user", "", "ask for somebody else (administrators)")
	return cmd
}

func (a *app) why(ctx context.Context, o whyOptions) error {
	q, err := o.query()
	if err != nil {
		return err
	}
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	var w api.Why
	if _, err := client.Get(ctx, "/v1/why", q, &w); err != nil {
		return err
	}
	return a.showWhy(w)
}

func (o whyOptions) query() (url.Values, error) {
	if err := checkServer(o.server); err != nil {
		return nil, err
	}
	q := url.Values{"server": {o.server}}
	if o.login != "" {
		if err := ident.Login(o.login); err != nil {
			return nil, &usageError{text: err.Error()}
		}
		q.Set("login", o.login)
	}
	if o.user != "" {
		q.Set("user", o.user)
	}
	return q, nil
}

// showWhy shows the verdict, and for people what it rests on as a tree.
func (a *app) showWhy(w api.Why) error {
	err := showOne(a, w, append([]column[api.Why]{
		{"Allowed", func(w api.Why) string { return yesNo(w.Allow) }},
		{"Reason", func(w api.Why) string { return w.Reason }},
		{"Hint", func(w api.Why) string { return w.Hint }},
		{"Recorded", func(w api.Why) string {
			text := ""
			switch {
			case w.Input:
				text = "yes, with what you type"
			case w.Recorded:
				text = "yes"
			}
			if len(w.CountedOnly) > 0 {
				text += "; of what is forwarded (" + strings.Join(w.CountedOnly, ", ") + ") addresses and numbers of bytes alone"
			}
			return text
		}},
	}, sudoColumns(w.Sudo)...))
	if err == nil && a.output != asJSON {
		err = printLines(a.out, factLines(w.Chain, ""))
	}
	if err == nil && !w.Allow {
		err = silentError{ExitDenied}
	}
	return err
}

// sudoColumns say what may be run by sudo, a line for each command. A control
// plane that is older says nothing of it.
func sudoColumns(s *api.Sudo) (out []column[api.Why]) {
	add := func(text string) {
		out = append(out, column[api.Why]{"Sudo", func(api.Why) string { return text }})
	}
	switch {
	case s == nil:
	case s.Everything:
		add("everything")
	case len(s.Commands) == 0:
		add("nothing")
	default:
		for _, c := range s.Commands {
			add(c.String())
		}
	}
	if s != nil && s.LeftOut > 0 {
		add(fmt.Sprintf("and not %d more, because that is too many; ask an administrator", s.LeftOut))
	}
	return out
}

// factLines are the facts that a decision rests on, each below what rests on it.
func factLines(facts []api.WhyFact, indent string) (lines []string) {
	for _, f := range facts {
		line := indent + "no  "
		if f.Holds {
			line = indent + "ok  "
		}
		line += f.Kind
		if f.Name != "" {
			line += " " + f.Name
		}
		if f.ID != "" && (f.Name == "" || f.Kind == "grant") {
			line += " " + f.ID
		}
		line += ": " + f.Text
		if !f.Until.IsZero() {
			line += ", until " + stamp(f.Until)
		}
		lines = append(append(lines, line), factLines(f.Under, indent+"    ")...)
	}
	return lines
}
