package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent/offer"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/policy"
)

type lsOptions struct {
	word, selector, project string
	quiet                   bool
}

func newLs(a *app) *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use: "ls [WORD]", Aliases: []string{"list-servers"}, GroupID: groupAccess,
		Short:   "List the servers that you may reach",
		Example: "  cardea ls\n  cardea ls web\n  cardea ls -l env=prod,tier!=db -o json\n  cardea ls -l host/os=debian",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.word = args[0]
			}
			return a.ls(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "labels that must fit, for example env=prod,tier!=db")
	cmd.Flags().StringVar(&o.project, "project", "", "servers of this project alone")
	cmd.RegisterFlagCompletionFunc("selector", a.completeSelector)
	cmd.RegisterFlagCompletionFunc("project", a.completeProjects)
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print names alone, as ssh takes them")
	return cmd
}

func (a *app) ls(ctx context.Context, o lsOptions) error {
	if _, err := o.filter(nil); err != nil { // before anybody is asked
		return err
	}
	c, age, err := a.catalogWith(ctx, anyServer)
	if err != nil {
		return err
	}
	if !o.quiet && a.output != asJSON && a.seenLongAgo(c) {
		if c, age, err = a.fresher(ctx, c, age); err != nil {
			return err
		}
	}
	a.noteAge(age)
	rows, err := o.filter(c.Servers)
	if err != nil {
		return err
	}
	a.noteBreakGlass(rows)
	if o.quiet {
		return printLines(a.out, offer.Names(rows))
	}
	switch {
	case len(rows) > 0 || a.output == asJSON:
	case o.project != "" && !slices.ContainsFunc(c.Servers, o.inProject):
		a.say("you may reach no server of a project %s; to see your projects type: cardea list-projects", o.project)
		return nil
	case len(c.Servers) > 0:
		a.say("none of the %d servers that you may reach fits; to see all of them type: cardea ls", len(c.Servers))
		return nil
	default:
		a.say("no server; %s", a.toGetAccess(c.Session))
		return nil
	}
	each := make([]*api.CatalogEntry, len(rows)) // one is large to hand from column to column
	for i := range rows {
		each[i] = &rows[i]
	}
	return show(a, each, serverColumns(a, each...))
}

// seenLongAgo tells whether the agent has its list for so long that it says nothing of how the
// servers are by now: that a server was seen again is no news for which an agent is woken. Of a
// crowd it is not asked for again, which would take longer than a list should.
func (a *app) seenLongAgo(c api.Catalog) bool {
	stored := a.paths.CatalogStored()
	return !stored.IsZero() && a.now().Sub(stored) > seenFresh && anyServer(c) && len(c.Servers) <= crowd
}

// seenFresh is how old a list may be that tells when servers were seen: a server agent is heard
// of each minute, and one that is not for that long is worth a word.
const seenFresh = 5 * time.Minute

// filter are the servers that fit, sorted by name.
func (o lsOptions) filter(servers []api.CatalogEntry) ([]api.CatalogEntry, error) {
	selector, err := policy.ParseSearch(o.selector)
	if err != nil {
		return nil, &usageError{err.Error(), "for example: cardea ls -l env=prod"}
	}
	rows := slices.DeleteFunc(slices.Clone(servers), func(s api.CatalogEntry) bool {
		return o.project != "" && !o.inProject(s) ||
			!selector.Matches(s.Labels) || !mentions(s, o.word)
	})
	slices.SortFunc(rows, func(x, y api.CatalogEntry) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ProjectName, y.ProjectName))
	})
	return rows, nil
}

// inProject reports whether a server is of the project that was named, by its name or id.
func (o lsOptions) inProject(s api.CatalogEntry) bool {
	return o.project == s.ProjectName || o.project == s.Project
}

// mentions reports whether a word that a person typed is in what names a server.
func mentions(s api.CatalogEntry, word string) bool {
	return word == "" || strings.Contains(strings.ToLower(strings.Join(s.Names(), " ")+" "+labels(s.Labels)), strings.ToLower(word))
}
