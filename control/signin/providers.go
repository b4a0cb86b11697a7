package signin

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Bounds of a provider's settings: what they are made of goes into addresses, pages and
// every sign-in.
const (
	maxTitle, maxClientID, maxClientSecret, maxClaim = 60, 256, 1024, 128
	maxScopes, maxDomains, maxRequire                = 20, 50, 16
)

// CreateProvider makes one.
func (s *Service) CreateProvider(ctx context.Context, by caller.Caller, in api.NewProvider) (*api.Provider, error) {
	p := store.Provider{
		ID: ident.New(ident.Provider), Name: in.Name, Title: cmp.Or(in.Title, in.Name), Issuer: in.Issuer, ClientID: in.ClientID,
		Scopes: in.Scopes, LoginClaim: cmp.Or(in.LoginClaim, "preferred_username"), LoginRule: cmp.Or(in.LoginRule, store.LoginWhole),
		Domains: lowerAll(in.Domains), GroupsClaim: in.GroupsClaim, Require: in.Require, Create: in.Create, State: store.Active, CreatedAt: s.now(),
	}
	if len(p.Scopes) == 0 {
		p.Scopes = []string{"openid", "profile", "email"}
	}
	if err := s.checkProvider(p); err != nil {
		return nil, lookup.Invalid(err)
	}
	var err error
	if p.Secret, err = s.sealed(ctx, p.ID, in.ClientSecret); err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ProviderCreate)
	e.Detail = map[string]string{"provider": p.ID, "name": p.Name, "issuer": p.Issuer, "create": fmt.Sprint(p.Create)}
	made, err := s.Store.CreateProvider(ctx, p, by.MetaFor(p.CreatedAt, p.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.Provider(ctx, ref)
	}
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "there is a provider of this name or with this issuer").
			WithHint("to see which type: cardea admin providers list").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "provider "+in.Name)
	}
	return s.describeProvider(made), nil
}

// sealed encrypts a client's secret for its provider; none stays none.
func (s *Service) sealed(ctx context.Context, id, secret string) ([]byte, error) {
	if secret == "" {
		return []byte{}, nil
	}
	if len(secret) > maxClientSecret || strings.TrimFunc(secret, func(r rune) bool { return r == ' ' || visible(r) }) != "" {
		return nil, api.Errorf(api.Invalid, "a client secret is 1 to %d printable characters of ASCII", maxClientSecret) // RFC 6749, appendix A.2
	}
	return ca.SealText(ctx, s.Keeper, id, ClientSecret, []byte(secret))
}

func visible(r rune) bool { return r > ' ' && r < 0x7f }

// checkProvider checks the whole row, so that a change can make none that CreateProvider
// would refuse.
func (s *Service) checkProvider(p store.Provider) error {
	if err := cmp.Or(ident.ProviderName(p.Name), s.Issuers.CheckIssuer(p.Issuer)); err != nil {
		return err
	}
	word := func(what, v string, most int) error {
		if v == "" || len(v) > most || strings.TrimFunc(v, visible) != "" {
			return fmt.Errorf("the %s is not 1 to %d visible characters without a space", what, most)
		}
		return nil
	}
	err := cmp.Or(word("client id", p.ClientID, maxClientID), word("login claim", p.LoginClaim, maxClaim))
	if err == nil && p.GroupsClaim != "" {
		err = word("groups claim", p.GroupsClaim, maxClaim)
	}
	for _, scope := range p.Scopes {
		err = cmp.Or(err, word("scope", scope, maxClaim))
	}
	for _, d := range p.Domains {
		if ident.ServerName(d) != nil || !strings.Contains(d, ".") {
			err = cmp.Or(err, fmt.Errorf("%q is no domain such as example.com", lookup.Shown(d)))
		}
	}
	for name, value := range p.Require {
		err = cmp.Or(err, word("name of a required claim", name, maxClaim), word("value of a required claim", value, maxClaim))
	}
	switch {
	case err != nil:
		return err
	case p.Title == "" || len(p.Title) > maxTitle || ident.Text(p.Title) != p.Title:
		return fmt.Errorf("a title is 1 to %d bytes without control characters", maxTitle)
	case len(p.Scopes) > maxScopes || len(p.Domains) > maxDomains || len(p.Require) > maxRequire:
		return fmt.Errorf("at most %d scopes, %d domains and %d required claims", maxScopes, maxDomains, maxRequire)
	case p.LoginRule != store.LoginWhole && p.LoginRule != store.LoginLocalPart:
		return fmt.Errorf("the rule for logins is %s or %s", store.LoginWhole, store.LoginLocalPart)
	case p.LoginRule == store.LoginLocalPart && len(p.Domains) == 0:
		return errors.New("the rule local-part needs the domains whose addresses may have accounts: else alice@elsewhere becomes alice; give them as --domain example.com")
	}
	return nil
}

