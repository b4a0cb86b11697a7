package issue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// recorded tells whether a session there is recorded.
func (t target) recorded() bool { return t.facts.Project.Records() }

// late is how long after its end a ticket may come from an honest gateway: it checks the
// ticket itself, and then waits for our answer no longer than this.
const late = 30 * time.Second

// leg is one certificate on its way, up to its record.
type leg struct {
	permission *ca.Permission
	record     store.Issued
}

// pair is what a gateway gets for one recorded session.
type pair struct{ target, host leg }

// gatewayKeys are those that a claim wants certificates for.
type gatewayKeys struct{ target, host ssh.PublicKey }

// keysOf reads them. The key that goes to the server must be of no other use: it is
// neither the one that everybody sees, nor the user's.
func keysOf(in api.Claim, user [32]byte) (k gatewayKeys, err error) {
	if k.host, err = parseKey(in.HostKey); err != nil {
		return k, fmt.Errorf("the host key: %w", err)
	}
	if k.target, err = parseKey(in.TargetKey); err != nil {
		return k, fmt.Errorf("the key for the server: %w", err)
	}
	switch {
	case k.host.Type() != ssh.KeyAlgoED25519 || k.target.Type() != ssh.KeyAlgoED25519:
		return k, errors.New("the keys of a gateway are of type ssh-ed25519")
	case bytes.Equal(k.host.Marshal(), k.target.Marshal()) || hello.Fingerprint(k.target) == user || hello.Fingerprint(k.host) == user:
		return k, errors.New("a key is there twice, or it is the user's")
	}
	return k, nil
}

// claimRecorded is claim for a session that the gateway ends, records and begins anew. It
// decides once more, as Connect did: what a gateway gets here lets it in. The order is that
// of every certificate. The records of both are in the transaction that claims the
// nonce, so that nothing is ever signed for a nonce that was claimed before.
func (s *Service) claimRecorded(ctx context.Context, by caller.Caller, in api.Claim, c hello.Claim, e audit.Event) (*api.Claimed, error) {
	keys, err := keysOf(in, c.KeyFingerprint)
	if err != nil {
		return nil, s.misuse(ctx, e, err.Error())
	}
	t, err := s.still(ctx, c.Ticket, e)
	if err != nil {
		return nil, err
	}
	f := t.facts
	gateway, err := s.Store.Gateway(ctx, by.Gateway.ID) // its addresses as they are now
	if err != nil {
		return nil, caller.Explain(err, "gateway "+by.Gateway.Name)
	}
	e.Project, e.Detail["recorded"] = f.Project.ID, f.Project.Recording
	if len(gateway.Egress) == 0 {
		return nil, s.refuse(ctx, e, "no-egress", api.Errorf(api.NoGateway, "nobody has declared from which addresses gateway %s reaches servers", gateway.Name).
			WithHint("an administrator can; type: cardea admin gateways update %s --egress ADDRESS", gateway.Name))
	}
	session := store.GatewaySession{
		ID: ident.New(ident.GatewaySession), Gateway: gateway.ID, User: f.User.ID, Server: f.Server.ID, Project: f.Project.ID,
		Login: t.decision.Login, UserSession: f.Session.ID, Source: bounded(in.Source), StartedAt: e.Time,
	}
	p, err := s.claimPair(ctx, by, t, gateway, keys, c, session, e)
	if ref, again := lookup.Repeated(err); again {
		return nil, s.unheard(ctx, by, ref, e)
	}
	switch {
	case errors.Is(err, store.ErrReplayed):
		return nil, s.misuse(ctx, e, "a second pair of certificates, for a hello that was claimed before")
	case errors.Is(err, store.ErrUsed):
		return nil, s.misuse(ctx, e, "a second certificate for a key that went to a server before")
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, "changed", api.Errorf(api.Denied, "the user, the device, the server or the gateway may not do this any more").WithCause(err))
	case err != nil:
		return nil, err
	}
	order, err := s.order(ctx, f.Project, p)
	if err != nil {
		return nil, errors.Join(err, s.abandon(ctx, by, session.ID, "the control plane could not sign; nothing was recorded"))
	}
	order.ServerName = f.Server.Name
	return &api.Claimed{Session: session.ID, Record: order}, nil
}

