package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/version"
)

// Main runs the program with its arguments, on the process's own streams.
func Main(args []string) ExitCode {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Nearly every verb is over in milliseconds: collecting garbage meanwhile only
	// makes it slower. The agent, which stays, asks for the usual again.
	debug.SetGCPercent(briefGC)
	// net/http prints what it finds odd there, into the middle of our own sentences.
	log.SetOutput(io.Discard)
	return processApp().run(ctx, args)
}

// briefGC is how far the heap may grow between two collections, in percent: the
// list of 10,000 servers needs some 30 MB.
const briefGC = 1000

// Groups of the help text.
const (
	groupAccess  = "access"
	groupAccount = "account"
	groupSetup   = "setup"
	groupAdmin   = "admin"
)

// rawKey marks verbs that run without the configuration: they must start
// within milliseconds, or work although it is broken.
const rawKey = "cardea/raw"

// cobraVerbs are those that cobra adds by itself; they need no configuration.
var cobraVerbs = []string{"help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "cardea",
		Short: "Reach your servers by ssh, with the identity you already have",
		Example: `  cardea login https://access.example.com
  cardea ssh-config --install
  ssh web-1`,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.given = givenFlags(cmd)
			for c := cmd; c != nil; c = c.Parent() {
				if _, raw := c.Annotations[rawKey]; raw || slices.Contains(cobraVerbs, c.Name()) {
					return nil
				}
			}
			return a.configure()
		},
	}
	root.AddGroup(
		&cobra.Group{ID: groupAccess, Title: "Reach servers:"},
		&cobra.Group{ID: groupAccount, Title: "Your account:"},
		&cobra.Group{ID: groupSetup, Title: "This machine:"},
		&cobra.Group{ID: groupAdmin, Title: "Administration:"},
	)
	root.SetHelpCommandGroupID(groupSetup)
	root.SetCompletionCommandGroupID(groupSetup)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		var value *pflag.InvalidValueError
		if errors.As(err, &value) && wanted(value.GetFlag()) != "" { // Go's own words are for those who write Go
			return usageErrorf(cmd, "--%s is %q; give %s", value.GetFlag().Name, value.GetValue(), wanted(value.GetFlag()))
		}
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			return unknownFlag(cmd, unknown)
		}
		return usageErrorf(cmd, "%v", err)
	})
	root.Version = version.Get().String()
	root.SetVersionTemplate("cardea {{.Version}}\n")
	a.bind(root)
	root.AddCommand(
		newLogin(a), newLogout(a), newSignIns(a), newPassword(a), newDevice(a), newStatus(a), newServiceKey(a),
		newTUI(a), newSSH(a), newExec(a), newSCP(a), newSFTP(a), newLs(a), newListProjects(a), newResolve(a), newWhy(a), newRequest(a), newRequests(a),
		newSessions(a), newSSHConfig(a), newProxyCommand(a), newPane(a), newAgent(a), newDoctor(a),
		newVersion(a), newAdmin(a),
	)
	a.finish(root)
	a.pickAlone(root)
	return root
}

// hyphened are the words of a verb's use for what people may have given a name that begins
// with a hyphen. Names that are ours never do.
var hyphened = regexp.MustCompile(`THUMBPRINT|KEY|FILE|FOLDER`)

// unknownFlag names the nearest one. Without one it may have been meant as an argument.
func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(err.GetSpecifiedName(), names); near != "" && err.GetSpecifiedShortnames() == "" {
		return usageErrorf(cmd, "%v (did you mean --%s?)", err, near)
	}
	if _, arguments, _ := strings.Cut(cmd.Use, " "); hyphened.MatchString(arguments) {
		return &usageError{err.Error(), "an argument that begins with a hyphen goes behind --; type: " + cmd.CommandPath() + " [flags] -- " + arguments}
	}
	return usageErrorf(cmd, "%v", err)
}

// wanted is what a flag takes whose type does not say so itself.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "int", "int64":
		return "a whole number"
	case "uint32":
		return "a whole number from 0 on"
	case "float64":
		return "a number"
	case "duration":
		return "a duration such as 90s, 8h or 30d"
	}
	return ""
}

// finish makes every mistake in the arguments a usage error that shows how the
// verb is used, and has a verb that only groups others name the nearest.
func (a *app) finish(cmd *cobra.Command) {
	if cmd.RunE == nil && cmd.Run == nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownVerb(cmd, args[0])
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	} else if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			line := strings.TrimSuffix(cmd.UseLine(), " [flags]")
			return &usageError{wrongCount(check, cmd, args), "type: " + line}
		}
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.working = true
			return run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		a.finish(c)
	}
}

