//go:build linux

package stage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/freeport"
)

// patience bounds the wait for anything that usually takes a second: a machine
// that also compiles takes longer.
const patience = 60 * time.Second

// Options say what to build.
type Options struct {
	// Bin is the folder of the four programs.
	Bin string
	// Dir is where everything is written; it must exist and be empty, and its
	// path must be short, because sockets lie below it.
	Dir string
	// Port is the control plane's; 0 takes a free one.
	Port int
	// Database is a PostgreSQL URL; empty means SQLite in Dir.
	Database string
	// Begun is the folder of a stage that Begin began, whose control plane is copied: to
	// initialise one, with all its tables, takes longer than to run it. Empty, or with a
	// PostgreSQL, each initialises its own.
	Begun string
	// Control is more of the control plane's environment.
	Control []string
	// Gateways is how many there are, and Gateway more of their environment.
	Gateways int
	Gateway  []string
	// Access is the address of a balancer in front of all gateways, which tells them the
	// client by a PROXY header, and Inside the one where it takes TLS for them. Empty means
	// that people dial each gateway.
	Access, Inside string
	// Servers makes virtual hosts; nil means in this process, which needs root.
	Servers Servers
	// Browser is a command that signs people in (see package browse).
	Browser string
	// Step is told what is being done, and runs it; nil just runs it.
	Step func(what string, do func() error) error
}

// Stage is the team. Its parts may be used by one goroutine at a time.
type Stage struct {
	URL   string
	Admin *Person
	// Gateways are gw-1, gw-2, …
	Gateways []*Gateway

	opt     Options
	control *process
	servers Servers
	client  *api.Client // the administrator's
	passwd  string      // the administrator's
}

// New starts the control plane and the gateways and signs the administrator in.
func New(ctx context.Context, opt Options) (*Stage, error) {
	if opt.Step == nil {
		opt.Step = func(_ string, do func() error) error { return do() }
	}
	s := &Stage{opt: opt, servers: opt.Servers}
	if s.servers == nil {
		s.servers = &Local{Agent: s.bin("cardea-server-agent")}
	}
	if err := s.raise(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) raise(ctx context.Context) (err error) {
	if s.opt.Port == 0 {
		if s.opt.Port, err = freeport.At("127.0.0.1"); err != nil {
			return err
		}
	}
	s.URL = fmt.Sprintf("http://127.0.0.1:%d", s.opt.Port)
	err = s.opt.Step("start the control plane", func() error {
		if err := s.initControl(ctx); err != nil {
			return err
		}
		return s.StartControl(ctx)
	})
	if err != nil {
		return err
	}
	err = s.opt.Step("sign the administrator in", func() error {
		s.Admin, err = s.person("admin", s.passwd)
		if err == nil {
			err = s.Admin.SignIn(ctx)
		}
		if err == nil {
			s.client, err = s.Admin.Client(ctx)
		}
		return err
	})
	if err != nil || s.opt.Gateways == 0 {
		return err
	}
	return s.opt.Step(fmt.Sprintf("start %d gateways", s.opt.Gateways), func() error {
		for i := range s.opt.Gateways {
			if err := s.addGateway(ctx, fmt.Sprintf("gw-%d", i+1)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close ends all that was started, people's agents included. The folder stays.
func (s *Stage) Close() error {
	errs := []error{s.servers.Close()}
	for _, g := range s.Gateways {
		errs = append(errs, g.Stop())
	}
	errs = append(errs, s.StopControl(), endBelow(s.opt.Dir))
	return errors.Join(errs...)
}

// Client is the administrator's, for what has no method here.
func (s *Stage) Client() *api.Client { return s.client }

// bin is the path of a program.
func (s *Stage) bin(name string) string { return filepath.Join(s.opt.Bin, name) }

// dir makes a folder below the stage's.
func (s *Stage) dir(name ...string) (string, error) {
	d := filepath.Join(append([]string{s.opt.Dir}, name...)...)
	return d, os.MkdirAll(d, 0o700)
}

// The pauses between two questions whether something is ready.
const firstPause, lastPause = 20 * time.Millisecond, 160 * time.Millisecond

// until calls ready until it is true, ctx ends or patience does.
func until(ctx context.Context, what string, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Asking costs the control plane as much as what it is asked about, so the pause grows.
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ok, err := ready()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

// ready asks a health endpoint.
func ready(ctx context.Context, url string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	client := http.Client{Timeout: time.Second}
	res, err := client.Do(req)
	if err != nil {
		return false, err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("%s answers %s", url, res.Status)
	}
	return true, nil
}

// endBelow ends every process of the stage in dir, known by its environment:
// local agents outlive the command that started them.
func endBelow(dir string) error {
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, p := range procs {
		env, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(env), "CARDEA_STAGE="+dir+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if proc, err := os.FindProcess(pid); err == nil {
			proc.Kill()
		}
	}
	return nil
}
