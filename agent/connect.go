package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// preparedTime is how long a prepared connection waits for its ssh to start. Its ticket is
// good for a minute, and the gateway needs part of that.
const preparedTime = 15 * time.Second

// connect makes the identity of one connection and seals a hello for each of its routes.
func (a *Agent) connect(ctx context.Context, req request) (*Connected, error) {
	if req.Files != "" {
		return a.connectLent(ctx, req)
	}
	s := collect(req.Trace)
	server, err := a.serverOf(req)
	if err != nil {
		return nil, err
	}
	p, err := a.begin(ctx, server, req, s)
	if err != nil {
		return nil, byName(err, server, req.Host)
	}
	a.noteUserAgent(req.Parent)
	a.log.Info("connect", "server", p.connected.ServerID, "login", p.connected.Login, "serial", p.identity.cert.Serial)
	told := *p.connected
	if !req.Descriptor {
		p.ahead.drop()
	} else if told.Conn = p.ahead.take(); told.Conn != nil {
		told.Dialled = p.ahead.address
		s.done("a connection to %s was open already", told.Dialled)
	} else if p.ahead != nil {
		told.Routes = a.inOrder(told.Routes, a.here(), s) // it has failed by now, or is slow
	}
	return told.with(s), nil
}

// begin takes the identity of a connection in: of one that was prepared, or of a new one. What
// was on its way while somebody signed out, or locked the agent, is left where it is, and asked
// for once more, by whoever is signed in then.
func (a *Agent) begin(ctx context.Context, server string, req request, s *steps) (*prepared, error) {
	for fresh := 0; fresh < 2; {
		p, waited := a.prepared.take(server, req.Login, a.now())
		if waited {
			s.done("the connection had been prepared")
		} else {
			var err error
			if p, err = a.requestFresh(ctx, server, req.Login, s); err != nil {
				return nil, err
			}
			fresh++
		}
		p.identity.parent = req.Parent
		if a.ids.add(p.identity) {
			return p, nil
		}
		p.ahead.drop()
	}
	return nil, api.Errorf(api.Conflict, "who is signed in has changed meanwhile").WithHint("type the same again")
}

// prepare is connect for somebody who has yet to start ssh.
func (a *Agent) prepare(ctx context.Context, req request) (*Connected, error) {
	s := collect(req.Trace)
	server, err := a.serverOf(req)
	if err != nil {
		return nil, err
	}
	var early *ahead
	if req.Ahead {
		early = a.dialAhead(a.guess(server))
	}
	p, err := a.requestFresh(ctx, server, req.Login, s)
	if err != nil {
		early.drop()
		return nil, byName(err, server, req.Host)
	}
	if p.identity.era != a.ids.current() {
		early.drop() // somebody has signed out or locked: begin would leave it where it is
	} else {
		if req.Ahead {
			p.ahead, p.connected.Routes = early.towards(p.connected.Routes, a.dialAhead)
			p.ahead.expire()
		}
		p.asked, p.until = server, a.now().Add(preparedTime)
		a.prepared.put(p)
	}
	// The hellos stay here: whoever asked only wants to know.
	told := *p.connected.with(s)
	told.Far = a.far(told.Routes[0])
	told.Routes = nil
	return &told, nil
}

// soon is the longest time after which a control plane that is busy is asked once more.
const soon = 3 * time.Second

// ask asks the control plane for a certificate. Where that says by itself that it had no time
// for an answer, or that it stops, and is to be asked again at once (RFC 9110 section 10.2.3),
// it or another instance is, once: whoever typed ssh would do nothing else.
func (a *Agent) ask(ctx context.Context, client *api.Client, in api.Connect, s *steps) (got api.Connection, err error) {
	once := func() error {
		return a.pulse.call(s.calls(ctx), client.URL, func(ctx context.Context) error {
			return client.Send(ctx, http.MethodPost, "/v1/connect", in, &got)
		})
	}
	err = once()
	var told *api.Error
	if !errors.As(err, &told) || told.Kind != api.Unavailable || told.RetryAfter < 1 || told.RetryAfter > int(soon/time.Second) {
		return got, err
	}
	after := time.Duration(told.RetryAfter) * time.Second
	s.done("the control plane is busy, and asks to be asked again")
	select {
	case <-ctx.Done():
		return got, err
	case <-time.After(after + mathrand.N(after/2)): // not all at once
	}
	if err := a.whileUnlocked(); err != nil {
		return got, err
	}
	err = once()
	return got, err
}

