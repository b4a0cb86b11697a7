package gateway

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	// lorisVariable is how many sockets of an attacker stall: 5000 by hand, on a quiet
	// machine, where the time of others is judged, too. Without it there are lorisSample.
	lorisVariable = "CARDEA_LORIS"
	lorisSample   = 600
)

// lorises stall at a gateway from n sockets: each dials again when it is closed, and sends
// one byte of a hello after the other.
func lorises(t *testing.T, addr string, n int, sources []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range n {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(sources[i%len(sources)])}}
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := dialer.DialContext(ctx, "tcp", addr)
				if err != nil {
					sleep(ctx, 100*time.Millisecond)
					continue
				}
				undo := context.AfterFunc(ctx, func() { conn.Close() })
				conn.Write([]byte("card"))
				conn.Read(make([]byte, 1)) // until it is closed
				undo()
				conn.Close()
				sleep(ctx, time.Second+time.Duration(i%1000)*time.Millisecond)
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// TestSlowStrangersKeepNobodyOut: from one address they get a part of all places, and
// from many they push each other out, the oldest first. Whoever has a hello gets in.
func TestSlowStrangersKeepNobodyOut(t *testing.T) {
	count := lorisSample
	n, err := strconv.Atoi(os.Getenv(lorisVariable))
	judged := err == nil
	if judged {
		count = n
	}
	for name, sources := range map[string][]string{
		"of one source": {"127.0.0.2"},
		"of forty sources": func() (s []string) {
			for i := range 40 {
				s = append(s, fmt.Sprintf("127.0.1.%d", i+1))
			}
			return s
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			p, server := newPlane(t), newSSHD(t)
			go func() {
				for c := range server.conns {
					c.Close()
				}
			}()
			g := runGateway(t, p, func(o *Options) {
				o.Log = nil
				o.limits = DefaultLimits()
				if !judged { // so that the sample fills it
					o.limits.Pending, o.limits.PendingPerSource = count/2, count/8
				}
			})
			stop := lorises(t, g.addr, count, sources)
			defer stop()
			full := min(count, g.gate.limits.Pending)
			if len(sources) == 1 {
				full = min(count, g.gate.limits.PendingPerSource)
			}
			eventually(t, "the strangers", func() bool {
				g.gate.mu.Lock()
				defer g.gate.mu.Unlock()
				return g.gate.pending.Len() >= full*9/10
			})
			var took []time.Duration
			for range 100 {
				began := time.Now()
				conn := newCaller(t, p, server.addr, g).mustCall(g)
				took = append(took, time.Since(began))
				conn.Close()
			}
			slices.Sort(took)
			t.Logf("%d strangers: the median of 100 took %s, the slowest but one %s", count, took[50], took[98])
			if judged && took[98] > time.Second {
				t.Errorf("the slowest but one of 100 took %s", took[98])
			}
			g.gate.mu.Lock()
			defer g.gate.mu.Unlock()
			for source, own := range g.gate.sources {
				if n := own.Len(); n > g.gate.limits.PendingPerSource {
					t.Errorf("%s holds %d places", source, n)
				}
			}
		})
	}
}
