package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/store"
)

// subject is the claim that is a part of every identity, and kept as that.
const subjectClaim = "sub"

// keepSaid writes down what a provider said of a user in the claims by which its clients link.
func (t *tx) keepSaid(user string, said map[string]string) error {
	for _, claim := range slices.Sorted(maps.Keys(said)) {
		if _, err := t.exec(`INSERT INTO said_claims (user_id, claim, value) VALUES (?, ?, ?)
			ON CONFLICT (user_id, claim) DO UPDATE SET value = excluded.value WHERE said_claims.value <> excluded.value`, user, claim, said[claim]); err != nil {
			return err
		}
	}
	return nil
}

// issuerOf is that of a client's provider; empty if it has none.
func issuerOf(db querier, c store.ScimClient) (issuer string, err error) {
	if c.Provider == "" {
		return "", nil
	}
	return issuer, one(db, []any{&issuer}, `SELECT p.issuer FROM providers p WHERE p.id = ?`, c.Provider)
}

// meant are those who sign in at the client's provider as whom the client says.
func meant(db querier, c store.ScimClient, issuer, externalID string) ([]store.User, error) {
	switch {
	case issuer == "" || externalID == "":
		return nil, nil
	case c.LinkClaim == subjectClaim:
		return all(db, shownInto, `SELECT `+shownColumns+` FROM users u WHERE u.issuer = ? AND u.subject = ? AND u.status <> 'deleted'`, issuer, externalID)
	}
	return all(db, shownInto, `SELECT `+shownColumns+` FROM said_claims q JOIN users u ON u.id = q.user_id
		WHERE q.value = ? AND q.claim = ? AND u.issuer = ? AND u.status <> 'deleted' ORDER BY u.id`, externalID, c.LinkClaim, issuer)
}

// freeIdentity refuses to make a second person of somebody who signs in already.
func (t *tx) freeIdentity(c store.ScimClient, externalID string) error {
	issuer, err := issuerOf(t, c)
	if err != nil {
		return err
	}
	there, err := meant(t, c, issuer, externalID)
	for _, u := range there {
		if u.Keeper != c.ID {
			return fmt.Errorf("somebody signs in as this already: %w", store.ErrExists)
		}
	}
	return err
}

// takeover gathers what is known where a client wants to keep u.
func takeover(db querier, c store.ScimClient, u store.User, externalID string) (v store.Takeover, err error) {
	v = store.Takeover{Client: c, User: u, ExternalID: externalID}
	if v.Issuer, err = issuerOf(db, c); err != nil {
		return v, err
	}
	there, err := meant(db, c, v.Issuer, externalID)
	if err != nil {
		return v, err
	}
	v.Other = slices.ContainsFunc(there, func(o store.User) bool { return o.ID != u.ID })
	if u.Issuer == v.Issuer {
		if v.Said, err = said(db, c, u); err != nil {
			return v, err
		}
	}
	return v, one(db, []any{&v.Released}, `SELECT EXISTS (SELECT 1 FROM scim_released WHERE client_id = ? AND user_id = ?)`, c.ID, u.ID)
}

// said is what a user's provider said of him in the client's claim; empty if that is not known.
func said(db querier, c store.ScimClient, u store.User) (string, error) {
	if c.LinkClaim == subjectClaim {
		return u.Subject, nil
	}
	values, err := texts(db, `SELECT value FROM said_claims WHERE user_id = ? AND claim = ?`, u.ID, c.LinkClaim)
	return strings.Join(values, ""), err // one or none
}

// AdoptScimUser implements store.Adoption.
func (s *Store) AdoptScimUser(ctx context.Context, v store.ScimUser, by string, m store.Meta) (store.ScimUser, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimUser, error) {
		v := v // a batch may be done twice
		c, err := t.scimClient(v.Client)
		if err != nil {
			return v, err
		}
		var u store.User
		if err := one(t, shownInto(&u), `SELECT `+shownColumns+` FROM users u WHERE u.id = ? /*lock*/`, v.User.ID); err != nil {
			return v, err
		}
		k, err := takeover(t, c, u, v.ExternalID)
		if err != nil {
			return v, err
		}
		if standing, why := k.Judge(); standing != store.TakeCertain && (standing != store.TakeByWord || by == "") {
			return v, fmt.Errorf("the user is %s: %w", why, store.ErrDenied)
		}
		return t.adopt(c, k, v)
	})
}

