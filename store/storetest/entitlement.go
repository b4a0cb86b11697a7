package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// entitlement makes one of two commands, which use every field.
func (w *world) entitlement(name string) store.Entitlement {
	w.Helper()
	return must[store.Entitlement](w)(w.s.CreateEntitlement(w.ctx, w.newEntitlement(name), w.meta("entitlement.create")))
}

func (w *world) newEntitlement(name string) store.Entitlement {
	return store.Entitlement{
		ID: ident.New(ident.Entitlement), Name: name, Description: "What " + name + " may do: “everything”", CreatedAt: w.now,
		Commands: []entitlement.Command{
			{Kind: entitlement.Executable, Path: "/usr/bin/" + name, Arguments: entitlement.ExactArguments, Exact: []string{"restart", "x@y"},
				RunAs: "postgres", Password: true, NoExec: true, SetEnv: true},
			{Kind: entitlement.Directory, Path: "/opt/" + name + "/"},
		},
	}
}

func refs(entitlements ...store.Entitlement) (out []store.EntitlementRef) {
	for _, e := range entitlements {
		out = append(out, store.EntitlementRef{ID: e.ID, Name: e.Name})
	}
	return out
}

// entitled changes the grant of a path, as UpdateGrant does.
func (w *world) entitled(p path, entitlements ...store.Entitlement) store.Grant {
	w.Helper()
	return must[store.Grant](w)(w.s.UpdateGrant(w.ctx, p.project.ID, p.grant.ID, store.GrantChange{Entitlements: refs(entitlements...)}, w.meta("grant.update")))
}