// wrongCount tells a word too many from one that is missing: without its last words
// the former would do. Named is the first that has no place.
func wrongCount(check cobra.PositionalArgs, cmd *cobra.Command, args []string) string {
	for n := len(args) - 1; n >= 0; n-- {
		if check(cmd, args[:n]) == nil {
			return fmt.Sprintf("%q is one word too many", args[n])
		}
	}
	return "an argument is missing"
}

// unknownVerb names the nearest one, as the root does.
func unknownVerb(cmd *cobra.Command, word string) error {
	names := []string{}
	for _, c := range cmd.Commands() {
		names = append(append(names, c.Name()), c.Aliases...)
	}
	if near := nearest(word, names); near != "" {
		return usageErrorf(cmd, "%q is not a verb of %s (did you mean %s?)", word, cmd.CommandPath(), near)
	}
	return usageErrorf(cmd, "%q is not a verb of %s", word, cmd.CommandPath())
}

// run runs one command line to its end and says what went wrong.
func (a *app) run(ctx context.Context, args []string) ExitCode {
	root := newRoot(a)
	// nil would make cobra read the process's own arguments.
	root.SetArgs(slices.Clip(append([]string{}, args...)))
	plainInPowerShell(root)
	a.howToComplete(root)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		a.offerLists(root)
		out := bufio.NewWriterSize(a.out, 16<<10) // cobra writes each of a thousand words by itself
		root.SetOut(out)
		defer out.Flush()
	}
	cmd, err := root.ExecuteContextC(ctx)
	var usage *usageError
	switch {
	case err != nil && ctx.Err() != nil:
		err = errInterrupted
	case err != nil && !a.working && api.KindOf(err) == api.Internal && !errors.As(err, &usage):
		err = flagError(cmd, err.Error()) // cobra has no type for its own
	}
	return a.tell(err)
}

// mustBeGiven has the verb refuse a line without these flags, which it has.
func mustBeGiven(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err)
		}
	}
}

// flagError says in words for those who type what cobra says of flags together.
func flagError(cmd *cobra.Command, text string) error {
	if names, ok := strings.CutPrefix(text, "required flag(s) "); ok {
		names = strings.NewReplacer(`"`, "", ",", "").Replace(strings.TrimSuffix(names, " not set"))
		return lacks(cmd, strings.Fields(names)...)
	}
	_, names, ok := strings.Cut(text, "none of the others can be; [")
	if names, all := strings.CutSuffix(names, "] were all set"); ok && all {
		text = dashed(strings.Fields(names)) + " exclude each other"
	}
	return usageErrorf(cmd, "%s", text)
}

// lacks refuses a line without flags that it needs.
func lacks(cmd *cobra.Command, flags ...string) error {
	return &usageError{dashed(flags) + " must be given", "type: " + completed(cmd, flags)}
}

// completed is the line that was typed with the flags that it lacks.
func completed(cmd *cobra.Command, lacking []string) string {
	line := []string{cmd.CommandPath()}
	var behind []string // what would be taken for flags, and all after it
	for _, arg := range cmd.Flags().Args() {
		switch word := commandline.Word(arg); {
		case behind != nil:
			behind = append(behind, word)
		case strings.HasPrefix(arg, "-"):
			behind = []string{"--", word}
		default:
			line = append(line, word)
		}
	}
	give := func(f *pflag.Flag, value string) {
		switch {
		case value == f.NoOptDefVal:
			line = append(line, "--"+f.Name)
		case f.NoOptDefVal != "": // it never takes the next word: --create false is true
			line = append(line, "--"+f.Name+"="+value)
		default:
			line = append(line, "--"+f.Name, value)
		}
	}
	everyVerbs := cmd.InheritedFlags()
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if everyVerbs.Lookup(f.Name) != nil { // tell adds these
			return
		}
		if list, ok := f.Value.(interface{ GetSlice() []string }); ok {
			for _, value := range list.GetSlice() {
				give(f, commandline.Word(value))
			}
			return
		}
		give(f, commandline.Word(f.Value.String()))
	})
	for _, name := range lacking {
		f := cmd.Flags().Lookup(name)
		kind, _ := pflag.UnquoteUsage(f)
		if kind == "string" || kind == "strings" { // which says nothing
			kind = name
		}
		give(f, strings.ToUpper(kind))
	}
	return strings.Join(append(line, behind...), " ")
}

// dashed are the names of flags as they are typed, with "and" before the last.
func dashed(names []string) string {
	flags := make([]string, len(names))
	for i := range names {
		flags[i] = "--" + names[i]
	}
	last := len(flags) - 1
	if last < 1 {
		return strings.Join(flags, "")
	}
	return strings.Join(flags[:last], ", ") + " and " + flags[last]
}
