package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// The bounds and the default of a certificate's life, in seconds. The longest is
// how long a disabled user could still open a session with what he holds.
const (
	minCertificate, maxCertificate, defaultCertificate = 60, 600, 180
)

// CreateProject makes a project and, with it, its user CA. The CA's private key
// is sealed to the project's id, so that it opens in no other row.
func (s *Service) CreateProject(ctx context.Context, by caller.Caller, in api.NewProject) (*api.Project, error) {
	p := store.Project{
		ID: ident.New(ident.Project), Name: in.Name, CertificateSeconds: in.CertificateSeconds,
		Gateway: in.Gateway, GatewaySelector: in.GatewaySelector,
		PortForwarding: in.PortForwarding, AgentForwarding: in.AgentForwarding, ReauthSeconds: in.ReauthSeconds, DeviceApproval: in.DeviceApproval, CreatedAt: s.now(),
	}
	if p.CertificateSeconds == 0 {
		p.CertificateSeconds = defaultCertificate
	}
	if p.Gateway == "" {
		p.Gateway = store.GatewayAllowed
	}
	var rules error
	p.AccountRules, rules = accountRules(in.AccountSettings)
	p.RecordRules = recordRules(in.RecordSettings)
	suffixes, err := checkSuffixes(in.NameSuffixes)
	var wrong error
	p.DeviceRules, wrong = checkDeviceRules(in.DeviceRules)
	if err := cmp.Or(rules, checkProjectName(p.Name), checkSettings(&p.CertificateSeconds, &p.Gateway, &p.GatewaySelector), checkReauth(&p.ReauthSeconds), err, wrong, checkRecord(p.Gateway, p.RecordRules)); err != nil {
		return nil, invalid(err)
	}
	p.NameSuffixes = suffixes
	key, err := s.userCA(ctx, p)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ProjectCreate)
	e.Project, e.Detail = p.ID, map[string]string{
		"name": p.Name, "gateway": p.Gateway, "certificate_seconds": strconv.Itoa(p.CertificateSeconds), "user_ca": key.Fingerprint,
		"accounts": p.Accounts, "removal": p.Removal, "recording": p.Recording,
	}
	if p.ReauthSeconds > 0 {
		e.Detail["reauth_seconds"] = strconv.Itoa(p.ReauthSeconds)
	}
	if len(p.DeviceRules) > 0 || p.DeviceApproval {
		tellDevices(e.Detail, api.DevicePatch{DeviceRules: &p.DeviceRules, DeviceApproval: &p.DeviceApproval})
	}
	if len(p.Recipients) > 0 {
		e.Detail["recording_recipients"] = strings.Join(p.Recipients, ",")
	}
	for name, shared := range map[string]string{"shared_account": p.SharedAccount, "shared_admin_account": p.SharedAdminAccount} {
		if shared != "" {
			e.Detail[name] = shared
		}
	}
	created, err := s.Store.CreateProject(ctx, p, key, by.MetaFor(p.CreatedAt, p.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		return s.Project(ctx, ref)
	}
	if errors.Is(err, store.ErrExists) && p.SharedAccount+p.SharedAdminAccount != "" {
		return nil, sharedTaken(p.Name, p.SharedAccount, p.SharedAdminAccount).WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+p.Name)
	}
	out := projectOf(created, key.Line())
	return &out, nil
}

// invalid is lookup.Invalid, where err does not say already what to type.
func invalid(err error) error {
	if told := (*api.Error)(nil); errors.As(err, &told) {
		return told
	}
	return lookup.Invalid(err)
}

func checkProjectName(name string) error {
	if err := ident.ProjectName(name); err != nil {
		return err
	}
	if ident.Check(name, ident.Project) == nil {
		return fmt.Errorf("%q is no project name: it has the form of an id", name)
	}
	return nil
}

