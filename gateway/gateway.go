// Package gateway is the SSH gateway: it opens a sealed hello, checks the
// ticket within, lets the control plane claim it, dials the server that the
// ticket names, and from then on passes bytes and nothing else.
//
// A gateway holds no power of its own. It sees no plaintext, issues nothing,
// and starts no session that the control plane has not recorded. Sessions that
// are open live on while the control plane is away; new ones are refused, with
// that reason.
//
// docs/protocol.md says what passes between a client and a gateway.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/daemon"
)

// Options are what a gateway runs with. Zero values of the optional fields work.
type Options struct {
	// Credential and Client are what Enrol or Load returned.
	Credential Credential
	Client     *api.Client
	// StateDir is watched for free space.
	StateDir string
	// AllowTargets lists addresses that may be dialled although they are
	// loopback, link-local or another cloud's metadata service.
	AllowTargets []netip.Prefix
	// TLS, if not nil, is a second listener of Run: there the hello comes inside
	// TLS 1.3, for networks that let nothing else pass.
	TLS *net.TCPListener
	// ProxyFrom lists the balancers whose PROXY header (version 1 or 2) tells the
	// client's address. From them nothing else is taken.
	ProxyFrom []netip.Prefix
	// RefuseConnections takes no new sessions and reports so; live ones run on.
	RefuseConnections bool
	// From is what the process before told, if this one is to take its place.
	From *Handover
	// DrainNotice is how long a gateway that was told to stop goes on taking sessions
	// while it says already that it is not ready: a balancer needs so long to notice.
	DrainNotice time.Duration
	// DrainTime is how long live sessions may run on after the gateway was told
	// to stop; zero means DefaultDrain.
	DrainTime time.Duration
	// PeerTimeout is how long nothing may be heard of a client or a server, nor of its
	// kernel, before its session ends; zero means DefaultPeerTimeout.
	PeerTimeout time.Duration
	// Recording says where recordings go.
	Recording RecordingOptions
	// Version is told to the control plane.
	Version string
	Log     *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// The constants, but for tests that cannot wait for them or fill them.
	helloTimeout time.Duration
	limits       Limits
	recording    beginRecording
}

// DefaultDrain lets most sessions end by themselves and still lets an
// upgrade of a pool be done in an afternoon.
const DefaultDrain = 30 * time.Minute

// Gateway is a running gateway. Make it with New, run it with Run.
type Gateway struct {
	opt      Options
	log      *slog.Logger
	clock    *clock
	opener   hello.Opener
	tickets  atomic.Pointer[hello.TicketKeys]
	sealing  *sealing
	gate     *gate
	replays  replays
	sessions *sessions
	ends     *ends
	refusals *refusals
	target   target
	health   *health
	memory   *memoryGroup
	// recorders is nil where nothing can be recorded.
	recorders *Recorders
	tls       *tls.Config

	complaints *rate.Limiter
	thefts     *rate.Limiter // of tickets
	unsaid     atomic.Int64

	began time.Time // when this process did, by its own clock
	// In record mode: how a recording is begun, nil where this gateway cannot, and our key.
	recording beginRecording
	hostKey   ssh.Signer
	// beginTime and closeTime, but for tests.
	beginTime, closeTime time.Duration
	lastTime             time.Duration // flushTime, but for tests

	draining atomic.Bool
	refusing atomic.Bool   // by an administrator's word
	unknown  atomic.Bool   // the control plane does not know it any more, or has disabled it
	leaving  chan struct{} // closed when the next process takes over
	closing  func()        // see Leave; read after leaving is closed
	next     net.Conn      // the same
	heir     atomic.Pointer[heirloom]
	before   before
	report   chan struct{} // wakes the reporter; holds one
	telling  chan struct{} // holds one while a report is under way
	handlers sync.WaitGroup
}

