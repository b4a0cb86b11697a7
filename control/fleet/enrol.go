package fleet

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// EnrolServer lets a server in by a token, binds its credential to the key of
// the proof that came with the call, and tells it the key that it must pin.
func (s *Service) EnrolServer(ctx context.Context, by caller.Caller, in api.ServerEnrolment) (*api.EnrolledServer, error) {
	e := by.Event(s.now(), audit.ServerEnrol)
	t, err := s.useToken(ctx, by, in.Secret, store.KindServer, e)
	if errors.Is(err, store.ErrUsed) {
		if again, lost := s.enrolAgain(ctx, by, t.ID, e); lost == nil {
			return again, nil
		}
		return nil, s.refuseSpent(ctx, t, e, spent(store.KindServer).WithCause(err))
	}
	if err != nil {
		return nil, err
	}
	e.Project = t.Project
	p, err := s.Store.Project(ctx, t.Project)
	if err != nil {
		return nil, caller.Explain(err, "project "+t.Project)
	}
	row, err := s.newServer(t, p, in)
	if err != nil {
		return nil, s.refuse(ctx, e, lookup.Invalid(err).WithHint("make a token that gives it; type: cardea admin tokens create"))
	}
	pinned, err := s.key(ctx, ca.Policy)
	if err != nil {
		return nil, err
	}
	token, credential := newCredential(serverPrefix, by)
	e.Server, e.Detail = row.ID, map[string]string{"token": t.ID, "name": row.Name, "address": row.Address, "thumbprint": by.Prover}
	server, err := s.Store.EnrolServer(ctx, hashOf(in.Secret), row, credential, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	if _, repeated := lookup.Repeated(err); repeated || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrUsed) {
		if again, lost := s.enrolAgain(ctx, by, t.ID, e); lost == nil {
			return again, nil
		}
	}
	if err != nil {
		return nil, s.notEnrolled(ctx, e, err, "server", strings.Join(append([]string{row.Name}, row.AltNames...), " or "))
	}
	return &api.EnrolledServer{Token: token, Server: server.ID, Name: server.Name, PolicyKey: pinned.Public}, nil
}

// enrolAgain answers a machine that is in already by the same way and with the
// same key: it never heard the first answer. Without this a lost answer would
// burn its token. The first answer's credential ends.
func (s *Service) enrolAgain(ctx context.Context, by caller.Caller, way string, e audit.Event) (*api.EnrolledServer, error) {
	pinned, err := s.key(ctx, ca.Policy)
	if err != nil {
		return nil, err
	}
	token, credential := newCredential(serverPrefix, by)
	e.Server, e.Detail = "", map[string]string{"by": way, "thumbprint": by.Prover, "again": "true"}
	m := by.Meta(e.Time, audit.Encode(e))
	m.Idempotency = nil // the first try may hold the key
	server, err := s.Store.EnrolAgain(ctx, way, credential, m)
	if err != nil {
		return nil, err
	}
	return &api.EnrolledServer{Token: token, Server: server.ID, Name: server.Name, PolicyKey: pinned.Public}, nil
}

// newServer fills the row: the token's words win over the machine's.
func (s *Service) newServer(t store.EnrolmentToken, p store.Project, in api.ServerEnrolment) (store.Server, error) {
	row := store.Server{
		ID: ident.New(ident.Server), Project: t.Project, Address: t.Address, Labels: t.Labels,
		State: store.Active, AgentVersion: bounded(in.Version, maxVersion), CreatedAt: s.now(),
	}
	var addressErr, labelErr error
	nameErr := takeNames(&row, p, t, in)
	if row.Address == "" {
		row.Address, addressErr = checkProposal(in.Address)
	}
	row.HostLabels, labelErr = hostLabels(in.HostLabels)
	return row, cmp.Or(nameErr, addressErr, labelErr)
}