// checkSettings checks those that are given.
func checkSettings(seconds *int, gateway, selector *string) error {
	if seconds != nil && (*seconds < minCertificate || *seconds > maxCertificate) {
		return fmt.Errorf("a certificate lives %d to %d seconds, not %d", minCertificate, maxCertificate, *seconds)
	}
	if gateway != nil && *gateway != store.GatewayNone && *gateway != store.GatewayAllowed && *gateway != store.GatewayRequired {
		return fmt.Errorf("gateway is %s, %s or %s", store.GatewayNone, store.GatewayAllowed, store.GatewayRequired)
	}
	if selector != nil {
		if _, err := policy.ParseSelector(*selector); err != nil {
			return fmt.Errorf("gateway selector: %w", err)
		}
	}
	return nil
}

// Bounds of how long it counts that a person showed who he is: a burst of work, and no
// longer than any session.
const minReauth, maxReauth = time.Minute, 25 * time.Hour

func checkReauth(seconds *int) error {
	if seconds != nil && *seconds != 0 && (*seconds < int(minReauth/time.Second) || *seconds > int(maxReauth/time.Second)) {
		return fmt.Errorf("who a person is counts for %s to %s, or 0 for as long as his session, not %s",
			lookup.Span(minReauth), lookup.Span(maxReauth), lookup.Span(time.Duration(*seconds)*time.Second))
	}
	return nil
}

func (s *Service) userCA(ctx context.Context, p store.Project) (store.Key, error) {
	r, err := ca.Create(ctx, s.Keeper, ca.Ref{ID: ident.New(ident.Key), Scope: p.ID, Purpose: ca.UserCA})
	if err != nil {
		return store.Key{}, fmt.Errorf("make the user CA of project %s: %w", p.ID, err)
	}
	return store.Key{
		ID: r.ID, Scope: r.Scope, Purpose: string(r.Purpose), State: store.Active, Public: r.Public,
		Fingerprint: r.Fingerprint, Sealed: r.Sealed, CreatedAt: p.CreatedAt,
	}, nil
}

// Project finds one by id or name.
func (s *Service) Project(ctx context.Context, ref string) (*api.Project, error) {
	p, err := s.project(ctx, ref)
	if err != nil {
		return nil, err
	}
	cas, err := s.userCAs(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	out := projectOf(p, cas[p.ID])
	b, err := s.Store.ProjectBreakGlass(ctx, p.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, err
	case b.InForce(s.now()):
		running := s.breakGlassOf(b)
		running.ProjectName = p.Name
		out.BreakGlass = &running
	}
	return &out, nil
}

// Projects lists them.
func (s *Service) Projects(ctx context.Context, p api.Page) (*api.List[api.Project], error) {
	rows, next, err := s.Store.Projects(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of projects")
	}
	cas, err := s.userCAs(ctx, "")
	if err != nil {
		return nil, err
	}
	return lookup.List(rows, next, func(p store.Project) api.Project { return projectOf(p, cas[p.ID]) }), nil
}

// userCAs maps projects to the CA that signs for them now. The store lists the
// active and newest key first.
func (s *Service) userCAs(ctx context.Context, project string) (map[string]string, error) {
	keys, err := s.Store.Keys(ctx, project, string(ca.UserCA))
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(keys))
	for _, k := range keys {
		if _, seen := out[k.Scope]; !seen && k.State == store.Active {
			out[k.Scope] = k.Line()
		}
	}
	return out, nil
}

