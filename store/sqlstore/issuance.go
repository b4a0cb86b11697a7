package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/cardea-ssh/cardea/store"
)

// Facts are read by one statement, so that all of it is seen at one instant
// without a transaction around it: this is on the path of every connection.
const (
	factsOf = `SELECT JSON_ROW(` + teamColumns + `, ` + sessionTexts + `, ` + deviceColumns + `, ` + userColumns + `, ` + serverColumns + `, ` + projectColumns + `),
	x.token_hash,
	(SELECT JSON_ROWS(JSON_ROW(m.group_id, m.until, m.revision)) FROM members m WHERE m.user_id = u.id),
	(SELECT JSON_ROWS(JSON_ROW(a.id, a.group_id, g.name, a.role, a.selector, a.until, a.revision, a.created_at))
		FROM grants a JOIN user_groups g ON g.id = a.group_id WHERE a.project_id = p.id),
	(SELECT JSON_ROWS(JSON_ROW(` + glassColumns + `)) FROM break_glass b WHERE b.project_id = p.id AND b.latest),
	(SELECT c.at FROM touches c WHERE c.device_id = x.device_id AND c.project_id = p.id)
	FROM sessions x JOIN devices d ON d.id = x.device_id JOIN users u ON u.id = x.user_id
	CROSS JOIN servers s JOIN projects p ON p.id = s.project_id CROSS JOIN team t
	WHERE x.id = ? `

	factsQuery = factsOf + `AND s.id = ?`
	// Three statements and no clever condition: SQLite plans a statement anew, at
	// three times its cost, whenever a parameter that decides about the plan is
	// bound. That would be one in LIMIT, and one that is compared with a constant.
	factsInProjectQuery = factsOf + `AND s.id = (SELECT n.server_id FROM server_names n JOIN projects q ON q.id = n.project_id WHERE n.name = ? AND q.name = ?)`
)

var factsByNameQuery = factsOf + `AND s.id IN (SELECT n.server_id FROM server_names n WHERE n.name = ?) ORDER BY s.id LIMIT ` + strconv.Itoa(store.MaxNamesakes)

func factsInto(f *store.Facts) []any {
	row := slices.Concat(teamInto(&f.Team), sessionTextsInto(&f.Session), deviceInto(&f.Device), userInto(&f.User), serverInto(&f.Server), projectInto(&f.Project))
	return []any{
		packed(row), &f.Session.TokenHash,
		&packedRows[store.Member]{&f.Memberships, func(m *store.Member) packed {
			return packed{&m.Group, &m.Until, &m.Revision}
		}},
		&packedRows[store.Grant]{&f.Grants, func(g *store.Grant) packed {
			return packed{&g.ID, &g.Group, &g.GroupName, &g.Role, &g.Selector, &g.Until, &g.Revision, &g.CreatedAt}
		}},
		&packedRows[store.BreakGlass]{&f.BreakGlass, func(b *store.BreakGlass) packed { return glassInto(b) }},
		&f.ShownAt,
	}
}

