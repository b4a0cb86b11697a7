package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/attestation"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Instances is what enrolment by a cloud's word needs.
type Instances struct {
	// Clouds knows the clouds' keys.
	Clouds *attestation.Verifier
	// Challenges issues and checks challenges, by a secret that all instances of the
	// control plane share. One is the same for all who ask in one second: it is the
	// pair of challenge and key that is good once.
	Challenges *dpop.Nonces
	// Audience is the control plane's public URL.
	Audience string
}

// challengeKept is how long a used challenge is remembered: longer than it is good.
const challengeKept = 2 * dpop.NonceTTL

// retryCloud is when to come again where the cloud could not be asked.
const retryCloud = 10 * time.Second

// Challenge is what an instance must have signed to enrol.
func (s *Service) Challenge(_ context.Context, by caller.Caller) (*api.InstanceChallenge, error) {
	if by.Prover == "" {
		return nil, errors.New("a challenge without a proof of possession")
	}
	return &api.InstanceChallenge{Challenge: s.Instances.Challenges.Issue(s.now()), Audience: s.Instances.Audience}, nil
}

// EnrolInstance lets an instance of a cloud in, if it proves what it is and a rule
// of the administrator takes it.
func (s *Service) EnrolInstance(ctx context.Context, by caller.Caller, in api.InstanceEnrolment) (*api.EnrolledServer, error) {
	e := by.Event(s.now(), audit.ServerEnrol)
	e.Detail = map[string]string{"cloud": bounded(in.Cloud, maxVersion)}
	if by.Prover == "" {
		return nil, errors.New("enrolment without a proof of possession")
	}
	facts, err := s.prove(ctx, by, in, e)
	if err != nil {
		return nil, err
	}
	e.Detail = map[string]string{"instance": facts.ID(), "region": facts.Region, "identity": facts.Identity, "thumbprint": by.Prover}
	rule, err := s.ruleFor(ctx, facts, e)
	if err != nil {
		return nil, err
	}
	e.Project, e.Detail["rule"] = rule.Project, rule.ID
	row, err := s.instanceRow(rule, facts, in)
	if err != nil {
		return nil, s.refuseStranger(ctx, e, lookup.Invalid(err))
	}
	return s.letIn(ctx, by, e, rule, row, in.Challenge, facts)
}

// prove says which instance calls, or refuses.
func (s *Service) prove(ctx context.Context, by caller.Caller, in api.InstanceEnrolment, e audit.Event) (attestation.Facts, error) {
	var none attestation.Facts
	if err := s.Instances.Challenges.Check(in.Challenge, e.Time); err != nil {
		return none, s.refuseStranger(ctx, e, api.Errorf(api.Denied, "this challenge is not of this control plane, or it is over").WithHint("ask for a new one"))
	}
	wanted, err := s.wanted(ctx, in)
	if why := (*attestation.Refused)(nil); errors.As(err, &why) {
		return none, s.refuseStranger(ctx, e, api.Errorf(api.Denied, "%s", why.Error()))
	}
	if err != nil {
		return none, err
	}
	if !wanted {
		return none, s.refuseStranger(ctx, e, api.Errorf(api.Denied, "there is no enrolment rule for this cloud or account").
			WithHint("an administrator makes one; type: cardea admin enrolment-rules create --help"))
	}
	facts, err := s.Instances.Clouds.Verify(ctx, in, s.Instances.Audience, api.Binding(s.Instances.Audience, in.Challenge, by.Prover))
	var refused *attestation.Refused
	switch {
	case errors.As(err, &refused):
		return none, s.refuseStranger(ctx, e, api.Errorf(api.Denied, "%s", refused.Error()))
	case err != nil && ctx.Err() == nil:
		return none, api.Errorf(api.Unavailable, "the cloud cannot be asked about this instance now").WithRetry(retryCloud).WithCause(err)
	}
	return facts, err
}

// wanted reports whether a rule could take an instance. Where none could nobody is
// asked on its behalf.
func (s *Service) wanted(ctx context.Context, in api.InstanceEnrolment) (found bool, err error) {
	if in.Cloud == attestation.AWS && in.AWS != nil {
		account, err := s.Instances.Clouds.AWSAccount(*in.AWS)
		if err != nil {
			return false, err
		}
		rules, err := s.Store.EnrolmentRulesOf(ctx, in.Cloud, account)
		return len(rules) > 0, err
	}
	err = lookup.All(ctx, s.Store.EnrolmentRules, func(r store.EnrolmentRule) bool {
		found = r.Cloud == in.Cloud
		return !found
	})
	return found, err
}

