package issue

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// way is a decision to let somebody in, and how he gets there.
type way struct {
	target
	routes  []api.Route
	settled bool          // waiting would change nothing: it is refused, or all is confirmed
	wants   *store.Demand // the account on demand that it needs, if any
}

// Connect makes one certificate for one connection. Nothing but the public key
// comes from the request: the login and the server in it only select.
func (s *Service) Connect(ctx context.Context, by caller.Caller, in api.Connect) (*api.Connection, error) {
	e := by.Event(s.now(), audit.Connect)
	e.User, e.Detail = by.User.ID, map[string]string{"server": in.Server, "login": in.Login}
	key, err := parseKey(in.PublicKey)
	if err != nil {
		return nil, s.refuse(ctx, e, "bad-key", lookup.Invalid(err).WithHint("send a fresh ssh-ed25519 key"))
	}
	w, err := s.way(ctx, by, in, e)
	if err != nil {
		return nil, err
	}
	gateways := gatewaysOf(w.routes)
	if len(gateways) > 0 && key.Type() != ssh.KeyAlgoED25519 {
		return nil, s.refuse(ctx, e, "bad-key", api.Errorf(api.Invalid, "only an ssh-ed25519 key can speak to gateways").WithHint("send a fresh ssh-ed25519 key"))
	}
	e.Server, e.Project = w.facts.Server.ID, w.facts.Project.ID
	cert, record, err := s.issueUser(ctx, by, w, key, len(gateways) > 0, e)
	if err != nil {
		return nil, err
	}
	ticket, err := s.ticket(ctx, record, w, key, gateways)
	if err != nil {
		return nil, err
	}
	out := &api.Connection{
		HostCAs:     s.shownCAs(ctx, ca.HostCA),
		Certificate: sshcert.Line(cert), Serial: strconv.FormatUint(cert.Serial, 10), ExpiresAt: record.NotAfter,
		ServerID: w.facts.Server.ID, ServerName: w.facts.Server.Name, Login: w.decision.Login,
		Routes: w.routes, Ticket: ticket, Notice: notice(w, s.now()),
	}
	if w.recorded() {
		out.Recorded, out.GatewayCAs = true, s.shownCAs(ctx, ca.GatewayCA)
	}
	return out, nil
}

// way decides, and waits a little where the server has yet to make the account.
// Nothing is held while it waits: no transaction, and no connection.
func (s *Service) way(ctx context.Context, by caller.Caller, in api.Connect, e audit.Event) (way, error) {
	decide := s.forCaller(in.Login)
	t, found, hidden, err := s.find(ctx, by, in.Server, decide)
	if err != nil {
		if api.KindOf(err) == api.Ambiguous {
			return way{}, s.refuse(ctx, e, "ambiguous", err)
		}
		return way{}, err
	}
	if !found {
		if len(hidden) == 1 {
			e.Server, e.Project = hidden[0].facts.Server.ID, hidden[0].facts.Project.ID
		}
		reason, why := noTarget(by, in.Server, hidden)
		if why, err = s.orAsk(ctx, by.User.ID, in.Server, hidden, why); err != nil {
			return way{}, err
		}
		return way{}, s.refuse(ctx, e, reason, why)
	}
	e.Server, e.Project = t.facts.Server.ID, t.facts.Project.ID
	var wants *store.Demand
	if demanded(t) {
		d, err := s.demand(ctx, by, t)
		if why := (*api.Error)(nil); errors.As(err, &why) && why.Kind == api.Denied {
			return way{}, s.refuse(ctx, e, string(why.Kind), why)
		}
		if err != nil {
			return way{}, err
		}
		wants = &d
	}
	w, why, err := s.lead(ctx, t, wants)
	if err == nil && !w.settled {
		w, why, err = s.waitFor(ctx, by, decide, w)
	}
	if err != nil {
		return way{}, err
	}
	if why == nil && wants != nil && !made(w.facts, w.decision, *wants) {
		why = unmade(w.facts, s.now())
	}
	if why != nil {
		reason := string(w.decision.Reason)
		if w.decision.Allow {
			reason = string(why.Kind)
		}
		if why, err = s.orAsk(ctx, by.User.ID, in.Server, []target{w.target}, why); err != nil {
			return way{}, err
		}
		underBreakGlass(&e, w.target)
		return way{}, s.refuse(ctx, e, reason, why)
	}
	return w, nil
}

