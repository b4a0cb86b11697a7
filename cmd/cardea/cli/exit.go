package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// ExitCode is how the program ends; scripts branch on it.
type ExitCode int

// The codes. ssh's own code passes through `cardea ssh` unchanged.
const (
	ExitOK          ExitCode = 0
	ExitFailed      ExitCode = 1
	ExitUsage       ExitCode = 2
	ExitUntrue      ExitCode = 3 // what was to be verified was read, and is not what it should be
	ExitSignIn      ExitCode = 4
	ExitDenied      ExitCode = 5
	ExitInterrupted ExitCode = 130
)

// errInterrupted ends a verb that Ctrl-C or a signal cut short.
var errInterrupted = errors.New("interrupted")

// usageError is a mistake in the command line or the configuration.
type usageError struct{ text, hint string }

func (e *usageError) Error() string {
	if e.hint == "" {
		return e.text
	}
	return e.text + "; " + e.hint
}

// usageErrorf says what is wrong and where to read how it is right.
func usageErrorf(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), "type: " + cmd.CommandPath() + " --help"}
}

// exitOf maps an error to its code.
func exitOf(err error) ExitCode {
	var usage *usageError
	var silent silentError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &silent):
		return silent.code
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.As(err, &usage):
		return ExitUsage
	case becameOf(err) != nil:
		return ExitCode(becameOf(err).ExitCode())
	}
	switch api.KindOf(err) {
	case api.SignIn:
		return ExitSignIn
	case api.Denied:
		return ExitDenied
	case api.Invalid: // what was typed breaks a rule that the control plane knows
		return ExitUsage
	default:
		return ExitFailed
	}
}

// becameOf is the end of the program that this one became, as it came: ssh's, mostly. One
// that was wrapped is that of a program which worked for us, whose code is none of ours, and
// which nobody has heard.
func becameOf(err error) *exec.ExitError {
	child, _ := err.(*exec.ExitError)
	return child
}

// silentError carries a code for a verb whose output has said why.
type silentError struct{ code ExitCode }

func (e silentError) Error() string { return fmt.Sprintf("ended with code %d", e.code) }

// tell shows an error on one line and returns its code.
func (a *app) tell(err error) ExitCode {
	code := exitOf(err)
	var silent silentError
	if err == nil || errors.As(err, &silent) || becameOf(err) != nil {
		return code // ssh has said what there was to say
	}
	fmt.Fprintf(a.err, "cardea: %s\n", ident.Text(a.asGiven(sentence(err))))
	return code
}

// next finds the commands that are to be typed, with the URL of a sign-in.
var next = regexp.MustCompile(`(?:type|terminal): cardea (?:login https?://)?`)

// asGiven puts the flags that every verb has into the commands to type next, as they were
// given, where no sign-in has them remembered: else those would be about no control plane.
func (a *app) asGiven(text string) string {
	if a.home == nil || strings.HasSuffix(text, "--help") {
		return text
	}
	if saved, _ := a.home.Peek(); saved.URL != "" {
		return text
	}
	return next.ReplaceAllStringFunc(text, func(command string) string {
		before, verb, _ := strings.Cut(command, "cardea ")
		flags := ""
		for _, f := range a.given {
			name, value, _ := strings.Cut(f, "=")
			if name != "--output" && (name != "--url" || verb == "" && !strings.Contains(text, "--url ")) {
				flags += name + "=" + commandline.Word(value) + " "
			}
		}
		return before + "cardea " + flags + verb
	})
}

// sentence is the error with what to type next. A control plane that has a
// better idea has put it into the hint.
func sentence(err error) string {
	var e *api.Error
	var usage *usageError
	if errors.As(err, &usage) {
		return err.Error()
	}
	if !errors.As(err, &e) {
		return machineSentence(err)
	}
	if e.Hint != "" || strings.Contains(e.Detail, "; try again") { // an OAuth error has one text for both
		return err.Error()
	}
	hint := ""
	switch e.Kind {
	case api.SignIn:
		hint = "type: cardea login"
	case api.Denied:
		hint = "ask an administrator, or type: cardea ls"
	case api.NotFound:
		hint = "to see what there is type: cardea ls"
	case api.Ambiguous:
		hint = "name it as project/name"
	case api.Limited:
		hint = "wait a minute, then try again"
		if e.RetryAfter > 0 {
			hint = fmt.Sprintf("wait %d s, then try again", e.RetryAfter)
		}
	case api.Unavailable, api.NoGateway:
		hint = "try again in a minute; to see the state type: cardea status"
	case api.Foreign:
		hint = "check the URL; to see it type: cardea status"
	case api.Internal:
		hint = "try again"
		if e.ID != "" {
			hint = "the log of the control plane tells more under " + e.ID
		}
	}
	if hint == "" {
		return err.Error()
	}
	return err.Error() + "; " + hint
}

// machineSentence is for what this machine refused. Errors of ours say what to
// do behind a semicolon.
func machineSentence(err error) string {
	var path *fs.PathError
	switch {
	case strings.Contains(err.Error(), "; "):
		return err.Error()
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return err.Error() + "; make room there and try again"
	case errors.As(err, &path):
		return err.Error() + "; to look at it type: ls -ld " + path.Path
	}
	return err.Error()
}
