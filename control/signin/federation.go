package signin

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// ClientSecret names what is sealed in a provider's row.
const ClientSecret = "client secret"

// unknown is what the audit says where a provider does not tell.
const unknown = "unknown"

// Callback is where a provider of this name sends browsers back to. Each has its own, so
// that an answer of one is never taken for another's.
func Callback(publicURL, name string) string { return publicURL + api.CallbackPath + name }

// Providers are those at which a person may sign in now, by title.
func (s *Service) Providers(ctx context.Context) ([]store.Provider, error) {
	// A page with that many buttons helps nobody.
	all, _, err := s.Store.Providers(ctx, store.Page{Limit: 100})
	active := make([]store.Provider, 0, len(all))
	for _, p := range all {
		if p.State == store.Active {
			active = append(active, p)
		}
	}
	return active, err
}

// Federate sends the browser to a provider for this request and returns where. For one
// that is to show again who somebody is, the person is asked there although he is signed in.
func (s *Service) Federate(ctx context.Context, request, provider string, b Browser) (redirect string, err error) {
	r, err := s.request(ctx, request, b)
	if err != nil {
		return "", err
	}
	reauth := r.Project != "" || r.Grant != ""
	p, err := s.provider(ctx, provider)
	if err != nil {
		return "", err
	}
	c, err := s.client(ctx, p)
	if err != nil {
		return "", err
	}
	f, err := newFlow(NewSecret(), b, reauth)
	if err != nil {
		return "", err
	}
	now := s.now()
	if redirect, err = s.Issuers.Begin(ctx, c, f); err != nil {
		return "", s.unfederated(ctx, p, store.User{}, b, err)
	}
	err = s.Store.CreateFederation(ctx, store.Federation{
		StateHash: hashOf(f.State), Provider: p.ID, Request: r.ID, BrowserHash: hashOf(b.Token), Reauth: reauth,
		ExpiresAt: now.Add(RequestLife), CreatedAt: now,
	}, store.Meta{Now: now})
	if errors.Is(err, store.ErrDenied) {
		return "", gone(store.ErrUsed)
	}
	return redirect, err
}

// newFlow makes the secrets of a run. Only the state goes with the browser. Nonce and PKCE
// verifier come of it and of the browser's cookie, which is in no address and in no
// database: whoever comes back in another browser cannot have them.
func newFlow(state string, b Browser, reauth bool) (sso.Flow, error) {
	secret := func(use string) (string, error) {
		key, err := hkdf.Key(sha256.New, []byte(b.Token), []byte(state), "cardea sign-in "+use+" v1", 32)
		return base64.RawURLEncoding.EncodeToString(key), err
	}
	nonce, err := secret("nonce")
	if err != nil {
		return sso.Flow{}, err
	}
	verifier, err := secret("pkce")
	return sso.Flow{State: state, Nonce: nonce, Verifier: verifier, Reauth: reauth}, err
}

