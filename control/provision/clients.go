package provision

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// tokenPrefix begins every token, so that it is found where it should not be.
	tokenPrefix = "cardea_scim_"
	// maxToken bounds what is taken for one, in bytes.
	maxToken = 128
	// oldToken is how long the token before is good, to put the new one into the provider.
	oldToken = time.Hour
	// usedEvery is how often it is written down that a client was used.
	usedEvery = time.Minute
	// maxClaim bounds the name of a claim, in bytes.
	maxClaim = 100
	// defaultClaim is what every provider has; the guides name better ones.
	defaultClaim = "sub"
)

// newToken has 130 bits that nobody can guess.
func newToken() (token string, hash []byte) {
	token = tokenPrefix + rand.Text()
	return token, hashOf(token)
}

func hashOf(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

// Authenticate finds the client of a token: store.ErrNotFound for one that is none.
func (s *Service) Authenticate(ctx context.Context, token string) (store.ScimClient, error) {
	if len(token) > maxToken || !strings.HasPrefix(token, tokenPrefix) {
		return store.ScimClient{}, store.ErrNotFound
	}
	now, hash := s.now(), hashOf(token)
	c, err := s.Store.AuthenticateScim(ctx, hash, now)
	if err != nil {
		return c, err
	}
	current := subtle.ConstantTimeCompare(c.TokenHash, hash) == 1
	if old := subtle.ConstantTimeCompare(c.OldHash, hash) == 1 && now.Before(c.OldUntil); !current && !old {
		return store.ScimClient{}, store.ErrNotFound
	}
	if now.Sub(c.UsedAt) >= usedEvery {
		err = s.Store.SeenScimClient(ctx, c.ID, now)
	}
	return c, err
}

// CreateClient makes one and tells its token.
func (s *Service) CreateClient(ctx context.Context, by caller.Caller, in api.NewScimClient) (*api.ScimToken, error) {
	if err := ident.ScimName(in.Name); err != nil {
		return nil, lookup.Invalid(err)
	}
	c := store.ScimClient{ID: ident.New(ident.ScimClient), Name: in.Name, LinkClaim: in.LinkClaim, CreatedAt: s.now()}
	if err := s.linked(ctx, &c, in.Provider); err != nil {
		return nil, err
	}
	token, hash := newToken()
	c.TokenHash = hash
	e := by.Event(s.now(), audit.ScimClientCreate)
	e.Detail = map[string]string{"client": c.ID, "name": c.Name, "provider": c.Provider, "link_claim": c.LinkClaim}
	made, err := s.Store.CreateScimClient(ctx, c, by.MetaFor(c.CreatedAt, c.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		return nil, told(c.Name)
	}
	if err != nil {
		return nil, caller.Explain(err, "SCIM client "+c.Name)
	}
	return &api.ScimToken{ScimClient: s.clientOf(made), Token: token}, nil
}

// describing are the claims that tell what somebody is like: those of OpenID Connect Core
// section 5.1 but sub, and those of which Entra says that they change.
var describing = []string{
	"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "email", "email_verified",
	"gender", "birthdate", "zoneinfo", "locale", "phone_number", "phone_number_verified", "address", "updated_at", "upn", "unique_name",
}

// linked fills in how users are tied to those who sign in.
func (s *Service) linked(ctx context.Context, c *store.ScimClient, provider string) error {
	if provider == "" {
		if c.LinkClaim != "" {
			return api.Errorf(api.Invalid, "a claim links users only to people of an identity provider").WithHint("name it with --provider")
		}
		return nil
	}
	p, err := lookup.Find(ctx, lookup.Kind[store.Provider]{Name: "provider", Prefix: ident.Provider, ByID: s.Store.Provider, ByName: s.Store.ProviderByName}, provider)
	if err != nil {
		return err
	}
	if c.LinkClaim == "" {
		c.LinkClaim = defaultClaim
	}
	if len(c.LinkClaim) > maxClaim || ident.Text(c.LinkClaim) != c.LinkClaim {
		return api.Errorf(api.Invalid, "the name of a claim is 1 to %d bytes without control characters", maxClaim)
	}
	// Who may write his own address or name at the provider could take somebody's account.
	if first, _, _ := strings.Cut(strings.ReplaceAll(c.LinkClaim, `"`, ""), "."); slices.Contains(describing, first) {
		return api.Errorf(api.Invalid, "the claim %s is not who somebody is: at many providers people change it themselves", c.LinkClaim).
			WithHint("name one that never changes, such as sub or oid")
	}
	c.Provider = p.ID
	return nil
}

// told is the answer to a repeat of a call whose first answer told a token.
func told(name string) error {
	return api.Errorf(api.Conflict, "the first try of this call made a token for %s, and told it there", name).
		WithHint("for a new one type: cardea admin scim rotate %s", name)
}

// Clients lists them.
func (s *Service) Clients(ctx context.Context, p api.Page) (*api.List[api.ScimClient], error) {
	rows, next, err := s.Store.ScimClients(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of SCIM clients")
	}
	return lookup.List(rows, next, s.clientOf), nil
}

// Client finds one by id or name.
func (s *Service) Client(ctx context.Context, ref string) (*api.ScimClient, error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := s.clientOf(c)
	return &out, nil
}

func (s *Service) client(ctx context.Context, ref string) (store.ScimClient, error) {
	c, err := lookup.Find(ctx, lookup.Kind[store.ScimClient]{Name: "SCIM client", Prefix: ident.ScimClient, ByID: s.Store.ScimClient, ByName: s.Store.ScimClientByName}, ref)
	var e *api.Error
	if errors.As(err, &e) && e.Kind == api.NotFound {
		err = e.WithHint("to see what there is type: cardea admin scim list")
	}
	return c, err
}

// UpdateClient disables or enables one. What it keeps stays as it is.
func (s *Service) UpdateClient(ctx context.Context, by caller.Caller, ref string, in api.ScimClientPatch) (*api.ScimClient, error) {
	if in.State == nil {
		return s.Client(ctx, ref)
	}
	return s.update(ctx, by, ref, audit.ScimClientUpdate, map[string]string{"state": *in.State}, store.ScimClientChange{State: in.State})
}

// Resume releases the brake.
func (s *Service) Resume(ctx context.Context, by caller.Caller, ref string) (*api.ScimClient, error) {
	return s.update(ctx, by, ref, audit.ScimClientResume, map[string]string{}, store.ScimClientChange{Resume: true})
}

func (s *Service) update(ctx context.Context, by caller.Caller, ref, action string, detail map[string]string, change store.ScimClientChange) (*api.ScimClient, error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), action)
	detail["client"], detail["name"] = c.ID, c.Name
	e.Detail = detail
	_, err = s.Store.UpdateScimClient(ctx, c.ID, change, by.MetaFor(s.now(), c.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); err != nil && !again {
		return nil, caller.Explain(err, "SCIM client "+c.Name)
	}
	return s.Client(ctx, c.ID)
}

// Rotate gives it a new token; the one before is good for an hour.
func (s *Service) Rotate(ctx context.Context, by caller.Caller, ref string) (*api.ScimToken, error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	token, hash := newToken()
	e := by.Event(s.now(), audit.ScimClientRotate)
	e.Detail = map[string]string{"client": c.ID, "name": c.Name}
	until := s.now().Add(oldToken)
	_, err = s.Store.UpdateScimClient(ctx, c.ID, store.ScimClientChange{TokenHash: hash, OldUntil: until}, by.MetaFor(s.now(), c.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		return nil, told(c.Name)
	}
	if err != nil {
		return nil, caller.Explain(err, "SCIM client "+c.Name)
	}
	return &api.ScimToken{ScimClient: s.clientOf(c), Token: token, OldUntil: until}, nil
}

// DeleteClient lets go of what it keeps.
func (s *Service) DeleteClient(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	c, err := s.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ScimClientDelete)
	e.Detail = map[string]string{"client": c.ID, "name": c.Name}
	err = s.Store.DeleteScimClient(ctx, c.ID, by.MetaFor(s.now(), c.ID, audit.Encode(e)))
	return lookup.Named(c.ID, caller.Explain(err, "SCIM client "+c.Name))
}

func (s *Service) clientOf(c store.ScimClient) api.ScimClient {
	out := api.ScimClient{
		ID: c.ID, Name: c.Name, URL: s.Base(), Provider: c.Provider, LinkClaim: c.LinkClaim, State: c.State,
		Users: c.Users, Groups: c.Groups, CreatedAt: c.CreatedAt, UsedAt: c.UsedAt,
	}
	if c.State == store.Active && c.Paused(s.now()) {
		out.State, out.Why, out.PausedTo = "paused", c.Why, c.PausedUntil
	}
	return out
}
