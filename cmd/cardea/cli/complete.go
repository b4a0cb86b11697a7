package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/offer"
	"github.com/cardea-ssh/cardea/api"
)

const (
	// completePatience is how long a shell's Tab may take.
	completePatience = 2 * time.Second
	// maxNames bounds how many names a Tab offers, and maxOffered how many values of a label.
	// Nobody reads more, and a shell needs long for each thousand.
	maxNames   = 2000
	maxOffered = 200
)

// completeServers offers the names of servers as the first argument. It never
// fails: a Tab must not print errors into the command line.
func (a *app) completeServers(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeManyServers(cmd, args, typed)
}

// completeTarget is completeServers for a verb that takes a login before the name.
func (a *app) completeTarget(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	login, name := loginBefore(typed)
	names, how := a.completeServers(cmd, args, name)
	for i := range names {
		names[i] = login + names[i]
	}
	return names, how
}

// loginBefore parts what was typed behind the login that it may begin with.
func loginBefore(typed string) (login, name string) {
	at := strings.LastIndexByte(typed, '@') + 1
	return typed[:at], typed[at:]
}

// completeProjects offers the projects in which there are servers to reach.
func (a *app) completeProjects(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	words := a.offered(cmd, nil, func(servers []api.CatalogEntry) []string { return offer.Projects(servers, typed, maxOffered) })
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeManyServers offers the names of servers that were not typed yet.
func (a *app) completeManyServers(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	names := a.offerNames(cmd, typed, false)
	return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(args, n) }), cobra.ShellCompDirectiveNoFileComp
}

// completeFiles offers servers to copy from or to. Files here are offered beside them, but not
// behind the colon of a server: its own are not known here.
func (a *app) completeFiles(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	if server, _, two := strings.Cut(typed, ":"); two && !strings.Contains(server, "/") { // as scp tells them apart
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	login, name := loginBefore(typed)
	names := a.offerNames(cmd, name, true)
	for i := range names {
		names[i] = login + names[i] + ":"
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

// completeSelector offers the keys of labels, and once one is typed its values.
func (a *app) completeSelector(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	words := a.offered(cmd, func(ctx context.Context) (agent.Words, error) { return a.local.Selectors(ctx, typed, maxOffered) },
		func(servers []api.CatalogEntry) []string { return offer.Selectors(servers, typed, maxOffered) })
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// offerNames are names that begin with what was typed; dotted as of agent.Control.Names.
func (a *app) offerNames(cmd *cobra.Command, typed string, dotted bool) []string {
	return a.offered(cmd, func(ctx context.Context) (agent.Words, error) { return a.local.Names(ctx, typed, dotted, maxNames) },
		func(servers []api.CatalogEntry) []string {
			names := offer.Names(slices.DeleteFunc(slices.Clone(servers), func(s api.CatalogEntry) bool { return checkEntry(s) != nil }))
			if dotted {
				for i := range names {
					names[i] = offer.Dotted(names[i])
				}
			}
			slices.Sort(names)
			return slices.Clone(offer.Beginning(names, typed, maxNames))
		})
}

// offered are the words that the agent has ready, if it ever has such ones (nil is for never),
// which takes a tenth of the time in which all servers are read. Where it has none, is older, or could not renew its list for a while, they
// are made of what the list verbs would show. Who has signed out is offered nothing.
func (a *app) offered(cmd *cobra.Command, ready func(context.Context) (agent.Words, error), from func([]api.CatalogEntry) []string) []string {
	if a.configure() != nil {
		return nil
	}
	return inTime(cmd.Context(), func(ctx context.Context) []string {
		if saved, err := a.home.Peek(); err == nil && a.opt.URL == "" && ready != nil {
			w, err := ready(ctx)
			if err == nil && w.User == saved.Session.User && w.Device == saved.Session.Device && w.Age <= staleAfter {
				return w.Words
			}
		}
		c, _, err := a.catalog(ctx)
		if err != nil {
			return nil
		}
		return from(c.Servers)
	})
}

// inTime are the words that are found while somebody waits for his Tab. A keyring that is locked
// is not interrupted by that: it is waited for no longer, and the process ends.
func inTime(ctx context.Context, find func(context.Context) []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	found := make(chan []string, 1)
	go func() { found <- find(ctx) }()
	select {
	case words := <-found:
		return words
	case <-ctx.Done():
		return nil
	}
}