// provider finds one at which people may sign in.
func (s *Service) provider(ctx context.Context, name string) (store.Provider, error) {
	missing := api.Errorf(api.NotFound, "there is no such identity provider here").WithHint("go back and choose another way to sign in")
	if ident.ProviderName(name) != nil {
		return store.Provider{}, missing
	}
	p, err := s.Store.ProviderByName(ctx, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.State != store.Active {
		return p, missing
	}
	return p, err
}

// client is who we are at a provider.
func (s *Service) client(ctx context.Context, p store.Provider) (sso.Client, error) {
	c := sso.Client{
		Issuer: p.Issuer, ID: p.ClientID, Redirect: Callback(s.PublicURL, p.Name), Scopes: p.Scopes, Want: rulesOf(p).Want(),
	}
	if len(p.Secret) == 0 {
		return c, nil
	}
	secret, err := ca.OpenText(ctx, s.Keeper, p.ID, ClientSecret, p.Secret)
	c.Secret = string(secret)
	return c, err
}

func rulesOf(p store.Provider) sso.Rules {
	return sso.Rules{LoginClaim: p.LoginClaim, LoginRule: p.LoginRule, Domains: p.Domains, GroupsClaim: p.GroupsClaim, Require: p.Require}
}

// Federated ends a run: answer is what the browser brought back from the provider of this
// name. It returns the browser's new login secret, and the request that goes on, which it
// knows also after most errors.
func (s *Service) Federated(ctx context.Context, provider string, answer url.Values, b Browser) (login, request string, err error) {
	p, err := s.provider(ctx, provider)
	if err != nil {
		return "", "", err
	}
	f, err := s.take(ctx, p, answer, b)
	if err != nil {
		return "", "", err
	}
	login, err = s.finish(ctx, p, f, answer, b)
	return login, f.Request, err
}

func (s *Service) finish(ctx context.Context, p store.Provider, f store.Federation, answer url.Values, b Browser) (login string, err error) {
	c, err := s.client(ctx, p)
	if err != nil {
		return "", err
	}
	clients, err := s.clientsOf(ctx, p)
	if err != nil {
		return "", err
	}
	for _, client := range clients {
		c.Want = append(c.Want, client.LinkClaim)
	}
	flow, err := newFlow(answer.Get("state"), b, f.Reauth)
	if err != nil {
		return "", err
	}
	flow.Began = f.CreatedAt
	who, err := s.Issuers.Finish(ctx, c, flow, answer)
	if err != nil {
		return "", s.unfederated(ctx, p, store.User{}, b, err)
	}
	return s.enter(ctx, p, f, who, b)
}

// take uses the state of an answer up, before anything is asked of the provider.
func (s *Service) take(ctx context.Context, p store.Provider, answer url.Values, b Browser) (store.Federation, error) {
	stray := func(cause error, why string) error {
		s.record(ctx, s.federation(s.now(), audit.SignInFailed, audit.Denied, why, p, store.User{}, b))
		return api.Errorf(api.Gone, "this sign-in was finished, took too long, or began in another browser").
			WithHint("to begin again type: cardea login").WithCause(cause)
	}
	state := answer["state"]
	if len(state) != 1 || len(state[0]) != SecretLen || b.Token == "" {
		return store.Federation{}, stray(nil, "an answer without a state of ours")
	}
	f, err := s.Store.TakeFederation(ctx, hashOf(state[0]), hashOf(b.Token), store.Meta{Now: s.now()})
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUsed):
		return f, stray(err, "an answer whose state is unknown, used or over")
	case errors.Is(err, store.ErrDenied):
		return f, stray(err, "an answer in another browser than its sign-in")
	case err != nil:
		return f, err
	case f.Provider != p.ID:
		return f, stray(nil, "an answer of another provider than the one that was asked")
	}
	return f, nil
}

// enter lets in whom the provider named.
func (s *Service) enter(ctx context.Context, p store.Provider, f store.Federation, who *sso.Person, b Browser) (login string, err error) {
	known, err := s.identity(ctx, p, who)
	if err != nil {
		return "", err
	}
	login, err = s.enterAs(ctx, p, f, known, who, b)
	if errors.Is(err, store.ErrExists) {
		// Two browsers of a new person at once: the other one made the account.
		again, found := s.identity(ctx, p, who)
		if found == nil && again.ID != known.ID {
			known = again
			login, err = s.enterAs(ctx, p, f, known, who, b)
		}
	}
	return login, err
}

