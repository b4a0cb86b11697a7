package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/span"
	"github.com/cardea-ssh/cardea/sshconfig"
)

// maxSSHConfig bounds the user's own file, in bytes: what is larger is no
// configuration, and is left alone.
const maxSSHConfig = 4 << 20

// backupSuffix names the copy of the user's file as it was before the first
// change.
const backupSuffix = ".before-cardea"

func newSSHConfig(a *app) *cobra.Command {
	var install, uninstall, show bool
	var files string
	var lasting time.Duration
	cmd := &cobra.Command{
		Use: "ssh-config [HOST]", GroupID: groupSetup,
		Short: "Have plain ssh, scp, rsync, git and editors know your servers",
		Long: `Have plain ssh, scp, rsync, git and editors know your servers. --install adds one
Include line to ~/.ssh/config; what it includes is kept up to date by the agent.
--uninstall takes that line out again and leaves the file as it was before.

--files is for programs that know no ssh-agent: it writes a key and a certificate for HOST
into a folder, with what to trust and a configuration of ssh. The agent renews the
certificate, and removes the files when their time is over.`,
		Example: "  cardea ssh-config --install\n  ssh web-1\n  cardea ssh-config --files ~/.cache/web-1 --for 1h web-1",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case files != "" && len(args) == 1:
				return a.sshConfigFiles(cmd.Context(), files, args[0], lasting)
			case files != "":
				return &usageError{text: "--files wants the name of one server; to see them type: cardea ls"}
			case len(args) > 0 || cmd.Flags().Changed("for"):
				return usageErrorf(cmd, "a HOST and --for go with --files DIR")
			case install:
				return a.sshConfigInstall(cmd.Context())
			case uninstall:
				return a.sshConfigUninstall()
			case show:
				return a.sshConfigPrint(cmd.Context())
			}
			a.say("ssh is %s", a.sshConfigState()) // no full stop: it may end in a command
			return nil
		},
	}
	cmd.Flags().BoolVar(&install, "install", false, "add the Include line")
	cmd.Flags().BoolVar(&uninstall, "uninstall", false, "take the Include line out")
	cmd.Flags().BoolVar(&show, "print", false, "print what is included")
	cmd.Flags().StringVar(&files, "files", "", "write key and certificate for HOST into this `folder`")
	span.Var(cmd.Flags(), &lasting, "for", 10*time.Minute, "how long the files are kept good, at most 12h")
	cmd.MarkFlagsMutuallyExclusive("install", "uninstall", "print", "files")
	return cmd
}

// sshConfigFiles has the agent write files, and says on stderr what they are good for. The
// path of the configuration goes to stdout, for whoever reads it: ssh -F "$(…)".
func (a *app) sshConfigFiles(ctx context.Context, dir, host string, lasting time.Duration) error {
	if err := checkServer(host); err != nil {
		return err
	}
	if lasting < time.Minute || lasting > agent.MaxLoan {
		return &usageError{text: fmt.Sprintf("--for is between 1m and %s", span.Text(agent.MaxLoan))}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	control, err := a.agent()
	if err != nil {
		return err
	}
	lent, err := control.Lend(ctx, host, "", dir, time.Now().Add(lasting))
	if err != nil {
		return err
	}
	a.say("%s. Its certificate is good for %s at a time and renewed beside it, while the agent runs: programs read both anew for each connection.", lent, time.Until(lent.Expires).Round(time.Minute))
	a.say("For longer type the same again; the files are removed when they are over.")
	_, err = fmt.Fprintln(a.out, lent.Config())
	return err
}

// ownSSHConfig is the user's file.
func (a *app) ownSSHConfig() string { return filepath.Join(filepath.Dir(a.paths.SSH), "config") }

// includePath is how the Include line names our file: below ~ as a person would
// write it, where ssh's idea of ~ is the same as ours.
func (a *app) includePath() string {
	if home := filepath.Dir(filepath.Dir(a.paths.SSH)); home == realHome() {
		return "~/.ssh/cardea/config"
	}
	return filepath.ToSlash(a.paths.SSHConfig())
}

// realHome is that of the account, which ssh uses whatever HOME says.
func realHome() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.HomeDir
}

func (a *app) sshConfigInstall(ctx context.Context) error {
	if err := os.MkdirAll(a.paths.SSH, 0o700); err != nil {
		return err
	}
	path := a.ownSSHConfig()
	before, err := readOwn(path)
	if err != nil {
		return err
	}
	after, changed, err := sshconfig.Include(before, a.includePath())
	if err != nil {
		return fmt.Errorf("%s is left as it is: %w", path, err)
	}
	if changed {
		if err := backup(path, before); err != nil {
			return err
		}
		if err := writeOwn(path, after); err != nil {
			return fmt.Errorf("%w; where a program of yours makes that file have it write this line first: Include %s", err, a.includePath())
		}
		a.say("Added one Include line to %s.", path)
	} else {
		a.say("The Include line is in %s already.", path)
	}
	if home := filepath.Dir(filepath.Dir(path)); home != realHome() {
		a.say("note: HOME is %s, but ssh reads %s; there it needs: ssh -F %s", home, filepath.Join(realHome(), ".ssh", "config"), path)
	}
	skipped, err := a.freshen(ctx)
	switch {
	case api.KindOf(err) == api.SignIn:
		a.say("Your servers come when you are signed in; type: cardea login")
		return nil
	case err != nil:
		return fmt.Errorf("the line is there, but not yet what it includes: %w", err)
	}
	for _, name := range skipped {
		a.say("note: %s stays what your own configuration says; for Cardea's type: ssh %s.PROJECT", name, name)
	}
	a.say("Now plain ssh knows your servers. To see them type: cardea ls")
	return nil
}