// serverOf translates a name of the catalog to the server's id; the control plane resolves
// what the catalog does not know, which may be older than it.
func (a *Agent) serverOf(req request) (string, error) {
	if len(req.Host) > ident.MaxServerName+ident.MaxProject+1 || len(req.Login) > ident.MaxLogin {
		return "", api.Errorf(api.Invalid, "%.60q is not the name of a server, or its login not a login", req.Host).WithHint("type: cardea ls")
	}
	if id, ok := a.catalog.resolve(req.Host); ok {
		return id, nil
	}
	if project, name, ok := strings.Cut(req.Host, "/"); ok {
		if ident.ProjectName(project) == nil && ident.ServerName(name) == nil {
			return req.Host, nil
		}
	} else if ident.ServerName(req.Host) == nil || ident.Check(req.Host, ident.Server) == nil {
		return req.Host, nil
	}
	return "", api.Errorf(api.Invalid, "%.60q is not the name of a server", req.Host).WithHint("type: cardea ls")
}

// byName gives back the name that the person typed, where the control plane was asked by
// the id that our catalog has for it: that the server is unknown now means that his access
// has ended, or the server is gone, since the catalog was made.
func byName(err error, server, host string) error {
	if server == host || api.KindOf(err) != api.NotFound {
		return err
	}
	return api.Errorf(api.NotFound, "you may no longer reach %s", host).WithCause(err).
		WithHint("to see what you may reach type: cardea ls; or ask your administrator for a grant")
}

// requestFresh is request for a key that nobody has had before.
func (a *Agent) requestFresh(ctx context.Context, server, login string, s *steps) (*prepared, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return a.request(ctx, server, login, private, s)
}

// request asks the control plane and checks that what came is for the key that was sent. s is
// told how long each part takes.
func (a *Agent) request(ctx context.Context, server, login string, private ed25519.PrivateKey, s *steps) (*prepared, error) {
	era := a.ids.current() // before it is known whose session this is
	if err := a.whileUnlocked(); err != nil {
		return nil, err
	}
	client, err := a.account.Client(ctx)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		return nil, err
	}
	s.done("the server is known as %s, and a key was made", server)
	got, err := a.ask(ctx, client, api.Connect{Server: server, Login: login, PublicKey: sshcert.Line(signer.PublicKey())}, s)
	if err != nil {
		return nil, err
	}
	if !a.catalog.trusts(got) {
		// This machine slept while a CA was rotated, or recording switched on: ssh must
		// not meet a host certificate with the trust of before. Without, ssh says what is
		// wrong.
		if err := a.refresh(ctx); err != nil {
			a.log.Warn("other CAs sign for hosts, and the catalog could not be fetched", "error", err)
		}
	}
	if err := a.whileUnlocked(); err != nil { // it may have been locked in all that time
		return nil, err
	}
	s.done("the answer was read")
	cert, err := checkConnection(got, signer.PublicKey(), a.now())
	if err != nil {
		return nil, api.Errorf(api.Foreign, "the control plane gave a certificate that is not for this connection: %s", err).WithHint("tell your administrator")
	}
	at := a.here()
	routes, err := seal(got, private, a.now(), func(address string) bool { return a.ways.first(address, at, a.now()) })
	if err != nil {
		return nil, api.Errorf(api.Foreign, "the control plane gave a route that cannot be used: %s", err).WithHint("tell your administrator")
	}
	if err := a.gateways.note(routes); err != nil {
		a.log.Warn("store the gateways", "error", err) // they are for who wants to know where they are
	}
	a.guesses.note(a.catalog.projectOf(got.ServerID), routes, at)
	routes = a.inOrder(routes, at, s)
	s.done("the certificate is good, and the ways are ready: %d", len(routes))
	return &prepared{
		identity: &identity{
			serverID: got.ServerID, serverName: got.ServerName, login: got.Login, cert: cert, blob: cert.Marshal(),
			sign:    func(data []byte) (*ssh.Signature, error) { return signer.Sign(rand.Reader, data) },
			expires: time.Unix(int64(cert.ValidBefore), 0), gateways: gatewaysOf(got), era: era,
		},
		connected: &Connected{ServerID: got.ServerID, ServerName: got.ServerName, Login: got.Login, Routes: routes, Notice: got.Notice},
	}, nil
}