// misuse refuses what no honest gateway asks for, and raises the alarm.
func (s *Service) misuse(ctx context.Context, e audit.Event, reason string) error {
	e.Action = audit.GatewayMisuse
	return s.refuse(ctx, e, reason, api.Errorf(api.Denied, "no gateway may ask for this: %s", reason))
}

// still decides again about a ticket's user, server and login.
func (s *Service) still(ctx context.Context, ticket hello.Ticket, e audit.Event) (target, error) {
	f, err := s.Store.Facts(ctx, ticket.Session, ticket.Server)
	if errors.Is(err, store.ErrNotFound) {
		return target{}, s.refuse(ctx, e, "server-gone", api.Errorf(api.Denied, "the server is not there any more"))
	}
	if err != nil {
		return target{}, err
	}
	f.Project = known(f.Project) // he was asked when he got the ticket
	now := s.now()
	t := target{during(f, now), policy.Decide(question(f, ticket.Login, now))}
	e.Project = f.Project.ID
	switch {
	case !t.decision.Allow:
		return t, s.refuse(ctx, e, string(t.decision.Reason), denial(t.decision))
	case f.User.ID != ticket.User || t.decision.Login != ticket.Login || !t.recorded():
		return t, s.refuse(ctx, e, "changed", api.Errorf(api.Gone, "the rules of project %s have just changed", f.Project.Name).WithHint("connect again"))
	}
	return t, nil
}

// claimPair prepares both certificates, and claims the hello with their records.
func (s *Service) claimPair(ctx context.Context, by caller.Caller, t target, g store.Gateway, keys gatewayKeys, c hello.Claim, session store.GatewaySession, e audit.Event) (p pair, err error) {
	for range maxSerialTries {
		if p, err = s.prepare(ctx, t, g, keys, e.Time); err != nil {
			return p, err
		}
		e.Detail["gateway_session"] = session.ID
		e.Detail["serial"], e.Detail["key"], e.Detail["ca"] = strconv.FormatUint(p.target.record.Serial, 10), p.target.record.PublicKey, p.target.record.CA
		e.Detail["host_serial"], e.Detail["host_key"], e.Detail["host_ca"] = strconv.FormatUint(p.host.record.Serial, 10), p.host.record.PublicKey, p.host.record.CA
		err = s.Store.ClaimHello(ctx, store.Claim{
			Nonce: c.Nonce[:], Ticket: c.Ticket.ID, Fingerprint: c.KeyFingerprint[:], Session: session, UserSession: session.UserSession, ExpiresAt: c.Ticket.Expires,
			Record: &store.ClaimedRecord{Required: t.facts.Project.Recording == store.RecordingRequired, Target: p.target.record, Host: p.host.record},
		}, by.MetaFor(e.Time, session.ID, audit.Encode(e)))
		if errors.Is(err, store.ErrExists) {
			continue
		}
		if err != nil {
			for _, name := range []string{"gateway_session", "serial", "key", "ca", "host_serial", "host_key", "host_ca"} {
				delete(e.Detail, name) // there are none
			}
		}
		return p, err
	}
	return p, fmt.Errorf("%d pairs of serials in a row were taken: %w", maxSerialTries, err)
}

