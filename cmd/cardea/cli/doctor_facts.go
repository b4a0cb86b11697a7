package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/doctor"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
	"github.com/cardea-ssh/cardea/proxycmd"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/sshconfig"
)

// patient is this machine and this user, as doctor's checks look at them. What two of them
// need is asked for once.
type patient struct {
	*app
	configErr error
	saved     login.Saved
	savedErr  error

	asked  sync.Once
	status agent.Status
	runs   bool
	err    error

	// ways is closed when it is known by which ways a connection to the server is led that is
	// looked at; routes are set before, if it is led at all.
	ways    chan struct{}
	leading sync.Once
	routes  []agent.Route
}

// lead notes the ways, the first ones that it is told.
func (p *patient) lead(routes []agent.Route) {
	p.leading.Do(func() {
		p.routes = routes
		close(p.ways)
	})
}

// led tells who looks at gateways by which ways the agent leads.
type led struct {
	*agent.Control
	lead func([]agent.Route)
}

func (l led) Connect(ctx context.Context, host, login string, parent int) (agent.Connected, error) {
	c, err := l.Control.Connect(ctx, host, login, parent)
	if err == nil {
		l.lead(c.Routes)
	}
	return c, err
}

func (a *app) patient(configErr error) *patient {
	p := &patient{app: a, configErr: configErr, ways: make(chan struct{})}
	p.saved, p.savedErr = a.home.Peek()
	return p
}

func (p *patient) url() string { return cmp.Or(p.opt.URL, p.saved.URL) }

// agentStatus asks the agent that runs, and starts none.
func (p *patient) agentStatus(ctx context.Context) (agent.Status, bool, error) {
	p.asked.Do(func() {
		control := &agent.Control{Paths: p.paths}
		p.status, p.err = control.Status(ctx)
		if p.runs = p.err == nil; errors.Is(p.err, agent.ErrNotRunning) {
			p.err = nil
		}
	})
	return p.status, p.runs, p.err
}

func (p *patient) config(context.Context) []doctor.Finding {
	f := doctor.ConfigFacts{File: p.loader.File(), Err: p.configErr, Dir: p.home.Dir}
	if api.KindOf(p.savedErr) != api.SignIn {
		f.Unsafe = p.savedErr
	}
	return doctor.Config(f)
}

func (p *patient) ssh(ctx context.Context) []doctor.Finding {
	f := doctor.SSHFacts{Own: p.ownSSHConfig(), Included: p.paths.SSHConfig(), Missing: func(path string) bool { _, err := os.Stat(path); return err != nil }}
	f.Binary, _ = os.Executable()
	own, err := readOwn(f.Own)
	f.OwnErr = err
	_, changed, err := sshconfig.Include(own, p.includePath())
	f.First = err == nil && !changed
	_, f.Somewhere, _ = sshconfig.Exclude(own, p.includePath())
	f.Text, f.Err = readOwn(f.Included)
	if f.Err == nil && f.Text == nil {
		f.Err = fs.ErrNotExist
	}
	for _, path := range []string{f.Own, f.Included} {
		if writableByOthers(path) {
			f.Open = path
		}
	}
	c, _, err := (&agent.Control{Paths: p.paths}).Catalog(ctx)
	if err == nil {
		for _, s := range c.Servers {
			f.Servers = append(f.Servers, s.ID)
		}
		s, _, _ := p.agentStatus(ctx)
		f.Skipped = s.Skipped
	}
	return append(doctor.SSH(f), doctor.View(p.view(ctx, f, c.Servers))...)
}

// viewTime bounds what ssh takes to say what it has read.
const viewTime = 5 * time.Second

// view asks ssh what it makes of its configuration, for the first server that is ours there.
func (p *patient) view(ctx context.Context, f doctor.SSHFacts, servers []api.CatalogEntry) doctor.ViewFacts {
	v := doctor.ViewFacts{Included: f.First || f.Somewhere, Socket: p.paths.SSHSocket(), KnownHosts: p.paths.KnownHosts()}
	path, err := exec.LookPath("ssh")
	if err != nil {
		return v
	}
	v.Path = path
	ctx, cancel := context.WithTimeout(ctx, viewTime)
	defer cancel()
	v.Version = sshVersion(ctx, path)
	for _, s := range servers {
		name := s.Name + "." + s.ProjectName
		if checkEntry(s) != nil || !strings.Contains(string(f.Text), name) {
			continue
		}
		v.Server, v.Alias = name, sshcert.HostPrincipal(s.ID)
		began := time.Now()
		args := []string{"-G", "--", name}
		if filepath.Dir(filepath.Dir(f.Own)) != realHome() { // which is where ssh looks
			args = append([]string{"-F", f.Own}, args...)
		}
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		v.Took, v.Err = time.Since(began), err
		if err != nil {
			v.Err = errors.New(strings.TrimSpace(cmp.Or(string(out), err.Error())))
		}
		v.Options = map[string]string{}
		for line := range strings.Lines(string(out)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			v.Options[key] = strings.Trim(value, `"`)
		}
		break
	}
	return v
}

