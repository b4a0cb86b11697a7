package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/attestation"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// defaultWithin is for instances that enrol as they start. Later on, a program
	// that was broken into could ask the metadata service as well as the agent.
	defaultWithin = time.Hour
	maxWithin     = 10 * 365 * 24 * time.Hour
	// maxPatterns bounds those of a rule, maxPattern each of them, in bytes.
	maxPatterns, maxPattern = 32, 128
	// maxTemplate bounds the pattern of a name, in bytes.
	maxTemplate = 128
)

// What a rule may say of each cloud.
var (
	accountForms = map[string]*regexp.Regexp{
		attestation.AWS:   regexp.MustCompile(`^[0-9]{12}$`),
		attestation.GCP:   regexp.MustCompile(`^[a-z0-9.:-]{1,128}$`),
		attestation.Azure: regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	}
	// An id of GCP is a number, and no name of a server.
	defaultNames = map[string]string{attestation.AWS: "{instance_id}", attestation.GCP: "gce-{instance_id}", attestation.Azure: "{instance_id}"}
	pattern      = regexp.MustCompile(`^[A-Za-z0-9+=,.@_*-]{1,` + strconv.Itoa(maxPattern) + `}$`)
)

// matches reports whether s is one of the patterns, in which * is any text. No
// pattern at all takes everything.
func matches(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matchesOne(p, s) })
}

func matchesOne(p, s string) bool {
	parts := strings.Split(p, "*")
	if len(parts) == 1 {
		return p == s
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, last)
}

// nameOf fills the pattern of a rule's name.
func nameOf(template string, f attestation.Facts) (string, error) {
	name := strings.ToLower(strings.NewReplacer("{instance_id}", f.Instance, "{account}", f.Account, "{region}", f.Region, "{instance_name}", f.Name).Replace(template))
	return name, ident.ServerName(name)
}

// CreateRule makes a rule by which instances enrol.
func (s *Service) CreateRule(ctx context.Context, by caller.Caller, in api.NewEnrolmentRule) (*api.EnrolmentRule, error) {
	r, err := newRule(in, s.now())
	if err != nil {
		return nil, lookup.Invalid(err)
	}
	p, err := s.project(ctx, in.Project)
	if err != nil {
		return nil, err
	}
	// Names with a dot are in a domain here as everywhere.
	if name, err := nameOf(r.ServerName, sampleOf(r)); err != nil || mayBeCalled(p, name) != nil {
		return nil, lookup.Invalid(cmp.Or(err, mayBeCalled(p, name)))
	}
	r.Project = p.ID
	e := by.Event(r.CreatedAt, audit.RuleCreate)
	e.Project, e.Detail = r.Project, map[string]string{
		"rule": r.ID, "cloud": r.Cloud, "account": r.Account, "regions": strings.Join(r.Regions, " "), "identities": strings.Join(r.Identities, " "),
		"within": r.Within.String(), "name": r.ServerName,
	}
	for k, v := range r.Labels {
		e.Detail["label "+k] = v
	}
	err = s.Store.CreateEnrolmentRule(ctx, r, by.MetaFor(r.CreatedAt, r.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		r.ID, err = ref, nil
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+in.Project)
	}
	out := ruleOf(r)
	return &out, nil
}

