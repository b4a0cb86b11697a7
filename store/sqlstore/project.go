package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/cardea-ssh/cardea/store"
)

const (
	projectColumns = "p.id, p.name, p.certificate_seconds, p.gateway, p.gateway_selector, p.port_forwarding, p.agent_forwarding, " +
		"p.accounts, p.account_seconds, p.removal, p.removal_home, p.removal_seconds, p.shared_account, p.shared_admin_account, p.revision, p.created_at, p.name_suffixes, " +
		"p.recording, p.recording_recipients, p.recording_input, p.x11_forwarding, p.reauth_seconds, p.device_rules, p.device_approval"
	grantColumns = "a.id, a.project_id, a.group_id, g.name, a.role, a.selector, a.until, a.revision, a.created_at"
)

func projectInto(p *store.Project) []any {
	rules := rulesInto(&p.AccountRules)
	return slices.Concat([]any{&p.ID, &p.Name, &p.CertificateSeconds, &p.Gateway, &p.GatewaySelector, &p.PortForwarding, &p.AgentForwarding}, rules, []any{&p.Revision, &p.CreatedAt, &p.NameSuffixes}, recordRulesInto(&p.RecordRules), []any{&p.ReauthSeconds, &p.DeviceRules, &p.DeviceApproval})
}

func grantInto(g *store.Grant) []any {
	return []any{&g.ID, &g.Project, &g.Group, &g.GroupName, &g.Role, &g.Selector, &g.Until, &g.Revision, &g.CreatedAt}
}

