package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// What stands before a secret says what it is to whoever finds it in a file, and
// lets scanners of repositories find it.
const (
	enrolPrefix   = "cardea_enr_"
	serverPrefix  = "cardea_srv_"
	gatewayPrefix = "cardea_gw_"
)

// secretChars is 256 bits in base32.
const secretChars = 52

const (
	// defaultTokenLife is for somebody who pastes the token right away.
	defaultTokenLife = time.Hour
	maxTokenLife     = 30 * 24 * time.Hour
	maxTokenUses     = 10000
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newSecret makes a secret; only its hash is ever kept.
func newSecret(prefix string) (secret string, hash []byte) {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	secret = prefix + base32Lower.EncodeToString(b[:])
	return secret, hashOf(secret)
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// isSecret keeps what cannot be a secret of ours from the store.
func isSecret(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && len(rest) == secretChars
}

// CreateToken makes an enrolment token. Its secret is in this answer and nowhere
// else.
func (s *Service) CreateToken(ctx context.Context, by caller.Caller, in api.NewEnrolmentToken) (*api.EnrolmentToken, error) {
	t, err := s.newToken(ctx, in)
	if err != nil {
		return nil, err
	}
	var secret string
	secret, t.SecretHash = newSecret(enrolPrefix)
	e := by.Event(t.CreatedAt, audit.TokenCreate)
	e.Project, e.Detail = t.Project, map[string]string{
		"token": t.ID, "kind": t.Kind, "name": t.Name, "address": t.Address,
		"uses": strconv.Itoa(t.UsesLeft), "expires": t.ExpiresAt.Format(time.RFC3339),
	}
	if len(t.AltNames) > 0 || t.HostNames {
		e.Detail["alt_names"], e.Detail["host_names"] = strings.Join(t.AltNames, ","), strconv.FormatBool(t.HostNames)
	}
	err = s.Store.CreateEnrolmentToken(ctx, t, by.MetaFor(t.CreatedAt, t.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		return nil, api.Errorf(api.Conflict, "token %s was made by the first try of this call, and the secret told there", ref).
			WithHint("delete it and make another; type: cardea admin tokens create")
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+in.Project)
	}
	out := tokenOf(t)
	out.Secret = secret
	return &out, nil
}

func (s *Service) newToken(ctx context.Context, in api.NewEnrolmentToken) (store.EnrolmentToken, error) {
	now := s.now()
	t := store.EnrolmentToken{
		ID: ident.New(ident.Enrolment), Kind: in.Kind, Name: in.Name, Address: in.Address, Labels: in.Labels,
		UsesLeft: cmp.Or(in.Uses, 1), ExpiresAt: now.Add(defaultTokenLife), CreatedAt: now,
	}
	if in.Seconds > 0 {
		t.ExpiresAt = now.Add(time.Duration(in.Seconds) * time.Second)
	}
	egress, egressErr := checkEgress(in.Egress)
	inside, insideErr := checkTLSAddress(in.TLSAddress)
	t.Egress, t.TLSAddress = egress, inside
	if err := cmp.Or(checkToken(&t), egressErr, insideErr); err != nil {
		return t, lookup.Invalid(err)
	}
	if in.Kind == store.KindDevice {
		if in.Project != "" || in.Name != "" || in.Address != "" || in.TLSAddress != "" || len(in.AltNames)+len(in.Labels)+len(in.Egress) > 0 || in.HostNames {
			return t, api.Errorf(api.Invalid, "a token for devices spares them the approval, and says nothing else of them").WithHint("give --uses and --life alone")
		}
		return t, nil
	}
	if in.Kind == store.KindGateway {
		if len(in.AltNames) > 0 || in.HostNames {
			return t, api.Errorf(api.Invalid, "only a server has alternative names").WithHint("leave out --alt-name and --host-names")
		}
		return t, cmp.Or(checkGatewayToken(t, in.Project), s.noSuchGateway(ctx, t.Name))
	}
	if t.TLSAddress != "" {
		return t, api.Errorf(api.Invalid, "only a gateway is reached inside TLS").WithHint("leave out --tls-address")
	}
	if in.Project == "" || len(t.Egress) > 0 {
		return t, api.Errorf(api.Invalid, "a token for servers names a project and no egress addresses").
			WithHint("to see the projects type: cardea admin projects list")
	}
	p, err := s.project(ctx, in.Project)
	if err != nil {
		return t, err
	}
	t.Project, t.AltNames, t.HostNames = p.ID, in.AltNames, in.HostNames
	if err := checkGivenNames(t, p); err != nil {
		return t, lookup.Invalid(err)
	}
	return t, nil
}

// checkToken checks what both kinds have, and makes the address canonical.
func checkToken(t *store.EnrolmentToken) error {
	switch {
	case t.Kind != store.KindServer && t.Kind != store.KindGateway && t.Kind != store.KindDevice:
		return fmt.Errorf("a token is for a %s, a %s or a %s", store.KindServer, store.KindGateway, store.KindDevice)
	case t.UsesLeft < 1:
		return errors.New("a token has at least one use")
	case t.UsesLeft > maxTokenUses:
		return fmt.Errorf("a token has at most %d uses", maxTokenUses)
	case t.ExpiresAt.Sub(t.CreatedAt) > maxTokenLife:
		return fmt.Errorf("a token lives at most %d days", maxTokenLife/(24*time.Hour))
	case t.UsesLeft > 1 && t.Name != "":
		return fmt.Errorf("a token with a name is good for one machine, not %d: two cannot have one name", t.UsesLeft)
	case t.UsesLeft > 1 && t.Kind == store.KindServer && t.Address != "":
		return fmt.Errorf("a token with a server's address is good for one machine, not %d", t.UsesLeft)
	}
	if t.Name != "" {
		if err := ident.ServerName(t.Name); err != nil {
			return err
		}
	}
	if t.Address != "" {
		var err error
		example := serverExample
		if t.Kind == store.KindGateway {
			example = gatewayExample
		}
		if t.Address, err = checkAddress(t.Address, example); err != nil {
			return err
		}
	}
	return checkLabels(t.Labels)
}

func checkGatewayToken(t store.EnrolmentToken, project string) error {
	if t.Address == "" {
		return api.Errorf(api.Invalid, "a token for a gateway says at which address clients reach it").
			WithHint("give one with --address, for example gw.example.com:7234")
	}
	if project != "" {
		return api.Errorf(api.Invalid, "gateways belong to no project; projects pick them by labels").WithHint("leave out --project")
	}
	return nil
}

// noSuchGateway refuses the name of one that is there: the token would be found worthless
// by whoever uses it, on another machine.
func (s *Service) noSuchGateway(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	_, err := s.Store.GatewayByName(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return api.Errorf(api.Conflict, "there is a gateway named %s already", name).
		WithHint("give another --name; or, if this one is to stand in its place, type first: cardea admin gateways delete %s", name)
}

// Tokens lists them, without their secrets.
func (s *Service) Tokens(ctx context.Context, p api.Page) (*api.List[api.EnrolmentToken], error) {
	rows, next, err := s.Store.EnrolmentTokens(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of tokens")
	}
	return lookup.List(rows, next, tokenOf), nil
}

// DeleteToken makes a token worthless. Machines that it let in stay.
func (s *Service) DeleteToken(ctx context.Context, by caller.Caller, id string) (*api.Named, error) {
	if ident.Check(id, ident.Enrolment) != nil {
		return nil, lookup.Missing("token", id)
	}
	e := by.Event(s.now(), audit.TokenDelete)
	e.Detail = map[string]string{"token": id}
	err := s.Store.DeleteEnrolmentToken(ctx, id, by.MetaFor(e.Time, id, audit.Encode(e)))
	return lookup.Named(id, caller.Explain(err, "token "+id))
}

func tokenOf(t store.EnrolmentToken) api.EnrolmentToken {
	return api.EnrolmentToken{
		ID: t.ID, Kind: t.Kind, Project: t.Project, Name: t.Name, Address: t.Address, Labels: t.Labels,
		AltNames: t.AltNames, HostNames: t.HostNames, Egress: t.Egress, TLSAddress: t.TLSAddress, UsesLeft: t.UsesLeft, ExpiresAt: t.ExpiresAt, CreatedAt: t.CreatedAt,
	}
}
