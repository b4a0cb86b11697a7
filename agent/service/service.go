// Package service has the service manager of a person's own system start the local agent:
// systemd by its sockets, launchd at sign-in. What is to be done is decided in values, which
// tests read; Do does it.
package service

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

const (
	// unit is the name of the units of systemd, label that of launchd.
	unit  = "cardea-agent"
	label = "io.github.cardea-ssh.agent"
	// mark stands in each file of ours: one without it is somebody else's, and is left alone.
	mark = "Written by cardea agent install"
	// Packaged is where a package of the system has put the units, for Program.
	Packaged = "/usr/lib/systemd/user"
	// Program is the one that packaged units start.
	Program = "/usr/bin/cardea"
	// runTime bounds each command of a service manager.
	runTime = 20 * time.Second
)

// Agent is what is to be started, and where it is written down.
type Agent struct {
	// Program is the absolute path of cardea.
	Program string
	// Environment are variables (NAME=value) that it needs and a service manager has not.
	Environment []string
	// Config is the user's configuration folder, Home his home, Log the agent's log.
	Config, Home, Log string
	// UID is the user's.
	UID int
	// Packaged says that a package has brought units for this very program.
	Packaged bool
}

// Step is one thing to do: write a file, remove one, or run a command.
type Step struct {
	Write, Remove string
	Text          []byte
	Run           []string
	// Lenient says that the command may fail: what it undoes may not be there.
	Lenient bool
}

// ErrNone is that of a system whose service manager starts no agent.
var ErrNone = errors.New("nothing on this system starts agents by itself; it starts when the first command needs it")

// Reach changes nothing, and fails where there is no service manager to speak to: in a
// container, or as a user who has only switched to this account. goos is that of runtime.
func Reach(goos string) []Step {
	if goos != "linux" {
		return nil
	}
	return []Step{{Run: userctl("show-environment")}}
}

// Install is what has the system start the agent. goos is that of runtime.
func (a Agent) Install(goos string) ([]Step, error) {
	for _, text := range append([]string{a.Program, a.Log}, a.Environment...) {
		// systemd takes no program whose path has quotes or a backslash.
		if strings.ContainsFunc(text, unicode.IsControl) || text == a.Program && strings.ContainsAny(text, `"'\`) {
			return nil, fmt.Errorf("%q has a character that no service manager takes; move it", text)
		}
	}
	switch goos {
	case "linux":
		var steps []Step
		if !a.Packaged || len(a.Environment) > 0 {
			steps = []Step{{Write: a.unit(".service"), Text: a.systemdService()}, {Write: a.unit(".socket"), Text: systemdSocket()}}
		}
		return append(steps, Step{Run: userctl("daemon-reload")}, Step{Run: userctl("enable", "--now", unit+".socket")}), nil
	case "darwin":
		return []Step{
			{Write: a.plist(), Text: a.launchd()},
			{Run: []string{"launchctl", "bootout", a.domain() + "/" + label}, Lenient: true},
			{Run: []string{"launchctl", "bootstrap", a.domain(), a.plist()}},
		}, nil
	}
	return nil, ErrNone
}

// Uninstall undoes it.
func (a Agent) Uninstall(goos string) ([]Step, error) {
	switch goos {
	case "linux":
		return []Step{
			{Run: userctl("disable", "--now", unit+".socket", unit+".service"), Lenient: true},
			{Remove: a.unit(".socket")}, {Remove: a.unit(".service")},
			{Run: userctl("daemon-reload"), Lenient: true}, // one that is not there has nothing to forget
		}, nil
	case "darwin":
		return []Step{{Run: []string{"launchctl", "bootout", a.domain() + "/" + label}, Lenient: true}, {Remove: a.plist()}}, nil
	}
	return nil, ErrNone
}

func userctl(words ...string) []string { return append([]string{"systemctl", "--user"}, words...) }

func (a Agent) unit(kind string) string {
	return filepath.Join(a.Config, "systemd", "user", unit+kind)
}

func (a Agent) plist() string {
	return filepath.Join(a.Home, "Library", "LaunchAgents", label+".plist")
}
func (a Agent) domain() string { return fmt.Sprintf("gui/%d", a.UID) }

// quoted is text as one word of a unit file (systemd.syntax(7)). A dollar is none of a variable
// in the path of a program, nor in Environment.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(text) + `"`
}

func (a Agent) systemdService() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `# %s
[Unit]
Description=Cardea's local agent
Documentation=https://github.com/cardea-ssh/cardea/blob/main/docs/local-agent.md

[Service]
ExecStart=%s agent run
`, mark, quoted(a.Program))
	for _, variable := range a.Environment {
		fmt.Fprintf(&out, "Environment=%s\n", quoted(variable))
	}
	out.WriteString(`# It leaves when nobody has asked for long, and the socket starts it again.
Restart=on-failure
# Keys of connections are in its memory.
LimitCORE=0
UMask=0077
`)
	return out.Bytes()
}

func systemdSocket() []byte {
	return []byte(`# ` + mark + `
[Unit]
Description=Sockets of Cardea's local agent
Documentation=https://github.com/cardea-ssh/cardea/blob/main/docs/local-agent.md

[Socket]
ListenStream=%t/cardea/agent.sock
ListenStream=%t/cardea/control.sock
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target
`)
}

// launchd starts it at sign-in, and again if it fails. One that left because nobody asked is
// started by who needs it next.
func (a Agent) launchd() []byte {
	var out bytes.Buffer
	text := func(s string) {
		out.WriteString("<string>")
		xml.EscapeText(&out, []byte(s)) // to memory
		out.WriteString("</string>\n")
	}
	out.WriteString(xml.Header + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ` + mark + ` -->
<plist version="1.0">
<dict>
<key>Label</key>
`)
	text(label)
	out.WriteString("<key>ProgramArguments</key>\n<array>\n")
	for _, word := range []string{a.Program, "agent", "run"} {
		text(word)
	}
	out.WriteString("</array>\n<key>EnvironmentVariables</key>\n<dict>\n")
	for _, variable := range a.Environment {
		name, value, _ := strings.Cut(variable, "=")
		out.WriteString("<key>" + name + "</key>\n")
		text(value)
	}
	out.WriteString("</dict>\n<key>StandardErrorPath</key>\n")
	text(a.Log)
	out.WriteString(`<key>Umask</key>
<integer>63</integer>
<key>RunAtLoad</key>
<true/>
<key>KeepAlive</key>
<dict>
<key>SuccessfulExit</key>
<false/>
</dict>
</dict>
</plist>
`)
	return out.Bytes()
}

// Do does the steps in order, up to the first that fails.
func Do(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s Step) do(ctx context.Context) error {
	switch {
	case s.Write != "":
		if err := ours(s.Write); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(s.Write), 0o755); err != nil {
			return err
		}
		// The environment may have the password of a proxy.
		_, err := atomicfile.Write(s.Write, s.Text, atomicfile.Options{Mode: 0o600})
		return err
	case s.Remove != "":
		if err := ours(s.Remove); err != nil {
			return err
		}
		if err := os.Remove(s.Remove); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.Run[0], s.Run[1:]...).CombinedOutput()
	if err != nil && !s.Lenient {
		said, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s; the agent starts by itself when it is needed, with or without it", strings.Join(s.Run, " "), err, said)
	}
	return nil
}

// ours refuses a file that somebody else has written.
func ours(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !strings.Contains(string(text), mark) {
		err = fmt.Errorf("%s is not of cardea's making; move it away and try again", path)
	}
	return err
}