// CreateProject implements store.Directory.
func (s *Store) CreateProject(ctx context.Context, v store.Project, ca store.Key, m store.Meta) (store.Project, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Project, error) {
		var err error
		if v.Revision, err = t.revision(); err != nil {
			return v, err
		}
		if err := checkRecord(v); err != nil {
			return v, err
		}
		v.CreatedAt = created(v.CreatedAt, t)
		_, err = t.exec(`INSERT INTO projects (id, name, certificate_seconds, gateway, gateway_selector, port_forwarding, agent_forwarding, revision, created_at, name_suffixes,
			accounts, account_seconds, removal, removal_home, removal_seconds, shared_account, shared_admin_account,
			recording, recording_recipients, recording_input, x11_forwarding, reauth_seconds, device_rules, device_approval)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			slices.Concat([]any{v.ID, v.Name, v.CertificateSeconds, v.Gateway, v.GatewaySelector, v.PortForwarding, v.AgentForwarding, v.Revision, v.CreatedAt, v.NameSuffixes},
				rulesOf(v.AccountRules), recordRulesOf(v.RecordRules), []any{v.ReauthSeconds, v.DeviceRules, v.DeviceApproval})...)
		if err != nil {
			return v, err
		}
		if err := t.changeRules(v, v); err != nil {
			return v, err
		}
		t.touch(store.ProjectTopic(v.ID))
		return v, t.insertKey(ca)
	})
}

// Project implements store.Directory.
func (s *Store) Project(ctx context.Context, id string) (store.Project, error) {
	return project(s.reader(ctx), id)
}

func project(db querier, id string) (store.Project, error) {
	var p store.Project
	err := one(db, projectInto(&p), `SELECT `+projectColumns+` FROM projects p WHERE p.id = ?`, id)
	return p, err
}

// ProjectByName implements store.Directory.
func (s *Store) ProjectByName(ctx context.Context, name string) (store.Project, error) {
	var p store.Project
	err := one(s.reader(ctx), projectInto(&p), `SELECT `+projectColumns+` FROM projects p WHERE p.name = ?`, name)
	return p, err
}

// Projects implements store.Directory: by name.
func (s *Store) Projects(ctx context.Context, p store.Page) ([]store.Project, string, error) {
	return list[store.Project]{
		query: `SELECT ` + projectColumns + ` FROM projects p WHERE true`,
		order: "p.name", id: "p.id", into: projectInto,
		key: func(p *store.Project) (any, string) { return p.Name, p.ID },
	}.page(ctx, s, p)
}

// UpdateProject implements store.Directory.
func (s *Store) UpdateProject(ctx context.Context, id string, c store.ProjectChange, m store.Meta) (store.Project, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Project, error) {
		p, err := t.lockProject(id)
		if err != nil {
			return p, err
		}
		before := p
		set(&p.CertificateSeconds, c.CertificateSeconds)
		set(&p.Gateway, c.Gateway)
		set(&p.GatewaySelector, c.GatewaySelector)
		set(&p.PortForwarding, c.PortForwarding)
		set(&p.AgentForwarding, c.AgentForwarding)
		set(&p.Accounts, c.Accounts)
		set(&p.AccountSeconds, c.AccountSeconds)
		set(&p.Removal, c.Removal)
		set(&p.RemovalHome, c.RemovalHome)
		set(&p.RemovalSeconds, c.RemovalSeconds)
		set(&p.SharedAccount, c.SharedAccount)
		set(&p.SharedAdminAccount, c.SharedAdminAccount)
		set(&p.NameSuffixes, c.NameSuffixes)
		set(&p.Recording, c.Recording)
		set(&p.Recipients, c.Recipients)
		set(&p.RecordInput, c.RecordInput)
		set(&p.X11Forwarding, c.X11Forwarding)
		set(&p.ReauthSeconds, c.ReauthSeconds)
		set(&p.DeviceRules, c.DeviceRules)
		set(&p.DeviceApproval, c.DeviceApproval)
		if err := checkRecord(p); err != nil {
			return p, err
		}
		if p.Revision, err = t.revision(); err != nil {
			return p, err
		}
		t.touch(store.ProjectTopic(id))
		values := slices.Concat([]any{p.CertificateSeconds, p.Gateway, p.GatewaySelector, p.PortForwarding, p.AgentForwarding, p.NameSuffixes}, rulesOf(p.AccountRules), recordRulesOf(p.RecordRules), []any{p.ReauthSeconds, p.DeviceRules, p.DeviceApproval, p.Revision, id})
		_, err = t.exec(`UPDATE projects SET certificate_seconds = ?, gateway = ?, gateway_selector = ?, port_forwarding = ?, agent_forwarding = ?, name_suffixes = ?,
			accounts = ?, account_seconds = ?, removal = ?, removal_home = ?, removal_seconds = ?, shared_account = ?, shared_admin_account = ?,
			recording = ?, recording_recipients = ?, recording_input = ?, x11_forwarding = ?, reauth_seconds = ?, device_rules = ?, device_approval = ?, revision = ? WHERE id = ?`, values...)
		if err != nil {
			return p, err
		}
		return p, t.changeRules(before, p)
	})
}

func (t *tx) lockProject(id string) (store.Project, error) {
	var p store.Project
	if err := one(t, projectInto(&p), `SELECT `+projectColumns+` FROM projects p WHERE p.id = ? /*lock*/`, id); err != nil {
		return p, fmt.Errorf("project: %w", err)
	}
	return p, nil
}

// DeleteProject implements store.Directory. Its keys stay, retired, so that no
// later project can be given one of them.
func (s *Store) DeleteProject(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := t.lockProject(id); err != nil {
			return err
		}
		var servers int
		if err := one(t, []any{&servers}, `SELECT count(*) FROM servers WHERE project_id = ?`, id); err != nil {
			return err
		}
		if servers > 0 {
			return store.ErrInUse
		}
		if _, err := t.revision(); err != nil {
			return err
		}
		if err := t.dropRules(`r.project_id = ?`, id); err != nil {
			return err
		}
		for _, q := range []string{
			`DELETE FROM grants WHERE project_id = ?`,
			`DELETE FROM enrolment_tokens WHERE project_id = ?`,
			`DELETE FROM leavers WHERE project_id = ?`,
			`DELETE FROM demands WHERE project_id = ?`,
			`DELETE FROM enrolment_rules WHERE project_id = ?`,
			`DELETE FROM break_glass WHERE project_id = ?`,
			`DELETE FROM touches WHERE project_id = ?`,
			`DELETE FROM projects WHERE id = ?`,
		} {
			if _, err := t.exec(q, id); err != nil {
				return err
			}
		}
		t.touch(store.ProjectTopic(id))
		return t.destroyKeys(`scope = ?`, id)
	})
}

// CreateGrant implements store.Directory. It touches the group's users too:
// those to whom the project is new do not watch it yet.
func (s *Store) CreateGrant(ctx context.Context, g store.Grant, m store.Meta) (store.Grant, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Grant, error) {
		if _, err := t.lockProject(g.Project); err != nil {
			return g, err
		}
		return t.createGrant(g)
	})
}

// createGrant is for who holds the project.
func (t *tx) createGrant(g store.Grant) (store.Grant, error) {
	if err := one(t, []any{&g.GroupName}, `SELECT name FROM user_groups WHERE id = ? /*share*/`, g.Group); err != nil {
		return g, fmt.Errorf("group: %w", err)
	}
	var err error
	if g.Revision, err = t.revision(); err != nil {
		return g, err
	}
	g.CreatedAt = created(g.CreatedAt, t)
	g.Until = moment(micros(g.Until))
	_, err = t.exec(`INSERT INTO grants (id, project_id, group_id, role, selector, until, revision, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		g.ID, g.Project, g.Group, g.Role, g.Selector, g.Until, g.Revision, g.CreatedAt)
	if err != nil {
		return g, err
	}
	g.Entitlements = slices.Clone(g.Entitlements) // the caller's stay as they are
	if err := t.entitle(&g); err != nil {
		return g, err
	}
	users, err := texts(t, `SELECT user_id FROM members WHERE group_id = ?`, g.Group)
	for _, u := range users {
		t.touch(store.UserTopic(u))
	}
	if err != nil {
		return g, err
	}
	return g, t.mark(`?`, g.Project)
}

// Grants implements store.Directory: oldest first.
func (s *Store) Grants(ctx context.Context, project string, p store.Page) ([]store.Grant, string, error) {
	grants, next, err := list[store.Grant]{
		query: `SELECT ` + grantSudoColumns + ` FROM grants a JOIN user_groups g ON g.id = a.group_id WHERE a.project_id = ?`,
		order: "a.created_at", id: "a.id", into: grantSudoInto,
		key: func(g *store.Grant) (any, string) { return g.CreatedAt, g.ID },
	}.page(ctx, s, p, project)
	return ordered(grants), next, err
}

// DeleteGrant implements store.Directory.
func (s *Store) DeleteGrant(ctx context.Context, project, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if err := t.unbroken(`b.grant_id = ?`, id); err != nil {
			return err
		}
		return t.deleteGrant(project, id)
	})
}

func (t *tx) deleteGrant(project, id string) error {
	if err := t.leave(leaveByGrant, id, project); err != nil {
		return err
	}
	if err := t.must(store.ErrNotFound, `DELETE FROM grants WHERE id = ? AND project_id = ?`, id, project); err != nil {
		return err
	}
	return t.mark(`?`, project)
}
