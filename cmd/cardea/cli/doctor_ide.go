package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/doctor"
	"github.com/cardea-ssh/cardea/doctor/editor"
	"github.com/cardea-ssh/cardea/sshconfig"
)

func newDoctorIDE(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ide", Short: "Check that your editors can reach your servers, and tell what to do",
		Long: `Check that your editors can reach your servers, and tell what to do: the settings of
VS Code, Cursor, VSCodium, Windsurf and the JetBrains family, the ssh that they run, and what
in your own ssh configuration keeps an editor from a server that a terminal reaches.`,
		Args: cobra.NoArgs, Annotations: map[string]string{rawKey: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.place(); err != nil {
				return err
			}
			return a.examine(cmd.Context(), []doctor.Check{
				{Name: "shell", Run: a.shellCheck}, {Name: "editors", Run: a.editorChecks}, {Name: "jetbrains", Run: a.jetBrainsChecks},
			})
		},
	}
}

// shellTime bounds what a shell takes to do nothing.
const shellTime = 4 * time.Second

func (a *app) shellCheck(ctx context.Context) []doctor.Finding {
	f := editor.ShellFacts{Path: a.env("SHELL")}
	if f.Path != "" {
		ctx, cancel := context.WithTimeout(ctx, shellTime)
		defer cancel()
		began := time.Now()
		said, err := exec.CommandContext(ctx, f.Path, "-c", "exec true").Output()
		f.Said, f.Err, f.Took = string(said), err, time.Since(began)
	}
	return []doctor.Finding{editor.JudgeShell(f)}
}

// editorHome is where editors keep their settings.
func (a *app) editorHome() editor.Home {
	home, _ := os.UserHomeDir() // place has had it
	return editor.Home{GOOS: runtime.GOOS, Dir: home, XDGConfig: os.Getenv("XDG_CONFIG_HOME"), AppData: os.Getenv("APPDATA")}
}

func (a *app) editorChecks(ctx context.Context) (out []doctor.Finding) {
	for _, p := range a.editorHome().Places() {
		if _, err := os.Stat(p.Folder); err == nil {
			out = append(out, editor.Judge(a.editorFacts(ctx, p))...)
		}
	}
	if len(out) == 0 {
		out = append(out, doctor.Skip("editors", "VS Code and what descends from it have no settings here"))
	}
	return out
}

func (a *app) editorFacts(ctx context.Context, p editor.Place) editor.Facts {
	f := editor.Facts{Place: p, GOOS: runtime.GOOS, Config: a.ownSSHConfig()}
	text, err := readOwn(p.File)
	if err == nil {
		f.Settings, err = editor.Read(text)
	}
	if f.Err = err; err != nil {
		return f
	}
	if named := f.Settings.ConfigFile; named != "" {
		f.Config = named
		if rest, below := strings.CutPrefix(named, "~/"); below {
			f.Config = filepath.Join(a.editorHome().Dir, rest)
		}
	}
	own, err := readOwn(f.Config)
	if err != nil {
		f.Err = err
		return f
	}
	for _, path := range []string{a.includePath(), "~/.ssh/cardea/config", filepath.ToSlash(a.paths.SSHConfig())} {
		_, changed, err := sshconfig.Include(own, path)
		f.Includes = f.Includes || err == nil && !changed
	}
	f.Includes = f.Includes || f.Config == a.paths.SSHConfig()
	f.Pitfalls = editor.Pitfalls(own, runtime.GOOS)
	if f.SSH = f.Settings.Path; f.SSH == "" {
		f.SSH, _ = exec.LookPath("ssh")
	}
	f.Version = sshVersion(ctx, f.SSH)
	return f
}

// sshVersion is what a program says of itself that should be ssh.
func sshVersion(ctx context.Context, path string) string {
	if path == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, viewTime)
	defer cancel()
	said, err := exec.CommandContext(ctx, path, "-V").CombinedOutput()
	if len(said) == 0 && err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(said))
}

func (a *app) jetBrainsChecks(ctx context.Context) (out []doctor.Finding) {
	files, err := filepath.Glob(a.editorHome().JetBrains())
	if err != nil || len(files) == 0 {
		return []doctor.Finding{doctor.Skip("jetbrains", "no editor of the JetBrains family keeps a way to a server here")}
	}
	var names []string
	if c, _, err := (&agent.Control{Paths: a.paths}).Catalog(ctx); err == nil {
		for _, s := range c.Servers {
			names = append(append(names, s.Names()...), s.Name+"."+s.ProjectName)
		}
	}
	for _, file := range files {
		f := editor.JetBrainsFacts{File: file, Names: names}
		text, err := readOwn(file)
		if err == nil && text == nil {
			err = errors.New("it is gone")
		}
		if err == nil {
			f.Ways, err = editor.ReadJetBrains(text)
		}
		f.Err = err
		out = append(out, editor.JudgeJetBrains(f)...)
	}
	return out
}
