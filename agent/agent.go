package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cardea-ssh/cardea/agent/socket"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/filelock"
	"github.com/cardea-ssh/cardea/internal/version"
	"golang.org/x/sync/errgroup"
)

const (
	// DefaultIdle is how long an agent stays that nobody asks anything: as long as a session
	// lasts by default. The next command starts another one.
	DefaultIdle = 12 * time.Hour
	// maxConns bounds the connections to each socket. Every ssh that is signing in holds one;
	// 200 at once must work.
	maxConns = 512
)

// ErrRunning means that another agent of this user runs already.
var ErrRunning = errors.New("the local agent runs already")

// Account is who is signed in. It reads the session anew when that changes; its error is of
// kind api.SignIn if there is none.
type Account interface {
	Client(ctx context.Context) (*api.Client, error)
}

// Options of an agent. Only Account, Paths and Binary are needed.
type Options struct {
	Account Account
	Paths   Paths
	// Binary is the absolute path of cardea, which ssh runs as ProxyCommand.
	Binary string
	// UserAgent is the socket of the user's own ssh-agent (SSH_AUTH_SOCK), which "ssh -A"
	// forwards; empty if he has none.
	UserAgent string
	// SSH is the ssh to look at; empty means the one in PATH.
	SSH string
	// Rotate renews the token of the session when it is time; nil for never.
	Rotate func(context.Context) error
	// Listeners are sockets of Paths that a service manager has opened; it keeps them, and
	// starts the next agent when somebody asks there.
	Listeners []net.Listener
	// Desktop is where the person is told and asked something; nil for nowhere.
	Desktop Desktop
	// Confirm has the person asked before each use of a key.
	Confirm bool
	// Tick is how often is looked whether to leave, and whether the session ends; zero means each
	// minute.
	Tick time.Duration
	// Ends is when the session of the person who is signed in ends; zero if nobody needs to
	// hear of it. nil for never.
	Ends func(context.Context) (time.Time, error)
	Idle time.Duration // zero means DefaultIdle
	Log  *slog.Logger  // nil means no log
	Now  func() time.Time
	// Addresses are this machine's; nil asks the system.
	Addresses func() ([]net.Addr, error)
}

// Agent is one running agent.
type Agent struct {
	account   Account
	rotate    func(context.Context) error
	paths     Paths
	binary    string
	userAgent atomic.Value // string
	ssh       string
	idle      time.Duration
	log       *slog.Logger
	now       func() time.Time
	addresses func() ([]net.Addr, error)
	since     time.Time

	ids      identities
	prepared preparations
	catalog  catalog
	ways     ways
	gateways gateways
	guesses  likely
	measures measures
	loans    loans
	notices  notices
	desktop  Desktop
	confirm  bool
	ends     func(context.Context) (time.Time, error)
	tick     time.Duration
	asking   chan struct{} // held while a question is on the screen
	lock     lock
	pulse    pulse
	wake     chan chan error // asks watch to fetch
	lent     chan struct{}   // tells keepLoans that there are files
	stop     context.CancelFunc
	given    map[string]net.Listener // by path
	lastUse  atomic.Int64            // Unix nanoseconds

	// The rest belongs to watch alone.
	fetched   bool // the catalog is from this session's control plane, not from disk
	written   written
	probe     sync.Once
	passLogin bool
	changed   atomic.Bool // somebody signed in or out
}

// Run serves until ctx ends, somebody stops it or nobody asks for long. It returns
// ErrRunning at once if there is an agent already.
func Run(ctx context.Context, o Options) error {
	if o.Account == nil || o.Binary == "" || !filepath.IsAbs(o.Binary) {
		return errors.New("the agent needs an account and the absolute path of cardea")
	}
	if err := o.Paths.prepare(); err != nil {
		return err
	}
	given, err := givenFor(o.Paths, o.Listeners)
	if err != nil {
		return err
	}
	lock, err := onlyOne(ctx, o.Paths, len(given) > 0)
	if err != nil {
		return err
	}
	defer lock.Close()
	a := newAgent(o)
	a.given = given
	ctx, a.stop = context.WithCancel(ctx)
	defer a.stop()
	return a.run(ctx)
}

// handover is how long a new agent waits for one that is about to end.
const handover = 2 * time.Second

// onlyOne takes the lock that the one agent of a user holds. If another one has it and
// answers, that one stays; if it does not, it is ending, and we wait for that. Where the sockets
// are given to us it cannot be asked there.
func onlyOne(ctx context.Context, p Paths, given bool) (*os.File, error) {
	for end := time.Now().Add(handover); ; {
		lock, ok, err := filelock.Take(filepath.Join(p.Run, agentLock), false)
		if err != nil || ok {
			return lock, err
		}
		answers := false
		if !given {
			_, answers = (&Control{Paths: p}).Running(ctx)
		}
		if answers || time.Now().After(end) || ctx.Err() != nil {
			return nil, ErrRunning
		}
		time.Sleep(startPoll)
	}
}

// givenFor are the listeners by their paths, each of which has to be one of ours.
func givenFor(p Paths, listeners []net.Listener) (map[string]net.Listener, error) {
	given := map[string]net.Listener{}
	for _, l := range listeners {
		if l == nil || l.Addr().String() != p.SSHSocket() && l.Addr().String() != p.ControlSocket() {
			return nil, fmt.Errorf("a service manager has opened other sockets than %s and %s; check XDG_RUNTIME_DIR, and type: cardea agent install", p.SSHSocket(), p.ControlSocket())
		}
		given[l.Addr().String()] = l
	}
	return given, nil
}