// EnrolGateway lets a gateway in. All that clients and servers rely on comes
// from the token.
func (s *Service) EnrolGateway(ctx context.Context, by caller.Caller, in api.GatewayEnrolment) (*api.EnrolledGateway, error) {
	e := by.Event(s.now(), audit.GatewayEnrol)
	t, err := s.useToken(ctx, by, in.Secret, store.KindGateway, e)
	if errors.Is(err, store.ErrUsed) {
		err = s.refuseSpent(ctx, t, e, spent(store.KindGateway).WithCause(err))
	}
	if err != nil {
		return nil, err
	}
	row := store.Gateway{
		ID: ident.New(ident.Gateway), Name: t.Name, Address: t.Address, TLSAddress: t.TLSAddress, Labels: t.Labels, Egress: t.Egress,
		State: store.Active, Version: bounded(in.Version, maxVersion), CreatedAt: e.Time,
	}
	if row.Name == "" {
		// One token for a whole pool: members are told apart by a part of their id.
		row.Name = "gw-" + strings.TrimPrefix(row.ID, ident.Gateway)[:6]
	}
	keys, err := s.gatewayKeys(ctx)
	if err != nil {
		return nil, err
	}
	token, credential := newCredential(gatewayPrefix, by)
	e.Gateway, e.Detail = row.ID, map[string]string{"token": t.ID, "name": row.Name, "address": row.Address, "thumbprint": by.Prover}
	defer s.roster.forget()
	gateway, err := s.Store.EnrolGateway(ctx, hashOf(in.Secret), row, credential, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	if err != nil {
		return nil, s.notEnrolled(ctx, e, err, "gateway", row.Name)
	}
	return &api.EnrolledGateway{Token: token, Gateway: gatewayOf(gateway), GatewayKeys: keys}, nil
}

// useToken reads what a token says; the store takes the use of it later, in the
// transaction that makes the machine. For one that is spent the error is
// store.ErrUsed, and not yet audited.
func (s *Service) useToken(ctx context.Context, by caller.Caller, secret, kind string, e audit.Event) (store.EnrolmentToken, error) {
	unknown := api.Errorf(api.Denied, "this enrolment token is not known here, or not for a %s", kind).
		WithHint("make one; type: cardea admin tokens create --kind %s", kind)
	if by.Prover == "" {
		return store.EnrolmentToken{}, errors.New("enrolment without a proof of possession")
	}
	if !isSecret(secret, enrolPrefix) {
		return store.EnrolmentToken{}, s.refuseStranger(ctx, e, unknown)
	}
	t, err := s.Store.EnrolmentToken(ctx, hashOf(secret), e.Time)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && t.Kind != kind:
		return t, s.refuseStranger(ctx, e, unknown)
	}
	return t, err
}

func spent(kind string) *api.Error {
	return api.Errorf(api.Gone, "this enrolment token was used, or its time is over").
		WithHint("make a new one; type: cardea admin tokens create --kind %s", kind)
}

// notEnrolled explains and audits why the store let nobody in.
func (s *Service) notEnrolled(ctx context.Context, e audit.Event, err error, kind, name string) error {
	if ref, again := lookup.Repeated(err); again {
		return api.Errorf(api.Conflict, "the first try of this call enrolled %s as %s, and its answer was lost", name, ref).
			WithHint("enrol with a new token, but first type: cardea admin %ss delete %s", kind, ref)
	}
	switch {
	case errors.Is(err, store.ErrUsed):
		return s.refuse(ctx, e, spent(kind).WithCause(err))
	case errors.Is(err, store.ErrExists):
		return s.refuse(ctx, e, api.Errorf(api.Conflict, "there is a %s named %s already, or this machine's key is enrolled", kind, name).
			WithHint("delete the old one, or give another name in the token; to see them type: cardea admin %ss list", kind).WithCause(err))
	}
	return caller.Explain(err, kind+" "+name)
}

// newCredential makes a machine's token, bound to the key of the call's proof.
func newCredential(prefix string, by caller.Caller) (api.Token, store.Credential) {
	secret, hash := newSecret(prefix)
	// ExpiresIn 0: it is good until it is revoked, and worthless without the key.
	return api.Token{AccessToken: secret, TokenType: "DPoP"}, store.Credential{TokenHash: hash, Thumbprint: by.Prover}
}
