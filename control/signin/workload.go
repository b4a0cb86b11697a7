package signin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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

// notTaken is what a stranger hears: whoever has no token that a known issuer has signed
// learns nothing of what is known here.
const notTaken = "the token of this job is not taken here; ask an administrator, whom the audit log tells why"

// unfit is why a job may not come in, for the audit and for administrators. What it is told
// itself is told: less, unless its issuer has signed its token.
type unfit struct {
	reason string
	told   error
}

func (u *unfit) Error() string { return u.reason }
func (u *unfit) Unwrap() error { return u.told }

// refused is an unfit whose job hears a sentence of this kind.
func refused(reason string, kind api.Kind, cause error, format string, args ...any) *unfit {
	return &unfit{reason, oauth("invalid_grant", told(fmt.Sprintf(format, args...))).of(kind).because(cause)}
}

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
	from, token, err := s.jobToken(ctx, form.Get("assertion"))
	noteToken(e, from, token)
	if err != nil {
		return api.SignedIn{}, s.notAJob(ctx, e, err)
	}
	rule, err := s.jobRule(ctx, from, token, form.Get("service_user"))
	if err != nil {
		return api.SignedIn{}, s.notAJob(ctx, e, err)
	}
	e.User, e.Detail["rule"] = rule.User, rule.ID
	return s.beginJob(ctx, by, e, rule, token)
}

// noteToken writes down what is known of a token, and never the token.
func noteToken(e audit.Event, from store.WorkloadIssuer, token *sso.Token) {
	if from.Name != "" {
		e.Detail["issuer"] = from.Name
	}
	if token == nil {
		return
	}
	e.Detail["subject"] = ident.Text(token.Subject)
	if jti, ok := token.Claims.Text("jti"); ok && len(jti) <= maxTold {
		e.Detail["jti"] = ident.Text(jti)
	}
}

// notAJob audits why a job may not come in, and returns what it hears.
func (s *Service) notAJob(ctx context.Context, e audit.Event, err error) error {
	var why *unfit
	if !errors.As(err, &why) {
		return err
	}
	e.Reason = why.reason
	s.record(ctx, e)
	return why.told
}

// jobToken verifies a token, and uses nothing up. Whose it is is read before that only to
// choose among the issuers that an administrator named. An *unfit is the token's fault.
func (s *Service) jobToken(ctx context.Context, raw string) (store.WorkloadIssuer, *sso.Token, error) {
	if len(raw) > maxAssertion {
		return store.WorkloadIssuer{}, nil, refused("the token is larger than any platform makes it", api.Denied, nil, notTaken)
	}
	from, err := s.Store.WorkloadIssuerByURL(ctx, saidIssuer(raw))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return from, nil, refused("the token is of no issuer that is known here", api.Denied, err, notTaken)
	case err != nil:
		return from, nil, err
	case from.State != store.Active:
		return from, nil, refused("the issuer of the token is "+from.State, api.Denied, nil, notTaken)
	}
	given, err := givenKeys(from)
	if err != nil {
		return from, nil, err
	}
	var token *sso.Token
	if expect := (sso.Expect{Audience: from.Audience}); given != nil {
		token, err = s.Issuers.VerifyGiven(ctx, from.Issuer, given, raw, expect)
	} else {
		token, err = s.Issuers.Verify(ctx, from.Issuer, raw, expect)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return from, nil, ctx.Err()
	case err != nil:
		return from, nil, s.unverified(from, err)
	case !alone(token.Claims):
		return from, token, refused("the token is for others as well, who could come with it", api.Invalid, nil,
			"the token of this job is for others as well; have the platform make it for %s alone", from.Audience)
	case tooLong(token):
		return from, token, refused("the token is good for longer than "+MaxTokenLife.String(), api.Invalid, nil,
			"the token of this job is good for longer than %s; have the platform make one that ends sooner", MaxTokenLife)
	}
	return from, token, nil
}

func alone(c sso.Claims) bool { return len(c.Texts("aud")) == 1 }

func tooLong(t *sso.Token) bool { return t.Expiry.Sub(t.IssuedAt) > MaxTokenLife }

// givenKeys are those of an issuer that is not asked for its keys, else nil.
func givenKeys(from store.WorkloadIssuer) (*sso.GivenKeys, error) {
	if from.Keys == "" {
		return nil, nil
	}
	given, err := sso.ParseGivenKeys(from.Keys)
	if err != nil {
		return nil, fmt.Errorf("keys of workload issuer %s: %w", from.ID, err)
	}
	return given, nil
}