// ruleFor finds the first rule that takes the instance.
func (s *Service) ruleFor(ctx context.Context, f attestation.Facts, e audit.Event) (store.EnrolmentRule, error) {
	rules, err := s.Store.EnrolmentRulesOf(ctx, f.Cloud, f.Account)
	if err != nil {
		return store.EnrolmentRule{}, err
	}
	late := time.Duration(0)
	for _, r := range rules {
		if !matches(r.Regions, f.Region) || !matches(r.Identities, f.Identity) {
			continue
		}
		if age := e.Time.Sub(f.Started); r.Within > 0 && age > r.Within {
			late = r.Within
			continue
		}
		return r, nil
	}
	why := api.Errorf(api.Denied, "no enrolment rule takes instance %s of account %s in region %q with identity %q", f.Instance, f.Account, f.Region, f.Identity).
		WithHint("an administrator makes one; type: cardea admin enrolment-rules create --help")
	if late > 0 {
		why = api.Errorf(api.Denied, "instance %s was started at %s, and the enrolment rule takes instances within %s of their start", f.Instance, f.Started.Format(time.RFC3339), late).
			WithHint("use an enrolment token, or a rule with a longer --within")
	}
	return store.EnrolmentRule{}, s.refuseStranger(ctx, e, why)
}

// instanceRow fills the row: what counts comes from the rule and from the cloud.
func (s *Service) instanceRow(r store.EnrolmentRule, f attestation.Facts, in api.InstanceEnrolment) (store.Server, error) {
	row := store.Server{ID: ident.New(ident.Server), Project: r.Project, Labels: r.Labels, State: store.Active, AgentVersion: bounded(in.Version, maxVersion), CreatedAt: s.now()}
	var nameErr, addressErr, labelErr error
	row.Name, nameErr = nameOf(r.ServerName, f)
	row.Address, addressErr = checkProposal(in.Address)
	row.HostLabels, labelErr = hostLabels(in.HostLabels)
	return row, cmp.Or(nameErr, addressErr, labelErr)
}

func (s *Service) letIn(ctx context.Context, by caller.Caller, e audit.Event, rule store.EnrolmentRule, row store.Server, challenge string, f attestation.Facts) (*api.EnrolledServer, error) {
	pinned, err := s.key(ctx, ca.Policy)
	if err != nil {
		return nil, err
	}
	claim := sha256.Sum256([]byte(challenge + "\x00" + by.Prover))
	token, credential := newCredential(serverPrefix, by)
	e.Server, e.Detail["name"], e.Detail["address"] = row.ID, row.Name, row.Address
	server, err := s.Store.EnrolInstance(ctx, store.InstanceEnrolment{
		Rule: rule.ID, Instance: f.ID(), Challenge: claim[:], ChallengeEnds: e.Time.Add(challengeKept),
	}, row, credential, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	_, repeated := lookup.Repeated(err)
	if repeated || errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrReplayed) {
		if again, lost := s.enrolAgain(ctx, by, f.ID(), e); lost == nil {
			return again, nil
		}
	}
	e.Server = ""
	switch {
	case err == nil:
		return &api.EnrolledServer{Token: token, Server: server.ID, Name: server.Name, PolicyKey: pinned.Public}, nil
	case errors.Is(err, store.ErrUsed):
		return nil, s.refuseStranger(ctx, e, api.Errorf(api.Gone, "instance %s has enrolled before, and does so once", f.Instance).
			WithHint("to let it in again make a token; type: cardea admin tokens create --kind server").WithCause(err))
	case errors.Is(err, store.ErrReplayed):
		return nil, s.refuseStranger(ctx, e, api.Errorf(api.Denied, "this challenge was used before").WithHint("ask for a new one").WithCause(err))
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrDenied):
		return nil, s.refuseStranger(ctx, e, api.Errorf(api.Denied, "the enrolment rule is gone").WithCause(err))
	case errors.Is(err, store.ErrExists):
		return nil, s.refuseStranger(ctx, e, api.Errorf(api.Conflict, "there is a server named %s already, or this machine's key is enrolled", row.Name).
			WithHint("delete the old one; to see them type: cardea admin servers list").WithCause(err))
	}
	return nil, caller.Explain(err, fmt.Sprintf("server %s", row.Name))
}
