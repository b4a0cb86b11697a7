package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Phases of a federation.
const (
	phaseTaken = "taken" // the browser came back; the provider is being asked
	phaseDone  = "done"
)

const (
	providerColumns = "p.id, p.name, p.title, p.issuer, p.client_id, p.secret, p.scopes, p.login_claim, p.login_rule, p.domains, p.groups_claim, " +
		"p.required, p.makes_users, p.state, p.created_at"
	federationColumns = "f.state_hash, f.provider_id, f.request_id, f.browser_hash, f.reauth, f.expires_at, f.created_at"
)

func providerInto(p *store.Provider) []any {
	return []any{&p.ID, &p.Name, &p.Title, &p.Issuer, &p.ClientID, &p.Secret, &p.Scopes, &p.LoginClaim, &p.LoginRule, &p.Domains, &p.GroupsClaim,
		&p.Require, &p.Create, &p.State, &p.CreatedAt}
}

func federationInto(f *store.Federation) []any {
	return []any{&f.StateHash, &f.Provider, &f.Request, &f.BrowserHash, &f.Reauth, &f.ExpiresAt, &f.CreatedAt}
}

// CreateProvider implements store.Providers.
func (s *Store) CreateProvider(ctx context.Context, p store.Provider, m store.Meta) (store.Provider, error) {
	return get(ctx, s, m, false, func(t *tx) (store.Provider, error) {
		if p.State == "" {
			p.State = store.Active
		}
		p.CreatedAt = created(p.CreatedAt, t)
		_, err := t.exec(`INSERT INTO providers (id, name, title, issuer, client_id, secret, scopes, login_claim, login_rule, domains, groups_claim,
			required, makes_users, state, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			p.ID, p.Name, p.Title, p.Issuer, p.ClientID, p.Secret, p.Scopes, p.LoginClaim, p.LoginRule, p.Domains, p.GroupsClaim,
			p.Require, p.Create, p.State, p.CreatedAt)
		return p, err
	})
}

// Provider implements store.Providers.
func (s *Store) Provider(ctx context.Context, id string) (store.Provider, error) {
	var p store.Provider
	err := one(s.reader(ctx), providerInto(&p), `SELECT `+providerColumns+` FROM providers p WHERE p.id = ?`, id)
	return p, err
}

// ProviderByName implements store.Providers.
func (s *Store) ProviderByName(ctx context.Context, name string) (store.Provider, error) {
	var p store.Provider
	err := one(s.reader(ctx), providerInto(&p), `SELECT `+providerColumns+` FROM providers p WHERE p.name = ?`, name)
	return p, err
}

// Providers implements store.Providers: by name.
func (s *Store) Providers(ctx context.Context, p store.Page) ([]store.Provider, string, error) {
	return list[store.Provider]{
		query: `SELECT ` + providerColumns + ` FROM providers p WHERE true`,
		order: "p.name", id: "p.id", into: providerInto,
		key: func(p *store.Provider) (any, string) { return p.Name, p.ID },
	}.page(ctx, s, p)
}

// UpdateProvider implements store.Providers.
func (s *Store) UpdateProvider(ctx context.Context, id string, c store.ProviderChange, m store.Meta) (store.Provider, error) {
	return get(ctx, s, m, false, func(t *tx) (store.Provider, error) {
		var p store.Provider
		if err := one(t, providerInto(&p), `SELECT `+providerColumns+` FROM providers p WHERE p.id = ? /*lock*/`, id); err != nil {
			return p, err
		}
		set(&p.Title, c.Title)
		set(&p.ClientID, c.ClientID)
		set(&p.Secret, c.Secret)
		set(&p.Scopes, c.Scopes)
		set(&p.LoginClaim, c.LoginClaim)
		set(&p.LoginRule, c.LoginRule)
		set(&p.Domains, c.Domains)
		set(&p.GroupsClaim, c.GroupsClaim)
		set(&p.Require, c.Require)
		set(&p.Create, c.Create)
		set(&p.State, c.State)
		_, err := t.exec(`UPDATE providers SET title = ?, client_id = ?, secret = ?, scopes = ?, login_claim = ?, login_rule = ?, domains = ?,
			groups_claim = ?, required = ?, makes_users = ?, state = ? WHERE id = ?`,
			p.Title, p.ClientID, p.Secret, p.Scopes, p.LoginClaim, p.LoginRule, p.Domains, p.GroupsClaim, p.Require, p.Create, p.State, id)
		if err != nil || p.State == store.Active {
			return p, err
		}
		return p, t.closePages(id)
	})
}

// closePages ends what a provider's word opened in browsers: they could confirm more
// devices for an hour, and answer requests.
func (t *tx) closePages(provider string) error {
	if _, err := t.exec(`DELETE FROM browser_sessions WHERE provider = ?`, provider); err != nil {
		return err
	}
	return t.closeDashboards(`provider = ?`, provider)
}

// DeleteProvider implements store.Providers. It is a directory command so that no
// group is given to a provider while that is deleted.
func (s *Store) DeleteProvider(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		kept := false
		if err := one(t, []any{&kept}, `SELECT EXISTS (SELECT 1 FROM user_groups WHERE source = ?) OR EXISTS (SELECT 1 FROM scim_clients WHERE provider = ?)`, id, id); err != nil {
			return err
		}
		if kept {
			return fmt.Errorf("it keeps groups, or the users of a SCIM client sign in there: %w", store.ErrInUse)
		}
		if _, err := t.exec(`DELETE FROM federations WHERE provider_id = ?`, id); err != nil {
			return err
		}
		if err := t.closePages(id); err != nil {
			return err
		}
		return t.must(store.ErrNotFound, `DELETE FROM providers WHERE id = ?`, id)
	})
}

// knownSource holds a provider that is to keep a group.
func (t *tx) knownSource(id string) error {
	if id == "" {
		return nil
	}
	var found string
	if err := one(t, []any{&found}, `SELECT id FROM providers WHERE id = ? /*share*/`, id); err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	return nil
}

// UpdateGroup implements store.Providers.
func (s *Store) UpdateGroup(ctx context.Context, id string, c store.GroupChange, m store.Meta) (store.Group, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Group, error) {
		var g store.Group
		if err := one(t, groupInto(&g), `SELECT `+groupColumns+` FROM user_groups g WHERE g.id = ? /*lock*/`, id); err != nil {
			return g, fmt.Errorf("group: %w", err)
		}
		if strings.HasPrefix(g.Source, ident.ScimClient) {
			return g, fmt.Errorf("a client keeps the group by SCIM: %w", store.ErrDenied)
		}
		before := g
		set(&g.Source, c.Source)
		set(&g.External, c.External)
		if err := t.knownSource(g.Source); err != nil {
			return g, err
		}
		if _, err := t.exec(`UPDATE user_groups SET source = ?, external = ? WHERE id = ?`, g.Source, g.External, id); err != nil {
			return g, err
		}
		if g.Source == "" || g.Source == before.Source {
			return g, nil
		}
		strangers, err := texts(t, `SELECT m.user_id FROM members m JOIN users u ON u.id = m.user_id
			WHERE m.group_id = ? AND u.issuer <> (SELECT p.issuer FROM providers p WHERE p.id = ?)`, id, g.Source)
		if err != nil {
			return g, err
		}
		for _, user := range strangers {
			if err := t.removeMember(id, user); err != nil {
				return g, err
			}
		}
		// Who stays does so until his next sign-in and not until a day.
		_, err = t.exec(`UPDATE members SET until = 0 WHERE group_id = ? AND until <> 0`, id)
		return g, err
	})
}

// Identity implements store.Providers.
func (s *Store) Identity(ctx context.Context, issuer, subject string) (store.User, error) {
	return identity(s.reader(ctx), issuer, subject, "")
}

func identity(db querier, issuer, subject, lock string) (u store.User, err error) {
	err = one(db, userInto(&u), `SELECT `+userColumns+` FROM users u WHERE u.issuer = ? AND u.subject = ?`+lock, issuer, subject)
	return u, err
}

// CreateFederation implements store.Providers.
func (s *Store) CreateFederation(ctx context.Context, f store.Federation, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		if _, err := t.activeProvider(f.Provider); err != nil {
			return err
		}
		if _, err := t.openRequest(f.Request, f.BrowserHash); err != nil {
			return store.ErrDenied
		}
		_, err := t.exec(`INSERT INTO federations (state_hash, provider_id, request_id, browser_hash, reauth, phase, expires_at, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, f.StateHash, f.Provider, f.Request, f.BrowserHash, f.Reauth, phaseOpen, f.ExpiresAt, created(f.CreatedAt, t))
		return err
	})
}

// activeProvider holds a provider as it is until the commit.
func (t *tx) activeProvider(id string) (store.Provider, error) {
	var p store.Provider
	err := one(t, providerInto(&p), `SELECT `+providerColumns+` FROM providers p WHERE p.id = ? /*share*/`, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.State != store.Active {
		err = fmt.Errorf("provider: %w", store.ErrDenied)
	}
	return p, err
}

// TakeFederation implements store.Providers.
func (s *Store) TakeFederation(ctx context.Context, stateHash, browserHash []byte, m store.Meta) (store.Federation, error) {
	return get(ctx, s, m, false, func(t *tx) (store.Federation, error) {
		f, err := t.federation(stateHash, browserHash, phaseOpen)
		if err != nil {
			return f, err
		}
		_, err = t.exec(`UPDATE federations SET phase = ? WHERE state_hash = ?`, phaseTaken, stateHash)
		return f, err
	})
}

// federation locks one that is in this phase. The browser comes first: another one
// learns nothing, and uses up nothing.
func (t *tx) federation(stateHash, browserHash []byte, phase string) (store.Federation, error) {
	var f store.Federation
	var is string
	err := one(t, append(federationInto(&f), &is), `SELECT `+federationColumns+`, f.phase FROM federations f WHERE f.state_hash = ? /*lock*/`, stateHash)
	switch {
	case err != nil:
		return f, err
	case !bytes.Equal(f.BrowserHash, browserHash):
		return f, store.ErrDenied
	case is != phase || !t.now.Before(f.ExpiresAt):
		return f, store.ErrUsed
	}
	return f, nil
}

// FinishFederation implements store.Providers.
func (s *Store) FinishFederation(ctx context.Context, v store.Federated, m store.Meta) (store.User, error) {
	return get(ctx, s, m, true, func(t *tx) (store.User, error) {
		p, err := t.endFederation(v)
		if err != nil {
			return store.User{}, err
		}
		told := t.audit // what the store has to add stands before what the caller says
		t.audit = nil
		u, err := t.federatedUser(v, p)
		if err != nil {
			return u, err
		}
		if err := t.keepSaid(u.ID, v.Said); err != nil {
			return u, err
		}
		if v.Groups != nil {
			if err := t.keepGroups(u, p, *v.Groups, v.Source); err != nil {
				return u, err
			}
		}
		t.audit = append(t.audit, told...)
		v.Session.User, v.Session.Provider = u.ID, p.ID
		return u, t.insertBrowserSession(v.Session)
	})
}

// endFederation ends the run, and returns its provider.
func (t *tx) endFederation(v store.Federated) (store.Provider, error) {
	f, err := t.federation(v.StateHash, v.BrowserHash, phaseTaken)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = store.ErrUsed // swept
		}
		return store.Provider{}, err
	}
	p, err := t.activeProvider(f.Provider)
	if err != nil {
		return p, err
	}
	if p.Issuer != v.User.Issuer {
		return p, fmt.Errorf("an identity of another issuer: %w", store.ErrDenied)
	}
	if _, err := t.openRequest(f.Request, v.BrowserHash); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = store.ErrUsed
		}
		return p, err
	}
	_, err = t.exec(`UPDATE federations SET phase = ? WHERE state_hash = ?`, phaseDone, v.StateHash)
	return p, err
}