func lowerAll(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = strings.ToLower(out[i])
	}
	return out
}

// ProviderByRef finds one by id or name.
func (s *Service) ProviderByRef(ctx context.Context, ref string) (*api.Provider, error) {
	p, err := s.providerOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.describeProvider(p), nil
}

func (s *Service) providerOf(ctx context.Context, ref string) (store.Provider, error) {
	return lookup.Find(ctx, lookup.Kind[store.Provider]{Name: "provider", Prefix: ident.Provider, ByID: s.Store.Provider, ByName: s.Store.ProviderByName}, ref)
}

// ListProviders lists them.
func (s *Service) ListProviders(ctx context.Context, p api.Page) (*api.List[api.Provider], error) {
	rows, next, err := s.Store.Providers(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of providers")
	}
	return lookup.List(rows, next, func(p store.Provider) api.Provider { return *s.describeProvider(p) }), nil
}

// UpdateProvider changes what the patch names. Who is signed in stays so.
func (s *Service) UpdateProvider(ctx context.Context, by caller.Caller, ref string, in api.ProviderPatch) (*api.Provider, error) {
	p, err := s.providerOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	c := store.ProviderChange{
		Title: in.Title, ClientID: in.ClientID, Scopes: in.Scopes, LoginClaim: in.LoginClaim, LoginRule: in.LoginRule,
		Domains: in.Domains, GroupsClaim: in.GroupsClaim, Require: in.Require, Create: in.Create, State: in.State,
	}
	if c.Domains != nil {
		small := lowerAll(*c.Domains)
		c.Domains = &small
	}
	if err := s.checkProvider(changedProvider(p, c)); err != nil {
		return nil, lookup.Invalid(err)
	}
	if in.State != nil && *in.State != store.Active && *in.State != store.Disabled {
		return nil, api.Errorf(api.Invalid, "a provider is made %s or %s", store.Active, store.Disabled)
	}
	if in.ClientSecret != nil {
		sealed, err := s.sealed(ctx, p.ID, *in.ClientSecret)
		if err != nil {
			return nil, err
		}
		c.Secret = &sealed
	}
	e := by.Event(s.now(), audit.ProviderUpdate)
	e.Detail = providerChanges(in)
	e.Detail["provider"], e.Detail["name"] = p.ID, p.Name
	changed, err := s.Store.UpdateProvider(ctx, p.ID, c, by.MetaFor(s.now(), p.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		changed, err = s.Store.Provider(ctx, p.ID)
	}
	if err != nil {
		return nil, caller.Explain(err, "provider "+p.Name)
	}
	return s.describeProvider(changed), nil
}

// changedProvider is what the row will be.
func changedProvider(p store.Provider, c store.ProviderChange) store.Provider {
	for _, f := range []struct{ to, from *string }{
		{&p.Title, c.Title}, {&p.ClientID, c.ClientID}, {&p.LoginClaim, c.LoginClaim}, {&p.LoginRule, c.LoginRule}, {&p.GroupsClaim, c.GroupsClaim},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if c.Scopes != nil {
		p.Scopes = *c.Scopes
	}
	if c.Domains != nil {
		p.Domains = *c.Domains
	}
	if c.Require != nil {
		p.Require = *c.Require
	}
	return p
}

// providerChanges tells what a patch changes, for the audit: never a secret.
func providerChanges(in api.ProviderPatch) map[string]string {
	d := map[string]string{}
	for name, v := range map[string]*string{
		"title": in.Title, "client_id": in.ClientID, "login_claim": in.LoginClaim, "login_rule": in.LoginRule, "groups_claim": in.GroupsClaim, "state": in.State,
	} {
		if v != nil {
			d[name] = lookup.Shown(*v)
		}
	}
	if in.ClientSecret != nil {
		d["client_secret"] = "changed"
	}
	if in.Scopes != nil {
		d["scopes"] = strings.Join(*in.Scopes, " ")
	}
	if in.Domains != nil {
		d["domains"] = strings.Join(*in.Domains, " ")
	}
	if in.Require != nil {
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(*in.Require)) {
			pairs = append(pairs, name+"="+(*in.Require)[name])
		}
		d["require"] = strings.Join(pairs, " ")
	}
	if in.Create != nil {
		d["create"] = fmt.Sprint(*in.Create)
	}
	return d
}

// DeleteProvider removes one. Its users stay, without a way to sign in.
func (s *Service) DeleteProvider(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	p, err := s.providerOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ProviderDelete)
	e.Detail = map[string]string{"provider": p.ID, "name": p.Name, "issuer": p.Issuer}
	err = s.Store.DeleteProvider(ctx, p.ID, by.MetaFor(s.now(), p.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrInUse) {
		return nil, api.Errorf(api.Conflict, "provider %s keeps the members of groups", p.Name).
			WithHint("delete these groups, or give them back to administrators; type: cardea admin groups update GROUP --provider ''").WithCause(err)
	}
	return lookup.Named(p.ID, caller.Explain(err, "provider "+p.Name))
}

// TestProvider asks a provider for all that it publishes, now.
func (s *Service) TestProvider(ctx context.Context, ref string) (*api.ProviderTest, error) {
	p, err := s.providerOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := &api.ProviderTest{Provider: p.ID, RedirectURI: Callback(s.PublicURL, p.Name)}
	if len(p.Secret) > 0 {
		if _, err := ca.OpenText(ctx, s.Keeper, p.ID, ClientSecret, p.Secret); err != nil {
			out.Problems = append(out.Problems, "the client secret cannot be opened; give it anew")
		}
	}
	began := s.Now()
	m, keys, err := s.Issuers.Metadata(ctx, p.Issuer)
	out.Milliseconds, out.Keys = int(s.Now().Sub(began).Milliseconds()), keys
	if err != nil {
		out.Problems = append(out.Problems, ident.Text(err.Error()))
	}
	if stranger := (x509.UnknownAuthorityError{}); errors.As(err, &stranger) {
		out.Notes = append(out.Notes, "a CA of your own goes into the system's store of the control plane's machine, or its file into SSL_CERT_FILE of the service; then restart it")
	}
	if m == nil {
		return out, nil
	}
	out.AuthURL, out.TokenURL, out.Algorithms = ident.Text(m.AuthURL), ident.Text(m.TokenURL), m.Algorithms
	problems, notes := judge(p, m)
	out.Problems, out.Notes = append(out.Problems, problems...), append(out.Notes, notes...)
	out.Works = len(out.Problems) == 0
	return out, nil
}

// judge compares what a provider says of itself with what is asked of it.
func judge(p store.Provider, m *sso.Metadata) (problems, notes []string) {
	for _, scope := range p.Scopes {
		if len(m.Scopes) > 0 && !slices.Contains(m.Scopes, scope) {
			notes = append(notes, "it does not list the scope "+scope)
		}
	}
	if len(m.Challenges) > 0 && !slices.Contains(m.Challenges, "S256") {
		problems = append(problems, "it does not take PKCE with S256")
	}
	if !m.Signs() {
		problems = append(problems, "it signs tokens in no way that is taken here: "+strings.Join(m.Algorithms, " "))
	}
	if !m.AnswerIssuer {
		notes = append(notes, "its answers do not name the issuer (RFC 9207); the redirect URI of its own stands in for it")
	}
	for claim, without := range map[string]string{
		"auth_time": "nobody knows when a person showed who he is, and a project that asks again asks at once",
		"amr":       "how somebody signed in there is not on record",
	} {
		if !m.Says(claim) {
			notes = append(notes, "it does not list the claim "+claim+": where that is missing, "+without)
		}
	}
	for _, claim := range []string{p.LoginClaim, p.GroupsClaim} {
		if claim != "" && len(m.Claims) > 0 && !m.Says(claim) {
			notes = append(notes, "it does not list the claim "+claim+", which it has to send")
		}
	}
	slices.Sort(notes)
	return problems, notes
}

func (s *Service) describeProvider(p store.Provider) *api.Provider {
	return &api.Provider{
		ID: p.ID, Name: p.Name, Issuer: p.Issuer, HasSecret: len(p.Secret) > 0, RedirectURI: Callback(s.PublicURL, p.Name),
		State: p.State, CreatedAt: p.CreatedAt,
		ProviderSettings: api.ProviderSettings{
			Title: p.Title, ClientID: p.ClientID, Scopes: p.Scopes, LoginClaim: p.LoginClaim, LoginRule: p.LoginRule, Domains: p.Domains,
			GroupsClaim: p.GroupsClaim, Require: p.Require, Create: p.Create,
		},
	}
}