func (s *Service) enterAs(ctx context.Context, p store.Provider, f store.Federation, known candidate, who *sso.Person, b Browser) (login string, err error) {
	v, err := s.federated(p, f, known, who, b)
	if err != nil {
		return "", s.unfederated(ctx, p, known.User, b, err)
	}
	login = NewSecret()
	now := s.now()
	v.Session.TokenHash, v.Session.ExpiresAt = hashOf(login), now.Add(BrowserLife)
	// Who was asked anew showed it just now, which a clock that lags would deny. Of who was
	// not, and whose provider does not tell, nobody knows when he did: else a browser that is
	// signed in there would stand for the person, also where a project asks for him.
	v.Session.AuthenticatedAt = now
	if !f.Reauth && who.AuthTime.Before(now) {
		v.Session.AuthenticatedAt = who.AuthTime
	}
	e := s.federation(now, audit.SignInFederated, audit.Allowed, "", p, v.User, b)
	e.Detail["subject"], e.Detail["auth_time"], e.Detail["amr"] = who.Subject, unknown, unknown
	if !who.AuthTime.IsZero() {
		e.Detail["auth_time"] = who.AuthTime.Format(time.RFC3339)
	}
	if len(who.AMR) > 0 {
		e.Detail["amr"] = strings.Join(who.AMR, " ")
	}
	if f.Reauth {
		e.Detail["reauth"] = "asked"
	}
	_, err = s.Store.FinishFederation(ctx, v, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if err != nil {
		return "", s.notEntered(ctx, p, v.User, b, err)
	}
	return login, nil
}

// federated is what the store is asked for.
func (s *Service) federated(p store.Provider, f store.Federation, known candidate, who *sso.Person, b Browser) (store.Federated, error) {
	rules := rulesOf(p)
	if err := rules.Admit(who.Claims); err != nil {
		return store.Federated{}, &sso.Error{Kind: sso.Refused, Reason: err.Error()}
	}
	groups, said, err := rules.Groups(who.Claims)
	if err != nil {
		return store.Federated{}, withHint(err, "ask your administrator; he has the provider send fewer groups to Cardea, for example only those assigned to it")
	}
	v := store.Federated{
		StateHash: f.StateHash, BrowserHash: f.BrowserHash, User: known.User, Link: known.Link, Said: known.Said, Source: b.Source,
		Session: store.BrowserSession{ID: ident.New(ident.BrowserSession), AMR: who.AMR},
	}
	if said {
		v.Groups = &groups
	}
	v.FullName, v.Email = sso.Attributes(who.Claims)
	switch {
	case known.ID != "" && known.Status != store.Active:
		return v, &sso.Error{Kind: sso.Refused, Reason: "this account is " + known.Status}
	case known.ID != "":
		return v, nil
	case !p.Create:
		return v, withHint(fmt.Errorf("you have no account here: %s does not make any", p.Title), toCreate(p, who.Subject, "NAME"))
	}
	login, err := rules.Login(who.Claims)
	if err != nil {
		return v, withHint(fmt.Errorf("no account can be made for you: %w", err), toCreate(p, who.Subject, "NAME"))
	}
	v.Create = true
	v.User = store.User{ID: ident.New(ident.User), Issuer: who.Issuer, Subject: who.Subject, Name: login, Login: login}
	return v, nil
}

// toCreate is what an administrator types for somebody whom no rule lets in.
func toCreate(p store.Provider, subject, name string) string {
	return "ask your administrator to type: cardea admin users create " + name + " --provider " + p.Name + " --subject " + quoted(subject)
}

// quoted is a subject as one types it. Nearly all are plain letters and digits.
func quoted(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:@"
	if s = ident.Text(s); strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// hinted is a refusal that says what to do.
type hinted struct {
	error
	hint string
}

func withHint(err error, hint string) error { return &hinted{err, hint} }

// notEntered explains what the store refused.
func (s *Service) notEntered(ctx context.Context, p store.Provider, u store.User, b Browser, err error) error {
	switch {
	case errors.Is(err, store.ErrUsed):
		return gone(err)
	case errors.Is(err, store.ErrExists):
		why := withHint(fmt.Errorf("no account can be made for you: the login %s is taken, or was once", u.Login), toCreate(p, u.Subject, "OTHER-NAME"))
		return s.unfederated(ctx, p, store.User{}, b, why)
	case errors.Is(err, store.ErrDenied):
		return s.unfederated(ctx, p, u, b, withHint(errors.New("this account was changed just now"), "sign in again"))
	case errors.Is(err, store.ErrNotFound):
		return s.unfederated(ctx, p, store.User{}, b, withHint(errors.New("you have no account here"), toCreate(p, u.Subject, "NAME")))
	}
	return err
}

// unfederated audits why a sign-in ended and says it to the person.
func (s *Service) unfederated(ctx context.Context, p store.Provider, u store.User, b Browser, err error) error {
	var known *sso.Error
	var told *hinted
	kind, reason, hint := api.Denied, "", ""
	var cause error
	switch {
	case errors.As(err, &known) && known.Kind == sso.Down:
		kind, reason, cause = api.Unavailable, known.Reason, known
		hint = "try again in a moment, or sign in in another way"
	case errors.As(err, &known):
		reason, hint, cause = known.Reason, "try again; if it stays so ask your administrator", known
	case errors.As(err, &told):
		reason, hint = told.Error(), told.hint
	default:
		return err // a fault of ours
	}
	e := s.federation(s.now(), audit.SignInFailed, audit.Denied, reason, p, u, b)
	if cause != nil && errors.Unwrap(cause) != nil {
		e.Detail["cause"] = ident.Text(errors.Unwrap(cause).Error())
	}
	if kind == api.Unavailable {
		e.Outcome = audit.Failed
	}
	s.record(ctx, e)
	out := api.Errorf(kind, "%s: %s", ident.Text(p.Title), reason).WithHint("%s", hint).WithCause(cause)
	if kind == api.Unavailable {
		out = out.WithRetry(2 * time.Second)
	}
	return out
}

// federation is an event of this browser at a provider.
func (s *Service) federation(now time.Time, action, outcome, reason string, p store.Provider, u store.User, b Browser) audit.Event {
	return s.event(now, action, outcome, reason, u, b, map[string]string{"provider": p.ID, "issuer": p.Issuer})
}
