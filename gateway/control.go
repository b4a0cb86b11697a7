package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

const (
	// reportEvery is the rule that the control plane's choice relies on: a
	// report of 5 minutes is stale.
	reportEvery = 2 * time.Minute
	// callTimeout bounds calls that do not wait by design.
	callTimeout = 10 * time.Second
	// Back-off of loops that found the control plane away. An order that it
	// gives when it is back must be heard well within 30 s.
	retryMin = time.Second
	retryMax = 15 * time.Second
	// disownedAfter is how many refusals in a row mean that the control plane no
	// longer knows this gateway, and not that an instance of it is confused.
	disownedAfter = 3
)

// claimPath takes what clients said first.
const claimPath = "/v1/gateway/sessions"

// claim posts the opened hello. It is tried once: whoever does not hear the
// answer cannot know whether the nonce is spent, and the client has a new one
// for the next gateway.
func (g *Gateway) claim(ctx context.Context, claim api.Claim) (api.Claimed, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	var got api.Claimed
	err := g.opt.Client.Send(ctx, http.MethodPost, claimPath, claim, &got)
	if err == nil && got.Session == "" {
		err = api.Errorf(api.Internal, "the control plane named no session")
	}
	return got, err
}

// tell has the control plane record what was refused here, at the rate of the
// complaints: whoever holds the ticket should find it in the audit. Tickets of ours have a
// rate of their own, as junk would else hide that one was stolen.
func (g *Gateway) tell(opened *hello.Opened, from netip.AddrPort, no *refusal) {
	rate := g.complaints
	if no.ours() {
		rate = g.thefts
	}
	if !rate.Allow() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), claimTimeout)
	defer cancel()
	in := api.Claim{Hello: opened.Claim, Source: from.String(), Refused: no.sentence}
	if err := g.opt.Client.Send(ctx, http.MethodPost, claimPath, in, nil); api.KindOf(err) != api.Denied {
		g.log.Warn("cannot tell the control plane of a refusal", "source", from, "error", err)
	}
}

// reportLoop reports every reportEvery, and at once when woken.
func (g *Gateway) reportLoop(ctx context.Context) error {
	var retry backoff
	for {
		wait := jitter(reportEvery)
		if err := g.reportOnce(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("cannot report to the control plane", "error", err)
			wait = retry.next()
		} else {
			retry = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-g.report:
		}
	}
}

