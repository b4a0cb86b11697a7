package issue

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxSource bounds an address with port and zone, in bytes.
const maxSource = 128

// Claim takes an opened hello for the gateway that opened it, exactly once over
// all instances and all members of a pool, and begins the session's record. An
// honest gateway has checked the hello already, so one that does not verify, or
// that was meant for others, is misuse and an alarm.
func (s *Service) Claim(ctx context.Context, by caller.Caller, in api.Claim) (*api.Claimed, error) {
	e := by.Event(s.now(), audit.GatewayClaim)
	keys, err := s.ticketKeys(ctx)
	if err != nil {
		return nil, err
	}
	c, err := hello.VerifyClaim(in.Hello, keys, e.Time)
	t := c.Ticket
	e.User, e.Server, e.Session = t.User, t.Server, t.Session
	e.Detail = map[string]string{"ticket": t.ID, "login": t.Login, "from": bounded(in.Source)}
	switch {
	case in.Refused != "":
		return nil, s.refuse(ctx, e, because(err, in.Refused), api.Errorf(api.Denied, "the gateway refused it, which is recorded now"))
	case errors.Is(err, hello.ErrExpired) && t.Mode == hello.Record && e.Time.After(t.Expires.Add(late)):
		return nil, s.misuse(ctx, e, "certificates, with a ticket that was over long before")
	case errors.Is(err, hello.ErrExpired):
		return nil, s.refuse(ctx, e, "ticket-over", api.Errorf(api.Gone, "the ticket is over").WithHint("connect again").WithCause(err))
	case err != nil:
		e.Action, e.Detail = audit.GatewayMisuse, map[string]string{"from": bounded(in.Source)}
		e.User, e.Server, e.Session = "", "", ""
		return nil, s.refuse(ctx, e, err.Error(), api.Errorf(api.Denied, "the hello does not verify").WithCause(err))
	case !slices.Contains(t.Gateways, by.Gateway.ID):
		e.Action = audit.GatewayMisuse
		return nil, s.refuse(ctx, e, "the ticket names other gateways", api.Errorf(api.Denied, "the ticket is for other gateways"))
	case by.Gateway.RefuseConnections:
		// Those who asked before the administrator did: they are sent elsewhere.
		return nil, s.refuse(ctx, e, "refuses-connections", api.Errorf(api.Unavailable, "an administrator lets this gateway take no connections"))
	case t.Mode == hello.Record:
		return s.claimRecorded(ctx, by, in, c, e)
	case t.Mode != hello.Relay:
		return nil, s.refuse(ctx, e, "mode", api.Errorf(api.Denied, "this control plane knows no mode %s", t.Mode))
	case in.HostKey != "" || in.TargetKey != "":
		return nil, s.misuse(ctx, e, "certificates, with a ticket that brings none")
	}
	return s.claim(ctx, by, in, c, e)
}

// because is why a gateway refused a hello: what we find ourselves, else its word.
func because(err error, word string) string {
	if err != nil {
		return err.Error()
	}
	return "the gateway refused it: " + bounded(word)
}

func (s *Service) claim(ctx context.Context, by caller.Caller, in api.Claim, c hello.Claim, e audit.Event) (*api.Claimed, error) {
	t := c.Ticket
	server, err := s.Store.Server(ctx, t.Server)
	if errors.Is(err, store.ErrNotFound) {
		return nil, s.refuse(ctx, e, "server-gone", api.Errorf(api.Denied, "the server is not there any more"))
	}
	if err != nil {
		return nil, err
	}
	project, err := s.Store.Project(ctx, server.Project)
	if err != nil {
		return nil, caller.Explain(err, "project "+server.Project)
	}
	e.Project = project.ID
	if project.Records() {
		// The ticket is older than the rule; under break-glass nobody comes by a gateway.
		return nil, s.refuse(ctx, e, "changed", api.Errorf(api.Gone, "sessions of project %s are recorded from now on", project.Name).WithHint("connect again"))
	}
	session := store.GatewaySession{
		ID: ident.New(ident.GatewaySession), Gateway: by.Gateway.ID, User: t.User, Server: t.Server, Project: server.Project,
		Login: t.Login, UserSession: t.Session, Source: bounded(in.Source), StartedAt: e.Time,
	}
	e.Detail["gateway_session"] = session.ID
	err = s.Store.ClaimHello(ctx, store.Claim{
		Nonce: c.Nonce[:], Ticket: t.ID, Fingerprint: c.KeyFingerprint[:], Session: session, UserSession: t.Session, ExpiresAt: t.Expires,
	}, by.MetaFor(e.Time, session.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		return &api.Claimed{Session: ref}, nil // the gateway did not hear the first answer
	}
	delete(e.Detail, "gateway_session")
	switch {
	case errors.Is(err, store.ErrReplayed):
		return nil, s.refuse(ctx, e, "replayed", api.Errorf(api.Gone, "this hello was used before").WithHint("connect again").WithCause(err))
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, "changed", api.Errorf(api.Denied, "the user, the device, the server or the gateway may not do this any more").WithCause(err))
	case err != nil:
		return nil, err
	}
	return &api.Claimed{Session: session.ID}, nil
}

// ticketKeys are those with which a ticket may be signed, neighbours in a
// rotation included.
func (s *Service) ticketKeys(ctx context.Context) (hello.TicketKeys, error) {
	keys, err := s.Store.Keys(ctx, ca.Team, string(ca.Ticket))
	if err != nil {
		return nil, err
	}
	public := make([]ed25519.PublicKey, 0, len(keys))
	for _, k := range keys {
		public = append(public, ed25519.PublicKey(k.Public))
	}
	return hello.NewTicketKeys(public...)
}

// bounded cuts text of a machine.
func bounded(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxSource)], "\uFFFD") }
