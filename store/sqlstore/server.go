package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const serverColumns = "s.id, s.project_id, s.name, s.address, s.labels, s.host_labels, s.state, s.host_key, s.host_ca, s.confirmed_epoch, s.confirmed_counter, " +
	"s.problems, s.agent_version, s.events_next, s.revision, s.held, s.last_seen, s.created_at, s.alt_names, s.bastion, s.proposed"

func serverInto(s *store.Server) []any {
	return []any{&s.ID, &s.Project, &s.Name, &s.Address, &s.Labels, &s.HostLabels, &s.State, &s.HostKey, &s.HostCA, &s.ConfirmedEpoch, &s.ConfirmedCounter,
		&s.Problems, &s.AgentVersion, &s.EventsNext, &s.Revision, &s.Held, &s.LastSeen, &s.CreatedAt, &s.AltNames, &s.Bastion, &s.Proposed}
}

// firstEvent is the number of a host's first event.
const firstEvent = 1

// EnrolServer implements store.Fleet.
func (s *Store) EnrolServer(ctx context.Context, secretHash []byte, v store.Server, c store.Credential, m store.Meta) (store.Server, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Server, error) {
		if _, err := t.lockProject(v.Project); err != nil {
			return v, err
		}
		if err := t.takeUse(secretHash, store.KindServer, v.Project); err != nil {
			return v, err
		}
		way, err := t.tokenID(secretHash)
		if err != nil {
			return v, err
		}
		return t.insertServer(v, way, c)
	})
}

