package picker

import (
	"cmp"
	"slices"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/find"
)

// Sort returns hosts in their order: favourites, what is used most, and the rest by name.
func Sort(hosts []Host) []Host {
	order := make([]int32, len(hosts)) // a Host is large to move
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		a, b := &hosts[i], &hosts[j]
		switch {
		case a.Favourite && !b.Favourite:
			return -1
		case b.Favourite && !a.Favourite:
			return 1
		case a.Weight != b.Weight:
			return cmp.Compare(b.Weight, a.Weight)
		case a.Name != b.Name:
			return cmp.Compare(a.Name, b.Name)
		}
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(i, j))
	})
	out := make([]Host, len(hosts))
	for i, j := range order {
		out[i] = hosts[j]
	}
	return out
}

// order brings the hosts in their order, and finds anew.
func (m *Model) order() {
	m.hosts = Sort(m.hosts)
	m.index = nil // until somebody looks for something
	m.search()
}

func (m *Model) indexed() *find.Index {
	if m.index == nil {
		texts := make([]find.Text, len(m.hosts))
		for i := range m.hosts {
			h := &m.hosts[i]
			texts[i] = find.Text{Name: h.Name, Project: h.Project, AltNames: h.AltNames, Labels: h.Labels}
		}
		m.index = find.New(texts)
	}
	return m.index
}

// harmless escapes what others wrote. Labels are escaped where they are drawn.
func (h *Host) harmless() {
	for _, s := range []*string{&h.Name, &h.Project, &h.Login, &h.Role, &h.Gateway, &h.Bastion, &h.Note} {
		*s = ident.Text(*s)
	}
	for i, n := range h.AltNames {
		if t := ident.Text(n); t != n {
			h.AltNames = slices.Clone(h.AltNames)
			h.AltNames[i] = t
		}
	}
}

// search finds what fits the filter, and keeps what is chosen if it is still there.
func (m *Model) search() {
	m.query = find.Parse(m.filter.String())
	m.rows = slices.Grow(m.rows[:0], len(m.hosts))
	if m.query.Empty() {
		for i := range m.hosts {
			m.rows = append(m.rows, i)
		}
	} else {
		for _, h := range m.found() {
			m.rows = append(m.rows, h.At)
		}
	}
	m.cursor = slices.IndexFunc(m.rows, func(i int) bool { return m.hosts[i].ID == m.chosen })
	if m.cursor < 0 {
		m.choose(0)
	}
	m.keepInSight()
}

// found is what fits, best first. Habits add a little to how well a host fits: less than a
// letter in a better place.
func (m *Model) found() []find.Hit {
	hits := slices.Clone(m.indexed().Find(m.query))
	for i := range hits {
		h := &m.hosts[hits[i].At]
		hits[i].Score += int(min(h.Weight, 8))
		if h.Favourite {
			hits[i].Score += 8
		}
	}
	slices.SortFunc(hits, func(a, b find.Hit) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.At, b.At)) })
	return hits
}

// choose chooses the host of a row.
func (m *Model) choose(row int) {
	m.cursor = max(0, min(row, len(m.rows)-1))
	m.chosen = ""
	if len(m.rows) > 0 {
		m.chosen = m.hosts[m.rows[m.cursor]].ID
	}
	m.keepInSight()
}

// host is the chosen one.
func (m *Model) host() (Host, bool) {
	if m.cursor < 0 || m.cursor >= len(m.rows) {
		return Host{}, false
	}
	return m.hosts[m.rows[m.cursor]], true
}

// many are the marked ones, else the chosen one.
func (m *Model) many() []Host {
	var out []Host
	for _, h := range m.hosts {
		if m.marked[h.ID] {
			out = append(out, h)
		}
	}
	if h, ok := m.host(); ok && len(out) == 0 {
		out = []Host{h}
	}
	return out
}
