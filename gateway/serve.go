package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

// Kinds of refusal, as docs/protocol.md lists them.
const (
	kindTicket   = "ticket"
	kindMode     = "mode"
	kindClaim    = "claim"
	kindControl  = "control"
	kindAddress  = "address"
	kindServer   = "server"
	kindDraining = "draining"
	kindBusy     = "busy"
	kindRecord   = "record"
)

// refusal is what the client is told, and the cause for our log.
type refusal struct {
	kind, sentence string
	cause          error
}

// Back-off after a failed accept, as net/http has it.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Listen listens for clients.
func Listen(ctx context.Context, address string) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAlive: -1} // each connection is told its own
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// accept hands connections out until the listener is closed. Running out of
// descriptors is no reason to end: what runs goes on, and the health says so.
// inside says that clients speak TLS there.
func (g *Gateway) accept(listener *net.TCPListener, inside bool) error {
	pause := acceptPauseMin
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			if g.health.acceptFailed(err) {
				g.log.Error("cannot take connections", "error", err)
				g.wakeReport()
			}
			time.Sleep(pause)
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		pause = acceptPauseMin
		if g.health.accepted() {
			g.wakeReport()
		}
		// Here and not at the listener, which may be that of the process before.
		conn.SetKeepAliveConfig(keepAlive(g.opt.PeerTimeout))
		g.handlers.Go(func() { g.serve(conn, inside) })
	}
}

// serve is one connection from its first byte to its last.
func (g *Gateway) serve(raw *net.TCPConn, inside bool) {
	defer raw.Close()
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a connection panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	peer := raw.RemoteAddr().(*net.TCPAddr).AddrPort()
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	source := peer.Addr()
	if g.proxied(source) {
		source = netip.Addr{}
	}
	v := g.gate.enter(raw, source)
	if v == nil {
		g.log.Debug("too many connections of one source", "source", peer)
		return
	}
	defer g.gate.leave(v) // not before a stranger has his refusal
	conn, from, err := g.admit(raw, v, peer, inside)
	if err != nil {
		g.log.Debug("no way to the client", "source", from, "peer", peer, "error", err)
		return
	}
	opened := g.receive(conn, from)
	if opened == nil {
		return
	}
	ticket, no := g.judge(opened)
	log := []any{"source", from, "user", ticket.User, "server", ticket.Server}
	if no != nil {
		g.refuse(conn, opened, no, log...)
		if no.misuse() {
			g.tell(opened, from, no)
		}
		return
	}
	g.gate.leave(v)
	needs := memoryOf(ticket.Mode, inside)
	if err := g.memory.begin(context.Background(), needs); err != nil {
		g.refuse(conn, opened, &refusal{kindBusy, "this gateway has no memory for another session", err}, log...)
		return
	}
	defer g.memory.end(needs)
	if !g.gate.beginSession() {
		g.refuse(conn, opened, &refusal{kindBusy, "this gateway has no room for another session", nil}, log...)
		return
	}
	defer g.gate.endSession()
	s, no := g.start(conn, from, ticket, opened)
	if no != nil {
		g.refuse(conn, opened, no, log...)
		return
	}
	if s.recorded != nil {
		g.carryRecorded(s, opened, log)
		return
	}
	g.carry(s, opened, log)
}

// receive reads and opens the hello, in the time that admit has set. What is wrong with it is nobody's
// business but ours: there is no secret yet under which to answer.
func (g *Gateway) receive(conn client, from netip.AddrPort) *hello.Opened {
	message, err := hello.ReadMessage(conn)
	if err != nil {
		g.log.Debug("no hello", "source", from, "error", err)
		return nil
	}
	opened, err := g.opener.Open(message)
	if err != nil {
		g.complain("cannot open a hello", "source", from, "error", err)
		return nil
	}
	return opened
}

// judge says whether an opened hello may go on, by what this gateway knows.
func (g *Gateway) judge(opened *hello.Opened) (hello.Ticket, *refusal) {
	keys := g.tickets.Load()
	if keys == nil {
		return hello.Ticket{}, &refusal{kindControl, "this gateway has not reached the control plane yet", nil}
	}
	ticket, err := opened.VerifyTicket(*keys, g.clock.Now())
	switch {
	case errors.Is(err, hello.ErrExpired):
		return ticket, &refusal{kindTicket, "the ticket is over; try again", err}
	case err != nil:
		return hello.Ticket{}, &refusal{kindTicket, "the ticket is not good", err}
	case !slices.Contains(ticket.Gateways, g.opt.Credential.Gateway):
		return ticket, &refusal{kindTicket, "the ticket is for other gateways", nil}
	case ticket.Mode != hello.Relay && (ticket.Mode != hello.Record || g.recording == nil):
		return ticket, &refusal{kindMode, "this gateway cannot record, which the project demands", nil}
	case g.draining.Load():
		return ticket, &refusal{kindDraining, "this gateway is being stopped", nil}
	case g.accepting(context.Background()) != nil:
		return ticket, &refusal{kindDraining, "this gateway takes no new sessions now", nil}
	case !g.replays.take(opened.Nonce, ticket.Expires, g.clock.Now()):
		return ticket, &refusal{kindClaim, "this hello was used before", nil}
	}
	return ticket, nil
}