func newRule(in api.NewEnrolmentRule, now time.Time) (store.EnrolmentRule, error) {
	r := store.EnrolmentRule{
		ID: ident.New(ident.EnrolmentRule), Cloud: in.Cloud, Account: strings.ToLower(in.Account), Regions: in.Regions, Identities: in.Identities,
		Within: time.Duration(in.Within) * time.Second, ServerName: cmp.Or(in.ServerName, defaultNames[in.Cloud]), Labels: in.Labels, CreatedAt: now,
	}
	form := accountForms[in.Cloud]
	switch {
	case form == nil:
		return r, fmt.Errorf("%q is no cloud that is known here; use aws, gcp or azure", lookup.Shown(in.Cloud))
	case in.Account == "":
		return r, errors.New("a rule names the account whose instances may enrol: 12 digits of AWS, the id of a GCP project or of an Azure subscription")
	case !form.MatchString(r.Account):
		return r, fmt.Errorf("%q is no account of %s: give the 12 digits of an AWS account, the id of a GCP project or of an Azure subscription", lookup.Shown(in.Account), in.Cloud)
	case in.Cloud == attestation.Azure && len(r.Regions)+len(r.Identities) > 0:
		return r, fmt.Errorf("azure signs neither the region nor an identity of an instance: a rule cannot ask for them")
	case in.Cloud == attestation.Azure && r.Within > 0:
		return r, fmt.Errorf("azure does not sign when an instance was started: a rule cannot ask for it")
	case in.Within < 0 || r.Within > maxWithin:
		return r, fmt.Errorf("within is at most %d days", maxWithin/(24*time.Hour))
	}
	if r.Within == 0 && in.Cloud != attestation.Azure {
		r.Within = defaultWithin
	}
	for _, list := range [][]string{r.Regions, r.Identities} {
		if len(list) > maxPatterns {
			return r, fmt.Errorf("%d patterns, at most %d are allowed", len(list), maxPatterns)
		}
		for _, p := range list {
			if !pattern.MatchString(p) {
				return r, fmt.Errorf("%q is no name or pattern such as eu-*", lookup.Shown(p))
			}
		}
	}
	return r, cmp.Or(checkTemplate(r), checkLabels(r.Labels))
}

// sampleOf is an instance that might come.
func sampleOf(r store.EnrolmentRule) attestation.Facts {
	return attestation.Facts{Account: r.Account, Region: "eu-1", Instance: "i-0", Name: "web-1"}
}

// checkTemplate tries the pattern of a name on an instance that might come. It
// must tell instances apart: two servers cannot have one name.
func checkTemplate(r store.EnrolmentRule) error {
	if len(r.ServerName) > maxTemplate {
		return fmt.Errorf("the pattern of a name has at most %d characters", maxTemplate)
	}
	if r.Cloud == attestation.Azure && strings.Contains(r.ServerName, "{region}") || r.Cloud != attestation.GCP && strings.Contains(r.ServerName, "{instance_name}") {
		return fmt.Errorf("%s does not sign all that the name %q asks for", r.Cloud, lookup.Shown(r.ServerName))
	}
	if !strings.Contains(r.ServerName, "{instance_id}") && !strings.Contains(r.ServerName, "{instance_name}") {
		return fmt.Errorf("the name %q is the same for all instances; put {instance_id} into it", lookup.Shown(r.ServerName))
	}
	if _, err := nameOf(r.ServerName, sampleOf(r)); err != nil {
		return fmt.Errorf("the name %q makes no names: use {instance_id}, {account}, {region} and {instance_name}: %w", lookup.Shown(r.ServerName), err)
	}
	return nil
}

// Rules lists them.
func (s *Service) Rules(ctx context.Context, p api.Page) (*api.List[api.EnrolmentRule], error) {
	rows, next, err := s.Store.EnrolmentRules(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of rules")
	}
	return lookup.List(rows, next, ruleOf), nil
}

// DeleteRule ends a way in. Servers that came by it stay.
func (s *Service) DeleteRule(ctx context.Context, by caller.Caller, id string) (*api.Named, error) {
	if ident.Check(id, ident.EnrolmentRule) != nil {
		return nil, lookup.Missing("enrolment rule", id)
	}
	e := by.Event(s.now(), audit.RuleDelete)
	e.Detail = map[string]string{"rule": id}
	err := s.Store.DeleteEnrolmentRule(ctx, id, by.MetaFor(e.Time, id, audit.Encode(e)))
	return lookup.Named(id, caller.Explain(err, "enrolment rule "+id))
}

func ruleOf(r store.EnrolmentRule) api.EnrolmentRule {
	return api.EnrolmentRule{
		ID: r.ID, Cloud: r.Cloud, Account: r.Account, Regions: r.Regions, Identities: r.Identities, Within: int(r.Within / time.Second),
		Project: r.Project, ServerName: r.ServerName, Labels: r.Labels, CreatedAt: r.CreatedAt,
	}
}
