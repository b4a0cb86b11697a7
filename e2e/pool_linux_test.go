package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

const (
	// poolVariable is how many connections are tried while gateways die: 300 of them take
	// a minute. Without it there are poolSample.
	poolVariable = "CARDEA_POOL"
	poolSample   = 24
	// poolPace is one connection after another: five a second.
	poolPace = 200 * time.Millisecond
)

// attempt is one ssh that runs a command.
type attempt struct {
	began, ended time.Time
	err          error
}

// live is a session that stays, and the gateway that carries it.
type live struct {
	job     *job
	gateway string
	said    int
}

// TestAPoolBehindHAProxyLosesMembers: three gateways stand behind one address. Each is
// killed and started again in turn while people come and go. Whoever comes after a kill gets
// in, and nobody's session ends but those that the dead gateway carried.
func TestAPoolBehindHAProxyLosesMembers(t *testing.T) {
	if skip != "" {
		t.Skip(skip)
	}
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("SKIPPED: there is no haproxy on this machine; type: make test, which installs it")
	}
	count := poolSample
	if n, err := strconv.Atoi(os.Getenv(poolVariable)); err == nil {
		count = n
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(count)*poolPace+5*time.Minute)
	defer cancel()
	w := newWorld(t)
	w.raise(ctx, "gateways=3", "balancer=haproxy", "web-1")
	alice := w.people["alice"]
	w.must(w.stage.Access(ctx, "web", "watchers", "user", "bob"))
	for _, name := range []string{"alice", "bob"} {
		w.signIn(ctx, w.people[name])
	}
	var stay []*live
	for range 6 {
		stay = append(stay, w.stay(ctx))
	}

	results := make([]attempt, count)
	var people sync.WaitGroup
	over := make(chan struct{})
	go func() {
		defer close(over)
		for i := range results {
			people.Go(func() {
				results[i].began = time.Now()
				out, err := w.command(ctx, alice, alice.Home, "ssh", "web-1", "echo in").CombinedOutput()
				if err != nil || !strings.Contains(string(out), "in\n") {
					err = fmt.Errorf("%v: %q", err, out)
				}
				results[i].ended, results[i].err = time.Now(), err
			})
			time.Sleep(poolPace)
		}
		people.Wait()
	}()
	var kills []time.Time
	span := time.Duration(count) * poolPace / time.Duration(2*len(w.stage.Gateways))
	for _, g := range w.stage.Gateways {
		time.Sleep(span)
		kills = append(kills, time.Now())
		w.must(g.Kill())
		id := w.gatewayID(ctx, g.Name)
		for _, l := range stay {
			if l.gateway != id {
				w.echoes(l)
			}
		}
		time.Sleep(span)
		w.must(g.Start(ctx))
		for i, l := range stay {
			if l.gateway == id {
				l.job.kill()
				stay[i] = w.stay(ctx)
			}
		}
	}
	<-over
	var slowest time.Duration
	for i, a := range results {
		slowest = max(slowest, a.ended.Sub(a.began))
		cut := false // a kill may have met it
		for _, k := range kills {
			cut = cut || a.began.Before(k) && a.ended.After(k)
		}
		if a.err != nil && !cut {
			t.Errorf("connection %d of %d: %v", i+1, count, a.err)
		}
	}
	t.Logf("%d connections over %d kills, the slowest took %s", count, len(kills), slowest)
	for _, l := range stay {
		w.echoes(l)
		l.job.kill()
	}

	// Where only TLS passes, through a proxy and by name, the same people get in.
	w.must(w.balancer.start(w.stage.Gateways, false))
	strict := w.command(ctx, alice, alice.Home, "ssh", "web-1", "echo inside")
	strict.Env = append(strict.Env, "HTTPS_PROXY="+w.balancer.proxy(t))
	out, err := strict.CombinedOutput()
	if err != nil || string(out) != "inside\n" {
		t.Errorf("inside TLS, by name: %v, %q", err, out)
	}
}

// stay begins a session that echoes, and finds out which gateway carries it.
func (w *world) stay(ctx context.Context) *live {
	w.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	mark := fmt.Sprint("mark-", w.visits.Add(1))
	bob := w.people["bob"] // whose sessions are these alone, one after another
	before := w.carried(ctx)
	j, err := begin(w.command(ctx, bob, bob.Home, "ssh", "web-1", "echo "+mark+"; cat"), cancel)
	w.must(err)
	l := &live{job: j}
	w.until("a session that stays, with "+mark, func() bool {
		select {
		case <-j.done:
			w.t.Fatalf("a session that should stay has ended: %s", j.errs.String())
		default:
		}
		return strings.Contains(j.out.String(), mark)
	})
	for id, gateway := range w.carried(ctx) {
		if _, old := before[id]; !old {
			l.gateway = gateway
		}
	}
	return l
}

// carried are bob's live sessions, and which gateway carries each.
func (w *world) carried(ctx context.Context) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	var list api.List[api.GatewaySession]
	_, err := w.stage.Client().Get(ctx, "/v1/gateway-sessions", url.Values{"user": {"bob"}, "live": {"true"}, "limit": {"100"}}, &list)
	w.must(err)
	for _, s := range list.Items {
		if s.EndedAt.IsZero() {
			out[s.ID] = s.Gateway
		}
	}
	return out
}

func (w *world) gatewayID(ctx context.Context, name string) string {
	w.t.Helper()
	var g api.Gateway
	_, err := w.stage.Client().Get(ctx, "/v1/gateways/"+name, nil, &g)
	w.must(err)
	return g.ID
}

// echoes proves that a session lives.
func (w *world) echoes(l *live) {
	w.t.Helper()
	l.said++
	word := fmt.Sprintf("word-%d.", l.said)
	fmt.Fprintln(l.job.stdin, word)
	w.until("the echo of a session that nothing happened to", func() bool { return strings.Contains(l.job.out.String(), word) })
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(longest); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s did not come", what)
		}
	}
}