// lead finds the routes of an allowed target. why is a refusal to be audited.
func (s *Service) lead(ctx context.Context, t target, wants *store.Demand) (w way, why *api.Error, err error) {
	w.target, w.wants, w.settled = t, wants, true
	if !t.decision.Allow {
		return w, denial(t.decision), nil
	}
	routes, unconfirmed, err := s.Router.Routes(ctx, t.facts)
	if err != nil && !errors.As(err, &why) {
		return w, nil, err
	}
	w.routes = routes
	w.settled = !unconfirmed && (why != nil || confirmed(t.facts, t.decision) && (wants == nil || made(t.facts, t.decision, *wants)))
	return w, why, nil
}

// waitFor decides again whenever the server reports, until it has confirmed
// what is needed, or the time is over; then the last decision stands, because
// it is sshd that lets people in and not what we know of it.
func (s *Service) waitFor(ctx context.Context, by caller.Caller, decide decider, w way) (way, *api.Error, error) {
	wait := s.ConfirmWait
	if wait == 0 {
		wait = confirmWait
	}
	id := w.facts.Server.ID
	topics := []string{store.ServerTopic(id)}
	var why *api.Error
	_, err := lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*way, []string, error) {
		f, err := s.Store.Facts(ctx, by.Session.ID, id)
		if err != nil {
			return nil, nil, caller.Explain(err, "server")
		}
		if w, why, err = s.lead(ctx, decide(f), w.wants); err != nil {
			return nil, nil, err
		}
		if w.settled {
			return &w, nil, nil
		}
		return nil, topics, nil
	})
	return w, why, err
}

// issueUser builds, records and signs, in this order.
func (s *Service) issueUser(ctx context.Context, by caller.Caller, w way, key ssh.PublicKey, ticket bool, e audit.Event) (*ssh.Certificate, store.Issued, error) {
	f, d, now := w.facts, w.decision, s.now()
	life := min(time.Duration(f.Project.CertificateSeconds)*time.Second, d.Expires.Sub(now)).Truncate(time.Second)
	if life < time.Second {
		return nil, store.Issued{}, s.refuse(ctx, e, "access-ends", api.Errorf(api.Denied, "your access to server %s ends this very second", f.Server.Name).
			WithHint("ask your administrator to prolong it, or %s", caller.SignInHint(f.User, "")))
	}
	profile := sshcert.User{
		Login: d.Login, ServerID: f.Server.ID, UserID: f.User.ID, SessionID: f.Session.ID, DeviceID: f.Device.ID,
		ProjectID: f.Project.ID, Issued: now, Lifetime: life, BreakGlass: d.BreakGlass,
		Permissions: permissions(f.Project),
	}
	record := store.Issued{
		Kind: store.IssueUser, User: f.User.ID, Session: f.Session.ID, Device: f.Device.ID, Server: f.Server.ID,
		Project: f.Project.ID, Login: d.Login, Grant: d.GrantID, CreatedAt: now, Labels: f.Server.Labels,
	}
	if ticket {
		record.Ticket = ident.New(ident.Ticket)
	}
	e.Detail = map[string]string{"login": d.Login, "role": string(d.Role), "grant": d.GrantID}
	underBreakGlass(&e, w.target)
	m := by.Meta(now)
	m.Idempotency = nil // each try has its own certificate; the proof alone is claimed once
	issue := func(serial uint64) (*ssh.Certificate, sshcert.Profile, error) {
		profile.Serial = serial
		cert, err := sshcert.BuildUser(profile, key)
		if w.recorded() {
			return cert, sshcert.ToGateway{User: profile}, err
		}
		return cert, profile, err
	}
	signs := signer{place{f.Project.ID, ca.UserCA}, confirmedBy(f.Server, f.Team)}
	if w.recorded() {
		e.Detail["recorded"] = f.Project.Recording
		signs = signer{place: place{ca.Team, ca.GatewayCA}} // no server trusts it
	}
	cert, err := s.issue(ctx, signs, issue, &record, m, e)
	if errors.Is(err, store.ErrDenied) {
		return nil, record, s.refuse(ctx, e, "changed", api.Errorf(api.Denied, "your access to server %s was changed just now", f.Server.Name).
			WithHint("type: cardea why %s", f.Server.Name).WithCause(err))
	}
	return cert, record, caller.Explain(err, "server "+f.Server.Name)
}

// maxSerialTries is for the chance of two equal random numbers of 63 bits.
const maxSerialTries = 3

