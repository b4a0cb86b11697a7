// Package desktop reaches the person at the screen from a process without a terminal: by the
// programs that the system itself has for that. What a notification or a question says never
// becomes a part of a script: it is an argument, or a variable.
package desktop

import (
	"context"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// ErrNone means that there is no screen, or no program that could show something there.
var ErrNone = errors.New("there is no desktop to ask on")

// notifyTime bounds a notification. They are shown at once or not at all.
const notifyTime = 5 * time.Second

// System is where programs are looked for. The zero value is this process's own.
type System struct {
	GOOS string
	Env  func(string) string
	Look func(string) (string, error)
}

func (s System) filled() System {
	if s.GOOS == "" {
		s.GOOS = runtime.GOOS
	}
	if s.Env == nil {
		s.Env = os.Getenv
	}
	if s.Look == nil {
		s.Look = exec.LookPath
	}
	return s
}

// command is a program with its arguments, and what it has in its environment beside ours.
type command struct {
	argv, env []string
	// says means that the answer is also what it prints, as OpenSSH has it: nothing or yes.
	says bool
}

// Notify shows a notification.
func (s System) Notify(ctx context.Context, title, text string) error {
	c, err := s.filled().notification(title, text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	out, err := c.prepared(ctx).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.200s", c.argv[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Confirm asks a question, and reports whether the answer was yes. It is no if ctx ends first.
func (s System) Confirm(ctx context.Context, question string) (bool, error) {
	c, err := s.filled().question(question)
	if err != nil {
		return false, err
	}
	out, err := c.prepared(ctx).Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return false, ctx.Err()
	}
	// One that prints a passphrase whatever it is asked has asked nobody.
	answer := strings.TrimSpace(string(out))
	return err == nil && (!c.says || answer == "" || strings.EqualFold(answer, "yes")), err
}

// CanConfirm tells whether a question could be asked, without asking one.
func (s System) CanConfirm() error {
	_, err := s.filled().question("")
	return err
}

func (c command) prepared(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	// A child of a script that was ended keeps what we read open.
	cmd.WaitDelay = time.Second
	return cmd
}

func (s System) notification(title, text string) (command, error) {
	switch s.GOOS {
	case "darwin":
		return s.appleScript(`display notification (item 2 of argv) with title (item 1 of argv)`, title, text)
	case "windows":
		return s.powerShell(toast, "CARDEA_TITLE="+title, "CARDEA_TEXT="+text)
	}
	path, err := s.Look("notify-send")
	if err != nil {
		return command{}, ErrNone
	}
	// The text of a notification has markup; the title has none.
	return command{argv: []string{path, "--app-name=Cardea", "--icon=dialog-password", "--", title, html.EscapeString(text)}}, nil
}

// dialogs ask a question and end with 0 for yes, in the order of preference. The last ones
// understand SSH_ASKPASS_PROMPT, as OpenSSH's do since 8.4.
var dialogs = []struct {
	program string
	options []string
}{
	{"zenity", []string{"--question", "--title=Cardea", "--no-markup", "--default-cancel", "--text"}},
	{"kdialog", []string{"--title", "Cardea", "--yesno"}},
	{"ksshaskpass", nil},
	{"ssh-askpass", nil},
	{"/usr/libexec/openssh/ssh-askpass", nil},
	{"/usr/lib/ssh/ssh-askpass", nil},
}

func (s System) question(text string) (command, error) {
	const asked = "SSH_ASKPASS_PROMPT=confirm"
	own := s.Env("SSH_ASKPASS")
	if s.Env("SSH_ASKPASS_REQUIRE") == "force" && own != "" {
		return command{[]string{own, text}, []string{asked}, true}, nil
	}
	switch s.GOOS {
	case "darwin":
		return s.appleScript(`display dialog (item 1 of argv) with title "Cardea" buttons {"Deny", "Allow"} default button "Deny" cancel button "Deny"`, text)
	case "windows":
		return s.powerShell(messageBox, "CARDEA_TEXT="+text)
	}
	if s.Env("DISPLAY") == "" && s.Env("WAYLAND_DISPLAY") == "" {
		return command{}, ErrNone
	}
	if own != "" {
		return command{[]string{own, text}, []string{asked}, true}, nil
	}
	for _, d := range dialogs {
		if path, err := s.Look(d.program); err == nil {
			return command{append(append([]string{path}, d.options...), text), []string{asked}, true}, nil
		}
	}
	return command{}, ErrNone
}

func (s System) appleScript(line string, args ...string) (command, error) {
	path, err := s.Look("osascript")
	if err != nil {
		return command{}, ErrNone
	}
	return command{argv: append([]string{path, "-e", "on run argv", "-e", line, "-e", "end run", "--"}, args...)}, nil
}

func (s System) powerShell(script string, env ...string) (command, error) {
	path, err := s.Look("powershell.exe")
	if err != nil {
		return command{}, ErrNone
	}
	return command{argv: []string{path, "-NoProfile", "-NonInteractive", "-Command", script}, env: env}, nil
}

// toast shows one in PowerShell's name: a program without an installer has none of its own.
const toast = `$ErrorActionPreference = 'Stop'
[void][Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, ContentType = WindowsRuntime]
$x = [Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent([Windows.UI.Notifications.ToastTemplateType]::ToastText02)
$t = $x.GetElementsByTagName('text')
[void]$t.Item(0).AppendChild($x.CreateTextNode($env:CARDEA_TITLE))
[void]$t.Item(1).AppendChild($x.CreateTextNode($env:CARDEA_TEXT))
$app = '{1AC14E77-02E7-4E5D-B744-2EB1AE5198B7}\WindowsPowerShell\v1.0\powershell.exe'
[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier($app).Show([Windows.UI.Notifications.ToastNotification]::new($x))`

const messageBox = `Add-Type -AssemblyName System.Windows.Forms
$a = [System.Windows.Forms.MessageBox]::Show($env:CARDEA_TEXT, 'Cardea', 'YesNo', 'Question', 'Button2', 'ServiceNotification')
if ($a -ne 'Yes') { exit 1 }`
