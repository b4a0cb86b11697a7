package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// reachable is a project as one of its users sees it.
type reachable struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Login   string `json:"login"`
	Servers int    `json:"servers"`
}

func newListProjects(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list-projects", GroupID: groupAccess,
		Short: "List the projects in which you have a grant, and how many servers you reach there",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.listProjects(cmd.Context()) },
	}
}

func (a *app) listProjects(ctx context.Context) error {
	c, age, err := a.catalogWith(ctx, anyServer)
	if err != nil {
		return err
	}
	a.noteAge(age)
	rows := projectsOf(c)
	if len(rows) == 0 && a.output != asJSON {
		a.say("no project; %s", a.toGetAccess(c.Session))
		return nil
	}
	return show(a, rows, []column[reachable]{
		{"name", func(p reachable) string { return p.Name }},
		{"login", func(p reachable) string { return p.Login }},
		{"servers", func(p reachable) string { return strconv.Itoa(p.Servers) }},
		{"id", func(p reachable) string { return p.ID }},
	})
}

// projectsOf are those of the catalog, also without servers. A control plane from before names
// none but by the servers.
func projectsOf(c api.Catalog) []reachable {
	at := map[string]int{}
	var rows []reachable
	row := func(id, name string) *reachable {
		i, known := at[id]
		if !known {
			i = len(rows)
			at[id] = i
			rows = append(rows, reachable{ID: id, Name: name})
		}
		return &rows[i]
	}
	for _, p := range c.Projects {
		row(p.ID, p.Name)
	}
	for _, s := range c.Servers {
		p := row(s.Project, s.ProjectName)
		p.Login = cmp.Or(p.Login, s.Login)
		p.Servers++
	}
	slices.SortFunc(rows, func(x, y reachable) int { return cmp.Compare(x.Name, y.Name) })
	return rows
}
