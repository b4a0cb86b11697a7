package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// idNames knows what ids are called now. An id whose owner is gone, or whose list
// cannot be had, stays an id: what is asked for is shown whatever becomes of names.
type idNames struct {
	client *api.Client
	known  map[string]string // id → name, or the id itself where there is none
}

func newIDNames(client *api.Client) *idNames {
	return &idNames{client: client, known: map[string]string{}}
}

func (n *idNames) of(id string) string { return cmp.Or(n.known[id], id) }

// learn fetches each list that explains an id not met before, once for all of them.
func (n *idNames) learn(ctx context.Context, ids []string) {
	fetched := map[string]bool{}
	for _, id := range ids {
		path := listOf(id)
		if path == "" || n.known[id] != "" {
			continue
		}
		if !fetched[path] {
			fetched[path] = true
			n.fetch(ctx, path)
		}
		n.known[id] = n.of(id)
	}
}

// fetch learns the names of one list.
func (n *idNames) fetch(ctx context.Context, path string) {
	rows, err := api.All[struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}](ctx, n.client, path, nil)
	if err != nil {
		return
	}
	for _, r := range rows {
		n.known[r.ID] = r.Name
	}
}

// name calls an id what it was called while it was there; a name of now wins.
func (n *idNames) name(id, name string) {
	if id != "" && name != "" && n.of(id) == id {
		n.known[id] = name
	}
}

// listOf is the list in which an id has its name, if it is of a kind with names.
func listOf(id string) string {
	for prefix, path := range map[string]string{
		ident.User: "/v1/users", ident.UserGroup: "/v1/groups", ident.Project: "/v1/projects",
		ident.Server: "/v1/servers", ident.Gateway: "/v1/gateways", ident.Entitlement: "/v1/entitlements",
		ident.Provider: "/v1/providers", ident.ScimClient: "/v1/scim-clients",
	} {
		if strings.HasPrefix(id, prefix) {
			return path
		}
	}
	return ""
}

// named shows people the names of what rows refer to by id; programs get ids.
func named[T any](ctx context.Context, a *app, client *api.Client, rows []T, columns []column[T]) []column[T] {
	if a.output == asJSON {
		return columns
	}
	names := newIDNames(client)
	out := slices.Clone(columns)
	for i, c := range columns {
		if !slices.Contains([]string{"user", "server", "project", "gateway", "bastion", "by", "spool given to", "kept by", "provider"}, c.name) {
			continue
		}
		var ids []string
		for _, r := range rows {
			ids = append(ids, c.text(r))
		}
		names.learn(ctx, ids)
		out[i].text = func(r T) string { return names.of(c.text(r)) }
	}
	return out
}
