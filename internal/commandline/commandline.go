// Package commandline is what the command lines of the daemons have in common:
// one line on stderr for what went wrong, with what to type next, and one rule
// for the exit code. What the caller typed or configured wrongly is 2; what
// then failed in the world is 1. So a service manager, a playbook or a script
// can tell "correct it" from "try again".
package commandline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	OK     = 0 // done, or ended as asked
	Failed = 1 // the world refused: a network, a file system, a control plane
	Usage  = 2 // the command line, a variable or the configuration file is wrong
)

// wrong is a mistake in the command line, a variable or the configuration.
type wrong struct{ error }

func (w wrong) Unwrap() error { return w.error }

// Wrong marks an error as a mistake of the caller's; nil stays nil.
func Wrong(err error) error {
	if err == nil {
		return nil
	}
	return wrong{err}
}

// Wrongf is Wrong for a new sentence, formatted as by fmt.Errorf.
func Wrongf(format string, args ...any) error { return wrong{fmt.Errorf(format, args...)} }

// Prepare gives root what every daemon's has: a verb that says which build
// this is, no words too many, and mistakes that are told by Run and not by
// cobra. Call it when root has all its verbs.
func Prepare(root *cobra.Command, build fmt.Stringer) *cobra.Command {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Wrong(err) })
	root.AddCommand(version(root.Name(), build))
	root.Version = build.String()
	root.SetVersionTemplate(root.Name() + " {{.Version}}\n")
	if root.RunE == nil {
		root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Args == nil {
			cmd.Args = noWords
		}
	}
	return root
}

// VersionVerb is the name of the verb that needs no configuration.
const VersionVerb = "version"

func version(program string, build fmt.Stringer) *cobra.Command {
	return &cobra.Command{
		Use: VersionVerb, Short: "Say which build this is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), program, build)
			return err
		},
	}
}

// noWords refuses words behind a verb: none of a daemon's takes any.
func noWords(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return Wrongf("%q is not a verb of %s", args[0], cmd.CommandPath())
	}
	return Wrongf("%q is one word too many", args[0])
}

// Run runs one command line to its end and returns the exit code.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	// nil would make cobra read the process's own arguments.
	root.SetArgs(append([]string{}, args...))
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return OK
	}
	// One line, also where an error is joined of several or holds a picture.
	text := strings.Join(strings.Fields(err.Error()), " ")
	code := Failed
	if w := (wrong{}); errors.As(err, &w) {
		code = Usage
		if !strings.Contains(text, "; ") { // it does not say yet what to do
			text += "; type: " + cmd.CommandPath() + " --help"
		}
	}
	fmt.Fprintf(stderr, "%s: %s\n", root.Name(), text)
	return code
}

// Word quotes what a shell would take for more than one word, or for none, for a command that
// is to be typed.
func Word(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