var entitlementCases = []testCase{
	{"an entitlement is read back by id and by name, and its name is unique", func(w *world) {
		in := w.newEntitlement("nginx")
		e := must[store.Entitlement](w)(w.s.CreateEntitlement(w.ctx, in, w.meta("entitlement.create")))
		w.equal(e, in)
		w.equal(must[store.Entitlement](w)(w.s.Entitlement(w.ctx, e.ID)), e)
		w.equal(must[store.Entitlement](w)(w.s.EntitlementByName(w.ctx, "nginx")), e)
		_, err := w.s.CreateEntitlement(w.ctx, w.newEntitlement("nginx"), w.meta("second"))
		w.want(store.ErrExists, err)
		w.unlogged("second")
		w.logged("entitlement.create")
		_, err = w.s.Entitlement(w.ctx, "ent_none")
		w.want(store.ErrNotFound, err)
		_, err = w.s.EntitlementByName(w.ctx, "none")
		w.want(store.ErrNotFound, err)
	}},
	{"entitlements are listed by name, page by page", func(w *world) {
		for i := range 23 {
			w.entitlement(fmt.Sprintf("ent%02d", 22-i))
		}
		page, names := store.Page{Limit: 5}, []string{}
		for {
			rows, next, err := w.s.Entitlements(w.ctx, page)
			w.ok(err)
			for _, e := range rows {
				names = append(names, e.Name)
			}
			if page.Cursor = next; next == "" {
				break
			}
		}
		w.equal(len(names), 23)
		w.equal([]string{names[0], names[22]}, []string{"ent00", "ent22"})
	}},
	{"CreateGrant and UpdateGrant name entitlements, which are read back by name", func(w *world) {
		p := w.path()
		b, a := w.entitlement("b"), w.entitlement("a")
		g := must[store.Grant](w)(w.s.CreateGrant(w.ctx, store.Grant{ID: ident.New(ident.Grant), Project: p.project.ID, Group: p.group.ID, Role: "user",
			Entitlements: refs(b, a), CreatedAt: w.now.Add(time.Second)}, w.quiet()))
		w.equal(g.Entitlements, refs(a, b))
		changed := w.entitled(p, b)
		w.equal(changed.Entitlements, refs(b))
		w.equal(changed.Revision > p.grant.Revision, true)
		grants, _, err := w.s.Grants(w.ctx, p.project.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(grants, []store.Grant{changed, g})
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(f.Grants, grants)
		w.equal(f.Entitlements, []store.Entitlement{a, b})
		w.equal(must[[]store.Entitlement](w)(w.s.GrantEntitlements(w.ctx, g.ID)), []store.Entitlement{a, b})
		w.equal(len(w.entitled(p).Entitlements), 0)
		w.equal(len(must[[]store.Entitlement](w)(w.s.GrantEntitlements(w.ctx, p.grant.ID))), 0)
		w.logged("grant.update")
	}},
	{"a grant of an unknown entitlement is ErrNotFound, and nothing of it happens", func(w *world) {
		p := w.path()
		a := w.entitlement("a")
		w.entitled(p, a)
		unknown := append(refs(a), store.EntitlementRef{ID: "ent_none"})
		_, err := w.s.UpdateGrant(w.ctx, p.project.ID, p.grant.ID, store.GrantChange{Entitlements: unknown}, w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.CreateGrant(w.ctx, store.Grant{ID: ident.New(ident.Grant), Project: p.project.ID, Group: p.group.ID, Role: "user", Entitlements: unknown}, w.quiet())
		w.want(store.ErrNotFound, err)
		grants, _, err := w.s.Grants(w.ctx, p.project.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(grants), 1)
		w.equal(grants[0].Entitlements, refs(a))
	}},
	{"UpdateGrant is by project and id together", func(w *world) {
		p := w.path()
		other := w.project("other", "none")
		_, err := w.s.UpdateGrant(w.ctx, other.ID, p.grant.ID, store.GrantChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.UpdateGrant(w.ctx, p.project.ID, "grt_none", store.GrantChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"UpdateGrant raises the project's revision, and that of no other", func(w *world) {
		p := w.path()
		other := w.project("other", "none")
		a := w.entitlement("a")
		w.raises(p.project.ID, func() { w.entitled(p, a) })
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, other.ID)).Revision, other.Revision)
	}},
	{"other commands raise the revision of every project with a grant that names them, and of no other", func(w *world) {
		p := w.path()
		a, b := w.entitlement("a"), w.entitlement("b")
		w.entitled(p, a)
		other := w.project("other", "none")
		otherGrant := w.grant(other, p.group, time.Time{})
		must[store.Grant](w)(w.s.UpdateGrant(w.ctx, other.ID, otherGrant.ID, store.GrantChange{Entitlements: refs(b)}, w.quiet()))
		other = must[store.Project](w)(w.s.Project(w.ctx, other.ID))
		change := []entitlement.Command{{Kind: entitlement.Raw, Path: "/bin/ls -l"}}
		w.raises(p.project.ID, func() {
			got := must[store.Entitlement](w)(w.s.UpdateEntitlement(w.ctx, a.ID, store.EntitlementChange{Commands: &change}, w.meta("entitlement.update")))
			a.Commands = change
			w.equal(got, a)
		})
		w.equal(must[store.Entitlement](w)(w.s.Entitlement(w.ctx, a.ID)), a)
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, other.ID)), other)
		w.equal(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Entitlements, []store.Entitlement{a})
		w.logged("entitlement.update")
	}},
	{"another description, or the same commands again, raise nothing", func(w *world) {
		p := w.path()
		a := w.entitlement("a")
		w.entitled(p, a)
		before := must[store.Team](w)(w.s.Team(w.ctx))
		got := must[store.Entitlement](w)(w.s.UpdateEntitlement(w.ctx, a.ID, store.EntitlementChange{Description: ptr("new"), Commands: &a.Commands}, w.quiet()))
		a.Description = "new"
		w.equal(got, a)
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)), before)
		_, err := w.s.UpdateEntitlement(w.ctx, "ent_none", store.EntitlementChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"DeleteEntitlement is ErrInUse while a grant names it, and EntitlementGrants tells which", func(w *world) {
		p := w.path()
		a := w.entitlement("a")
		g := w.entitled(p, a)
		w.want(store.ErrInUse, w.s.DeleteEntitlement(w.ctx, a.ID, w.meta("refused")))
		w.unlogged("refused")
		grants, _, err := w.s.EntitlementGrants(w.ctx, a.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(grants, []store.Grant{g})
		w.entitled(p)
		w.ok(w.s.DeleteEntitlement(w.ctx, a.ID, w.meta("entitlement.delete")))
		w.logged("entitlement.delete")
		w.want(store.ErrNotFound, w.s.DeleteEntitlement(w.ctx, a.ID, w.quiet()))
		w.entitlement("a") // the name is free
	}},
	{"whatever removes a grant leaves its entitlements unused", func(w *world) {
		p := w.path()
		a := w.entitlement("a")
		other, group := w.project("other", "none"), w.group("dev")
		for name, remove := range map[string]func(store.Grant) error{
			"DeleteGrant":   func(g store.Grant) error { return w.s.DeleteGrant(w.ctx, g.Project, g.ID, w.quiet()) },
			"Sweep":         func(store.Grant) error { return w.s.Sweep(w.ctx, w.now.Add(time.Minute)) },
			"DeleteGroup":   func(g store.Grant) error { return w.s.DeleteGroup(w.ctx, g.Group, w.quiet()) },
			"DeleteProject": func(g store.Grant) error { return w.s.DeleteProject(w.ctx, g.Project, w.quiet()) },
		} {
			in := store.Grant{ID: ident.New(ident.Grant), Project: p.project.ID, Group: p.group.ID, Role: "user", Entitlements: refs(a), CreatedAt: w.now}
			switch name {
			case "Sweep":
				in.Until = w.now.Add(time.Minute)
			case "DeleteGroup":
				in.Group = group.ID
			case "DeleteProject":
				in.Project = other.ID
			}
			g := must[store.Grant](w)(w.s.CreateGrant(w.ctx, in, w.quiet()))
			w.ok(remove(g))
			left, _, err := w.s.EntitlementGrants(w.ctx, a.ID, store.Page{Limit: 10})
			w.ok(err)
			if len(left) != 0 {
				w.Fatalf("%s left %v", name, left)
			}
		}
		w.ok(w.s.DeleteEntitlement(w.ctx, a.ID, w.quiet()))
	}},
	{"a deletion and a grant that names it at once: one of them is refused", func(w *world) {
		p := w.path()
		for range 10 {
			e := w.entitlement(ident.New("e")[:12])
			errs := parallel(2, func(i int) error {
				if i == 0 {
					return w.s.DeleteEntitlement(w.ctx, e.ID, w.quiet())
				}
				_, err := w.s.UpdateGrant(w.ctx, p.project.ID, p.grant.ID, store.GrantChange{Entitlements: refs(e)}, w.quiet())
				return err
			})
			if (errs[0] == nil) == (errs[1] == nil) {
				w.Fatalf("deletion: %v, grant: %v", errs[0], errs[1])
			}
			if errs[0] == nil {
				w.want(store.ErrNotFound, errs[1])
			} else {
				w.want(store.ErrInUse, errs[0])
			}
			w.entitled(p)
		}
	}},
}