// New makes a gateway that has no sealing key yet.
func New(opt Options) (*Gateway, error) {
	if opt.Client == nil || opt.Credential.Gateway == "" {
		return nil, fmt.Errorf("make gateway: it is not enrolled")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.DrainTime == 0 {
		opt.DrainTime = DefaultDrain
	}
	if opt.PeerTimeout == 0 {
		opt.PeerTimeout = DefaultPeerTimeout
	}
	if opt.helloTimeout == 0 {
		opt.helloTimeout = helloTimeout
	}
	if opt.limits == (Limits{}) {
		opt.limits = DefaultLimits()
	}
	g := &Gateway{
		opt:      opt,
		log:      opt.Log.With("gateway", opt.Credential.Gateway),
		clock:    newClock(opt.Now),
		sealing:  new(sealing),
		sessions: newSessions(),
		ends:     newEnds(),
		refusals: newRefusals(),
		target:   newTarget(opt.AllowTargets, opt.PeerTimeout),
		tls:      hello.ServerTLS(),
		report:   make(chan struct{}, 1),
		leaving:  make(chan struct{}),
		telling:  make(chan struct{}, 1),

		complaints: rate.NewLimiter(complaintsPerSecond, complaintsBurst),
		thefts:     rate.NewLimiter(complaintsPerSecond, complaintsBurst),
		gate:       newGate(opt.limits),
		beginTime:  beginTime, closeTime: closeTime, lastTime: flushTime,
	}
	g.began = g.clock.local()
	if opt.From != nil {
		if err := g.takeOver(*opt.From); err != nil {
			return nil, err
		}
	}
	g.memory = newMemoryGroup("/")
	g.memory.others = g.before.needs
	g.health = newHealth(opt.StateDir, g.memory)
	g.health.checks.Ready("control", g.acknowledged)
	g.health.checks.Ready("room", g.gate.room)
	g.health.checks.Ready("refusing", g.accepting)
	if opt.Client.HTTP == nil {
		opt.Client.HTTP = api.NewHTTP(nil)
	}
	inner := *opt.Client.HTTP
	inner.Transport = g.clock.watch(inner.Transport)
	opt.Client.HTTP = &inner
	if err := g.prepareRecording(); err != nil {
		return nil, err
	}
	return g, nil
}

// Health answers /healthz and /readyz.
func (g *Gateway) Health(mux *http.ServeMux) { g.health.checks.Register(mux) }

// Run serves clients on listener until ctx ends or Leave is called. Then it drains: it takes no
// new sessions, lets the live ones run on for DrainTime, cuts the rest, and
// reports their ends.
func (g *Gateway) Run(ctx context.Context, listener *net.TCPListener) error {
	// What tells the control plane must outlive ctx by the time of draining.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := g.sealing.renew(g.clock.local(), &g.opener); err != nil {
		return err
	}
	g.health.look(life)
	parts := daemon.NewGroup(life)
	parts.Go("report", g.reportLoop)
	parts.Go("watch", g.watchLoop)
	parts.Go("ends", func(ctx context.Context) error { return tellAll(ctx, g.ends.wake, g.tellEnd) })
	parts.Go("refusals", func(ctx context.Context) error { return tellAll(ctx, g.refusals.wake, g.tellRefusals) })
	parts.Go("health", g.healthLoop)
	parts.Go("peers", g.aliveLoop)
	parts.Go("memory", g.shedLoop)
	if g.recorders != nil {
		parts.Go("recordings", g.recorders.Run)
	}
	parts.Go("listen", func(context.Context) error { return g.accept(listener, false) })
	if g.opt.TLS != nil {
		parts.Go("listen inside TLS", func(context.Context) error { return g.accept(g.opt.TLS, true) })
	}
	parts.Go("stop", func(life context.Context) error {
		defer stop()
		defer g.closeListeners(listener)
		select {
		case <-ctx.Done():
			g.drain()
		case <-g.leaving:
			g.closeListeners(listener)
			g.retire()
		case <-life.Done():
		}
		return nil
	})
	err := parts.Wait()
	g.gate.closeAll()
	g.sessions.close()
	g.handlers.Wait()
	flush(g.tellEnd)
	flush(g.tellRefusals)
	g.goodbye(ctx)
	if g.recorders != nil {
		err = errors.Join(err, g.recorders.Close())
	}
	if g.left() {
		g.next.Close()
	}
	return err
}

func (g *Gateway) closeListeners(listener *net.TCPListener) {
	listener.Close()
	if g.opt.TLS != nil {
		g.opt.TLS.Close()
	}
}

// drain returns when no session is left, or DrainTime is over.
func (g *Gateway) drain() {
	g.log.Info("draining", "sessions", g.sessions.count(), "limit", g.opt.DrainTime)
	g.health.checks.Drain()
	if g.opt.DrainNotice > 0 {
		sleep(context.Background(), min(g.opt.DrainNotice, g.opt.DrainTime))
	}
	g.draining.Store(true)
	limit := time.NewTimer(g.opt.DrainTime)
	defer limit.Stop()
	// Here and not by the loop: without a session to wait for, the loop might
	// end before it has said so. Where there is one the loop tries again.
	if err := g.lastReport(); err != nil {
		g.log.Warn("cannot tell the control plane that this gateway drains", "error", err)
		g.wakeReport()
	}
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for g.gate.starting() > 0 || g.sessions.count() > 0 {
		select {
		case <-limit.C:
			g.log.Warn("cutting what has not ended", "sessions", g.sessions.count())
			return
		case <-look.C:
		}
	}
}

// goodbye tells, where this gateway was stopped, that it carries nothing any more: what it
// said last stands in the list of gateways until it is started again.
func (g *Gateway) goodbye(ctx context.Context) {
	if ctx.Err() == nil || g.left() {
		return
	}
	if err := g.lastReport(); err != nil {
		g.log.Warn("cannot tell the control plane that this gateway has stopped", "error", err)
	}
}

// lastReport is one of a gateway that stops, which a control plane that hangs shall not hold.
func (g *Gateway) lastReport() error {
	ctx, cancel := context.WithTimeout(context.Background(), g.lastTime)
	defer cancel()
	return g.reportOnce(ctx)
}

// drainLook is how soon a drained gateway notices that it may go.
const drainLook = 100 * time.Millisecond

// acknowledged fails until the control plane has heard of this gateway once.
// Later it may be away: whoever comes then is told so.
func (g *Gateway) acknowledged(context.Context) error {
	if g.tickets.Load() == nil {
		return errors.New("not yet in touch with the control plane")
	}
	return nil
}

func (g *Gateway) wakeReport() { wakeUp(g.report) }