func (p *patient) agent(ctx context.Context) []doctor.Finding {
	s, runs, err := p.agentStatus(ctx)
	socket := p.paths.ControlSocket()
	f := doctor.AgentFacts{Running: runs, Err: err, Version: version.Get().Version, SSHConfig: p.paths.SSHConfig(), Socket: socket, Now: p.now()}
	f.Status = doctor.AgentStatus{PID: s.PID, Version: s.Version, SSHConfig: s.SSHConfig, Problem: s.Problem, SeenAt: s.SeenAt, Servers: s.Servers, Locked: s.Locked}
	for _, path := range []string{filepath.Dir(socket), socket} {
		f.Loose = f.Loose || writableByOthers(path)
		f.Foreign = f.Foreign || ofOthers(path)
	}
	return doctor.Agent(f)
}

// keyThere: looking at a key must not make one.
func (p *patient) keyThere() bool {
	if p.saved.KeyFile != "" {
		return true
	}
	_, err := os.Lstat(p.home.KeyPath())
	return !errors.Is(err, fs.ErrNotExist)
}

func (p *patient) session(ctx context.Context) []doctor.Finding {
	f := doctor.SessionFacts{URL: p.url(), Saved: p.saved.Session, SavedAs: p.savedErr, Now: p.now()}
	if p.savedErr == nil && p.keyThere() {
		f.Asked, f.Live = true, p.saved.Session
		client, err := p.acct.Client(ctx)
		if err == nil {
			_, err = client.Get(ctx, "/v1/session", nil, &f.Live)
		}
		f.Err = err
	}
	return doctor.Session(f)
}

func (p *patient) key(context.Context) []doctor.Finding {
	f := doctor.KeyFacts{There: p.keyThere(), Path: p.home.KeyPath(), Kind: login.KeyInFile}
	if f.There || p.saved.SignedIn() { // which had one
		key, err := p.home.KeyOf(p.saved)
		if err == nil {
			_, err = key.Proof("GET", cmp.Or(p.url(), "https://access.example.com"), "", "")
		}
		f.Err = err
		if p.saved.KeyFile != "" {
			f.Path = p.saved.KeyFile
		} else if d, derr := p.home.Look(); derr == nil {
			f.Kind = d.Kind
		}
	}
	return []doctor.Finding{doctor.Key(f)}
}

func (p *patient) control(ctx context.Context) []doctor.Finding {
	if p.url() == "" {
		return doctor.Control(doctor.ControlFacts{})
	}
	client, err := login.HTTP(cmp.Or(p.opt.CAFile, p.saved.CAFile))
	if err != nil {
		return doctor.Control(doctor.ControlFacts{URL: p.url(), Err: err})
	}
	return doctor.Control(doctor.LookAtControl(ctx, p.url(), client, doctor.Environment()))
}

func (p *patient) gateways(ctx context.Context, server string) []doctor.Finding {
	f := doctor.GatewayFacts{Server: server}
	if server != "" {
		select {
		case <-p.ways:
		case <-ctx.Done():
		}
		p.lead(nil) // from here on they stay as they are
		f.Led = len(p.routes) > 0
		for _, r := range p.routes {
			if g := (doctor.Gateway{Address: r.Address, TLS: r.TLS}); !r.Direct() && !slices.Contains(f.Gateways, g) {
				f.Gateways = append(f.Gateways, g)
			}
		}
	}
	if !f.Led {
		s, _, _ := p.agentStatus(ctx)
		f.Gateways = known(s)
	}
	f.Gateways = doctor.LookAtGateways(ctx, f.Gateways, proxycmd.Dial, doctor.Environment())
	return doctor.Gateways(f)
}

// known are the gateways that the agent has been sent to.
func known(s agent.Status) (out []doctor.Gateway) {
	for _, g := range s.Gateways {
		out = append(out, doctor.Gateway{Address: g.Address, TLS: g.TLS})
	}
	return out
}

func (p *patient) server(ctx context.Context, name string) []doctor.Finding {
	defer p.lead(nil) // it did not come so far
	f := doctor.ServerFacts{Name: name, Now: p.now()}
	if p.savedErr != nil {
		return []doctor.Finding{doctor.Skip("server", errNoSession.Error())}
	}
	if f.Entry, f.Err = p.app.server(ctx, name); f.Err != nil {
		return doctor.Server(f)
	}
	var both sync.WaitGroup
	both.Go(func() {
		client, err := p.acct.Client(ctx)
		if err == nil {
			q, _ := whyOptions{server: f.Entry.ID}.query()
			_, err = client.Get(ctx, "/v1/why", q, &f.Why)
		}
		f.WhyErr = err
	})
	both.Go(func() { p.try(ctx, &f) })
	both.Wait()
	return doctor.Server(f)
}

// try begins a connection.
func (p *patient) try(ctx context.Context, f *doctor.ServerFacts) {
	control, err := p.app.agent()
	if err != nil {
		f.Tried, f.TryErr = true, err
		return
	}
	began := time.Now()
	r, err := proxycmd.Probe(ctx, proxycmd.Options{Agent: led{control, p.lead}, Host: f.Entry.ID, Through: p.bastions(control)})
	f.Tried, f.TryErr, f.Took = true, err, time.Since(began)
	f.Address, f.Gateway, f.Bastion, f.Banner = r.Address, r.Gateway, r.Bastion, r.Banner
}
