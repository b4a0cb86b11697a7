package signin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/control/workload"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// maxAssertion bounds a job's token, in bytes: GitHub's have 2 KiB.
	maxAssertion = 16 << 10
	// MaxTokenLife is how long a token may be good in all. Platforms make them for the time
	// of a job; what is good for longer is a stored secret.
	MaxTokenLife = 24 * time.Hour
	// maxTold is how much of a subject is repeated to who sent it, in bytes.
	maxTold = 200
)

// workload signs in a job by a token of its platform, as the service user that a rule names.
// The token alone is worth nothing to a second one who has it: it is tied to the key of the
// proof that it first came with.
func (s *Service) workload(ctx context.Context, by caller.Caller, form url.Values) (api.SignedIn, error) {
	if err := fields(form, "client_id", "assertion"); err != nil {
		return api.SignedIn{}, err
	}
	if len(form["service_user"]) > 1 {
		return api.SignedIn{}, oauth("invalid_request", "service_user is there twice")
	}
	e := audit.Event{Time: s.now(), Action: audit.SignInFailed, Outcome: audit.Denied, Source: by.Source, Detail: map[string]string{"key": by.Prover}}
	from, token, err := s.jobToken(ctx, e, form.Get("assertion"))
	if err != nil {
		return api.SignedIn{}, err
	}
	e.Detail["issuer"], e.Detail["subject"] = from.Name, ident.Text(token.Subject)
	if jti, ok := token.Claims.Text("jti"); ok && len(jti) <= maxTold {
		e.Detail["jti"] = ident.Text(jti)
	}
	rule, err := s.jobRule(ctx, e, from, token, form.Get("service_user"))
	if err != nil {
		return api.SignedIn{}, err
	}
	e.User, e.Detail["rule"] = rule.User, rule.ID
	return s.beginJob(ctx, by, e, rule, token)
}

// jobToken verifies a token. Whose it is is read before that only to choose among the
// issuers that an administrator named.
func (s *Service) jobToken(ctx context.Context, e audit.Event, raw string) (store.WorkloadIssuer, *sso.Token, error) {
	refuse := func(reason string, cause error) (store.WorkloadIssuer, *sso.Token, error) {
		e.Reason = reason
		s.record(ctx, e)
		return store.WorkloadIssuer{}, nil, oauth("invalid_grant", "the token of this job is not taken here; the audit log of the control plane says why").because(cause)
	}
	if len(raw) > maxAssertion {
		return refuse("the token is larger than any platform makes it", nil)
	}
	from, err := s.Store.WorkloadIssuerByURL(ctx, saidIssuer(raw))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse("the token is of no issuer that is known here", err)
	case err != nil:
		return from, nil, err
	case from.State != store.Active:
		return refuse("the issuer of the token is "+from.State, nil)
	}
	e.Detail["issuer"] = from.Name
	token, err := s.Issuers.Verify(ctx, from.Issuer, raw, sso.Expect{Audience: from.Audience})
	var failed *sso.Error
	switch {
	case errors.As(err, &failed) && failed.Kind == sso.Down:
		e.Reason = "the issuer does not answer"
		s.record(ctx, e)
		return from, nil, api.Errorf(api.Unavailable, "the issuer of this token does not answer as it should").WithHint("try again in a moment").WithCause(err)
	case ctx.Err() != nil:
		return from, nil, ctx.Err()
	case err != nil:
		return refuse(ident.Text(err.Error()), err)
	case len(token.Claims.Texts("aud")) != 1:
		return refuse("the token is for others as well, who could come with it", nil)
	case token.Expiry.Sub(token.IssuedAt) > MaxTokenLife:
		return refuse("the token is good for longer than "+MaxTokenLife.String(), nil)
	}
	return from, token, nil
}

// saidIssuer is what a token says of whose it is; empty if it says nothing that can be read.
func saidIssuer(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var said struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(text, &said) != nil {
		return ""
	}
	return said.Issuer
}

// jobRule finds the oldest rule that fits, of the user that the job named if it did. Where
// several users are meant none is guessed.
func (s *Service) jobRule(ctx context.Context, e audit.Event, from store.WorkloadIssuer, token *sso.Token, user string) (store.WorkloadRule, error) {
	rules, err := s.Store.WorkloadRules(ctx, from.ID)
	if err != nil {
		return store.WorkloadRule{}, err
	}
	fit := slices.DeleteFunc(rules, func(r store.WorkloadRule) bool {
		return user != "" && user != r.UserName || !workload.Fits(r.Claims, token.Claims.Texts)
	})
	if len(fit) == 0 {
		e.Reason = "no rule fits"
		s.record(ctx, e)
		return store.WorkloadRule{}, oauth("invalid_grant", "no rule fits a job of "+from.Name+" with the subject "+told(token.Subject)+
			"; for an administrator to make one type: cardea admin workloads add-rule "+from.Name)
	}
	for _, r := range fit {
		if r.User != fit[0].User {
			e.Reason = "rules of several users fit, and the job does not say which it is"
			s.record(ctx, e)
			return r, oauth("invalid_request", "this job may be several service users; to say which type: cardea login --workload --as NAME")
		}
	}
	return fit[0], nil
}

// told makes a text fit for an error_description (RFC 6749 section 5.2).
func told(s string) string {
	if len(s) > maxTold {
		s = s[:maxTold]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

func (s *Service) beginJob(ctx context.Context, by caller.Caller, e audit.Event, rule store.WorkloadRule, token *sso.Token) (api.SignedIn, error) {
	name := ident.Text(e.Detail["issuer"] + " " + token.Subject)
	if len(name) > maxDevice {
		name = strings.ToValidUTF8(name[:maxDevice], "")
	}
	secret, session, device, err := s.machineSession(ctx, by, name, min(MachineLife, time.Duration(rule.SessionSeconds)*time.Second))
	if err != nil {
		return api.SignedIn{}, err
	}
	hash := sha256.Sum256(slices.Concat([]byte(token.Issuer), []byte{0}, token.Text))
	done := e
	done.Time, done.Action, done.Outcome, done.Actor, done.Session = session.CreatedAt, audit.SignInWorkload, audit.Allowed, rule.User, session.ID
	who, err := s.Store.SignInWorkload(ctx, store.WorkloadSignIn{
		Rule: rule.ID, TokenHash: hash[:], TokenExpires: token.Expiry.Add(2 * sso.Skew), Session: session, Device: device,
	}, by.Meta(session.CreatedAt, audit.Encode(done)))
	switch {
	case errors.Is(err, store.ErrUsed):
		e.Action, e.Reason = audit.WorkloadReplay, "the token came with another key before: somebody else has it, too"
		s.record(ctx, e)
		return api.SignedIn{}, oauth("invalid_grant", "this token was used with another key before; ask the platform for a new one").because(err)
	case errors.Is(err, store.ErrDenied):
		e.Reason = "the rule is gone, or its issuer, user or device is not active"
		s.record(ctx, e)
		return api.SignedIn{}, oauth("invalid_grant", "this job may not sign in; administrators see the platforms with: cardea admin workloads list").because(err)
	case err != nil:
		return api.SignedIn{}, s.notRedeemed(ctx, e, err)
	}
	return signedIn(who, secret, session), nil
}
