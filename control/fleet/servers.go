package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Servers lists those of a project, or all.
func (s *Service) Servers(ctx context.Context, project string, pg api.Page) (*api.List[api.Server], error) {
	id := ""
	if project != "" {
		p, err := s.project(ctx, project)
		if err != nil {
			return nil, err
		}
		id = p.ID
	}
	rows, next, err := s.Store.Servers(ctx, id, lookup.Page(pg))
	if err != nil {
		return nil, caller.Explain(err, "such page of servers")
	}
	return lookup.List(rows, next, serverOf), nil
}

// Server finds one by id, name, or project/name.
func (s *Service) Server(ctx context.Context, ref string) (*api.Server, error) {
	row, err := s.server(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := serverOf(row)
	return &out, nil
}

func (s *Service) server(ctx context.Context, ref string) (store.Server, error) {
	project, name, qualified := strings.Cut(ref, "/")
	find := s.serverByName
	if qualified {
		p, err := s.project(ctx, project)
		if err != nil {
			return store.Server{}, err
		}
		find = func(ctx context.Context, name string) (store.Server, error) { return s.serverIn(ctx, p, name) }
	} else {
		name = ref
	}
	return lookup.Find(ctx, lookup.Kind[store.Server]{Name: "server", Prefix: ident.Server, ByID: s.Store.Server, ByName: find}, name)
}

func (s *Service) serverIn(ctx context.Context, p store.Project, name string) (store.Server, error) {
	rows, err := s.Store.ServersByName(ctx, name)
	for _, r := range rows {
		if err == nil && r.Project == p.ID {
			return r, nil
		}
	}
	if err == nil {
		err = store.ErrNotFound
	}
	return store.Server{}, err
}

func (s *Service) serverByName(ctx context.Context, name string) (store.Server, error) {
	rows, err := s.Store.ServersByName(ctx, name)
	switch {
	case err != nil:
		return store.Server{}, err
	case len(rows) == 0:
		return store.Server{}, store.ErrNotFound
	case len(rows) == 1:
		return rows[0], nil
	}
	full := make([]string, 0, len(rows))
	for _, r := range rows {
		p, err := s.Store.Project(ctx, r.Project)
		if err != nil {
			return store.Server{}, err
		}
		full = append(full, p.Name+"/"+r.Name)
	}
	return store.Server{}, api.Errorf(api.Ambiguous, "%s is the name of %d servers: %s", name, len(rows), strings.Join(full, ", ")).
		WithHint("name one of them, with its project")
}

// UpdateServer changes what the patch names.
func (s *Service) UpdateServer(ctx context.Context, by caller.Caller, ref string, in api.ServerPatch) (*api.Server, error) {
	row, err := s.server(ctx, ref)
	if err != nil {
		return nil, err
	}
	detail, err := checkMachine(in.Name, in.Address, in.State, in.Labels, serverExample)
	if err != nil {
		return nil, lookup.Invalid(err)
	}
	bastion, err := s.renamed(ctx, row, in, detail)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ServerUpdate)
	e.Server, e.Project, e.Detail = row.ID, row.Project, detail
	changed, err := s.Store.UpdateServer(ctx, row.ID, store.ServerChange{
		Name: in.Name, Address: in.Address, State: in.State, Labels: in.Labels, AltNames: in.AltNames, Bastion: bastion,
	}, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		changed, err = s.Store.Server(ctx, row.ID)
	}
	if errors.Is(err, store.ErrDenied) {
		return nil, Held(row).WithCause(err)
	}
	if err != nil {
		return nil, explainName(err, "server", row.Name, takenName(in))
	}
	out := serverOf(changed)
	return &out, nil
}

// takenName is what a patch asked for when the store found it taken.
func takenName(in api.ServerPatch) *string {
	if in.AltNames == nil || len(*in.AltNames) == 0 {
		return in.Name
	}
	names := *in.AltNames
	if in.Name != nil {
		names = append([]string{*in.Name}, names...)
	}
	all := strings.Join(names, " or ")
	return &all
}

// explainName says which name was taken.
func explainName(err error, kind, name string, asked *string) error {
	if errors.Is(err, store.ErrExists) && asked != nil {
		name = *asked
	}
	return caller.Explain(err, kind+" "+name)
}

// checkMachine checks a patch of a server or gateway, makes its address
// canonical, and tells what it changes. example is an address of its kind.
func checkMachine(name, address, state *string, labels *map[string]string, example string) (map[string]string, error) {
	detail := map[string]string{}
	if name != nil {
		if err := ident.ServerName(*name); err != nil {
			return nil, err
		}
		detail["name"] = *name
	}
	if address != nil {
		canonical, err := checkAddress(*address, example)
		if err != nil {
			return nil, err
		}
		*address = canonical
		detail["address"] = canonical
	}
	if state != nil {
		if *state != store.Active && *state != store.Disabled {
			return nil, fmt.Errorf("a state is %s or %s", store.Active, store.Disabled)
		}
		detail["state"] = *state
	}
	if labels != nil {
		if err := checkLabels(*labels); err != nil {
			return nil, err
		}
		for k, v := range *labels {
			detail["label "+k] = v
		}
	}
	return detail, nil
}

// DeleteServer forgets a server and revokes its credential.
func (s *Service) DeleteServer(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	row, err := s.server(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ServerDelete)
	e.Server, e.Project, e.Detail = row.ID, row.Project, map[string]string{"name": row.Name}
	err = s.Store.DeleteServer(ctx, row.ID, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrInUse) {
		return nil, api.Errorf(api.Conflict, "server %s is the bastion of others", row.Name).
			WithHint("give them another, or none; type: cardea admin servers update NAME --bastion=").WithCause(err)
	}
	return lookup.Named(row.ID, caller.Explain(err, "server "+row.Name))
}

func serverOf(r store.Server) api.Server {
	return api.Server{
		ID: r.ID, Project: r.Project, Name: r.Name, Address: r.Address, Labels: r.AllLabels(), State: r.State, Held: r.Held,
		Confirmed: api.StateVersion{Epoch: r.ConfirmedEpoch, Counter: r.ConfirmedCounter},
		LastSeen:  r.LastSeen, CreatedAt: r.CreatedAt, Problems: r.Problems,
		AltNames: r.AltNames, Bastion: r.Bastion, Proposed: openProposal(r),
	}
}