// federatedUser is the user of the identity as the provider knows him now.
func (t *tx) federatedUser(v store.Federated, p store.Provider) (store.User, error) {
	u, err := identity(t, v.User.Issuer, v.User.Subject, " /*lock*/")
	switch {
	case errors.Is(err, store.ErrNotFound) && v.Link != nil:
		return t.linkUser(v, p)
	case errors.Is(err, store.ErrNotFound) && v.Create && p.Create:
		return t.newFederatedUser(v, p)
	case err != nil:
		return u, err
	case u.ID != v.User.ID:
		return u, store.ErrExists
	case u.Status != store.Active:
		return u, store.ErrDenied
	}
	same := func(now string, said *string) bool { return said == nil || *said == now }
	if same(u.FullName, v.FullName) && same(u.Email, v.Email) {
		return u, nil
	}
	return t.updateUser(u.ID, store.UserChange{FullName: v.FullName, Email: v.Email})
}

func (t *tx) newFederatedUser(v store.Federated, p store.Provider) (store.User, error) {
	u := v.User
	u.Status, u.Admin, u.CreatedAt = store.Active, false, time.Time{}
	set(&u.FullName, v.FullName)
	set(&u.Email, v.Email)
	// An account brings a Unix group of its own name.
	taken := false
	if err := one(t, []any{&taken}, `SELECT EXISTS (SELECT 1 FROM user_groups WHERE name = ?)`, u.Login); err != nil {
		return u, err
	}
	if taken {
		return u, store.ErrExists
	}
	u, err := t.insertUser(u, "")
	if err != nil {
		return u, err
	}
	t.note(audit.UserCreate, u.ID, v.Source, map[string]string{"name": u.Name, "login": u.Login, "provider": p.ID, "subject": u.Subject})
	return u, nil
}

