//go:build linux

package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
)

// Person has a laptop: a home of their own, and nothing else on this machine.
type Person struct {
	Name, Password string
	Home           string

	stage *Stage
}

// Result is what a command said.
type Result struct {
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

func (s *Stage) person(name, password string) (*Person, error) {
	p := &Person{Name: name, Password: password, stage: s}
	var err error
	if p.Home, err = s.dir(name); err != nil {
		return nil, err
	}
	if _, err = s.dir(name, "run"); err != nil {
		return nil, err
	}
	return p, nil
}

// Env is the environment of the person's commands.
func (p *Person) Env() []string {
	return append(append(p.stage.environment(), p.Own()...),
		login.BrowserVariable+"="+p.stage.opt.Browser,
		browse.NameVariable+"="+p.Name, browse.PasswordVariable+"="+p.Password,
	)
}

// Own is the part of it that makes a shell the person's.
func (p *Person) Own() []string {
	return []string{
		"HOME=" + p.Home,
		"XDG_CONFIG_HOME=" + filepath.Join(p.Home, ".config"),
		"XDG_STATE_HOME=" + filepath.Join(p.Home, ".local/state"),
		"XDG_RUNTIME_DIR=" + filepath.Join(p.Home, "run"),
		"CARDEA_NO_KEYRING=true",
	}
}

// SSHConfig is the generated configuration. OpenSSH finds a home by the
// account, not by $HOME, so a person on a stage says `ssh -F`.
func (p *Person) SSHConfig() string { return filepath.Join(p.Home, ".ssh/cardea/config") }

// Command is a command of the person, run with a time limit by Run.
func (p *Person) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if _, err := os.Stat(p.stage.bin(name)); err == nil {
		name = p.stage.bin(name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = p.Env()
	cmd.Dir = p.Home
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Run runs a command to its end. A command that cannot be run has code -1.
func (p *Person) Run(ctx context.Context, name string, args ...string) Result {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := p.Command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String(), Took: time.Since(began), Code: cmd.ProcessState.ExitCode()}
	if err != nil && r.Stderr == "" {
		r.Stderr = err.Error()
	}
	return r
}

// Must is Run for what has to succeed.
func (p *Person) Must(ctx context.Context, name string, args ...string) (string, error) {
	r := p.Run(ctx, name, args...)
	if r.Code != 0 {
		return "", fmt.Errorf("%s: %s %s: exit code %d: %s", p.Name, name, strings.Join(args, " "), r.Code, strings.TrimSpace(r.Stderr))
	}
	return r.Stdout, nil
}

// SSH runs the system's ssh, scp, sftp or rsync with the generated configuration.
func (p *Person) SSH(ctx context.Context, name string, args ...string) Result {
	if name == "rsync" {
		return p.Run(ctx, name, append([]string{"-e", "ssh -F " + p.SSHConfig()}, args...)...)
	}
	return p.Run(ctx, name, append([]string{"-F", p.SSHConfig()}, args...)...)
}

// SignIn runs `cardea login` through the real pages, and has the ssh
// configuration written.
func (p *Person) SignIn(ctx context.Context) error {
	if _, err := p.Must(ctx, "cardea", "login", p.stage.URL); err != nil {
		return err
	}
	_, err := p.Must(ctx, "cardea", "ssh-config", "--install")
	return err
}

// Client speaks to the control plane as the person does.
func (p *Person) Client(ctx context.Context) (*api.Client, error) {
	home := &login.Home{Dir: filepath.Join(p.Home, ".config/cardea"), NoKeyring: true}
	acct := &login.Account{Home: home, UserAgent: version.UserAgent("cardea-stage")}
	return acct.Client(ctx)
}