// reportOnce tells how the gateway is. One report waits for the one before it: overtaken by
// that, it would be forgotten, and a gateway that drains be chosen until the next one.
func (g *Gateway) reportOnce(ctx context.Context) error {
	select {
	case g.telling <- struct{}{}:
		defer func() { <-g.telling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if g.left() {
		return nil // the next process speaks for the gateway now
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := g.sealing.renew(g.clock.local(), &g.opener); err != nil {
		return err
	}
	why := g.health.why()
	in := api.GatewayReport{
		Healthy: why == "", Health: why, Draining: g.draining.Load() || g.opt.RefuseConnections, Sessions: g.sessions.count() + g.before.count(),
		SealingKeys: g.sealing.public(), Version: g.opt.Version,
		Uptime: max(1, int64(g.clock.local().Sub(g.began)/time.Second)), UptimeMillis: max(1, g.clock.local().Sub(g.began).Milliseconds()),
	}
	g.reportRecording(&in)
	var got api.GatewayReportAnswer
	if err := g.opt.Client.Send(ctx, http.MethodPost, "/v1/gateway/report", in, &got); err != nil {
		return err
	}
	g.sealing.acknowledge(got.Acknowledged, g.clock.local())
	g.acknowledgeRecording(got.Recording)
	g.obey(got.RefuseConnections)
	g.learn(got.GatewayKeys)
	return nil
}

// obey takes an administrator's word that this gateway shall refuse connections,
// or take them again. Live sessions run on.
func (g *Gateway) obey(refuse bool) {
	if g.refusing.Swap(refuse) != refuse {
		g.log.Info("an administrator decided", "refuse_connections", refuse)
	}
}

// accepting fails where somebody wants this gateway to take no connections: a
// balancer should send nobody.
func (g *Gateway) accepting(context.Context) error {
	if g.opt.RefuseConnections || g.refusing.Load() {
		return errors.New("it is told to refuse connections")
	}
	if g.unknown.Load() {
		return errors.New("the control plane has disabled it, or does not know it")
	}
	return nil
}

// learn takes the ticket keys that an answer brought. An empty set is a fault
// of the control plane and changes nothing.
func (g *Gateway) learn(k api.GatewayKeys) {
	if len(k.TicketKeys) == 0 {
		return
	}
	public := make([][]byte, 0, len(k.TicketKeys))
	for _, p := range k.TicketKeys {
		public = append(public, p)
	}
	keys, err := ticketKeys(public)
	if err != nil {
		g.log.Error("the control plane sent a malformed ticket key", "error", err)
		return
	}
	g.tickets.Store(&keys)
}

func ticketKeys(public [][]byte) (hello.TicketKeys, error) {
	keys := make(hello.TicketKeys, len(public))
	for _, p := range public {
		one, err := hello.NewTicketKeys(p)
		if err != nil {
			return nil, err
		}
		for id, key := range one {
			keys[id] = key
		}
	}
	return keys, nil
}

// watchLoop hears orders: sessions to end, and new ticket keys.
func (g *Gateway) watchLoop(ctx context.Context) error {
	var retry backoff
	after, refused := int64(0), 0
	for ctx.Err() == nil {
		var got api.GatewayWatch
		found, err := g.watchOnce(ctx, after, &got)
		if err != nil && ctx.Err() == nil {
			refused = g.disowned(err, refused)
			g.log.Warn("cannot hear the control plane", "error", err)
			sleep(ctx, retry.next())
			continue
		}
		retry, refused = 0, 0
		g.unknown.Store(false)
		if !found {
			continue
		}
		after = max(after, got.After)
		g.obey(got.RefuseConnections)
		g.learn(got.GatewayKeys)
		if n := g.sessions.end(got.End, got.Reasons, g.clock.local()); n > 0 {
			g.log.Info("sessions ended by order", "count", n)
		}
	}
	return nil
}

func (g *Gateway) watchOnce(ctx context.Context, after int64, got *api.GatewayWatch) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, api.LongPoll+callTimeout)
	defer cancel()
	q := url.Values{
		"after": {strconv.FormatInt(after, 10)},
		"wait":  {strconv.Itoa(int(api.LongPoll / time.Second))},
	}
	return g.opt.Client.Get(ctx, "/v1/gateway/watch", q, got)
}

// disowned counts refusals in a row. A gateway that is disabled or deleted can
// hear no order any more, so its sessions end when it learns that it is.
func (g *Gateway) disowned(err error, refused int) int {
	switch api.KindOf(err) {
	case api.SignIn, api.Denied, api.NotFound:
	default:
		return 0
	}
	if refused++; refused == disownedAfter {
		g.log.Error("the control plane no longer knows this gateway: ending its sessions", "sessions", g.sessions.count())
		g.unknown.Store(true)
		g.sessions.cutAll(causeRevoked)
	}
	return refused
}

// healthLoop looks after itself, and has a change reported at once.
func (g *Gateway) healthLoop(ctx context.Context) error {
	for ctx.Err() == nil {
		if g.health.look(ctx) || g.recorders.changed() || (g.sealing.wants() || g.recorders.wantsKey()) && g.tickets.Load() != nil {
			g.wakeReport()
		}
		if err := g.sealing.renew(g.clock.local(), &g.opener); err != nil {
			return err
		}
		sleep(ctx, healthEvery)
	}
	return nil
}

// jitter spreads what many gateways do at once: 80 to 100 % of d.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
