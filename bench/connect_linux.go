package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/postgres"
	"github.com/cardea-ssh/cardea/sshcert"
)

// callers is how many clients ask at once, each with a device and a session.
const callers = 8

// loadColumns are of what callers ask of a control plane for a time.
var loadColumns = []column{
	{"per_second", "calls/s", 0}, {"p50_ms", "p50 ms", 2}, {"p99_ms", "p99 ms", 2},
	{"control_ms", "control, CPU ms a call", 2}, {"database_ms", "database", 2}, {"load_ms", "load generator", 2},
	{"busy", "of all cores, %", 0}, {"failures", "failures", 0},
}

// connect measures how many certificates a second one control plane gives, each
// with its durable record.
func (b *bench) connect(ctx context.Context) error {
	t := &table{
		Name: "connect", Title: fmt.Sprintf("POST /v1/connect, %d clients, loopback HTTP", callers), Columns: loadColumns,
		Note: fmt.Sprintf("%d cores for all of them; %s of load, each call with its own proof and key; what is missing of 100 %% waited for the disk, or others had it", runtime.NumCPU(), b.opt.load),
	}
	err := b.engines(ctx, t, func(engine string, g *ground, db *postgres.Server) error {
		clients, err := g.clients(ctx)
		if err != nil {
			return err
		}
		return b.press(ctx, t, engine, g, db, func(i int) error {
			_, err := call(ctx, clients[i])
			return err
		})
	})
	b.report(t)
	return err
}

// engines raises a team on each database in turn.
func (b *bench) engines(ctx context.Context, t *table, do func(engine string, g *ground, db *postgres.Server) error) error {
	if err := b.onEngine(ctx, t, engineSQLite, nil, do); err != nil {
		return err
	}
	db, err := postgres.Start(ctx)
	switch {
	case errors.Is(err, postgres.ErrNone):
		t.Note += "; SKIPPED: " + err.Error()
		return nil
	case err != nil:
		return err
	}
	return errors.Join(b.onEngine(ctx, t, enginePostgres, db, do), db.Close())
}

func (b *bench) onEngine(ctx context.Context, t *table, engine string, db *postgres.Server, do func(string, *ground, *postgres.Server) error) (err error) {
	url := ""
	if db != nil {
		url = db.URL("postgres")
	}
	g, err := raise(ctx, b.opt.bin, filepath.Join(b.opt.dir, t.Name+"-"+strings.ToLower(engine)), url)
	if err != nil {
		return err
	}
	return errors.Join(do(engine, g, db), g.Close())
}

// press has callers do something for a time, and makes a row of what that took. Without
// a ground there is no control plane in it.
func (b *bench) press(ctx context.Context, t *table, row string, g *ground, db *postgres.Server, do func(caller int) error) error {
	clocks := []func() (time.Duration, error){
		func() (time.Duration, error) {
			if g == nil {
				return 0, nil
			}
			return cpuOf(g.ControlPID())
		}, ownCPU,
		func() (time.Duration, error) { return databaseCPU(db) },
	}
	before, err := readAll(clocks)
	if err != nil {
		return err
	}
	began := time.Now()
	took, failures := flood(ctx, b.opt.load, do)
	wall := time.Since(began)
	after, err := readAll(clocks)
	if err != nil {
		return err
	}
	for _, f := range failures[:min(1, len(failures))] {
		fmt.Fprintf(b.talk, "  %s: %v\n", t.Name, f)
	}
	share := func(i int) float64 { return 100 * (after[i] - before[i]).Seconds() / wall.Seconds() }
	each := func(i int) float64 { return milliseconds(after[i]-before[i]) / float64(max(1, len(took))) }
	t.add(row, map[string]float64{
		"per_second": float64(len(took)) / wall.Seconds(), "p50_ms": median(took), "p99_ms": quantile(took, 0.99),
		"control_cpu": share(0), "load_cpu": share(1), "database_cpu": share(2), "failures": float64(len(failures)),
		"control_ms": each(0), "load_ms": each(1), "database_ms": each(2),
		"busy": (share(0) + share(1) + share(2)) / float64(runtime.NumCPU()),
	})
	return nil
}

// clients signs people in and waits until the server has all their accounts:
// until then a call may wait for it.
func (g *ground) clients(ctx context.Context) ([]*api.Client, error) {
	var clients []*api.Client
	for i := range callers {
		p, err := g.person(ctx, fmt.Sprintf("caller%d", i+1))
		if err != nil {
			return nil, err
		}
		c, err := p.Client(ctx)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	for _, c := range clients {
		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			got, err := call(ctx, c)
			if err != nil {
				return nil, err
			}
			if got.Notice == "" {
				break
			}
			if time.Now().After(end) {
				return nil, errors.New(got.Notice)
			}
		}
	}
	return clients, nil
}

// call asks for one connection, as a local agent does: with a fresh key.
func call(ctx context.Context, c *api.Client) (got api.Connection, err error) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return got, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return got, err
	}
	in := api.Connect{Server: server, PublicKey: sshcert.Line(key)}
	err = c.Send(ctx, http.MethodPost, "/v1/connect", in, &got)
	if err == nil && (got.Certificate == "" || len(got.Routes) == 0) {
		err = errors.New("an answer without a certificate or a route")
	}
	return got, err
}

// flood has each caller do something over and over for a time, and returns the
// milliseconds of each.
func flood(ctx context.Context, load time.Duration, do func(caller int) error) (took []float64, failures []error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(load)
	for i := range callers {
		all.Go(func() {
			var mine []float64
			var bad []error
			for time.Now().Before(end) && ctx.Err() == nil {
				began := time.Now()
				if err := do(i); err != nil {
					bad = append(bad, err)
					continue
				}
				mine = append(mine, milliseconds(time.Since(began)))
			}
			mu.Lock()
			defer mu.Unlock()
			took, failures = append(took, mine...), append(failures, bad...)
		})
	}
	all.Wait()
	return took, failures
}