// UpdateProject changes what the patch names.
func (s *Service) UpdateProject(ctx context.Context, by caller.Caller, ref string, in api.ProjectPatch) (*api.Project, error) {
	p, err := s.project(ctx, ref)
	if err != nil {
		return nil, err
	}
	rules, err := ruleChange(p.AccountRules, in.AccountPatch)
	record, wrong := recordChange(p, in)
	if err := cmp.Or(err, checkSettings(in.CertificateSeconds, in.Gateway, in.GatewaySelector), checkReauth(in.ReauthSeconds), wrong); err != nil {
		return nil, invalid(err)
	}
	if in.NameSuffixes != nil {
		suffixes, err := checkSuffixes(*in.NameSuffixes)
		if err != nil {
			return nil, lookup.Invalid(err)
		}
		in.NameSuffixes = &suffixes
	}
	if in.DeviceRules != nil {
		rules, err := checkDeviceRules(*in.DeviceRules)
		if err != nil {
			return nil, lookup.Invalid(err)
		}
		in.DeviceRules = &rules
	}
	e := by.Event(s.now(), audit.ProjectUpdate)
	e.Project, e.Detail = p.ID, map[string]string{"name": p.Name}
	maps.Copy(e.Detail, settings(in))
	_, err = s.Store.UpdateProject(ctx, p.ID, store.ProjectChange{
		CertificateSeconds: in.CertificateSeconds, Gateway: in.Gateway, GatewaySelector: in.GatewaySelector,
		PortForwarding: in.PortForwarding, AgentForwarding: in.AgentForwarding, NameSuffixes: in.NameSuffixes, AccountRulesChange: rules, RecordRulesChange: record,
		ReauthSeconds: in.ReauthSeconds, DeviceRules: in.DeviceRules, DeviceApproval: in.DeviceApproval,
	}, by.MetaFor(s.now(), p.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrExists) {
		return nil, sharedTaken(p.Name, deref(in.SharedAccount), deref(in.SharedAdminAccount)).WithCause(err)
	}
	if errors.Is(err, store.ErrDenied) {
		return nil, api.Errorf(api.Conflict, "project %s was changed at the same time, and with that change nobody would record", p.Name).
			WithHint("look at it with: cardea admin projects show %s", p.Name).WithCause(err)
	}
	if _, again := lookup.Repeated(err); err != nil && !again {
		return nil, caller.Explain(err, "project "+p.Name)
	}
	return s.Project(ctx, p.ID)
}

func settings(in api.ProjectPatch) map[string]string {
	d := map[string]string{}
	for name, v := range map[string]*int{"certificate_seconds": in.CertificateSeconds, "reauth_seconds": in.ReauthSeconds} {
		if v != nil {
			d[name] = strconv.Itoa(*v)
		}
	}
	for name, v := range map[string]*string{"gateway": in.Gateway, "gateway_selector": in.GatewaySelector} {
		if v != nil {
			d[name] = *v
		}
	}
	for name, v := range map[string]*bool{"port_forwarding": in.PortForwarding, "agent_forwarding": in.AgentForwarding} {
		if v != nil {
			d[name] = strconv.FormatBool(*v)
		}
	}
	tellRules(d, in.AccountPatch)
	tellRecord(d, in.RecordPatch)
	tellDevices(d, in.DevicePatch)
	if in.NameSuffixes != nil {
		d["name_suffixes"] = strings.Join(*in.NameSuffixes, ",")
	}
	return d
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// DeleteProject removes an empty project with its grants and retires its CA.
func (s *Service) DeleteProject(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	p, err := s.project(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ProjectDelete)
	e.Project, e.Detail = p.ID, map[string]string{"name": p.Name}
	err = s.Store.DeleteProject(ctx, p.ID, by.MetaFor(s.now(), p.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrInUse) {
		return nil, api.Errorf(api.Conflict, "project %s still has servers", p.Name).
			WithHint("delete them first; to see them type: cardea admin servers list --project %s", p.Name).WithCause(err)
	}
	return lookup.Named(p.ID, caller.Explain(err, "project "+p.Name))
}

func (s *Service) project(ctx context.Context, ref string) (store.Project, error) {
	return lookup.Find(ctx, lookup.Kind[store.Project]{Name: "project", Prefix: ident.Project, ByID: s.Store.Project, ByName: s.Store.ProjectByName}, ref)
}

func projectOf(p store.Project, userCA string) api.Project {
	return api.Project{
		ID: p.ID, Name: p.Name, UserCA: userCA, CreatedAt: p.CreatedAt,
		ProjectSettings: api.ProjectSettings{
			CertificateSeconds: p.CertificateSeconds, Gateway: p.Gateway, GatewaySelector: p.GatewaySelector,
			PortForwarding: p.PortForwarding, AgentForwarding: p.AgentForwarding, NameSuffixes: p.NameSuffixes, AccountSettings: accountSettings(p.AccountRules),
			RecordSettings: recordSettings(p.RecordRules), ReauthSeconds: p.ReauthSeconds,
			DeviceSettings: api.DeviceSettings{DeviceRules: p.DeviceRules, DeviceApproval: p.DeviceApproval},
		},
	}
}
