package signin

import (
	"context"
	"errors"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/control/workload"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// TestWorkload tells an administrator what a token would come to, check by check and rule by
// rule. Whether it would sign in is decided by what decides at a sign-in; nothing is used
// up, and no session is made.
func (s *Service) TestWorkload(ctx context.Context, by caller.Caller, in api.NewWorkloadTest) (*api.WorkloadTest, error) {
	if in.Token == "" {
		return nil, api.Errorf(api.Invalid, "there is no token to test").WithHint("type: cardea admin workloads test FILE")
	}
	out := &api.WorkloadTest{Checks: []api.WorkloadCheck{}, Rules: []api.WorkloadRuleTest{}}
	from, token, err := s.jobToken(ctx, in.Token)
	e := by.Event(s.now(), audit.WorkloadTest)
	e.Detail = map[string]string{}
	noteToken(e, from, token)
	var rule store.WorkloadRule
	if err == nil {
		if rule, err = s.jobRule(ctx, from, token, in.User); err == nil {
			err = s.mayBegin(ctx, rule)
		}
	}
	var why *unfit
	switch {
	case errors.As(err, &why):
		out.Reason, out.Told = why.reason, sentenceOf(why.told)
	case err != nil:
		return nil, err
	default:
		out.Allow, out.User, out.UserName, out.Rule, out.Seconds = true, rule.User, rule.UserName, rule.ID, int(jobLife(rule).Seconds())
	}
	if err := s.examine(ctx, out, from, token, in); err != nil {
		return nil, err
	}
	e.Reason = out.Reason
	if out.Allow {
		e.User, e.Detail["rule"] = out.User, out.Rule
	}
	// What a token says is seen by nobody before it is written down who looked.
	return out, s.Store.AppendAudit(ctx, store.Meta{Now: e.Time, Audit: audit.EncodeAll(e), Proof: by.Proof})
}

// mayBegin says whether the user of a rule may sign in.
func (s *Service) mayBegin(ctx context.Context, rule store.WorkloadRule) error {
	if told := s.disabled(ctx, rule.User); told != "" {
		return refused("the service user of the rule is not active", api.Denied, nil, "%s", told)
	}
	return nil
}

// sentenceOf is what whoever gets an error reads.
func sentenceOf(err error) string {
	var o *OAuthError
	if errors.As(err, &o) {
		return o.Description
	}
	return err.Error()
}

// examine adds each check and each rule.
func (s *Service) examine(ctx context.Context, out *api.WorkloadTest, from store.WorkloadIssuer, token *sso.Token, in api.NewWorkloadTest) error {
	if from.ID == "" {
		out.Checks = append(out.Checks, api.WorkloadCheck{Check: "issuer", Text: out.Reason, Want: "one of: cardea admin workloads list", Have: shownClaim(saidIssuer(in.Token))})
		return nil
	}
	out.Workload = from.Name
	given, err := givenKeys(from)
	if err != nil {
		return err
	}
	claims, found := s.Issuers.Examine(ctx, from.Issuer, given, in.Token, sso.Expect{Audience: from.Audience})
	for _, f := range found {
		out.Checks = append(out.Checks, checked(f.Check, f.Err, f.Want, shownClaim(f.Have)))
	}
	if from.State != store.Active {
		out.Checks[0] = checked("issuer", errors.New("the issuer is "+from.State), store.Active, from.State)
	}
	more, err := s.more(ctx, claims, token)
	out.Checks = append(out.Checks, more...)
	if err != nil {
		return err
	}
	rules, err := s.Store.WorkloadRules(ctx, from.ID)
	if err != nil {
		return err
	}
	out.Claims = map[string][]string{}
	for _, r := range rules {
		t := api.WorkloadRuleTest{Rule: r.ID, UserName: r.UserName, Fits: workload.Fits(r.Claims, claims.Texts)}
		for _, h := range workload.Explain(r.Claims, claims.Texts) {
			t.Claims = append(t.Claims, api.WorkloadClaimTest{Claim: h.Claim, Pattern: h.Pattern, Fits: h.Why == "", Text: h.Why})
			if values := claims.Texts(h.Claim); len(values) > 0 {
				out.Claims[h.Claim] = shownClaims(values)
			}
		}
		out.Rules = append(out.Rules, t)
	}
	return nil
}

// more are the checks that are of jobs alone. Whether a token was used is known of one that
// verified.
func (s *Service) more(ctx context.Context, claims sso.Claims, token *sso.Token) ([]api.WorkloadCheck, error) {
	var others error
	if !alone(claims) {
		others = errors.New("others could come with it")
	}
	checks := []api.WorkloadCheck{checked("alone", others, "one audience", "")}
	if token == nil {
		return checks, nil
	}
	var long, used error
	if tooLong(token) {
		long = errors.New("what is good for so long is a stored secret")
	}
	was, err := s.Store.WorkloadTokenUsed(ctx, tokenHash(token))
	if was {
		used = errors.New("a job has signed in with it: with another key it would be refused, and an alarm")
	}
	return append(checks,
		checked("life", long, "at most "+MaxTokenLife.String(), token.Expiry.Sub(token.IssuedAt).String()),
		checked("unused", used, "", "")), err
}

func checked(name string, err error, want, have string) api.WorkloadCheck {
	c := api.WorkloadCheck{Check: name, Holds: err == nil, Want: want, Have: have}
	if err != nil {
		c.Text = ident.Text(err.Error())
	}
	return c
}

// maxShownClaim and maxShownClaims bound what is shown of one claim.
const maxShownClaim, maxShownClaims = 300, workload.MaxValues

// shownClaim is a stranger's text without what would move a terminal or break a page.
func shownClaim(s string) string {
	if len(s) > maxShownClaim {
		s = s[:maxShownClaim] + "…"
	}
	return ident.Text(s)
}

func shownClaims(values []string) []string {
	var out []string
	for _, v := range values[:min(len(values), maxShownClaims)] {
		out = append(out, shownClaim(v))
	}
	return out
}
