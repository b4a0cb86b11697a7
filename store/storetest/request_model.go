package storetest

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sample"
	"github.com/cardea-ssh/cardea/store"
)

// modelSteps is how many things happen in one run of the model: a second or two, and enough
// for a rule that is left out to be noticed in nearly every run.
const modelSteps = 1000

// ruled is what should be so, kept by rules that are written down a second time.
type ruled struct {
	a asking
	*world
	dice     *rand.Rand
	people   []store.User // the last one is the administrator
	active   map[string]bool
	asker    map[string]bool
	approver map[string]bool
	in       map[string]time.Time // who is let in, and until when
	requests []*store.AccessRequest
	ahead    map[string]*store.Preauthorization
}

// mayAnswer is what the answer of by to user must come to: nil, or why not.
func (m *ruled) mayAnswer(by, user string) error {
	switch {
	case by != m.admin.ID && !(m.active[by] && m.approver[by]):
		return store.ErrDenied
	case by == user:
		return store.ErrSamePerson
	}
	return nil
}

func (m *ruled) any() store.User { return m.people[m.dice.IntN(len(m.people))] }

func (m *ruled) request() *store.AccessRequest {
	if len(m.requests) == 0 {
		return nil
	}
	// Mostly one of the last: the old ones are all over.
	return m.requests[max(0, len(m.requests)-1-m.dice.IntN(4))]
}

// same compares an outcome with the one that the model has.
func (m *ruled) same(what string, got, want error) bool {
	m.Helper()
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		m.Fatalf("%s: %v, want %v", what, got, want)
	}
	return got == nil
}

func (m *ruled) ask() {
	u, d := m.any(), time.Duration(1+m.dice.IntN(5))*time.Hour
	r := newRequest(m.a)
	r.User, r.For = u.ID, d
	waiting, today := 0, 0
	for _, old := range m.requests {
		if old.User == u.ID && old.StateAt(m.now) == store.RequestPending {
			waiting++
		}
		if old.User == u.ID && old.CreatedAt.After(m.now.Add(-24*time.Hour)) {
			today++
		}
	}
	var want error
	switch {
	case !m.active[u.ID] || !m.asker[u.ID] || d > m.a.rule.Longest:
		want = store.ErrDenied
	case today >= store.MaxRequestsADay:
		want = store.ErrTooMany
	case waiting > 0:
		want = store.ErrExists
	}
	got, err := m.s.CreateRequest(m.ctx, r, m.quiet())
	if !m.same("ask", err, want) {
		return
	}
	m.requests = append(m.requests, &got)
	p := m.ahead[u.ID]
	if p != nil && p.Until.After(m.now) && d <= p.Longest && m.mayAnswer(p.By, u.ID) == nil {
		m.let(u.ID, d)
		m.equal([]any{got.State, got.AnsweredBy, got.Until}, []any{store.RequestApproved, p.By, m.in[u.ID]})
	} else {
		m.equal(got.State, store.RequestPending)
	}
}

// let lets somebody in, for as long as he is already at least.
func (m *ruled) let(user string, d time.Duration) {
	if until := m.now.Add(d); until.After(m.in[user]) {
		m.in[user] = until
	}
}

func (m *ruled) answer() {
	r, by := m.request(), m.any()
	if r == nil {
		return
	}
	a := store.RequestAnswer{Request: r.ID, By: by.ID, Approve: m.dice.IntN(4) > 0, For: []time.Duration{0, time.Hour, r.For + time.Second}[m.dice.IntN(3)]}
	want := m.mayAnswer(by.ID, r.User)
	if r.StateAt(m.now) != store.RequestPending {
		want = store.ErrUsed
	}
	if want == nil && a.Approve && (!m.active[r.User] || !m.asker[r.User] || a.For > r.For) {
		want = store.ErrDenied
	}
	got, err := m.s.AnswerRequest(m.ctx, a, m.quiet())
	if !m.same("answer", err, want) {
		return
	}
	if a.Approve {
		m.let(r.User, max(a.For, map[bool]time.Duration{true: r.For}[a.For == 0]))
		m.equal(got.Until, m.in[r.User])
	}
	*r = got
}

func (m *ruled) cancel() {
	r, by := m.request(), m.any()
	if r == nil {
		return
	}
	var want error
	if r.StateAt(m.now) != store.RequestPending {
		want = store.ErrUsed
	}
	if by.ID != r.User {
		want = store.ErrNotFound
	}
	if got, err := m.s.CancelRequest(m.ctx, r.ID, by.ID, m.quiet()); m.same("cancel", err, want) {
		*r = got
	}
}

