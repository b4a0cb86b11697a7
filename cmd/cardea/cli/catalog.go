package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// catalog is what the person may reach, and how old that knowledge is: from the
// local agent, which keeps it, else from the control plane.
func (a *app) catalog(ctx context.Context) (api.Catalog, time.Duration, error) {
	return a.catalogWith(ctx, func(api.Catalog) bool { return true })
}

// anyServer is for catalogWith.
func anyServer(c api.Catalog) bool { return len(c.Servers) > 0 }

// catalogWith is catalog for who looks for something in it. Where the agent's list does not
// have that, the control plane is asked: it may know by now, or say why there is nothing.
func (a *app) catalogWith(ctx context.Context, has func(api.Catalog) bool) (api.Catalog, time.Duration, error) {
	// Who has signed out sees nothing, whatever the agent remembers, and nobody
	// sees what somebody else may reach, or another device of his.
	if saved, err := a.home.Peek(); err == nil && a.opt.URL == "" {
		c, age, err := a.local.Catalog(ctx)
		if err == nil && c.Session.User == saved.Session.User && c.Session.Device == saved.Session.Device {
			if age > staleAfter || !has(c) {
				return a.fresher(ctx, c, age)
			}
			return c, age, nil
		}
	}
	var c api.Catalog
	client, err := a.client(ctx)
	if err != nil {
		return c, 0, err
	}
	_, err = client.Get(ctx, "/v1/catalog", nil, &c)
	return c, 0, err
}

// fresher is for a list that the agent could not renew, or that does not have what is looked
// for. A session that is over must be told, and not that the control plane cannot be reached,
// for which alone an old list is better than none; an empty one is not.
func (a *app) fresher(ctx context.Context, old api.Catalog, age time.Duration) (api.Catalog, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	var c api.Catalog
	client, err := a.client(ctx)
	if err == nil {
		_, err = client.Get(ctx, "/v1/catalog", nil, &c)
	}
	switch kind := api.KindOf(err); {
	case err == nil:
		return c, 0, nil
	case kind == api.SignIn || kind == api.Denied || !anyServer(old):
		return api.Catalog{}, 0, err
	}
	return old, age, nil
}

// server finds the one server that a person means by a name: its id, its name,
// or project/name. A name that means two is never guessed: it asks at a terminal, and
// elsewhere the error lists them.
func (a *app) server(ctx context.Context, name string) (api.CatalogEntry, error) {
	if err := checkServer(name); err != nil {
		return api.CatalogEntry{}, err
	}
	c, _, err := a.catalogWith(ctx, func(c api.Catalog) bool { return len(meant(c.Servers, name)) > 0 })
	if err != nil {
		return api.CatalogEntry{}, err
	}
	s, err := pick(c.Servers, name)
	if api.KindOf(err) == api.Ambiguous {
		return a.choose(ctx, c.Servers, name, err)
	}
	return s, err
}

// checkServer refuses what can be no server, before anything else sees it.
func checkServer(name string) error {
	var err error
	switch project, server, two := strings.Cut(name, "/"); {
	case ident.Check(name, ident.Server) == nil:
	case two:
		if err = ident.ProjectName(project); err == nil {
			err = ident.ServerName(server)
		}
	default:
		err = ident.ServerName(name)
	}
	if err != nil {
		return &usageError{err.Error(), "to see what there is type: cardea ls"}
	}
	return nil
}

// meant are all servers that a name means.
func meant(servers []api.CatalogEntry, name string) []api.CatalogEntry {
	var found []api.CatalogEntry
	for _, s := range servers {
		if name == s.ID || slices.Contains(s.Names(), name) {
			found = append(found, s)
		}
	}
	return found
}