// unverified says what is wrong with a token. What the issuer did sign is told to who has
// it, of anything else nothing is.
func (s *Service) unverified(from store.WorkloadIssuer, err error) *unfit {
	reason, now := ident.Text(err.Error()), s.now().Format(time.RFC3339)
	var failed *sso.Error
	switch {
	case errors.As(err, &failed) && failed.Kind == sso.Down:
		return &unfit{"the issuer does not answer", api.Errorf(api.Unavailable, "the issuer of this token does not answer as it should").WithHint("try again in a moment").WithCause(err)}
	case errors.Is(err, sso.ErrAudience):
		return refused(reason, api.Invalid, err, "the token of this job is for another audience; have the platform make it for %s", from.Audience)
	case errors.Is(err, sso.ErrOver):
		return refused(reason, api.SignIn, err, "%s, and it is %s here; have the platform make a new one, or set its clock", ofThisJob(err), now)
	case errors.Is(err, sso.ErrEarly):
		return refused(reason, api.SignIn, err, "%s, and it is %s here; set the clock of the platform, or of the control plane", ofThisJob(err), now)
	}
	return refused(reason, api.Denied, err, notTaken)
}

func ofThisJob(err error) string {
	return strings.Replace(err.Error(), "the token", "the token of this job", 1)
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
func (s *Service) jobRule(ctx context.Context, from store.WorkloadIssuer, token *sso.Token, user string) (store.WorkloadRule, error) {
	rules, err := s.Store.WorkloadRules(ctx, from.ID)
	if err != nil {
		return store.WorkloadRule{}, err
	}
	fit := slices.DeleteFunc(rules, func(r store.WorkloadRule) bool {
		return user != "" && user != r.UserName || !workload.Fits(r.Claims, token.Claims.Texts)
	})
	if len(fit) == 0 {
		return store.WorkloadRule{}, refused("no rule fits", api.Denied, nil,
			"no rule fits a job of %s with the subject %s; an administrator sees why with: cardea admin workloads test", from.Name, token.Subject[:min(len(token.Subject), maxTold)])
	}
	for _, r := range fit {
		if r.User != fit[0].User {
			return r, refused("rules of several users fit, and the job does not say which it is", api.Invalid, nil,
				"this job may be several service users; to say which type: cardea login --workload --as NAME")
		}
	}
	return fit[0], nil
}

// told makes a text fit for an error_description (RFC 6749 section 5.2).
func told(s string) string {
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
	secret, session, device, err := s.machineSession(ctx, by, name, jobLife(rule))
	if err != nil {
		return api.SignedIn{}, err
	}
	done := e
	done.Time, done.Action, done.Outcome, done.Actor, done.Session = session.CreatedAt, audit.SignInWorkload, audit.Allowed, rule.User, session.ID
	who, err := s.Store.SignInWorkload(ctx, store.WorkloadSignIn{
		Rule: rule.ID, TokenHash: tokenHash(token), TokenExpires: token.Expiry.Add(2 * sso.Skew), Session: session, Device: device,
	}, by.Meta(session.CreatedAt, audit.Encode(done)))
	switch {
	case errors.Is(err, store.ErrUsed):
		e.Action = audit.WorkloadReplay
		return api.SignedIn{}, s.notAJob(ctx, e, refused("the token came with another key before: somebody else has it, too", api.SignIn, err,
			"this token was used with another key before; have the platform make a new one, and find out who else had it"))
	case errors.Is(err, store.ErrDenied):
		return api.SignedIn{}, s.notAJob(ctx, e, refused("the rule is gone, or its issuer, user or device is not active", api.Denied, err, "%s",
			cmp.Or(s.disabled(ctx, rule.User), "this job may not sign in; for an administrator to see the rules type: cardea admin workloads list")))
	case err != nil:
		return api.SignedIn{}, s.notRedeemed(ctx, e, err)
	}
	return signedIn(who, secret, session), nil
}

func jobLife(rule store.WorkloadRule) time.Duration {
	return min(MachineLife, time.Duration(rule.SessionSeconds)*time.Second)
}

// tokenHash is of what the signature covers: a token can be written in several ways.
func tokenHash(token *sso.Token) []byte {
	hash := sha256.Sum256(slices.Concat([]byte(token.Issuer), []byte{0}, token.Text))
	return hash[:]
}

// disabled is what a program is told whose user may not sign in; empty if that may. It has
// shown that it is that user's.
func (s *Service) disabled(ctx context.Context, user string) string {
	u, err := s.Store.User(ctx, user)
	if err != nil || u.Status == store.Active {
		return ""
	}
	return "the service user " + u.Name + " is " + u.Status + "; for an administrator to let it in type: cardea admin users enable " + u.Name
}