// checkConnection trusts the control plane, but not what it is mistaken about: the names go
// into ssh's view of the world and onto a terminal. The CA's signature is sshd's to check.
func checkConnection(got api.Connection, key ssh.PublicKey, now time.Time) (*ssh.Certificate, error) {
	if err := errors.Join(ident.Check(got.ServerID, ident.Server), ident.ServerName(got.ServerName), ident.Login(got.Login)); err != nil {
		return nil, err
	}
	if len(got.Routes) == 0 {
		return nil, errors.New("no route")
	}
	if got.Recorded && slices.ContainsFunc(got.Routes, func(r api.Route) bool { return len(r.Recipients) == 0 }) {
		return nil, errors.New("it is to be recorded, and a route leads past the gateways")
	}
	cert, err := sshcert.ParseCertificateLine(got.Certificate)
	if err != nil {
		return nil, err
	}
	switch {
	case !bytes.Equal(cert.Key.Marshal(), key.Marshal()):
		return nil, errors.New("it is for another key")
	case cert.CertType != ssh.UserCert || len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != sshcert.UserPrincipal(got.Login, got.ServerID):
		return nil, errors.New("it is not for this login on this server alone")
	case cert.ValidBefore-cert.ValidAfter > uint64((sshcert.MaxUserLifetime+sshcert.Backdate)/time.Second):
		return nil, errors.New("it lasts too long")
	case now.Unix() >= int64(cert.ValidBefore):
		return nil, api.Errorf(api.Foreign, "it is over already: is the clock of this machine right?")
	}
	return cert, nil
}

// gatewaysOf are the gateways that may stand in the server's place; none where the
// connection is not recorded.
func gatewaysOf(got api.Connection) (ids []string) {
	if !got.Recorded {
		return nil
	}
	for _, r := range got.Routes {
		members := r.Recipients
		if r.TLS != nil {
			members = slices.Concat(members, r.TLS.Recipients)
		}
		for _, m := range members {
			ids = append(ids, m.Gateway)
		}
	}
	return ids
}

// seal makes one hello for each way that leads through gateways: a hello is good once.
// first tells which of the ways inside TLS comes before the plain one.
func seal(got api.Connection, fresh ed25519.PrivateKey, now time.Time, first func(address string) bool) ([]Route, error) {
	var routes []Route
	for i, r := range got.Routes {
		if r.Bastion != "" && (ident.Check(r.Bastion, ident.Server) != nil || len(r.Recipients) > 0) {
			return nil, errors.New("its bastion is no server")
		}
		if len(r.Recipients) == 0 {
			if r.TLS != nil {
				return nil, errors.New("a server is not reached inside TLS")
			}
			routes = append(routes, Route{Address: r.Address, Bastion: r.Bastion})
			continue
		}
		plain, err := sealFor(r.Address, r.Recipients, got.Ticket, fresh, now)
		if err != nil {
			return nil, err
		}
		plain.gateway = i + 1
		if r.TLS == nil {
			routes = append(routes, plain)
			continue
		}
		inside, err := sealFor(r.TLS.Address, r.TLS.Recipients, got.Ticket, fresh, now)
		if err != nil {
			return nil, err
		}
		inside.TLS, inside.gateway = true, i+1
		if first(inside.Address) {
			plain, inside = inside, plain
		}
		routes = append(routes, plain, inside)
	}
	return routes, nil
}

func sealFor(address string, members []api.Recipient, ticket []byte, fresh ed25519.PrivateKey, now time.Time) (Route, error) {
	recipients := make([]hello.Recipient, len(members))
	for j, g := range members {
		recipients[j] = hello.Recipient{Gateway: g.Gateway, PublicKey: g.Public}
	}
	message, keys, err := hello.Seal(fresh, ticket, recipients, now)
	return Route{Address: address, Hello: message, Keys: keys}, err
}

// prepared is a connection that waits for its ssh.
type prepared struct {
	asked     string // for which name, where the catalog did not know it
	identity  *identity
	connected *Connected
	ahead     *ahead // or nil
	until     time.Time
}

// preparations are the connections that wait, oldest first. Each is taken once.
type preparations struct {
	mu   sync.Mutex
	wait []*prepared
}

func (p *preparations) put(c *prepared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune(c.until.Add(-preparedTime))
	p.wait = append(p.wait, c)
}

// take returns the newest for this server and login, where an empty login means the user's
// own, which is the only one that there can be.
func (p *preparations) take(server, login string, now time.Time) (*prepared, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune(now)
	for i, c := range slices.Backward(p.wait) {
		if (server == c.connected.ServerID || server == c.asked) && (login == "" || login == c.connected.Login) {
			p.wait = slices.Delete(p.wait, i, i+1)
			return c, true
		}
	}
	return nil, false
}

// waits reports whether there is one for this server.
func (p *preparations) waits(server string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.wait, func(c *prepared) bool { return server == c.connected.ServerID || server == c.asked })
}

func (p *preparations) prune(now time.Time) {
	p.wait = slices.DeleteFunc(p.wait, func(c *prepared) bool { return !now.Before(c.until) }) // what they dialled has expired long ago
}

func (p *preparations) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.wait {
		c.ahead.drop()
	}
	p.wait = nil
}
