package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cardea-ssh/cardea/api"
)

// Gateway is one gateway of the stage.
type Gateway struct {
	Name string

	stage  *Stage
	env    []string
	health string // URL that says whether it is ready
	proc   *process
}

func (s *Stage) addGateway(ctx context.Context, name string) error {
	dir, err := s.dir(name)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	health, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	egress, err := s.servers.Egress(ctx)
	if err != nil {
		return err
	}
	secret, err := s.token(ctx, api.NewEnrolmentToken{Kind: "gateway", Name: name, Address: address, Egress: []string{egress}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "enrollment.token"), []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	g := &Gateway{Name: name, stage: s, health: fmt.Sprintf("http://127.0.0.1:%d/readyz", health), env: []string{
		"CARDEA_CONTROL_URL=" + s.URL,
		"CARDEA_STATE_DIR=" + dir,
		"CARDEA_LISTEN=" + address, "CARDEA_DRAIN_TIME=2s",
		fmt.Sprintf("CARDEA_HEALTH_LISTEN=127.0.0.1:%d", health),
	}}
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
		return ready(ctx, g.health)
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