// start dials the server and claims the hello, both at once, and returns a live
// session when both have succeeded.
func (g *Gateway) start(conn client, from netip.AddrPort, ticket hello.Ticket, opened *hello.Opened) (*session, *refusal) {
	defer g.gate.began()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	type dialled struct {
		conn *net.TCPConn
		err  error
	}
	server := make(chan dialled, 1)
	go func() {
		c, err := g.target.dial(ctx, ticket.Address)
		server <- dialled{c, err}
	}()
	claim := api.Claim{Hello: opened.Claim, Source: from.String()}
	var key ssh.Signer
	if ticket.Mode == hello.Record {
		var err error
		if key, err = g.recordClaim(&claim); err != nil {
			return nil, &refusal{kindRecord, "this gateway has no key for this session", err}
		}
	}
	claimed, claimErr := g.claim(ctx, claim)
	if claimErr != nil {
		cancel() // a refused user makes us dial no longer than this
	}
	d := <-server
	switch {
	case claimErr != nil:
		if d.conn != nil {
			d.conn.Close()
		}
		return nil, refusedClaim(claimErr)
	case d.err != nil:
		g.ends.add(ended{claimed.Session, unbegun(claimed)})
		return nil, failedDial(d.err, ticket)
	}
	s := &session{id: claimed.Session, client: conn, server: d.conn}
	if no := g.record(s, claimed, ticket, key, from); no != nil {
		d.conn.Close()
		g.ends.add(ended{claimed.Session, unbegun(claimed)})
		return nil, no
	}
	if !g.sessions.add(s, claimed.EndsAt, g.clock.Now()) {
		d.conn.Close()
		s.unrecord()
		g.ends.add(ended{claimed.Session, api.SessionEnd{Cause: causeRevoked}})
		return nil, &refusal{kindClaim, "the session was ended before it began", nil}
	}
	g.heir.Load().tell(word{Live: []string{s.id}})
	return s, nil
}

// unbegun is the end of a session that was claimed and did not begin. If it was to be recorded,
// nobody shall wait for a recording.
func unbegun(claimed api.Claimed) api.SessionEnd {
	end := api.SessionEnd{Cause: causeError}
	if claimed.Record != nil {
		end.Unrecorded = "the session did not begin"
	}
	return end
}

func refusedClaim(err error) *refusal {
	var e *api.Error
	if !errors.As(err, &e) {
		return &refusal{kindControl, "this gateway cannot reach the control plane", err}
	}
	switch e.Kind {
	case api.Unavailable, api.Foreign, api.Internal, api.SignIn, api.UseNonce:
		return &refusal{kindControl, "the control plane does not answer this gateway now", err}
	case api.Limited:
		return &refusal{kindBusy, "the control plane has too much to do now", err}
	}
	return &refusal{kindClaim, e.Detail, err}
}

func failedDial(err error, ticket hello.Ticket) *refusal {
	if errors.Is(err, errForbidden) {
		return &refusal{kindAddress, errForbidden.Error(), err}
	}
	sentence := "the server at " + ticket.Address + " does not answer"
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		sentence = "the server at " + ticket.Address + " did not answer in time"
	}
	return &refusal{kindServer, sentence, err}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// maxUnread is what a refused client may have sent behind its hello, bytes: an honest one the
// line with ssh's version (255 at most), if it did not wait for the answer.
const maxUnread = 4 << 10

// refuse answers and closes. It waits for the client to have taken the answer, and reads
// what he sent ahead: closing with unread bytes would send a reset, which could overtake it.
func (g *Gateway) refuse(conn client, opened *hello.Opened, no *refusal, log ...any) {
	g.complain("refused", append(log, "kind", no.kind, "reason", no.sentence, "error", no.cause)...)
	conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := conn.Write(opened.Refuse(no.kind, no.sentence)); err != nil {
		return
	}
	conn.CloseWrite()
	io.Copy(io.Discard, io.LimitReader(conn, maxUnread)) // an honest client closes
}

// misuse reports whether an honest client never gets this refusal: somebody
// tries what is not his.
func (r *refusal) misuse() bool {
	return r.kind == kindTicket && !errors.Is(r.cause, hello.ErrExpired)
}

// ours reports whether the ticket of a misuse is one that the control plane signed.
func (r *refusal) ours() bool { return r.cause == nil || errors.Is(r.cause, hello.ErrOtherKey) }

// complain logs what a stranger can cause as often as he likes, and so no more
// than complaintsPerSecond of it; the next line says how many are missing.
func (g *Gateway) complain(message string, args ...any) {
	if !g.complaints.Allow() {
		g.unsaid.Add(1)
		return
	}
	if n := g.unsaid.Swap(0); n > 0 {
		args = append(args, "unsaid", n)
	}
	g.log.Warn(message, args...)
}

// carry accepts the client and relays until the end.
func (g *Gateway) carry(s *session, opened *hello.Opened, log []any) {
	log = append(log, "session", s.id)
	began := time.Now()
	var up, down int64
	defer func() {
		g.sessions.remove(s)
		cause := s.ended(causeError)
		g.ends.add(ended{s.id, s.end(cause, up, down)})
		g.log.Info("session ended", append(log, "cause", cause, "up", up, "down", down, "seconds", int(time.Since(began).Seconds()))...)
	}()
	defer s.server.Close()
	s.client.SetWriteDeadline(time.Now().Add(answerTimeout))
	if _, err := s.client.Write(opened.Accept()); err != nil {
		s.ended(causeClient)
		return
	}
	s.client.SetDeadline(time.Time{})
	g.log.Info("session started", log...)
	up, down = s.relay()
}