// Ended reports whether no agent runs, without asking for one.
func (p Paths) Ended() bool {
	lock, ok, err := filelock.Take(filepath.Join(p.Run, agentLock), false)
	if ok {
		lock.Close()
	}
	return ok || errors.Is(err, fs.ErrNotExist) // there never was a folder for it
}

func newAgent(o Options) *Agent {
	now := defaultNow(o.Now)
	a := &Agent{
		account: o.Account, rotate: o.Rotate, desktop: o.Desktop, confirm: o.Confirm, ends: o.Ends, tick: cmp.Or(o.Tick, time.Minute), asking: make(chan struct{}, 1), paths: o.Paths, binary: o.Binary, ssh: o.SSH,
		idle: o.Idle, log: o.Log, now: now, addresses: o.Addresses, since: now(), wake: make(chan chan error), lent: make(chan struct{}, 1), stop: func() {},
	}
	a.ids.now, a.catalog.now, a.lock.now = now, now, now
	a.lock.file = filepath.Join(o.Paths.State, lockFileName)
	a.userAgent.Store(o.UserAgent)
	if a.idle == 0 {
		a.idle = DefaultIdle
	}
	if a.addresses == nil {
		a.addresses = net.InterfaceAddrs
	}
	if a.desktop == nil {
		a.desktop = noDesktop{}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.touch()
	return a
}

func (a *Agent) run(ctx context.Context) error {
	// The list of the last run comes first: whoever starts the agent asks for it at once.
	a.loadCatalog()
	a.gateways.load(filepath.Join(a.paths.State, gatewaysFile))
	a.forgetLoans()
	a.lock.load()
	// The control socket comes last: who can reach it may count on the other.
	agent, err := a.listen(a.paths.SSHSocket())
	if err != nil {
		return err
	}
	defer agent.Close()
	control, err := a.listen(a.paths.ControlSocket())
	if err != nil {
		return err
	}
	defer control.Close()
	a.log.Info("agent started", "version", version.Get().Version, "socket", a.paths.SSHSocket())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.accept(ctx, agent, func(conn net.Conn, pid int) { a.serveSSH(ctx, conn, pid) }) })
	g.Go(func() error { return a.accept(ctx, control, func(conn net.Conn, _ int) { a.serveControl(ctx, conn) }) })
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error { return a.leave(ctx) })
	g.Go(func() error { return a.keepLoans(ctx) })
	err = g.Wait()
	a.prepared.clear()
	a.log.Info("agent ended", "error", err)
	return err
}

// listen takes a listener that was given as it is.
func (a *Agent) listen(path string) (net.Listener, error) {
	if l := a.given[path]; l != nil {
		return l, nil
	}
	return socket.Listen(path)
}

// accept serves each connection of the user's own in a goroutine, and waits for all at the end.
func (a *Agent) accept(ctx context.Context, l net.Listener, serve func(conn net.Conn, pid int)) error {
	var all sync.WaitGroup
	defer all.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if conn != nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		pid, err := socket.Check(conn)
		if err != nil {
			a.log.Warn("refused a connection", "error", err)
			conn.Close()
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			serve(conn, pid)
		})
	}
}

func (a *Agent) serveSSH(ctx context.Context, conn net.Conn, pid int) {
	a.touch()
	s := &session{ids: &a.ids, pid: pid, guard: a, mayUse: func(id *identity) bool { return a.mayUse(ctx, id, pid) }, hostCAs: a.catalog.hostCAs, gatewayCAs: a.catalog.gatewayCAs, now: a.now, report: func(why string) {
		a.log.Warn("agent request refused", "why", why, "pid", pid)
	}}
	if err := s.serve(conn); err != nil && !errors.Is(err, net.ErrClosed) {
		a.log.Debug("agent connection", "error", err)
	}
}

func (a *Agent) touch() { a.lastUse.Store(a.now().UnixNano()) }

// leave ends the agent when nobody has asked for long, and tells of the session's end before: a
// laptop is woken by one clock.
func (a *Agent) leave(ctx context.Context) error {
	tick := time.NewTicker(min(a.idle, a.tick))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.remind(ctx)
			if a.now().Sub(time.Unix(0, a.lastUse.Load())) >= a.idle && a.ids.count() == 0 && a.loans.count() == 0 {
				a.log.Info("nobody asked for long, so the agent leaves")
				a.stop()
			}
		}
	}
}

// signInChanged forgets what belonged to the old session and fetches anew. Of the same user
// nothing is forgotten.
func (a *Agent) signInChanged(same bool) {
	if !same {
		a.lock.load() // who signs out takes the lock away
		a.ids.clear()
		a.prepared.clear()
		a.endLoans()
	}
	a.notices.forget()
	a.changed.Store(true)
	select {
	case a.wake <- make(chan error, 1):
	default: // watch is fetching at this moment, and looks at changed before the next time
	}
}

func (a *Agent) status() Status {
	a.catalog.mu.Lock()
	defer a.catalog.mu.Unlock()
	return Status{
		PID: os.Getpid(), Version: version.Get().Version, Since: a.since, SSHSocket: a.paths.SSHSocket(), SSHConfig: a.paths.SSHConfig(), Identities: a.ids.count(),
		SeenAt: a.catalog.seenAt, Servers: len(a.catalog.current.Servers), Skipped: a.catalog.skipped, Problem: a.catalog.problem,
		Gateways: a.gateways.list(), Measures: a.measures.list(a.here(), a.now()), Locked: a.locked(),
	}
}