// completeFacts fills in what the rows of members and grants have in common.
func completeFacts(f *store.Facts) {
	for i := range f.Memberships {
		f.Memberships[i].User, f.Memberships[i].UserName = f.User.ID, f.User.Name
	}
	for i := range f.Grants {
		f.Grants[i].Project = f.Project.ID
	}
	slices.SortFunc(f.Grants, func(a, b store.Grant) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(f.Memberships, func(a, b store.Member) int { return cmp.Compare(a.Group, b.Group) })
}

// Facts implements store.Issuance.
func (s *Store) Facts(ctx context.Context, session, server string) (store.Facts, error) {
	var f store.Facts
	if err := one(s.reader(ctx), factsInto(&f), factsQuery, session, server); err != nil {
		return store.Facts{}, fmt.Errorf("session or server: %w", err)
	}
	completeFacts(&f)
	return f, nil
}

// FactsByName implements store.Issuance.
func (s *Store) FactsByName(ctx context.Context, session, project, name string) (found []store.Facts, err error) {
	if project == "" {
		found, err = all(s.reader(ctx), factsInto, factsByNameQuery, session, name)
	} else {
		found, err = all(s.reader(ctx), factsInto, factsInProjectQuery, session, name, project)
	}
	for i := range found {
		completeFacts(&found[i])
	}
	return found, err
}

// CatalogFacts implements store.Issuance.
func (s *Store) CatalogFacts(ctx context.Context, user string) (store.CatalogFacts, error) {
	var f store.CatalogFacts
	err := s.snapshot(ctx, func(r reader) (err error) {
		f, err = catalogFacts(r, user)
		return err
	})
	return f, err
}

func catalogFacts(r reader, user string) (f store.CatalogFacts, err error) {
	if err = one(r, userInto(&f.User), `SELECT `+userColumns+` FROM users u WHERE u.id = ?`, user); err != nil {
		return f, fmt.Errorf("user: %w", err)
	}
	const groups = `(SELECT group_id FROM members WHERE user_id = ?)`
	const projects = `(SELECT project_id FROM grants WHERE group_id IN ` + groups + `)`
	f.Memberships, err = all(r, memberInto, `SELECT `+memberColumns+` FROM members m JOIN users u ON u.id = m.user_id WHERE m.user_id = ? ORDER BY m.group_id`, user)
	if err != nil {
		return f, err
	}
	f.Grants, err = all(r, grantInto, `SELECT `+grantColumns+` FROM grants a JOIN user_groups g ON g.id = a.group_id WHERE a.group_id IN `+groups+` ORDER BY a.created_at, a.id`, user)
	if err != nil {
		return f, err
	}
	f.Projects, err = all(r, projectInto, `SELECT `+projectColumns+` FROM projects p WHERE p.id IN `+projects+` ORDER BY p.name`, user)
	if err != nil {
		return f, err
	}
	f.Servers, err = all(r, serverInto, `SELECT `+serverColumns+` FROM servers s WHERE s.project_id IN `+projects+` ORDER BY s.name, s.id`, user)
	if err != nil {
		return f, err
	}
	f.BreakGlass, err = all(r, glassInto, `SELECT `+glassColumns+` FROM break_glass b WHERE b.latest AND b.project_id IN `+projects+` ORDER BY b.project_id`, user)
	if err != nil {
		return f, err
	}
	if f.HostCAs, err = keys(r, teamScope, hostCAPurpose); err != nil {
		return f, err
	}
	if f.GatewayCAs, err = keys(r, teamScope, gatewayCAPurpose); err != nil {
		return f, err
	}
	if !slices.ContainsFunc(f.Projects, func(p store.Project) bool { return p.Records() }) {
		return f, nil
	}
	f.Gateways, err = all(r, gatewayInto, `SELECT `+gatewayColumns+` FROM gateways w WHERE w.state = '`+store.Active+`' AND w.host_key <> '' ORDER BY w.name`)
	return f, err
}

const (
	issuedColumns = "i.serial, i.kind, i.ca, i.principal, i.key_id, i.public_key, i.user_id, i.session_id, i.device_id, i.server_id, i.project_id, i.login, " +
		"i.grant_id, i.ticket, i.not_before, i.not_after, i.created_at, i.gateway_id, i.gateway_session"

	insertIssued = `INSERT INTO issuances (serial, kind, ca, principal, key_id, public_key, user_id, session_id, device_id, server_id, project_id, login,
		grant_id, ticket, not_before, not_after, created_at, gateway_id, gateway_session) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? `

	// forUser holds every row that allows it until the commit, so that whoever
	// takes the permission away comes before or after the whole of it. The project's
	// row is not among them: commands that hold people's raise its revision.
	forUser = `FROM users u JOIN sessions x ON x.user_id = u.id JOIN devices d ON d.id = x.device_id
		CROSS JOIN servers s JOIN grants a ON a.project_id = s.project_id JOIN members m ON m.group_id = a.group_id
		WHERE u.id = ? AND COALESCE(NULLIF((SELECT CASE a.role WHEN 'admin' THEN p.shared_admin_account ELSE p.shared_account END FROM projects p WHERE p.id = s.project_id), ''), u.login) = ? AND u.status = 'active' AND x.id = ? AND x.revoked_at = 0 AND x.expires_at > ? AND d.id = ? AND d.state = 'active'
		AND s.id = ? AND s.project_id = ? AND s.labels = ? AND s.state = 'active' AND a.id = ? AND (a.until = 0 OR a.until > ?)
		AND m.user_id = u.id AND (m.until = 0 OR m.until > ?) AND ` + notSuspended + ` /*share*/`

	forServer = `FROM servers s WHERE s.id = ? AND s.state = 'active' /*share*/`
)

// RecordIssuance implements store.Issuance.
func (s *Store) RecordIssuance(ctx context.Context, v store.Issued, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error { return t.recordIssuance(v) })
}

func (t *tx) recordIssuance(v store.Issued) error {
	if v.Serial == 0 || v.Serial > math.MaxInt64 {
		return fmt.Errorf("serial %d has not 63 bits", v.Serial)
	}
	values := []any{v.Serial, v.Kind, v.CA, v.Principal, v.KeyID, v.PublicKey, v.User, v.Session, v.Device, v.Server, v.Project, v.Login,
		v.Grant, v.Ticket, v.NotBefore, v.NotAfter, created(v.CreatedAt, t), v.Gateway, v.GatewaySession}
	switch v.Kind {
	case store.IssueUser, store.IssueTarget:
		return t.mustLater(store.ErrDenied, insertIssued+forUser, append(values,
			v.User, v.Login, v.Session, t.now, v.Device, v.Server, v.Project, v.Labels, v.Grant, t.now, t.now, t.now)...)
	case store.IssueHost, store.IssueCanary, store.IssueGatewayHost:
		return t.mustLater(store.ErrDenied, insertIssued+forServer, append(values, v.Server)...)
	}
	return fmt.Errorf("issuance of kind %q: %w", v.Kind, store.ErrDenied)
}

// Issued implements store.Issuance.
func (s *Store) Issued(ctx context.Context, serial uint64) (store.Issued, error) {
	var v store.Issued
	err := one(s.reader(ctx), []any{&v.Serial, &v.Kind, &v.CA, &v.Principal, &v.KeyID, &v.PublicKey, &v.User, &v.Session, &v.Device, &v.Server, &v.Project,
		&v.Login, &v.Grant, &v.Ticket, &v.NotBefore, &v.NotAfter, &v.CreatedAt, &v.Gateway, &v.GatewaySession}, `SELECT `+issuedColumns+` FROM issuances i WHERE i.serial = ?`, serial)
	return v, err
}