// insertServer makes the row and the credential; way is how it enrolled.
func (t *tx) insertServer(v store.Server, way string, c store.Credential) (store.Server, error) {
	v.EventsNext = firstEvent
	v.LastSeen = t.now
	v.CreatedAt = created(v.CreatedAt, t)
	if v.State == "" {
		v.State = store.Active
	}
	_, err := t.exec(`INSERT INTO servers (id, project_id, name, address, labels, host_labels, state, host_key, confirmed_epoch, confirmed_counter,
		problems, agent_version, events_next, last_seen, created_at, enrolled_by, alt_names, proposed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.Project, v.Name, v.Address, v.Labels, v.HostLabels, v.State, v.HostKey, v.Problems, v.AgentVersion, v.EventsNext, v.LastSeen, v.CreatedAt, way, v.AltNames, v.Proposed)
	if err == nil {
		err = t.insertNames(v)
	}
	if err != nil {
		return v, err
	}
	if err := t.insertCredential(store.KindServer, v.ID, c); err != nil {
		return v, err
	}
	if err := t.markServer(v); err != nil {
		return v, err
	}
	return server(t, v.ID, "")
}

// insertNames gives the server its names, which nobody else in the project may have.
func (t *tx) insertNames(v store.Server) error {
	for _, name := range append([]string{v.Name}, v.AltNames...) {
		if _, err := t.exec(`INSERT INTO server_names (project_id, name, server_id) VALUES (?, ?, ?)`, v.Project, name, v.ID); err != nil {
			return err
		}
	}
	return nil
}

// setBastion checks that there is one, and holds it, so that it is not deleted beside
// this.
func (t *tx) setBastion(v *store.Server, bastion string) error {
	if bastion == v.ID {
		return fmt.Errorf("bastion of itself: %w", store.ErrDenied)
	}
	v.Bastion = bastion
	if bastion == "" {
		return nil
	}
	_, err := server(t, bastion, "/*lock*/")
	return err
}

func (t *tx) markServer(v store.Server) error {
	t.touch(store.ServerTopic(v.ID))
	return t.mark(`?`, v.Project)
}

// Server implements store.Fleet.
func (s *Store) Server(ctx context.Context, id string) (store.Server, error) {
	return server(s.reader(ctx), id, "")
}

func server(db querier, id, lock string) (store.Server, error) {
	var v store.Server
	if err := one(db, serverInto(&v), `SELECT `+serverColumns+` FROM servers s WHERE s.id = ? `+lock, id); err != nil {
		return v, fmt.Errorf("server: %w", err)
	}
	return v, nil
}

// ServersByName implements store.Fleet.
func (s *Store) ServersByName(ctx context.Context, name string) ([]store.Server, error) {
	return all(s.reader(ctx), serverInto, `SELECT `+serverColumns+` FROM servers s JOIN server_names n ON n.server_id = s.id WHERE n.name = ? ORDER BY s.id`, name)
}

// Servers implements store.Fleet: by name.
func (s *Store) Servers(ctx context.Context, project string, p store.Page) ([]store.Server, string, error) {
	l := list[store.Server]{
		query: `SELECT ` + serverColumns + ` FROM servers s WHERE true`,
		order: "s.name", id: "s.id", into: serverInto,
		key: func(v *store.Server) (any, string) { return v.Name, v.ID },
	}
	if project == "" {
		return l.page(ctx, s, p)
	}
	l.query += ` AND s.project_id = ?`
	return l.page(ctx, s, p, project)
}

// UpdateServer implements store.Fleet.
func (s *Store) UpdateServer(ctx context.Context, id string, c store.ServerChange, m store.Meta) (store.Server, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Server, error) {
		v, err := server(t, id, "/*lock*/")
		if err != nil {
			return v, err
		}
		if v.State == store.Held && c.State != nil && *c.State == store.Active {
			return v, fmt.Errorf("the server is held: %w", store.ErrDenied)
		}
		if c.Labels != nil && !maps.Equal(*c.Labels, v.Labels) {
			if err := t.leave(leaveByServer, id); err != nil {
				return v, err
			}
		}
		set(&v.Name, c.Name)
		set(&v.Address, c.Address)
		set(&v.State, c.State)
		set(&v.Labels, c.Labels)
		if v.State != store.Held {
			v.Held = ""
		}
		set(&v.AltNames, c.AltNames)
		if c.Bastion != nil {
			if err := t.setBastion(&v, *c.Bastion); err != nil {
				return v, err
			}
		}
		_, err = t.exec(`UPDATE servers SET name = ?, address = ?, state = ?, held = ?, labels = ?, alt_names = ?, bastion = ? WHERE id = ?`,
			v.Name, v.Address, v.State, v.Held, v.Labels, v.AltNames, v.Bastion, id)
		if err == nil && (c.Name != nil || c.AltNames != nil) {
			if _, err = t.exec(`DELETE FROM server_names WHERE server_id = ?`, id); err == nil {
				err = t.insertNames(v)
			}
		}
		if err != nil {
			return v, err
		}
		if v.State != store.Active {
			if err := t.orderEnd(endServer, `server_id = ?`, id); err != nil {
				return v, err
			}
		}
		return v, t.markServer(v)
	})
}

// DeleteServer implements store.Fleet.
func (s *Store) DeleteServer(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		v, err := server(t, id, "/*lock*/")
		if err != nil {
			return err
		}
		var through int
		if err := one(t, []any{&through}, `SELECT count(*) FROM servers WHERE bastion = ?`, id); err != nil {
			return err
		}
		if through > 0 {
			return store.ErrInUse
		}
		if err := t.orderEnd(endServer, `server_id = ?`, id); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM credentials WHERE owner = ?`, id); err != nil {
			return err
		}
		for _, q := range []string{`DELETE FROM leavers WHERE server_id = ?`, `DELETE FROM demands WHERE server_id = ?`, `DELETE FROM servers WHERE id = ?`} {
			if _, err := t.exec(q, id); err != nil {
				return err
			}
		}
		return t.markServer(v)
	})
}