func (t *tx) adopt(c store.ScimClient, k store.Takeover, v store.ScimUser) (store.ScimUser, error) {
	u := k.User
	change := store.UserChange{FullName: &v.User.FullName, Email: &v.User.Email}
	if status := store.Disabled; !v.Active && u.Status == store.Active {
		if err := t.brake(c, u.ID); err != nil {
			return v, err
		}
		change.Status, change.By = &status, c.ID
	}
	if u.Issuer != k.Issuer {
		// He becomes whom the client would have made: one who may sign in at the provider.
		if _, err := t.exec(`UPDATE users SET issuer = ?, subject = ? WHERE id = ?`, store.ScimIssuer(c.ID), u.ID, u.ID); err != nil {
			return v, err
		}
	}
	var err error
	v.CreatedAt = moment(micros(t.now))
	if v, err = t.insertScimUser(v, u.Issuer, u.Subject); err != nil {
		return v, err
	}
	if _, err := t.exec(`DELETE FROM scim_released WHERE client_id = ? AND user_id = ?`, c.ID, u.ID); err != nil {
		return v, err
	}
	if _, err := t.updateUser(u.ID, change); err != nil {
		return v, err
	}
	return scimUser(t, c.ID, u.ID, "")
}

// ReleaseScimUser implements store.Adoption.
func (s *Store) ReleaseScimUser(ctx context.Context, v store.ScimRelease, m store.Meta) (store.User, error) {
	return get(ctx, s, m, true, func(t *tx) (u store.User, err error) {
		if _, err := t.lockScimClient(v.Client); err != nil {
			return u, fmt.Errorf("client: %w", err)
		}
		if _, err := scimUser(t, v.Client, v.User, " /*lock*/"); err != nil {
			return u, err
		}
		groups, err := all(t, scimGroupInto, `SELECT `+scimGroupColumns+scimGroupsFrom+`
			AND EXISTS (SELECT 1 FROM members m WHERE m.group_id = s.group_id AND m.user_id = ?) ORDER BY s.group_id`, v.Client, v.User)
		if err != nil {
			return u, err
		}
		for _, g := range groups {
			g.Client, g.Source = v.By, v.Source // who does it, for the audit
			if err := t.removeScimMembers(g, []string{v.User}); err != nil {
				return u, err
			}
			if _, err := t.exec(`UPDATE scim_groups SET version = version + 1, changed_at = ? WHERE group_id = ?`, t.now, g.Group.ID); err != nil {
				return u, err
			}
		}
		if err := t.letGo(v.Client, v.User); err != nil {
			return u, err
		}
		t.touch(store.UserTopic(v.User))
		return u, one(t, shownInto(&u), `SELECT `+shownColumns+` FROM users u WHERE u.id = ?`, v.User)
	})
}

// letGo makes a user whom a client keeps nobody's. Who has not signed in as its own is who he
// was before.
func (t *tx) letGo(client, user string) error {
	var issuer, subject string
	if err := one(t, []any{&issuer, &subject}, `DELETE FROM scim_users WHERE user_id = ? AND client_id = ? RETURNING was_issuer, was_subject`, user, client); err != nil {
		return err
	}
	if issuer != "" {
		if _, err := t.exec(`UPDATE users SET issuer = ?, subject = ? WHERE id = ? AND issuer = ?`, issuer, subject, user, store.ScimIssuer(client)); err != nil {
			return err
		}
	}
	_, err := t.exec(`INSERT INTO scim_released (client_id, user_id) VALUES (?, ?) ON CONFLICT (client_id, user_id) DO NOTHING`, client, user)
	return err
}

// restoreIdentities has all whom a client took over, and who have not signed in as its own,
// be who they were before.
func (t *tx) restoreIdentities(client string) error {
	_, err := t.exec(`UPDATE users SET
		issuer = (SELECT v.was_issuer FROM scim_users v WHERE v.user_id = users.id AND v.client_id = ?),
		subject = (SELECT v.was_subject FROM scim_users v WHERE v.user_id = users.id AND v.client_id = ?)
		WHERE issuer = ? AND id IN (SELECT v.user_id FROM scim_users v WHERE v.client_id = ? AND v.was_issuer <> '')`,
		client, client, store.ScimIssuer(client), client)
	return err
}

// forgetAdoption drops what was kept to know a user again who was deleted.
func (t *tx) forgetAdoption(user string) error {
	for _, q := range []string{`DELETE FROM said_claims WHERE user_id = ?`, `DELETE FROM scim_released WHERE user_id = ?`} {
		if _, err := t.exec(q, user); err != nil {
			return err
		}
	}
	return nil
}

const waitingColumns = "w.client_id, w.user_name, w.external_id, w.login, w.full_name, w.email, w.active, w.resource, w.created_at, w.tried_at"

