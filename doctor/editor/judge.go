package editor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/doctor"
)

// Facts are about one editor that is there.
type Facts struct {
	Place
	GOOS     string
	Settings Settings
	Err      error // of reading them
	// Config is the ssh configuration that it reads, and Includes says whether that includes
	// Cardea's file, first.
	Config   string
	Includes bool
	// SSH is the ssh that it runs, "" if there is none, and Version what that says it is.
	SSH, Version string
	Pitfalls     []Pitfall
}

// leastTimeout is how long an editor should wait for a connection, in seconds: the control
// plane may wait 2 s for an account to be made, and a gateway that is down costs some more.
const leastTimeout = 10

// Judge tells what of it keeps the editor from a server.
func Judge(f Facts) []doctor.Finding {
	check := f.Editor
	say := func(state doctor.State, cure, format string, args ...any) doctor.Finding {
		return doctor.Finding{Check: check, State: state, Cure: cure, Text: fmt.Sprintf(format, args...)}
	}
	if f.Err != nil {
		return []doctor.Finding{say(doctor.Failed, "correct it there", "%s cannot be read: %v", f.File, f.Err)}
	}
	var out []doctor.Finding
	switch named := f.Settings.ConfigFile != ""; {
	case named && !f.Includes:
		out = append(out, say(doctor.Failed, "remove remote.SSH.configFile from "+f.File+", or let that file begin with: Include ~/.ssh/cardea/config",
			"it reads %s, which does not include Cardea's file", f.Config))
	case !f.Includes:
		out = append(out, say(doctor.Failed, "type: cardea ssh-config --install", "it reads %s, which does not include Cardea's file", f.Config))
	default:
		out = append(out, say(doctor.OK, "", "it reads %s, which includes Cardea's file first", f.Config))
	}
	switch name := strings.TrimSuffix(strings.ToLower(filepath.Base(filepath.ToSlash(f.SSH))), ".exe"); {
	case f.SSH == "":
		out = append(out, say(doctor.Failed, "install OpenSSH's client", "there is no ssh for it to run"))
	case name == "plink" || name == "tortoiseplink":
		out = append(out, say(doctor.Failed, "remove remote.SSH.path from "+f.File, "remote.SSH.path names PuTTY's plink, which reads no ssh configuration"))
	default:
		v := doctor.SSHVersion(check, f.SSH, f.Version)
		if v.State != doctor.OK && f.Settings.Path != "" {
			v.Cure = "remove remote.SSH.path from " + f.File
		}
		out = append(out, v)
	}
	if t := f.Settings.ConnectTimeout; t != nil && *t < leastTimeout {
		out = append(out, say(doctor.Warning, fmt.Sprintf("set it to 30, or remove it from %s", f.File), "remote.SSH.connectTimeout is %d s, in which not every connection is there", *t))
	}
	if u := f.Settings.UseLocalServer; u != nil && *u && f.GOOS == "windows" {
		out = append(out, say(doctor.Warning, "set it to false in "+f.File, "remote.SSH.useLocalServer hides on Windows why a connection failed"))
	}
	for _, p := range f.Pitfalls {
		if p.Settings != "" && f.Settings.EnableRemoteCommand != nil && *f.Settings.EnableRemoteCommand {
			continue
		}
		state := doctor.Warning
		if p.Breaks {
			state = doctor.Failed
		}
		out = append(out, say(state, p.Cure, "line %d of %s: %s", p.Line, f.Config, p.Text))
	}
	return out
}

// JetBrainsFacts are about one file of ways.
type JetBrainsFacts struct {
	File string
	Ways []Way
	Err  error
	// Names are those of the servers that are Cardea's.
	Names []string
}

// JudgeJetBrains looks at the ways to Cardea's servers alone.
func JudgeJetBrains(f JetBrainsFacts) []doctor.Finding {
	product := filepath.Base(filepath.Dir(filepath.Dir(f.File)))
	if f.Err != nil {
		return []doctor.Finding{{Check: product, State: doctor.Warning, Text: fmt.Sprintf("%s cannot be read: %v", f.File, f.Err), Cure: "open Settings, Tools, SSH Configurations there"}}
	}
	var out []doctor.Finding
	ours := 0
	for _, w := range f.Ways {
		if !slices.Contains(f.Names, w.Host) {
			continue
		}
		ours++
		if w.Auth != "OPEN_SSH" || !w.UseOpenSSH {
			out = append(out, doctor.Finding{Check: product, State: doctor.Failed, Text: fmt.Sprintf("its way to %s does not read the ssh configuration", w.Host),
				Cure: "in Settings, Tools, SSH Configurations choose “OpenSSH config and authentication agent”, and “Parse config file”"})
		}
	}
	if len(out) == 0 {
		out = append(out, doctor.Finding{Check: product, State: doctor.OK, Text: fmt.Sprintf("%d of its ways lead to your servers, and nothing is wrong with them", ours)})
	}
	return out
}

// ShellFacts are what the user's shell does before it runs a ProxyCommand.
type ShellFacts struct {
	Path string
	Said string // on stdout, for a command that says nothing
	Err  error
	Took time.Duration
}

// slowShell is what a shell takes that does more than it must before each connection.
const slowShell = 500 * time.Millisecond

// JudgeShell judges them: ssh runs its ProxyCommand by this shell, and what that prints ssh
// takes for the server's first words.
func JudgeShell(f ShellFacts) doctor.Finding {
	const check = "shell"
	const cure = "move that from what it reads always (.zshenv, config.fish, BASH_ENV) to what it reads at a terminal (.zshrc, .bashrc)"
	switch {
	case f.Path == "":
		return doctor.Skip(check, "SHELL is not set, so ssh runs /bin/sh")
	case f.Said != "":
		return doctor.Finding{Check: check, State: doctor.Failed, Cure: cure, Text: fmt.Sprintf("%s prints %.60q when it starts, which ssh takes for the server's words", f.Path, f.Said)}
	case f.Err != nil:
		return doctor.Finding{Check: check, State: doctor.Failed, Cure: "type: chsh", Text: fmt.Sprintf("%s, which SHELL names, does not run commands: %v", f.Path, f.Err)}
	case f.Took > slowShell:
		return doctor.Finding{Check: check, State: doctor.Warning, Cure: cure, Text: fmt.Sprintf("%s needs %d ms to start, before each connection", f.Path, f.Took.Milliseconds())}
	}
	return doctor.Finding{Check: check, State: doctor.OK, Text: fmt.Sprintf("%s starts silently, within %d ms", f.Path, f.Took.Milliseconds())}
}