func pick(servers []api.CatalogEntry, name string) (api.CatalogEntry, error) {
	found := meant(servers, name)
	switch len(found) {
	case 1:
		// The control plane refuses such names when they are written; a client
		// that runs programs with them does not rely on it.
		if err := checkEntry(found[0]); err != nil {
			return api.CatalogEntry{}, err
		}
		return found[0], nil
	case 0:
		return api.CatalogEntry{}, unknownServer(servers, name)
	}
	var full []string
	for _, s := range found {
		full = append(full, s.ProjectName+"/"+s.Name)
	}
	slices.Sort(full)
	return api.CatalogEntry{}, api.Errorf(api.Ambiguous, "%s is the name of %d servers: %s", name, len(found), strings.Join(full, ", ")).
		WithHint("type one of them in place of %s", name)
}

func checkEntry(s api.CatalogEntry) error {
	for _, err := range []error{
		ident.AltNames(s.AltNames), ident.Check(s.ID, ident.Server), ident.ServerName(s.Name), ident.ProjectName(s.ProjectName), ident.Login(s.Login),
	} {
		if err != nil {
			return api.Errorf(api.Foreign, "the control plane names a server as it must not: %v", err).
				WithHint("tell an administrator; nothing was run")
		}
	}
	return nil
}

func unknownServer(servers []api.CatalogEntry, name string) error {
	var names []string
	for _, s := range servers {
		names = append(names, s.Names()...)
	}
	e := api.Errorf(api.NotFound, "there is no server %s that you may reach", name)
	if near := nearest(name, names); near != "" {
		return e.WithHint("did you mean %s? to see all type: cardea ls", near)
	}
	if len(servers) == 0 { // then the list says no more than this
		return e.WithHint("a grant gives access: ask an administrator")
	}
	return e.WithHint("to see what there is type: cardea ls")
}

// nearest is the known word that a mistyped one most likely meant: at most one
// edit for every three letters; "" if there is none.
func nearest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := editDistance(word, k); d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// maxWord bounds the work on what somebody pasted, in bytes; no name is longer.
const maxWord = ident.MaxServerName + 1 + ident.MaxProject

// editDistance is Levenshtein's, with two exchanged letters as one edit.
func editDistance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return maxWord
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// staleAfter is the age from which a list says how old it is.
const staleAfter = 2 * time.Minute

func (a *app) noteAge(age time.Duration) {
	if age > staleAfter {
		a.say("note: this is %s old; the control plane cannot be reached now", roughly(age))
	}
}

// serverColumns has a column for other names only where somebody has one.
func serverColumns(a *app, rows ...*api.CatalogEntry) []column[*api.CatalogEntry] {
	columns := []column[*api.CatalogEntry]{
		{"name", func(s *api.CatalogEntry) string { return s.Name }},
		{"project", func(s *api.CatalogEntry) string { return s.ProjectName }},
		{"login", func(s *api.CatalogEntry) string { return s.Login }},
		{"role", func(s *api.CatalogEntry) string { return s.Role }},
		{"gateway", func(s *api.CatalogEntry) string { return s.Gateway }},
		{"seen", func(s *api.CatalogEntry) string { return a.ago(s.LastSeen) }},
		{"labels", func(s *api.CatalogEntry) string { return labels(s.Labels) }},
		{"id", func(s *api.CatalogEntry) string { return s.ID }},
	}
	if slices.ContainsFunc(rows, func(s *api.CatalogEntry) bool { return s.Recorded }) {
		recorded := column[*api.CatalogEntry]{"recorded", func(s *api.CatalogEntry) string { return yesNo(s.Recorded) }}
		columns = slices.Insert(columns, 5, recorded) // behind the gateway, which does it
	}
	if !slices.ContainsFunc(rows, func(s *api.CatalogEntry) bool { return len(s.AltNames) > 0 }) {
		return columns
	}
	also := column[*api.CatalogEntry]{"also", func(s *api.CatalogEntry) string { return strings.Join(s.AltNames, " ") }}
	return slices.Insert(columns, 1, also)
}

func fullName(s api.CatalogEntry) string { return fmt.Sprintf("%s/%s", s.ProjectName, s.Name) }