func waitingInto(w *store.ScimWaiting) []any {
	return []any{&w.Client, &w.UserName, &w.ExternalID, &w.Login, &w.FullName, &w.Email, &w.Active, &blob{&w.Resource}, &w.CreatedAt, &w.TriedAt}
}

// NoteScimWaiting implements store.Adoption.
func (s *Store) NoteScimWaiting(ctx context.Context, w store.ScimWaiting, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := t.scimClient(w.Client); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM scim_waiting WHERE client_id = ? AND tried_at <= ?`, w.Client, t.now.Add(-store.ScimWaits)); err != nil {
			return err
		}
		key := nameKey(w.UserName)
		n, err := t.exec(`UPDATE scim_waiting SET user_name = ?, external_id = ?, login = ?, full_name = ?, email = ?, active = ?, resource = ?, tried_at = ?
			WHERE client_id = ? AND name_key = ?`, w.UserName, w.ExternalID, w.Login, w.FullName, w.Email, w.Active, string(w.Resource), t.now, w.Client, key)
		if err != nil || n > 0 {
			return err
		}
		if err := t.roomFor(store.MaxScimWaiting, `SELECT count(*) FROM scim_waiting WHERE client_id = ?`, w.Client); err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO scim_waiting (client_id, name_key, user_name, external_id, login, full_name, email, active, resource, created_at, tried_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, w.Client, key, w.UserName, w.ExternalID, w.Login, w.FullName, w.Email, w.Active, string(w.Resource), t.now, t.now)
		return err
	})
}

// ScimWaitings implements store.Adoption.
func (s *Store) ScimWaitings(ctx context.Context, client string, p store.Page) ([]store.ScimWaiting, string, error) {
	return list[store.ScimWaiting]{
		query: `SELECT ` + waitingColumns + ` FROM scim_waiting w WHERE w.client_id = ?`,
		order: "w.name_key", id: "w.client_id", into: waitingInto,
		key: func(w *store.ScimWaiting) (any, string) { return nameKey(w.UserName), w.Client },
	}.page(ctx, s, p, client)
}

// ScimWaiting implements store.Adoption.
func (s *Store) ScimWaiting(ctx context.Context, client, userName string) (w store.ScimWaiting, err error) {
	err = one(s.reader(ctx), waitingInto(&w), `SELECT `+waitingColumns+` FROM scim_waiting w WHERE w.client_id = ? AND w.name_key = ?`, client, nameKey(userName))
	return w, err
}

// ScimCandidates implements store.Adoption.
func (s *Store) ScimCandidates(ctx context.Context, w store.ScimWaiting) (out []store.ScimCandidate, err error) {
	err = s.snapshot(ctx, func(r reader) error {
		var c store.ScimClient
		if err := one(r, scimClientInto(&c), `SELECT `+scimClientColumns+` FROM scim_clients c WHERE c.id = ?`, w.Client); err != nil {
			return err
		}
		issuer, err := issuerOf(r, c)
		if err != nil {
			return err
		}
		users, err := meant(r, c, issuer, w.ExternalID)
		if err != nil {
			return err
		}
		same := len(users)
		named, err := all(r, shownInto, `SELECT `+shownColumns+` FROM users u WHERE u.status <> 'deleted' AND u.login = ?
			UNION SELECT `+shownColumns+` FROM users u WHERE u.status <> 'deleted' AND u.email <> '' AND lower(u.email) = ?
			ORDER BY 1 LIMIT ?`, w.Login, strings.ToLower(w.Email), store.MaxScimCandidates)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for i, u := range append(users, named...) {
			if seen[u.ID] {
				continue
			}
			seen[u.ID] = true
			v := store.ScimCandidate{SameIdentity: i < same, SameLogin: u.Login == w.Login, SameEmail: w.Email != "" && strings.EqualFold(u.Email, w.Email)}
			if v.Takeover, err = takeover(r, c, u, w.ExternalID); err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

// ScimTakeover implements store.Adoption.
func (s *Store) ScimTakeover(ctx context.Context, client, user, externalID string) (v store.Takeover, err error) {
	err = s.snapshot(ctx, func(r reader) error {
		var c store.ScimClient
		if err := one(r, scimClientInto(&c), `SELECT `+scimClientColumns+` FROM scim_clients c WHERE c.id = ?`, client); err != nil {
			return err
		}
		var u store.User
		if err := one(r, shownInto(&u), `SELECT `+shownColumns+` FROM users u WHERE u.id = ?`, user); err != nil {
			return err
		}
		v, err = takeover(r, c, u, externalID)
		return err
	})
	return v, err
}
