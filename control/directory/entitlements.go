package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// MaxDescription bounds what is only shown, in bytes: a few sentences.
const MaxDescription = 500

// CreateEntitlement makes a named list of commands.
func (s *Service) CreateEntitlement(ctx context.Context, by caller.Caller, in api.NewEntitlement) (*api.Entitlement, error) {
	if err := cmp.Or(checkEntitlementName(in.Name), checkLine("description", in.Description, MaxDescription), checkCommands(in.Commands)); err != nil {
		return nil, lookup.Invalid(err)
	}
	v := store.Entitlement{ID: ident.New(ident.Entitlement), Name: in.Name, Description: in.Description, Commands: in.Commands, CreatedAt: s.now()}
	e := by.Event(s.now(), audit.EntitlementCreate)
	e.Detail = entitlementDetail(v)
	tellCommands(e.Detail, v.Commands)
	created, err := s.Store.CreateEntitlement(ctx, v, by.MetaFor(v.CreatedAt, v.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		return s.Entitlement(ctx, ref)
	}
	if err != nil {
		return nil, caller.Explain(err, "entitlement "+v.Name)
	}
	return entitlementOf(created), nil
}

func checkEntitlementName(name string) error {
	if err := ident.EntitlementName(name); err != nil {
		return err
	}
	if ident.Check(name, ident.Entitlement) == nil {
		return fmt.Errorf("%q is no entitlement name: it has the form of an id", name)
	}
	return nil
}

// checkCommands says which command is wrong, counting from one.
func checkCommands(commands []entitlement.Command) error {
	if len(commands) == 0 || len(commands) > entitlement.MaxCommands {
		return fmt.Errorf("an entitlement has 1 to %d commands, not %d", entitlement.MaxCommands, len(commands))
	}
	for i, c := range commands {
		if err := c.Check(); err != nil {
			return fmt.Errorf("command %d: %s", i+1, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return nil
}

// Entitlement finds one by id or name.
func (s *Service) Entitlement(ctx context.Context, ref string) (*api.Entitlement, error) {
	e, err := s.entitlement(ctx, ref)
	if err != nil {
		return nil, err
	}
	return entitlementOf(e), nil
}

// Entitlements lists them.
func (s *Service) Entitlements(ctx context.Context, p api.Page) (*api.List[api.Entitlement], error) {
	rows, next, err := s.Store.Entitlements(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of entitlements")
	}
	return lookup.List(rows, next, func(e store.Entitlement) api.Entitlement { return *entitlementOf(e) }), nil
}

// UpdateEntitlement changes what the patch names, on every server where a grant
// gives it.
func (s *Service) UpdateEntitlement(ctx context.Context, by caller.Caller, ref string, in api.EntitlementPatch) (*api.Entitlement, error) {
	v, err := s.entitlement(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.EntitlementUpdate)
	e.Detail = entitlementDetail(v)
	if in.Description != nil {
		err = checkLine("description", *in.Description, MaxDescription)
		e.Detail["description"] = lookup.Shown(*in.Description)
	}
	if in.Commands != nil {
		err = cmp.Or(err, checkCommands(*in.Commands))
		tellCommands(e.Detail, *in.Commands)
	}
	if err != nil {
		return nil, lookup.Invalid(err)
	}
	_, err = s.Store.UpdateEntitlement(ctx, v.ID, store.EntitlementChange{Description: in.Description, Commands: in.Commands}, by.MetaFor(s.now(), v.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); err != nil && !again {
		return nil, caller.Explain(err, "entitlement "+v.Name)
	}
	return s.Entitlement(ctx, v.ID)
}

// DeleteEntitlement removes one that no grant names.
func (s *Service) DeleteEntitlement(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	v, err := s.entitlement(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.EntitlementDelete)
	e.Detail = entitlementDetail(v)
	err = s.Store.DeleteEntitlement(ctx, v.ID, by.MetaFor(s.now(), v.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrInUse) {
		return nil, s.usedBy(ctx, v, err)
	}
	return lookup.Named(v.ID, caller.Explain(err, "entitlement "+v.Name))
}

// maxUsers is how many grants a refused deletion names.
const maxUsers = 3

// usedBy is the refusal to delete what grants name, and says which.
func (s *Service) usedBy(ctx context.Context, v store.Entitlement, cause error) error {
	grants, next, err := s.Store.EntitlementGrants(ctx, v.ID, store.Page{Limit: maxUsers})
	if err != nil {
		return err
	}
	why := api.Errorf(api.Conflict, "entitlement %s is in use", v.Name).WithHint("try again").WithCause(cause)
	var users []string
	for i, g := range grants {
		p, err := s.Store.Project(ctx, g.Project)
		if err != nil {
			return caller.Explain(err, "project "+g.Project)
		}
		users = append(users, fmt.Sprintf("%s of group %s in project %s", g.ID, g.GroupName, p.Name))
		if i == 0 {
			why = why.WithHint("take it out first; type: %s", without(p.Name, g, v.Name))
		}
	}
	if next != "" {
		users = append(users, "more")
	}
	why.Detail += " by grant " + strings.Join(users, ", ")
	return why
}

// without is the command that leaves a grant all its entitlements but one.
func without(project string, g store.Grant, name string) string {
	line, none := "cardea admin grants update "+project+" "+g.ID, true
	for _, e := range g.Entitlements {
		if e.Name != name {
			line, none = line+" --sudo "+e.Name, false
		}
	}
	if none {
		line += " --no-sudo"
	}
	return line
}

func (s *Service) entitlement(ctx context.Context, ref string) (store.Entitlement, error) {
	return lookup.Find(ctx, lookup.Kind[store.Entitlement]{
		Name: "entitlement", Prefix: ident.Entitlement, ByID: s.Store.Entitlement, ByName: s.Store.EntitlementByName,
	}, ref)
}

func entitlementDetail(e store.Entitlement) map[string]string {
	return map[string]string{"entitlement": e.ID, "name": e.Name}
}

// maxTold is how many details of an event hold commands; the others have to
// fit beside them.
const maxTold = audit.MaxDetails - 8

// tellCommands writes commands into the details of an event, as many in each as
// it takes, and how many did not fit. No command has a semicolon in it.
func tellCommands(detail map[string]string, commands []entitlement.Command) {
	detail["commands"] = strconv.Itoa(len(commands))
	var parts []string
	for i, c := range commands {
		text, last := c.String(), len(parts)-1
		if last >= 0 && len(parts[last])+len("; ")+len(text) <= audit.MaxDetailValue {
			parts[last] += "; " + text
			continue
		}
		if len(parts) == maxTold {
			detail["not_recorded"] = strconv.Itoa(len(commands) - i)
			break
		}
		parts = append(parts, text)
	}
	for i, p := range parts {
		detail[fmt.Sprintf("commands_%02d", i+1)] = p
	}
}

func entitlementOf(e store.Entitlement) *api.Entitlement {
	return &api.Entitlement{ID: e.ID, Name: e.Name, Description: e.Description, Commands: e.Commands, CreatedAt: e.CreatedAt}
}