// ReportServer implements store.Fleet.
func (s *Store) ReportServer(ctx context.Context, id string, r store.ServerReport, m store.Meta) (store.Pulse, error) {
	return get(ctx, s, m, false, func(t *tx) (store.Pulse, error) {
		v, err := server(t, id, "/*lock*/")
		if err != nil {
			return store.Pulse{}, err
		}
		pulse, err := t.beat(v, r.Beat)
		if err != nil || pulse.Held != "" || pulse.Soon {
			return pulse, err
		}
		// Within an epoch the counter never goes back; nor does the epoch itself,
		// which only rises when a backup is restored.
		if r.ConfirmedEpoch < v.ConfirmedEpoch || r.ConfirmedEpoch == v.ConfirmedEpoch && r.ConfirmedCounter < v.ConfirmedCounter {
			r.ConfirmedEpoch, r.ConfirmedCounter = v.ConfirmedEpoch, v.ConfirmedCounter
		}
		if r.HostKey == "" {
			r.HostKey = v.HostKey
		}
		if r.HostCA == "" {
			r.HostCA = v.HostCA
		}
		if r.AgentVersion == "" {
			r.AgentVersion = v.AgentVersion
		}
		t.touch(store.ServerTopic(id))
		if r.HostKey != v.HostKey {
			t.touch(store.ProjectTopic(v.Project)) // catalogs have it
		}
		set(&v.HostLabels, r.HostLabels)
		set(&v.Proposed, r.Proposed)
		_, err = t.exec(`UPDATE servers SET proposed = ?, confirmed_epoch = ?, confirmed_counter = ?, problems = ?, host_key = ?, host_ca = ?, agent_version = ?, host_labels = ?, last_seen = ? WHERE id = ?`,
			v.Proposed, r.ConfirmedEpoch, r.ConfirmedCounter, r.Problems, r.HostKey, r.HostCA, r.AgentVersion, v.HostLabels, t.now, id)
		return pulse, err
	})
}

// seenEvery is how often a poll is noted: ten thousand polling agents must not
// become ten thousand commits a minute and more.
const seenEvery = time.Minute

// maxSeen bounds the memory of seenServers; beyond it the map starts anew,
// which costs each server one write.
const maxSeen = 100_000

// seenServers remembers what this instance has noted, so that most polls ask
// the database nothing.
type seenServers struct {
	mu sync.Mutex
	at map[string]time.Time // guarded by mu
}

// due reports whether a poll at now has to be noted.
func (s *seenServers) due(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.at[id]
	return !ok || now.Sub(last) >= seenEvery
}

func (s *seenServers) note(id string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil || len(s.at) >= maxSeen {
		s.at = make(map[string]time.Time)
	}
	s.at[id] = now
}

// SeenServer implements store.Fleet.
func (s *Store) SeenServer(ctx context.Context, id string, now time.Time) error {
	if !s.seen.due(id, now) {
		return nil
	}
	v, err := s.Server(ctx, id)
	if err != nil {
		return err
	}
	if now.Sub(v.LastSeen) >= seenEvery { // no other instance has noted it
		err = s.do(ctx, store.Meta{Now: now}, func(t *tx) error {
			_, err := t.exec(`UPDATE servers SET last_seen = ? WHERE id = ? AND last_seen < ?`, now, id, now)
			return err
		})
		v.LastSeen = now
	}
	if err == nil {
		s.seen.note(id, v.LastSeen)
	}
	return err
}

// AppendServerEvents implements store.Fleet.
func (s *Store) AppendServerEvents(ctx context.Context, id string, first int64, m store.Meta) (int64, error) {
	return get(ctx, s, m, false, func(t *tx) (int64, error) {
		v, err := server(t, id, "/*lock*/")
		if err != nil {
			return 0, err
		}
		if first < firstEvent || first > v.EventsNext {
			return 0, fmt.Errorf("event %d where %d is next: %w", first, v.EventsNext, store.ErrDenied)
		}
		known := min(v.EventsNext-first, int64(len(t.audit)))
		t.audit = t.audit[known:]
		if len(t.audit) == 0 {
			return v.EventsNext, nil
		}
		next := v.EventsNext + int64(len(t.audit))
		_, err = t.exec(`UPDATE servers SET events_next = ? WHERE id = ?`, next, id)
		return next, err
	})
}