// freshen has the agent write what is included, and returns the names that it
// left to the user's own configuration. The error is of kind SignIn if nobody is
// signed in.
func (a *app) freshen(ctx context.Context) (skipped []string, err error) {
	saved, err := a.home.Peek()
	if err != nil {
		return nil, a.whereToSignIn(saved, err)
	}
	control, err := a.agent()
	if err != nil {
		return nil, err
	}
	s, err := control.Status(ctx)
	if err == nil && s.SSHConfig != "" && s.SSHConfig != a.paths.SSHConfig() {
		return nil, elsewhere(s)
	}
	if err := control.Refresh(ctx); err != nil {
		return nil, err
	}
	s, err = control.Status(ctx)
	if err == nil && s.Problem != "" {
		err = errors.New(s.Problem)
	}
	if err == nil {
		// The agent's word is not enough: what ssh will read must be there.
		_, err = os.Stat(a.paths.SSHConfig())
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = elsewhere(s)
	}
	if c, _, cerr := control.Catalog(ctx); err == nil && cerr == nil && c.Session.User != saved.Session.User {
		err = fmt.Errorf("the agent that runs (process %d) was started with another XDG_CONFIG_HOME and serves %s; type: cardea agent stop && cardea ssh-config --install",
			s.PID, c.Session.UserName)
	}
	return s.Skipped, err
}

// elsewhere is for an agent that answers at our socket and serves another HOME.
func elsewhere(s agent.Status) error {
	return fmt.Errorf("the agent that runs (process %d) was started with another HOME and writes %s; type: cardea agent stop && cardea ssh-config --install",
		s.PID, cmp.Or(s.SSHConfig, "another file"))
}

func (a *app) sshConfigUninstall() error {
	path := a.ownSSHConfig()
	before, err := readOwn(path)
	if err != nil {
		return err
	}
	after, found := before, false
	for _, name := range []string{a.includePath(), "~/.ssh/cardea/config", filepath.ToSlash(a.paths.SSHConfig())} {
		out, changed, err := sshconfig.Exclude(after, name)
		if err != nil {
			return err
		}
		after, found = out, found || changed
	}
	if !found {
		a.say("There is no Include line of Cardea's in %s.", path)
		return nil
	}
	saved, err := readOwn(path + backupSuffix)
	if err != nil {
		return err
	}
	if len(after) == 0 && saved == nil {
		err = os.Remove(path) // it was made by us and holds nothing else
	} else {
		err = writeOwn(path, after)
	}
	if err != nil {
		return err
	}
	if saved != nil && bytes.Equal(saved, after) {
		if err := os.Remove(path + backupSuffix); err != nil {
			return err
		}
	}
	a.say("Took the Include line out of %s.", path)
	return nil
}

func (a *app) sshConfigPrint(ctx context.Context) error {
	_, fresh := a.freshen(ctx)
	text, err := os.ReadFile(a.paths.SSHConfig())
	if errors.Is(err, fs.ErrNotExist) && fresh != nil {
		return fresh
	}
	if err != nil {
		return err
	}
	if fresh != nil {
		a.say("note: this may be old: %v", fresh)
	}
	_, err = a.out.Write(text)
	return err
}

// configured is the state in which nothing is left to do.
const configured = "configured"

// sshConfigState is one phrase for `cardea status`.
func (a *app) sshConfigState() string {
	text, err := readOwn(a.ownSSHConfig())
	if err != nil {
		return err.Error()
	}
	if _, changed, err := sshconfig.Include(text, a.includePath()); err == nil && !changed {
		return configured
	}
	if _, found, err := sshconfig.Exclude(text, a.includePath()); err == nil && found {
		return "configured, but the Include line does not stand first; type: cardea ssh-config --install"
	}
	return "not configured; type: cardea ssh-config --install"
}

// readOwn reads a file of the user's; nil if there is none.
func readOwn(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file; move it away", path)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSSHConfig+1))
	if err == nil && len(text) > maxSSHConfig {
		err = fmt.Errorf("%s is larger than %d bytes, which is no configuration of ssh; move it away", path, maxSSHConfig)
	}
	if text == nil {
		text = []byte{}
	}
	return text, err
}

// writeOwn replaces a file of the user's, where his link leads if it is one. Its error says
// which file cannot be changed: it may be one that is made by another program, in a folder
// that nobody writes to, or one that is marked as immutable.
func writeOwn(path string, text []byte) error {
	_, err := atomicfile.Write(path, text, atomicfile.Options{FollowSymlink: true})
	if err == nil {
		return nil
	}
	if real, linked := filepath.EvalSymlinks(path); linked == nil && real != path {
		path += ", which leads to " + real + ","
	}
	cause := err
	for inner := errors.Unwrap(cause); inner != nil && !errors.Is(err, atomicfile.ErrUnsafe); inner = errors.Unwrap(cause) {
		cause = inner // the temporary file's name tells nobody anything
	}
	return fmt.Errorf("%s cannot be changed: %w", path, cause)
}

// backup keeps the file as it was before the first change.
func backup(path string, before []byte) error {
	if before == nil {
		return nil
	}
	if _, err := os.Lstat(path + backupSuffix); err == nil {
		return nil
	}
	_, err := atomicfile.Write(path+backupSuffix, before, atomicfile.Options{Mode: 0o600})
	return err
}