// issue is every certificate's way: prepared, recorded durably with its audit
// event, and only then signed. record is completed with what was built.
func (s *Service) issue(ctx context.Context, at signer, build func(serial uint64) (*ssh.Certificate, sshcert.Profile, error), record *store.Issued, m store.Meta, e audit.Event) (*ssh.Certificate, error) {
	signing, err := s.signing(ctx, at)
	if err != nil {
		return nil, err
	}
	for range maxSerialTries {
		cert, profile, err := build(sshcert.NewSerial())
		if err != nil {
			return nil, err
		}
		permission, err := signing.authority.Prepare(cert, profile)
		if err != nil {
			return nil, err
		}
		describe(record, permission)
		e.Detail["serial"], e.Detail["key"], e.Detail["ca"] = strconv.FormatUint(record.Serial, 10), record.PublicKey, record.CA
		m.Audit = audit.EncodeAll(e)
		err = s.Store.RecordIssuance(ctx, *record, m)
		if errors.Is(err, store.ErrExists) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return permission.Issue()
	}
	return nil, fmt.Errorf("%d serials in a row were taken", maxSerialTries)
}

// describe completes a record with what will be signed.
func describe(record *store.Issued, p *ca.Permission) {
	d := p.Describe()
	record.Serial, record.CA, record.KeyID, record.Principal = d.Serial, p.Authority(), d.KeyID, d.Principals[0]
	record.PublicKey, record.NotBefore, record.NotAfter = d.Key, d.ValidAfter, d.ValidBefore
}

// permissions are what a project's certificates allow.
func permissions(p store.Project) sshcert.Permissions {
	return sshcert.Permissions{PTY: true, PortForwarding: p.PortForwarding, AgentForwarding: p.AgentForwarding, X11: p.X11Forwarding}
}

// ticket names the key, the server and every gateway of the routes.
func (s *Service) ticket(ctx context.Context, record store.Issued, w way, key ssh.PublicKey, gateways []string) ([]byte, error) {
	if len(gateways) == 0 {
		return nil, nil
	}
	signing, err := s.active(ctx, ca.Team, ca.Ticket)
	if err != nil {
		return nil, err
	}
	mode := hello.Relay
	if w.recorded() {
		mode = hello.Record
	}
	return hello.SignTicket(signing.signer, hello.Ticket{
		ID: record.Ticket, KeyFingerprint: hello.Fingerprint(key), User: record.User, Session: record.Session,
		Server: record.Server, Login: record.Login, Address: w.facts.Server.Address, Mode: mode,
		Gateways: gateways, IssuedAt: record.CreatedAt, Expires: record.CreatedAt.Add(hello.TicketLife),
	})
}

// gatewaysOf are those that a ticket must name, each once.
func gatewaysOf(routes []api.Route) []string {
	var ids []string
	add := func(members []api.Recipient) {
		for _, m := range members {
			if !slices.Contains(ids, m.Gateway) {
				ids = append(ids, m.Gateway)
			}
		}
	}
	for _, r := range routes {
		add(r.Recipients)
		if r.TLS != nil {
			add(r.TLS.Recipients)
		}
	}
	return ids
}

// longUnheard is when an agent that should poll all the time is missed.
const longUnheard = 5 * time.Minute

// notice tells that the session is recorded, and why the login might fail although
// access was given.
func notice(w way, now time.Time) string {
	doubt := doubt(w, now)
	switch {
	case !w.recorded():
		return doubt
	case doubt != "":
		doubt = "; " + doubt
	}
	if w.facts.Project.RecordInput {
		return "this session is recorded, and so is what you type" + doubt
	}
	return "this session is recorded" + doubt
}

func doubt(w way, now time.Time) string {
	server := w.facts.Server
	switch {
	case w.settled && w.decision.BreakGlass != "":
		return w.decision.Sentence + "; it is on record that you use it"
	case w.settled:
		return ""
	case server.LastSeen.IsZero() || now.Sub(server.LastSeen) > longUnheard:
		return fmt.Sprintf("the agent of server %s has not been heard of; your account there may be missing", server.Name)
	}
	return fmt.Sprintf("server %s has not confirmed your account yet; if it refuses you, try again in a moment", server.Name)
}

// parseKey reads a public key in authorized_keys form. Only the key counts; it
// is checked before anything of it is parsed.
func parseKey(text string) (ssh.PublicKey, error) {
	fields := strings.Fields(text)
	if len(text) > 2*sshcert.MaxSubjectKey || len(fields) < 2 {
		return nil, errors.New("the public key is not one line of type and base64")
	}
	wire, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("the public key is not in base64")
	}
	key, err := sshcert.ParseSubjectKey(wire)
	if err != nil {
		return nil, err
	}
	if key.Type() != fields[0] {
		return nil, errors.New("the public key is of another type than its line says")
	}
	return key, nil
}
