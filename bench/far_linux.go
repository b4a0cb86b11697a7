package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/freeport"
)

// roundTrip is how far away everything is in part far, if nothing else is said: another
// continent's near coast. On a busy machine a longer one shows round trips better.
const roundTrip = 50 * time.Millisecond

// far measures one command where server, gateway and control plane are a long way from the
// person, and near each other: what counts there is how often somebody waits for an answer.
func (b *bench) far(ctx context.Context) (err error) {
	port, err := freeport.At("127.0.0.1")
	if err != nil {
		return err
	}
	control, err := newLink(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer control.Close()
	g, err := raise(ctx, b.opt.bin, filepath.Join(b.opt.dir, "far"), "", func(o *stage.Options) {
		o.Port, o.Control = control.port(), append(o.Control, "CARDEA_LISTEN="+control.to)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	gateway, err := newLink(g.Gateways[0].Listen)
	if err != nil {
		return err
	}
	defer gateway.Close()
	sshd, err := newLink(g.hosts.Addr(server).String() + ":22")
	if err != nil {
		return err
	}
	defer sshd.Close()
	address := gateway.Addr().String()
	if err := g.Client().Send(ctx, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{Address: &address}, nil); err != nil {
		return err
	}
	w, err := newWays(ctx, g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	some := append([]*way{w.plain(wayDirect, server, nothing, "-o", "HostName=127.0.0.1", "-o", fmt.Sprintf("Port=%d", sshd.port()))}, w.only(wayPipe, wayPass)...)
	if err := g.warm(ctx, some); err != nil {
		return err
	}
	// Who is connected stays near: the gateway. Alice's agent connects anew.
	if _, err := g.alice.Must(ctx, "cardea", "agent", "stop"); err != nil {
		return err
	}
	for _, l := range []*link{control, gateway, sshd} {
		l.delay.Store(int64(b.opt.away / 2))
	}
	// Here, since what a measured command starts ends with it.
	if _, err := g.alice.Must(ctx, "cardea", "ssh", server, "true"); err != nil {
		return err
	}
	if err := g.warm(ctx, some); err != nil {
		return err
	}
	t, err := farTable(ctx, g, some, b.opt)
	if err == nil {
		b.report(t)
	}
	return err
}

func farTable(ctx context.Context, g *ground, some []*way, o options) (*table, error) {
	wall := map[string][]float64{}
	for range o.rounds {
		if err := g.certify(ctx); err != nil {
			return nil, err
		}
		for _, i := range rand.Perm(len(some)) {
			got, err := some[i].job(nil, "true").must(ctx)
			if err != nil {
				return nil, err
			}
			wall[some[i].name] = append(wall[some[i].name], milliseconds(got.Wall))
		}
	}
	t := &table{
		Name: "far", Title: fmt.Sprintf("ssh host true, %s away", o.away), Columns: []column{{"wall_ms", "wall ms", 1}, {"best_ms", "best", 1}, {"trips", "added round trips", 2}},
		Note: fmt.Sprintf("medians of %d, interleaved; a copier holds back what passes between the person and server, gateway and control plane", o.rounds),
	}
	base := median(wall[wayDirect])
	for _, way := range some {
		m := median(wall[way.name])
		t.add(way.name, map[string]float64{"wall_ms": m, "best_ms": quantile(wall[way.name], 0), "trips": (m - base) / milliseconds(o.away)})
	}
	return t, nil
}

// link is a long way to an address: what passes arrives later, in order and as fast as before.
type link struct {
	net.Listener
	to    string
	delay atomic.Int64 // of connections that begin from now on, one way
}

func newLink(to string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{Listener: listener, to: to}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go l.carry(c, time.Duration(l.delay.Load()))
		}
	}()
	return l, nil
}

func (l *link) port() int { return l.Addr().(*net.TCPAddr).Port }

// carry copies both ways. Whoever connected knows of it a round trip too early, since our
// kernel answered, and the other side half of one; so what they say is held back for as long.
func (l *link) carry(from net.Conn, delay time.Duration) {
	defer from.Close()
	to, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer to.Close()
	begun := time.Now()
	var both sync.WaitGroup
	both.Go(func() { late(to, from, delay, begun.Add(2*delay)) })
	both.Go(func() { late(from, to, delay, begun.Add(delay)) })
	both.Wait()
}

// late copies from src to dst what was read delay ago, and nothing that was said before it
// could be.
func late(dst, src net.Conn, delay time.Duration, earliest time.Time) {
	type piece struct {
		due  time.Time
		data []byte
	}
	way := make(chan piece, 4096)
	go func() {
		defer close(way)
		for {
			buf := make([]byte, 32<<10)
			n, err := src.Read(buf)
			if n > 0 {
				said := time.Now()
				if said.Before(earliest) {
					said = earliest
				}
				way <- piece{said.Add(delay), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := dst.Write(p.data); err != nil {
			src.Close()
			break
		}
	}
	for range way { // so that the reader ends
	}
	dst.(*net.TCPConn).CloseWrite()
}
