package serveragent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/server-agent/labels"
	"github.com/cardea-ssh/cardea/server-agent/metadata"
)

// DefaultStateDir is where the agent keeps what it must remember.
const DefaultStateDir = "/var/lib/cardea-server-agent"

// Options say what an agent shall do. Log is needed; the rest works as zero.
type Options struct {
	// ControlURL is the control plane's; empty means that of the enrolment.
	ControlURL string
	// StateDir is the agent's folder; empty means DefaultStateDir.
	StateDir string
	// TokenFile holds an enrolment token; empty means the one in StateDir.
	TokenFile string
	// AccessAddress is proposed as the address at which sshd is reached, as host
	// or host:port; empty means that of the interface that reaches the control
	// plane, with sshd's port.
	AccessAddress string
	// AccessInterface is the interface whose address is proposed in place of that; it
	// is looked at again for every report.
	AccessInterface string
	// HTTPSProxy is the URL of a proxy towards the control plane; empty means that of
	// the environment.
	HTTPSProxy string
	// Hostname is proposed as the server's name; empty means the host's own.
	Hostname string
	// AltNames are proposed as further names, Bastion as the server through which this
	// one is reached.
	AltNames []string
	Bastion  string
	// HostLabels are the host's own labels. They never grant anything.
	HostLabels map[string]string
	// LabelCommands are programs by the label whose value they print.
	LabelCommands map[string][]string
	// CloudLabels adds what the cloud says, where the host is in one.
	CloudLabels bool
	// LabelInterval is how often labels are gathered anew; zero means
	// labels.DefaultInterval.
	LabelInterval time.Duration
	// DefaultShell is for people who have no shell of their own in the control
	// plane; empty means /bin/bash where /etc/shells has it.
	DefaultShell string
	// Adopt are accounts of the host's own that people may be let into, where the
	// project makes none.
	Adopt []string
	// AuthLog is the log to read logins from; empty means to find it.
	AuthLog string
	// Cloud lets the host enrol by what this cloud says of it, without a token:
	// aws, gcp, azure, or auto for the one on which it runs.
	Cloud string

	Log     *slog.Logger
	Version string
	// UserAgent introduces the agent over HTTP.
	UserAgent string
	// HTTP, Now: nil means the usual.
	HTTP *http.Client
	Now  func() time.Time

	// before is called before every step of an account's and every stage of a
	// change of sshd's, for tests that stop there.
	before func(step string)
	// hooksDir is another folder of hooks, for tests.
	hooksDir string
	// tick is another tick, for tests that wait for it.
	tick time.Duration
	// machineFile is another file with the machine's id, metadataBase another place
	// of the cloud's metadata, for tests.
	machineFile, metadataBase string
	// manyFrom is another number of accounts that are made at once, for tests.
	manyFrom int
	// backoff is another backoff, for tests that fail often.
	backoff func(failures int, err error) time.Duration
}

// Agent is a server agent.
type Agent struct {
	opt    Options
	client *api.Client
	cred   credential
	given  *given         // by the enrolment; nil once it is kept
	cloud  metadata.Cloud // by which the host enrols, once that is known
	anew   bool           // the credential of another server was dropped
	now    func() time.Time
	log    *slog.Logger

	board  board
	ledger *ledger
	// nudged wakes the reconciler where an account waits for its last session.
	nudged   chan struct{}
	contact  contact
	watchdog *daemon.Watchdog
	queue    *queue
	said     said

	labels *labels.Gatherer
}

// New checks the options and the agent's folder, which it makes if needed.
func New(opt Options) (*Agent, error) {
	opt.StateDir = cmp.Or(opt.StateDir, DefaultStateDir)
	opt.TokenFile = cmp.Or(opt.TokenFile, filepath.Join(opt.StateDir, tokenFile))
	opt.DefaultShell = cmp.Or(opt.DefaultShell, "/bin/bash")
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.ControlURL != "" {
		if err := api.CheckURL(opt.ControlURL); err != nil {
			return nil, err
		}
	}
	if opt.AccessAddress != "" {
		if _, _, err := splitAccess(opt.AccessAddress, "22"); err != nil {
			return nil, err
		}
	}
	if err := CheckCloud(opt.Cloud); err != nil {
		return nil, err
	}
	gatherer, err := labels.New(opt.HostLabels, opt.LabelCommands)
	if err != nil {
		return nil, err
	}
	gatherer.Log = opt.Log
	if opt.CloudLabels {
		gatherer.Tags = new(labels.Cloud).Tags
	}
	if opt.HTTPSProxy != "" && opt.HTTP == nil {
		proxy, err := Proxy(opt.HTTPSProxy)
		if err != nil {
			return nil, err
		}
		opt.HTTP = api.NewHTTP(func(t *http.Transport) { t.Proxy = proxy })
	}
	if err := checkStateDir(opt.StateDir); err != nil {
		return nil, err
	}
	a := &Agent{opt: opt, log: opt.Log, now: opt.Now, labels: gatherer, nudged: make(chan struct{}, 1)}
	a.ledger = openLedger(a.path(sessionsFile))
	if a.now == nil {
		a.now = time.Now
	}
	a.opt.tick = cmp.Or(a.opt.tick, tick)
	if a.opt.backoff == nil {
		a.opt.backoff = backoff
	}
	return a, nil
}

// checkStateDir makes sure that nobody else can put anything into the folder.
func checkStateDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("state_dir %s is not an absolute path", dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the agent's folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("open the agent's folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder; move it away", dir)
	case !ok || int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user; type: chown root: %s", dir, dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s may be read by others; type: chmod 700 %s", dir, dir)
	}
	return nil
}

func (a *Agent) path(name string) string { return filepath.Join(a.opt.StateDir, name) }

// lock keeps a second agent from the same folder until the process ends.
func (a *Agent) lock() (*os.File, error) {
	f, err := os.OpenFile(a.path(lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the agent's folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another cardea-server-agent runs on %s; to see what it does type: cardea-server-agent status", a.opt.StateDir)
	}
	return f, nil
}

// splitAccess reads host or host:port.
func splitAccess(address, port string) (host, withPort string, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		host, p = address, port
	}
	if host == "" || p == "" {
		return "", "", fmt.Errorf("access_address %q is not host or host:port", address)
	}
	return host, net.JoinHostPort(host, p), nil
}
