//go:build linux

package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/freeport"
)

// Gateway is one gateway of the stage.
type Gateway struct {
	Name string
	// Listen, Inside and Health are where it listens: for hellos, for TLS if there is a
	// balancer, and for those who ask how it is.
	Listen, Inside, Health string

	stage *Stage
	env   []string
	proc  *process
}

func (s *Stage) addGateway(ctx context.Context, name string) error {
	dir, err := s.dir(name)
	if err != nil {
		return err
	}
	port, err := freeport.At("127.0.0.1")
	if err != nil {
		return err
	}
	health, err := freeport.At("127.0.0.1")
	if err != nil {
		return err
	}
	g := &Gateway{Name: name, stage: s, Listen: fmt.Sprintf("127.0.0.1:%d", port), Health: fmt.Sprintf("127.0.0.1:%d", health)}
	egress, err := s.servers.Egress(ctx)
	if err != nil {
		return err
	}
	token := api.NewEnrolmentToken{Kind: "gateway", Name: name, Address: g.Listen, Egress: []string{egress}}
	var balanced []string
	if s.opt.Access != "" {
		inside, err := freeport.At("127.0.0.1")
		if err != nil {
			return err
		}
		g.Inside = fmt.Sprintf("127.0.0.1:%d", inside)
		token.Address, token.TLSAddress = s.opt.Access, s.opt.Inside
		balanced = []string{"CARDEA_PROXY_FROM=127.0.0.1", "CARDEA_LISTEN_TLS=" + g.Inside}
	}
	secret, err := s.token(ctx, token)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "enrollment.token"), []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	g.env = append([]string{
		"CARDEA_CONTROL_URL=" + s.URL,
		"CARDEA_STATE_DIR=" + dir,
		"CARDEA_LISTEN=" + g.Listen, "CARDEA_DRAIN_TIME=2s",
		"CARDEA_HEALTH_LISTEN=" + g.Health,
		// A tenth of this machine's disk need not be free to record what is done here.
		"CARDEA_SPOOL_RESERVE=64MiB",
	}, slices.Concat(balanced, s.opt.Gateway)...)
	s.Gateways = append(s.Gateways, g)
	return g.Start(ctx)
}

// Start starts it and waits until it says that it is ready: the control plane
// has acknowledged its sealing key.
func (g *Gateway) Start(ctx context.Context) (err error) {
	if g.proc, err = g.stage.start(g.Name, g.env, g.stage.bin("cardea-gateway"), "serve"); err != nil {
		return err
	}
	return until(ctx, "wait for "+g.Name, func() (bool, error) {
		if err := g.proc.alive(); err != nil {
			return false, err
		}
		return ready(ctx, "http://"+g.Health+"/readyz")
	})
}

// Stop ends it the polite way: it drains.
func (g *Gateway) Stop() error { return g.proc.stop() }

// Kill ends it as a crash does.
func (g *Gateway) Kill() error { return g.proc.kill() }

// PID is its process, for measurements.
func (g *Gateway) PID() int { return g.proc.cmd.Process.Pid }

// Log is what it has said.
func (g *Gateway) Log() string { return g.proc.tail() }