// keepGroups makes the user a member of exactly those of the provider's groups that
// it counts him to. Other groups are none of its business.
func (t *tx) keepGroups(u store.User, p store.Provider, said []string, source string) error {
	type row struct {
		group  store.Group
		member bool
	}
	rows, err := all(t, func(r *row) []any { return append(groupInto(&r.group), &r.member) },
		`SELECT `+groupColumns+`, EXISTS (SELECT 1 FROM members m WHERE m.group_id = g.id AND m.user_id = ?)
		FROM user_groups g WHERE g.source = ? ORDER BY g.id /*share*/`, u.ID, p.ID)
	if err != nil {
		return err
	}
	in := make(map[string]bool, len(said))
	for _, name := range said {
		in[name] = true
	}
	for _, r := range rows {
		g := r.group
		detail := map[string]string{"group": g.ID, "name": g.Name, "provider": p.ID, "claim": g.External}
		switch {
		case in[g.External] == r.member:
			continue
		case r.member:
			err = t.removeMember(g.ID, u.ID)
			t.note(audit.MemberRemove, u.ID, source, detail)
		default:
			err = t.putMember(store.Member{Group: g.ID, User: u.ID})
			t.note(audit.MemberPut, u.ID, source, detail)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// note adds an audit event of what follows from a sign-in.
func (t *tx) note(action, user, source string, detail map[string]string) {
	t.audit = append(t.audit, audit.Encode(audit.Event{
		Time: t.now, Action: action, Outcome: audit.Allowed, Reason: "the identity provider said so",
		Actor: user, User: user, Source: source, Detail: detail,
	}))
}
