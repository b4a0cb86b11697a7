package storetest

import (
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// claimRecorded is a claim of a recorded session, with what will be signed for it.
func (w *world) claimRecorded(p path) store.Claim {
	w.Helper()
	v := w.issue(p)
	w.ok(w.s.RecordIssuance(w.ctx, v, w.quiet()))
	c := w.claim(p, v)
	target, host := v, v
	target.Kind, target.Serial, target.PublicKey, target.Ticket = store.IssueTarget, uint64(w.number())+1<<40, "SHA256:"+ident.New("k"), ""
	target.Gateway, target.GatewaySession = p.gateway.ID, c.Session.ID
	host = store.Issued{Kind: store.IssueGatewayHost, Serial: uint64(w.number()) + 1<<40, CA: v.CA, Principal: p.server.ID + ".cardea", KeyID: "x", PublicKey: "SHA256:h",
		Server: p.server.ID, Project: p.project.ID, NotBefore: v.NotBefore, NotAfter: v.NotAfter, CreatedAt: v.CreatedAt, Gateway: p.gateway.ID, GatewaySession: c.Session.ID}
	c.Record = &store.ClaimedRecord{Required: true, Target: target, Host: host}
	return c
}

// recorded is a session that is being recorded.
func (w *world) recorded(p path) store.GatewaySession {
	w.Helper()
	c := w.claimRecorded(p)
	w.ok(w.s.ClaimHello(w.ctx, c, w.quiet()))
	return c.Session
}

func (w *world) issuedNone(serials ...uint64) {
	w.Helper()
	for _, n := range serials {
		_, err := w.s.Issued(w.ctx, n)
		w.want(store.ErrNotFound, err)
	}
}

var recordingCases = []testCase{
	{"a claim of a recorded session records both certificates and begins the recording, or nothing", func(w *world) {
		p := w.path()
		c := w.claimRecorded(p)
		w.ok(w.s.ClaimHello(w.ctx, c, w.meta("gateway.claim")))
		for _, v := range []store.Issued{c.Record.Target, c.Record.Host} {
			v.Labels = nil
			w.equal(must[store.Issued](w)(w.s.Issued(w.ctx, v.Serial)), v)
		}
		r := must[store.Recording](w)(w.s.Recording(w.ctx, c.Session.ID))
		want := c.Session
		want.Recording = store.RecordingRunning
		w.equal(r, store.Recording{GatewaySession: want, Required: true, State: store.RecordingRunning, Keeper: p.gateway.ID, ChangedAt: w.now})
		w.equal(must[store.GatewaySession](w)(w.s.GatewaySession(w.ctx, c.Session.ID)), want)

		again := w.claimRecorded(p)
		again.Nonce = c.Nonce
		w.want(store.ErrReplayed, w.s.ClaimHello(w.ctx, again, w.meta("denied")))
		w.issuedNone(again.Record.Target.Serial, again.Record.Host.Serial)
		_, err := w.s.Recording(w.ctx, again.Session.ID)
		w.want(store.ErrNotFound, err)
		w.unlogged("denied")
	}},
	{"a key that went to a server once is certified for no second session", func(w *world) {
		p := w.path()
		c := w.claimRecorded(p)
		w.ok(w.s.ClaimHello(w.ctx, c, w.quiet()))
		again := w.claimRecorded(p)
		again.Record.Target.PublicKey = c.Record.Target.PublicKey
		w.want(store.ErrUsed, w.s.ClaimHello(w.ctx, again, w.quiet()))
		w.issuedNone(again.Record.Target.Serial)
		// Nothing happened: the same hello with a fresh key is as good as it was.
		again.Record.Target.PublicKey = "SHA256:fresh"
		w.ok(w.s.ClaimHello(w.ctx, again, w.quiet()))
	}},
	{"a serial that is taken is ErrExists, and leaves the nonce free", func(w *world) {
		p := w.path()
		c := w.claimRecorded(p)
		serial := c.Record.Host.Serial
		c.Record.Host.Serial = c.Record.Target.Serial
		w.want(store.ErrExists, w.s.ClaimHello(w.ctx, c, w.quiet()))
		c.Record.Host.Serial = serial
		w.ok(w.s.ClaimHello(w.ctx, c, w.quiet()))
	}},
	{"a claim of a recorded session is ErrDenied when the grant behind it does not hold", func(w *world) {
		for name, c := range map[string]func(p path, c *store.Claim){
			"another's certificate":        func(p path, c *store.Claim) { c.Record.Target.User = w.user("mallory").ID },
			"another login":                func(p path, c *store.Claim) { c.Record.Target.Login = "root" },
			"another grant":                func(p path, c *store.Claim) { c.Record.Target.Grant = "grt_none" },
			"another project":              func(p path, c *store.Claim) { c.Record.Target.Project = w.project("else", "none").ID },
			"labels that have changed":     func(p path, c *store.Claim) { c.Record.Target.Labels = map[string]string{"env": "dev"} },
			"a kind that is none":          func(p path, c *store.Claim) { c.Record.Target.Kind = "x" },
			"the grant is taken away":      func(p path, c *store.Claim) { w.ok(w.s.DeleteGrant(w.ctx, p.project.ID, p.grant.ID, w.quiet())) },
			"the membership is taken away": func(p path, c *store.Claim) { w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet())) },
		} {
			p := w.pathOf(ident.New("u")[:8])
			v := w.claimRecorded(p)
			c(p, &v)
			if err := w.s.ClaimHello(w.ctx, v, w.meta("denied")); err == nil {
				w.Fatalf("%s: claimed", name)
			} else {
				w.want(store.ErrDenied, err)
			}
			w.issuedNone(v.Record.Target.Serial, v.Record.Host.Serial)
			_, err := w.s.GatewaySession(w.ctx, v.Session.ID)
			w.want(store.ErrNotFound, err)
		}
		w.unlogged("denied")
	}},
	{"a certificate for a server is revoked with its session, and keeps its CA", func(w *world) {
		p := w.path()
		w.recorded(p)
		w.equal(len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Revoked.Serials), 0)
		w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet()))
		w.equal(len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Revoked.Serials), 2)
	}},
	{"recording keys are kept for ever, and never become another's", func(w *world) {
		p, other := w.path(), w.gateway("gw-2")
		k1, k2 := store.RecordingKey{ID: "0000000000000001", Public: sum("1")}, store.RecordingKey{ID: "0000000000000002", Public: sum("2")}
		report := func(gateway string, keys ...store.RecordingKey) error {
			return w.s.ReportGateway(w.ctx, gateway, store.GatewayReport{Healthy: true, Records: true, RecordingKeys: keys}, w.quiet())
		}
		w.ok(report(p.gateway.ID, k1))
		w.equal(must[store.Gateway](w)(w.s.Gateway(w.ctx, p.gateway.ID)).Records, true)
		first := w.now
		w.now = w.now.Add(time.Hour)
		w.ok(report(p.gateway.ID, k2, k1))
		want := []store.RecordingKey{{ID: k1.ID, Gateway: p.gateway.ID, Public: k1.Public, Since: first}, {ID: k2.ID, Gateway: p.gateway.ID, Public: k2.Public, Since: w.now}}
		for name, k := range map[string]store.RecordingKey{
			"the id with another key":  {ID: k1.ID, Public: sum("x")},
			"the key under another id": {ID: "00000000000000ff", Public: k1.Public},
			"the key as it is, stolen": k1,
		} {
			if err := report(other.ID, k); err == nil {
				w.Fatalf("%s: taken", name)
			} else {
				w.want(store.ErrExists, err)
			}
		}
		w.equal(must[store.Gateway](w)(w.s.Gateway(w.ctx, other.ID)).Records, false)
		w.want(store.ErrExists, report(p.gateway.ID, store.RecordingKey{ID: k1.ID, Public: sum("x")}))
		w.ok(w.s.DeleteGateway(w.ctx, p.gateway.ID, w.quiet()))
		got, _, err := w.s.RecordingKeys(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(got, want)
		w.equal(must[store.RecordingKey](w)(w.s.RecordingKey(w.ctx, k2.ID)), want[1])
		_, err = w.s.RecordingKey(w.ctx, "ffffffffffffffff")
		w.want(store.ErrNotFound, err)
	}},
	{"reports move a recording on, and nothing back", func(w *world) {
		p := w.path()
		h := w.recorded(p)
		report := func(v store.Recording, row string) error {
			v.Keeper = p.gateway.ID
			return w.s.ReportRecording(w.ctx, h.ID, v, w.meta(row))
		}
		running := store.Recording{State: "recording", Segments: 1, Bytes: 100, Place: "a"}
		finished := store.Recording{State: "finished", Segments: 2, Bytes: 200, Place: "a", Head: "aa", Key: "k", Seconds: 9, EndCause: "client"}
		stored := finished
		stored.State, stored.Segments, stored.Bytes = "stored", 3, 300
		w.ok(report(running, "one segment"))
		w.unlogged("one segment")
		w.ok(report(finished, "finished"))
		w.logged("finished")
		w.ok(report(finished, "the same again"))
		w.unlogged("the same again")
		otherHead, otherPlace, fewer := stored, stored, stored
		otherHead.Head, otherPlace.Place, fewer.Segments = "bb", "b", 1
		for name, v := range map[string]store.Recording{"another head": otherHead, "another place": otherPlace, "fewer segments": fewer} {
			if err := report(v, "refused"); err == nil {
				w.Fatalf("%s: stored", name)
			} else {
				w.want(store.ErrDenied, err)
			}
		}
		w.ok(report(running, "older news"))
		w.ok(report(stored, "stored"))
		w.ok(report(stored, "the same again"))
		changed := stored
		changed.Fault = "x"
		w.want(store.ErrDenied, report(changed, "refused"))
		lost := stored
		lost.State = "damaged"
		w.want(store.ErrDenied, report(lost, "refused"))
		w.ok(report(finished, "older news"))
		w.unlogged("refused")
		w.unlogged("older news")
		r := must[store.Recording](w)(w.s.Recording(w.ctx, h.ID))
		w.equal([]any{r.State, r.Segments, r.Bytes, r.Head, r.Key, r.Seconds, r.EndCause, r.Place}, []any{"stored", 3, int64(300), "aa", "k", int64(9), "client", "a"})
		w.want(store.ErrNotFound, w.s.ReportRecording(w.ctx, w.session(p).ID, stored, w.quiet()))

		h = w.recorded(p)
		damaged := stored
		damaged.State, damaged.Segments, damaged.Fault = "damaged", 1, "segment 2 was set aside"
		w.ok(report(finished, "finished"))
		w.ok(report(damaged, "damaged"))
		w.ok(report(finished, "older news"))
		w.equal(must[store.Recording](w)(w.s.Recording(w.ctx, h.ID)).State, "damaged")
		whole := stored
		whole.Head = "cc"
		w.ok(report(whole, "mended"))
		for _, of := range []store.RecordingsOf{{}, {User: p.user.ID}, {Server: p.server.ID}, {User: p.user.ID, Server: p.server.ID}} {
			rows, _, err := w.s.Recordings(w.ctx, of, store.Page{Limit: 10})
			w.ok(err)
			w.equal([]any{len(rows), rows[0].ID == h.ID || rows[1].ID == h.ID}, []any{2, true})
		}
		for _, of := range []store.RecordingsOf{{User: p.subject.Session.ID}, {Server: p.user.ID}, {User: p.user.ID, Server: p.user.ID}, {User: p.server.ID, Server: p.server.ID}} {
			none, _, err := w.s.Recordings(w.ctx, of, store.Page{Limit: 10})
			w.ok(err)
			w.equal(len(none), 0)
		}
	}},
	{"another gateway speaks for one that is gone only while it is its heir", func(w *world) {
		p, heir, third := w.path(), w.gateway("gw-2"), w.gateway("gw-3")
		h := w.recorded(p)
		report := func(keeper, state string) error {
			return w.s.ReportRecording(w.ctx, h.ID, store.Recording{Keeper: keeper, State: state}, w.meta("report"))
		}
		is := func(want string) {
			w.Helper()
			w.equal(must[string](w)(w.s.Heir(w.ctx, p.gateway.ID, w.now)), want)
		}
		is("")
		w.want(store.ErrDenied, report(heir.ID, "finished"))
		w.unlogged("report")
		w.want(store.ErrNotFound, w.s.HandOver(w.ctx, p.gateway.ID, "gw_none", w.now.Add(time.Hour), w.quiet()))
		w.want(store.ErrNotFound, w.s.HandOver(w.ctx, "gw_none", heir.ID, w.now.Add(time.Hour), w.quiet()))
		is("")
		w.ok(w.s.HandOver(w.ctx, p.gateway.ID, third.ID, w.now.Add(time.Hour), w.quiet()))
		w.ok(w.s.HandOver(w.ctx, p.gateway.ID, heir.ID, w.now.Add(time.Hour), w.meta("handed over")))
		w.logged("handed over")
		is(heir.ID)
		w.want(store.ErrDenied, report(third.ID, "finished"))
		w.ok(report(heir.ID, "finished"))
		w.equal(must[store.Recording](w)(w.s.Recording(w.ctx, h.ID)).Keeper, heir.ID)
		w.ok(w.s.DeleteGateway(w.ctx, p.gateway.ID, w.quiet()))
		is(heir.ID) // the administrator's word outlives what it was said of
		w.now = w.now.Add(time.Hour)
		is("")
		w.want(store.ErrDenied, report(heir.ID, "stored"))
		w.want(store.ErrNotFound, w.s.HandOver(w.ctx, p.gateway.ID, heir.ID, w.now.Add(time.Hour), w.quiet()))
		w.ok(w.s.ReportGateway(w.ctx, third.ID, store.GatewayReport{RecordingKeys: []store.RecordingKey{{ID: "0000000000000001", Public: sum("1")}}}, w.quiet()))
		w.ok(w.s.DeleteGateway(w.ctx, third.ID, w.quiet()))
		w.ok(w.s.HandOver(w.ctx, third.ID, heir.ID, w.now.Add(time.Hour), w.quiet())) // it has recorded
		w.ok(w.s.HandOver(w.ctx, p.gateway.ID, "", w.now, w.quiet()))
		is("")
		w.want(store.ErrDenied, report(heir.ID, "stored"))
		w.ok(report(p.gateway.ID, "stored"))
	}},
	{"a recording that nobody finishes is noted once", func(w *world) {
		p := w.path()
		late, live, stored := w.recorded(p), w.recorded(p), w.recorded(p)
		w.ok(w.s.ReportRecording(w.ctx, stored.ID, store.Recording{Keeper: p.gateway.ID, State: "stored"}, w.quiet()))
		for _, h := range []store.GatewaySession{late, stored} {
			h.EndedAt, h.Cause = w.now, "client"
			w.ok(w.s.EndGatewaySession(w.ctx, h, w.quiet()))
		}
		w.ok(w.s.ReportGateway(w.ctx, p.gateway.ID, store.GatewayReport{Healthy: true}, store.Meta{Now: w.now.Add(time.Hour)}))
		w.equal(len(must[[]store.Recording](w)(w.s.LateRecordings(w.ctx, w.now, 10))), 0)
		found := must[[]store.Recording](w)(w.s.LateRecordings(w.ctx, w.now.Add(time.Second), 10))
		w.equal([]any{len(found), found[0].ID}, []any{1, late.ID})
		w.ok(w.s.NoteLate(w.ctx, late.ID, w.meta("late")))
		w.ok(w.s.NoteLate(w.ctx, late.ID, w.meta("late again")))
		w.ok(w.s.NoteLate(w.ctx, stored.ID, w.meta("late again")))
		w.logged("late")
		w.unlogged("late again")
		w.equal(len(must[[]store.Recording](w)(w.s.LateRecordings(w.ctx, w.now.Add(time.Second), 10))), 0)
		silent := must[[]store.Recording](w)(w.s.LateRecordings(w.ctx, w.now.Add(2*time.Hour), 10))
		w.equal([]any{len(silent), silent[0].ID}, []any{1, live.ID})
		w.equal(must[store.GatewaySession](w)(w.s.GatewaySession(w.ctx, late.ID)).Overdue, true)
		w.equal(must[store.GatewaySession](w)(w.s.GatewaySession(w.ctx, live.ID)).Overdue, false)
		w.ok(w.s.ReportRecording(w.ctx, late.ID, store.Recording{Keeper: p.gateway.ID, State: "stored"}, w.quiet()))
		w.equal(must[store.GatewaySession](w)(w.s.GatewaySession(w.ctx, late.ID)).Overdue, false)
	}},
}