// prepare builds and lints both.
func (s *Service) prepare(ctx context.Context, t target, g store.Gateway, keys gatewayKeys, now time.Time) (p pair, err error) {
	f, d := t.facts, t.decision
	life := min(sshcert.TargetLifetime, d.Expires.Sub(now)).Truncate(time.Second)
	if life < time.Second {
		return p, fmt.Errorf("access ends this very second: %w", store.ErrDenied)
	}
	user := sshcert.User{
		Login: d.Login, ServerID: f.Server.ID, UserID: f.User.ID, SessionID: f.Session.ID, DeviceID: f.Device.ID, ProjectID: f.Project.ID,
		Serial: sshcert.NewSerial(), Issued: now, Lifetime: life, Permissions: permissions(f.Project),
	}
	to := sshcert.Target{User: user, GatewayID: g.ID, Sources: g.Egress}
	p.target.record = store.Issued{
		Kind: store.IssueTarget, User: f.User.ID, Session: f.Session.ID, Device: f.Device.ID, Server: f.Server.ID, Project: f.Project.ID,
		Login: d.Login, Grant: d.GrantID, CreatedAt: now, Labels: f.Server.Labels, Gateway: g.ID,
	}
	cert, err := sshcert.BuildTarget(to, keys.target)
	if err == nil {
		err = s.prepareLeg(ctx, &p.target, signer{place{f.Project.ID, ca.UserCA}, confirmedBy(f.Server, f.Team)}, cert, to)
	}
	if err != nil {
		return p, err
	}
	as := sshcert.GatewayHost{GatewayID: g.ID, ServerID: f.Server.ID, Serial: sshcert.NewSerial(), Issued: now}
	p.host.record = store.Issued{Kind: store.IssueGatewayHost, Server: f.Server.ID, Project: f.Project.ID, CreatedAt: now, Gateway: g.ID}
	if cert, err = sshcert.BuildGatewayHost(as, keys.host); err != nil {
		return p, err
	}
	return p, s.prepareLeg(ctx, &p.host, signer{place: place{ca.Team, ca.GatewayCA}}, cert, as)
}

func (s *Service) prepareLeg(ctx context.Context, l *leg, at signer, cert *ssh.Certificate, profile sshcert.Profile) error {
	signing, err := s.signing(ctx, at)
	if err != nil {
		return err
	}
	if l.permission, err = signing.authority.Prepare(cert, profile); err != nil {
		return err
	}
	describe(&l.record, l.permission)
	return nil
}

// order signs both, and adds what else the gateway must know.
func (s *Service) order(ctx context.Context, p store.Project, signed pair) (*api.RecordOrder, error) {
	o := &api.RecordOrder{
		Required: p.Recording == store.RecordingRequired, Input: p.RecordInput, Recipients: p.Recipients,
		PortForwarding: p.PortForwarding, AgentForwarding: p.AgentForwarding, X11Forwarding: p.X11Forwarding,
	}
	var err error
	if o.UserCAs, err = s.caLines(ctx, ca.GatewayCA); err != nil {
		return nil, err
	}
	if o.HostCAs, err = s.caLines(ctx, ca.HostCA); err != nil {
		return nil, err
	}
	for to, l := range map[*string]leg{&o.TargetCertificate: signed.target, &o.HostCertificate: signed.host} {
		cert, err := l.permission.Issue()
		if err != nil {
			return nil, err
		}
		*to = sshcert.Line(cert)
	}
	return o, nil
}

// caLines are the team's CAs of a purpose that are trusted now, as public keys.
func (s *Service) caLines(ctx context.Context, of ca.Purpose) ([]string, error) {
	keys, err := s.Store.Keys(ctx, ca.Team, string(of))
	return store.Lines(keys), err
}

// unheard answers a claim that comes again because its answer was lost. The certificates
// are made once, and not a second time for whoever says that: the session is over before
// it began, and the user's next try is another hello.
func (s *Service) unheard(ctx context.Context, by caller.Caller, session string, e audit.Event) error {
	if err := s.abandon(ctx, by, session, "the gateway did not hear the answer to its claim; nothing was recorded"); err != nil {
		return err
	}
	e.Detail["gateway_session"] = session
	return s.refuse(ctx, e, "claimed before, and its certificates are given once",
		api.Errorf(api.Gone, "this hello was claimed before, and its certificates are given once").WithHint("connect again"))
}

// abandon ends a session that never began, and its recording.
func (s *Service) abandon(ctx context.Context, by caller.Caller, session, why string) error {
	e := by.Event(s.now(), audit.GatewaySessionEnd)
	e.Outcome, e.Reason, e.Detail = audit.Failed, why, map[string]string{"gateway_session": session, "cause": "error"}
	err := s.Store.EndGatewaySession(ctx, store.GatewaySession{ID: session, Gateway: by.Gateway.ID, EndedAt: e.Time, Cause: "error"},
		store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)})
	if err != nil {
		return err
	}
	err = s.Store.ReportRecording(ctx, session, store.Recording{Keeper: by.Gateway.ID, State: store.RecordingDamaged, EndCause: "error", Fault: why}, store.Meta{Now: e.Time})
	if errors.Is(err, store.ErrDenied) {
		return nil // the gateway has told more already
	}
	return err
}
