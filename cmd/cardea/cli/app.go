package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
	"github.com/cardea-ssh/cardea/tui"
)

// options are what a flag, a CARDEA_… variable or a line of config.yaml may
// say, in that order of precedence.
type options struct {
	URL        string `name:"url" help:"the control plane, for example https://access.example.com"`
	CAFile     string `name:"ca-file" help:"PEM file with the only TLS root that the control plane may have"`
	NoKeyring  bool   `name:"no-keyring" help:"keep the session in a 0600 file even where there is a keyring"`
	ConfirmUse bool   `name:"confirm-use" help:"have the local agent ask on the desktop before each use of a key, as ssh-add -c does"`
	DeviceKey  string `name:"device-key" help:"where a new device key is kept: tpm, enclave, keyring or file (default the best that there is)"`
	// EnrolmentFile is put on the machines of a fleet by who sets them up.
	EnrolmentFile string `name:"device-enrolment-file" help:"file with the token that spares this device the approval (default /etc/cardea/device-enrollment.token)"`
	TPM           string `name:"tpm" help:"the TPM, or the socket of a software TPM (default the system's)"`
}

// quick bounds a call that is nice to have, and one that a person waits for
// while nothing depends on it.
const quick = 5 * time.Second

// brief bounds what nobody waits for gladly: telling a control plane, which may
// be gone, that its session was replaced.
const brief = 2 * time.Second

// app is what the verbs share.
type app struct {
	in       io.Reader
	out, err io.Writer
	// person reports whether somebody is at a terminal and could sign in: an
	// editor or a job that runs us has neither stdin nor stderr there.
	person bool
	lookup func(string) (string, bool)
	now    func() time.Time

	drawn   atomic.Bool // a screen has the terminal
	slow    sync.Once   // it was said that the control plane is slow
	working bool        // the verb has begun: errors are no longer about the arguments
	given   []string    // the flags that every verb has, as they were typed
	opt     options
	loader  *config.Loader
	output  outputFormat
	home    *login.Home
	acct    *login.Account
	paths   agent.Paths
	local   localAgent
}

func processApp() *app {
	return &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		person: term.IsTerminal(os.Stderr) || term.IsTerminal(os.Stdin),
		lookup: os.LookupEnv, now: time.Now,
	}
}

// bind adds the flags that every verb has.
func (a *app) bind(root *cobra.Command) {
	file := ""
	if dir, err := login.ConfigDir(); err == nil {
		file = filepath.Join(dir, "config.yaml")
	}
	flags := root.PersistentFlags()
	a.loader = config.Bind(flags, &a.opt, file)
	oneOf(root, flags, (*string)(&a.output), "output", "o", []string{string(asTable), string(asJSON)}, "how to print data: table or json")
}

// configure reads the configuration, before the verb runs.
func (a *app) configure() error {
	if err := a.load(); err != nil {
		return err
	}
	return a.place()
}

// load reads the options.
func (a *app) load() error {
	if err := a.loader.Load(a.lookup); err != nil {
		hint := "correct it and try again"
		if f := a.loader.File(); f != "" {
			hint = "to look at it type: cat " + f
		}
		return &usageError{err.Error(), hint}
	}
	if a.opt.URL != "" {
		url, err := login.CleanURL(a.opt.URL)
		if err != nil {
			return &usageError{text: "url: " + err.Error()}
		}
		a.opt.URL = url
	}
	if kind := a.opt.DeviceKey; kind != "" && !slices.Contains(login.KeyKinds(), kind) {
		return &usageError{text: "device-key: " + kind + " is no place for a key; give one of " + strings.Join(login.KeyKinds(), ", ")}
	}
	return nil
}

// place finds the folders of this user.
func (a *app) place() error {
	dir, err := login.ConfigDir()
	if err != nil {
		return err
	}
	a.home = &login.Home{Dir: dir, NoKeyring: a.opt.NoKeyring, KeyKind: a.opt.DeviceKey, TPM: a.opt.TPM, Warn: func(s string) { a.say("note: %s", s) }}
	a.acct = &login.Account{Home: a.home, UserAgent: version.UserAgent("cardea"), Slow: a.saySlow}
	if a.paths, err = agent.DefaultPaths(); err != nil {
		return err
	}
	a.local = &agent.Control{Paths: a.paths} // asks one that runs, and starts none
	return nil
}

// client speaks to the control plane as the person who is signed in.
func (a *app) client(ctx context.Context) (*api.Client, error) {
	saved, err := a.acct.Saved(ctx)
	if err != nil {
		return nil, a.whereToSignIn(saved, err)
	}
	if a.opt.URL != "" {
		if url := a.opt.URL; url != saved.URL {
			return nil, api.Errorf(api.SignIn, "signed in at %s, not at %s", saved.URL, url).WithHint("type: cardea login %s", url)
		}
	}
	a.renew(ctx)
	return a.acct.Client(ctx)
}

// renew renews the token of the session, if it is time and no agent did it. It stays
// good without that.
func (a *app) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	a.acct.Rotate(ctx)
}

// whereToSignIn adds the URL to what to type, where nothing is known that could
// be the default.
func (a *app) whereToSignIn(saved login.Saved, err error) error {
	var e *api.Error
	if errors.As(err, &e) && e.Kind == api.SignIn && saved.URL == "" && a.opt.URL == "" {
		return e.WithHint("type: cardea login https://YOUR-CONTROL-PLANE")
	}
	return err
}

// saySlow tells a person once what he waits for, where no screen does.
func (a *app) saySlow() {
	if a.person && !a.drawn.Load() {
		a.slow.Do(func() { a.say("the control plane has not answered yet; to wait no longer press Ctrl-C") })
	}
}

// show shows a screen until the person has enough, or ctx is done.
func (a *app) show(ctx context.Context, screen tea.Model, in, out *os.File) error {
	a.drawn.Store(true)
	defer a.drawn.Store(false)
	return tui.Run(ctx, screen, in, out, os.Environ())
}

// say tells the person something that is not the product.
func (a *app) say(format string, args ...any) {
	lines := strings.Split(fmt.Sprintf(format, args...), "\n")
	for i := range lines {
		lines[i] = ident.Text(lines[i])
	}
	fmt.Fprintln(a.err, strings.Join(lines, "\n"))
}

// env is a variable, "" if it is not set.
func (a *app) env(name string) string {
	v, _ := a.lookup(name)
	return v
}