func (m *ruled) end() {
	r, by := m.request(), m.any()
	if r == nil {
		return
	}
	var want error
	if r.State != store.RequestApproved || !r.Until.After(m.now) || !r.Until.Equal(m.in[r.User]) {
		want = store.ErrUsed
	}
	if by.ID != r.User && m.mayAnswer(by.ID, r.User) != nil {
		want = store.ErrDenied
	}
	if got, err := m.s.EndRequest(m.ctx, r.ID, by.ID, m.quiet()); m.same("end", err, want) {
		delete(m.in, r.User)
		*r = got
	}
}

// advance says yes to somebody ahead, or takes that back.
func (m *ruled) advance() {
	u, by := m.any(), m.any()
	if old := m.ahead[u.ID]; old != nil && m.dice.IntN(2) == 0 {
		var want error
		if m.mayAnswer(by.ID, "") != nil {
			want = store.ErrDenied
		}
		if m.same("take back", m.s.DeletePreauthorization(m.ctx, old.ID, by.ID, m.quiet()), want) {
			delete(m.ahead, u.ID)
		}
		return
	}
	p := store.Preauthorization{ID: ident.New(ident.Preauthorization), Rule: m.a.rule.ID, User: u.ID, By: by.ID, Longest: 2 * time.Hour, Until: m.now.Add(6 * time.Hour)}
	want := m.mayAnswer(by.ID, u.ID)
	if old := m.ahead[u.ID]; want == nil && old != nil && old.Until.After(m.now) {
		want = store.ErrExists
	}
	if got, err := m.s.CreatePreauthorization(m.ctx, p, m.quiet()); m.same("say ahead", err, want) {
		m.ahead[u.ID] = &got
	}
}

// change changes somebody's standing.
func (m *ruled) change() {
	u := m.people[m.dice.IntN(len(m.people)-1)]
	switch m.dice.IntN(3) {
	case 0:
		m.flip(m.asker, m.a.devs, u)
	case 1:
		m.flip(m.approver, m.a.lead, u)
	case 2:
		m.active[u.ID] = !m.active[u.ID]
		status := map[bool]string{true: store.Active, false: store.Disabled}[m.active[u.ID]]
		must[store.User](m.world)(m.s.UpdateUser(m.ctx, u.ID, store.UserChange{Status: &status}, m.quiet()))
	}
}

func (m *ruled) flip(in map[string]bool, g store.Group, u store.User) {
	if in[u.ID] = !in[u.ID]; in[u.ID] {
		m.ok(m.s.PutMember(m.ctx, store.Member{Group: g.ID, User: u.ID}, m.quiet()))
	} else {
		m.ok(m.s.RemoveMember(m.ctx, g.ID, u.ID, m.quiet()))
	}
}

// pass has time pass, and sweeps now and then. What is over may lie there until then.
func (m *ruled) pass() {
	m.now = m.now.Add(time.Duration(m.dice.IntN(60)) * time.Minute)
	if m.dice.IntN(3) > 0 {
		return
	}
	m.ok(m.s.Sweep(m.ctx, m.now))
	for id, p := range m.ahead {
		if !p.Until.After(m.now) {
			delete(m.ahead, id)
		}
	}
}

// agree fails unless those are in whom the model has let in, and until then.
func (m *ruled) agree() {
	rows, _, err := m.s.Members(m.ctx, m.a.oncall.ID, store.Page{Limit: 100})
	m.ok(err)
	got, want := map[string]time.Time{}, map[string]time.Time{}
	for _, r := range rows {
		if r.Until.After(m.now) {
			got[r.User] = r.Until
		}
	}
	for user, until := range m.in {
		if until.After(m.now) {
			want[user] = until
		} else {
			delete(m.in, user)
		}
	}
	m.equal(got, want)
}

func runRequestModel(w *world) {
	m := &ruled{a: w.asking(), world: w, dice: sample.Dice(w.TB), active: map[string]bool{}, asker: map[string]bool{}, approver: map[string]bool{},
		in: map[string]time.Time{}, ahead: map[string]*store.Preauthorization{}}
	m.people = []store.User{m.a.user, m.a.bob, m.a.carol, w.user("dave"), w.admin}
	for _, u := range m.people {
		m.active[u.ID] = true
	}
	m.asker[m.a.bob.ID], m.approver[m.a.carol.ID] = true, true
	m.flip(m.asker, m.a.devs, m.a.user)
	m.flip(m.approver, m.a.lead, m.a.user)
	approved := 0
	for i := range modelSteps {
		do := []func(){m.ask, m.ask, m.ask, m.answer, m.answer, m.answer, m.answer, m.cancel, m.end, m.advance, m.advance, m.change, m.pass}[m.dice.IntN(13)]
		do()
		m.agree()
		for _, r := range m.requests {
			if r.State == store.RequestApproved && r.AnsweredBy == r.User {
				m.Fatalf("step %d: %s answered himself", i, r.UserName)
			}
		}
		approved += len(m.in)
	}
	if approved == 0 {
		m.Fatalf("nobody was ever let in, of %d requests", len(m.requests))
	}
}
