package storetest

import (
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// glass begins a break-glass of an hour for a group.
func (w *world) glass(p store.Project, g store.Group) store.BreakGlass {
	w.Helper()
	return must[store.BreakGlass](w)(w.s.BeginBreakGlass(w.ctx, w.newGlass(p, g), w.meta("break-glass.begin")))
}

func (w *world) newGlass(p store.Project, g store.Group) store.BreakGlass {
	return store.BreakGlass{ID: ident.New(ident.BreakGlass), Project: p.ID, Group: g.ID, Role: "admin", Grant: ident.New(ident.Grant),
		Reason: `the "gateways" are down`, BeganBy: w.admin.ID, Until: w.now.Add(time.Hour)}
}

// issuable tells whether the path's own grant, or another, still brings certificates.
func (w *world) issuable(p path, grant string) error {
	w.Helper()
	v := w.issue(p)
	v.Grant = grant
	return w.s.RecordIssuance(w.ctx, v, w.quiet())
}

var glassCases = []testCase{
	{"a break-glass is read back everywhere, with the grant that it brings", func(w *world) {
		p := w.path()
		sre := w.group("sre")
		w.member(sre, w.user("carol"), time.Time{})
		var b store.BreakGlass
		w.raises(p.project.ID, func() { b = w.glass(p.project, sre) })
		w.equal(b.GroupName, "sre")
		w.equal(b.BeganAt, w.now)
		w.equal(b.Revision, must[store.Team](w)(w.s.Team(w.ctx)).Revision)
		w.equal(must[store.BreakGlass](w)(w.s.BreakGlass(w.ctx, b.ID)), b)
		rows, _, err := w.s.BreakGlasses(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.BreakGlass{b})
		w.equal(must[store.BreakGlass](w)(w.s.ProjectBreakGlass(w.ctx, p.project.ID)), b)
		w.equal(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).BreakGlass, []store.BreakGlass{b})
		w.equal(must[store.CatalogFacts](w)(w.s.CatalogFacts(w.ctx, p.user.ID)).BreakGlass, []store.BreakGlass{b})
		f := must[store.Facts](w)(w.s.Facts(w.ctx, p.subject.Session.ID, p.server.ID))
		w.equal(f.BreakGlass, []store.BreakGlass{b})
		w.equal(len(f.Grants), 2)
		grants, _, err := w.s.Grants(w.ctx, p.project.ID, store.Page{Limit: 10})
		w.ok(err)
		grants = slices.DeleteFunc(grants, func(g store.Grant) bool { return g.ID == p.grant.ID })
		w.equal(grants, []store.Grant{{ID: b.Grant, Project: p.project.ID, Group: sre.ID, GroupName: "sre", Role: "admin", Until: b.Until, Revision: b.Revision, CreatedAt: w.now}})
		w.equal(len(must[store.Facts](w)(w.s.Facts(w.ctx, p.subject.Session.ID, w.server(w.project("db", "none"), "db-1").ID)).BreakGlass), 0)
	}},
	{"while it lasts its grant alone brings certificates, by the clock", func(w *world) {
		p := w.path()
		w.member(p.group, p.user, time.Time{})
		sre := w.group("sre")
		w.member(sre, p.user, time.Time{})
		w.ok(w.issuable(p, p.grant.ID))
		b := w.glass(p.project, sre)
		w.want(store.ErrDenied, w.issuable(p, p.grant.ID))
		w.ok(w.issuable(p, b.Grant))
		other := w.pathOf("db")
		w.ok(w.issuable(other, other.grant.ID))
		w.now = b.Until.Add(-time.Microsecond)
		w.want(store.ErrDenied, w.issuable(p, p.grant.ID))
		w.ok(w.issuable(p, b.Grant))
		w.now = b.Until // and no sweep has come
		w.ok(w.issuable(p, p.grant.ID))
		w.want(store.ErrDenied, w.issuable(p, b.Grant))
	}},
	{"ended early it is over, its grant is gone, and its people leave", func(w *world) {
		p := w.path()
		w.removing(p)
		sre, carol := w.group("sre"), w.user("carol")
		w.member(sre, carol, time.Time{})
		b := w.glass(p.project, sre)
		woken := w.s.Watch(w.ctx, store.UserTopic(carol.ID))
		var ended store.BreakGlass
		w.raises(p.project.ID, func() {
			ended = must[store.BreakGlass](w)(w.s.EndBreakGlass(w.ctx, b.ID, w.admin.ID, w.meta("break-glass.end")))
		})
		w.awake(woken)
		b.EndedAt, b.EndedBy, b.Revision = w.now, w.admin.ID, must[store.Team](w)(w.s.Team(w.ctx)).Revision
		w.equal(ended, b)
		w.equal(must[store.BreakGlass](w)(w.s.BreakGlass(w.ctx, b.ID)), b)
		w.ok(w.issuable(p, p.grant.ID))
		w.want(store.ErrDenied, w.issuable(p, b.Grant))
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(len(f.Grants), 1)
		w.equal(len(f.Users), 2) // those of the last one are told to be locked
		w.equal(f.Leavers, []store.Leaver{{User: carol.ID}})
		_, err := w.s.EndBreakGlass(w.ctx, b.ID, w.admin.ID, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"one at a time in a project; one that is over makes room, swept or not", func(w *world) {
		p := w.path()
		sre := w.group("sre")
		first := w.glass(p.project, sre)
		_, err := w.s.BeginBreakGlass(w.ctx, w.newGlass(p.project, sre), w.meta("never"))
		w.rows.Add(-1)
		w.want(store.ErrExists, err)
		w.glass(w.project("db", "required"), sre)
		w.now = first.Until
		second := w.glass(p.project, p.group)
		w.rows.Add(1) // that the first was over
		w.equal(must[store.BreakGlass](w)(w.s.BreakGlass(w.ctx, first.ID)).EndedAt, w.now)
		w.equal(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).BreakGlass, []store.BreakGlass{second})
		w.want(store.ErrDenied, w.issuable(p, p.grant.ID))
	}},
	{"the sweep writes down that its time was over, once", func(w *world) {
		p := w.path()
		b := w.glass(p.project, w.group("sre"))
		w.now = b.Until.Add(-time.Microsecond)
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(must[store.BreakGlass](w)(w.s.BreakGlass(w.ctx, b.ID)), b)
		w.now = b.Until.Add(3 * time.Second)
		w.raises(p.project.ID, func() { w.ok(w.s.Sweep(w.ctx, w.now)) })
		w.rows.Add(1)
		w.told(audit.BreakGlassEnd)
		b.EndedAt, b.Revision = w.now, must[store.Team](w)(w.s.Team(w.ctx)).Revision
		w.equal(must[store.BreakGlass](w)(w.s.BreakGlass(w.ctx, b.ID)), b)
		grants, _, err := w.s.Grants(w.ctx, p.project.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(grants), 1)
		w.ok(w.s.Sweep(w.ctx, w.now))
	}},
	{"its grant and its group stay while it lasts, and go after it", func(w *world) {
		p := w.path()
		sre := w.group("sre")
		b := w.glass(p.project, sre)
		w.want(store.ErrInUse, w.s.DeleteGrant(w.ctx, p.project.ID, b.Grant, w.quiet()))
		w.want(store.ErrInUse, w.s.DeleteGroup(w.ctx, sre.ID, w.quiet()))
		w.now = b.Until
		w.ok(w.s.DeleteGroup(w.ctx, sre.ID, w.quiet()))
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.rows.Add(1)
		w.equal(must[store.BreakGlass](w)(w.s.BreakGlass(w.ctx, b.ID)).GroupName, "")
	}},
	{"BeginBreakGlass is ErrNotFound for an unknown project or group, and then there is none", func(w *world) {
		p := w.path()
		b := w.newGlass(p.project, p.group)
		b.Group = "grp_none"
		_, err := w.s.BeginBreakGlass(w.ctx, b, w.quiet())
		w.want(store.ErrNotFound, err)
		b = w.newGlass(store.Project{ID: "prj_none"}, p.group)
		_, err = w.s.BeginBreakGlass(w.ctx, b, w.quiet())
		w.want(store.ErrNotFound, err)
		rows, _, err := w.s.BreakGlasses(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(rows), 0)
		w.ok(w.issuable(p, p.grant.ID))
	}},
	{"of two administrators who begin at once one does, on any instance", func(w *world) {
		p := w.path()
		instances := w.instances(2)
		errs := parallel(8, func(i int) error {
			_, err := instances[i%len(instances)].BeginBreakGlass(w.ctx, w.newGlass(p.project, p.group), w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrExists), 7)
	}},
}
