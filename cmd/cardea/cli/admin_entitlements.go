package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/entitlement"
)

// entitlementColumns are those of the list, in which no row is longer for many commands.
func entitlementColumns() []column[api.Entitlement] {
	return []column[api.Entitlement]{
		{"name", func(e api.Entitlement) string { return e.Name }},
		{"commands", func(e api.Entitlement) string { return strconv.Itoa(len(e.Commands)) }},
		{"description", func(e api.Entitlement) string { return e.Description }},
		{"created", func(e api.Entitlement) string { return stamp(e.CreatedAt) }},
		{"id", func(e api.Entitlement) string { return e.ID }},
	}
}

// showEntitlement prints one with a line for each command.
func showEntitlement(a *app, e api.Entitlement) error {
	columns := []column[api.Entitlement]{
		{"name", func(e api.Entitlement) string { return e.Name }},
		{"description", func(e api.Entitlement) string { return e.Description }},
	}
	for i := range e.Commands {
		columns = append(columns, column[api.Entitlement]{"command", func(e api.Entitlement) string { return e.Commands[i].String() }})
	}
	return showOne(a, e, append(columns, entitlementColumns()[3:]...))
}

func adminEntitlements(a *app) *cobra.Command {
	return noun("entitlements", "Named lists of commands that grants let people run by sudo",
		listVerb(a, "/v1/entitlements", "List entitlements", entitlementColumns(), nil),
		entitlementShow(a), entitlementCreate(a), entitlementUpdate(a),
		deleteVerb(a, "entitlements", "ENTITLEMENT", "Delete an entitlement that no grant names"),
	)
}

func entitlementShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show ENTITLEMENT", Short: "Show one by id or name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("entitlements", args[0])
			if err != nil {
				return err
			}
			e, err := call[api.Entitlement](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			return showEntitlement(a, e)
		},
	}
}

const howToType = `A command is written as one would type it: a path alone takes any arguments, one with
arguments exactly these, and one with "" takes none. Only letters, digits and . _ + @ % / -
may be in it. --run-as, --noexec, --setenv and --password are for all commands of the line;
for commands that differ in them, edit what show -o json prints and give it with --file.`

func entitlementCreate(a *app) *cobra.Command {
	var f entitlementFlags
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Create a named list of commands", Args: cobra.ExactArgs(1),
		Long: "Create a named list of commands. Grants give it: cardea admin grants create PROJECT GROUP --sudo NAME.\n\n" + howToType,
		Example: `  cardea admin entitlements create nginx --command '/usr/bin/systemctl restart nginx.service' --command /usr/bin/tail
  cardea admin entitlements create dba --command '/usr/bin/psql ""' --run-as postgres
  cardea admin entitlements create ops --directory /usr/local/ops/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := api.NewEntitlement{Name: args[0]}
			commands, description, err := f.read(cmd, a.in)
			if err != nil {
				return err
			}
			if commands == nil {
				return usageErrorf(cmd, "an entitlement needs a --command, a --directory or a --file")
			}
			if in.Commands = *commands; description != nil {
				in.Description = *description
			}
			e, err := call[api.Entitlement](cmd.Context(), a, "POST", "/v1/entitlements", in)
			if err != nil {
				return err
			}
			return showEntitlement(a, e)
		},
	}
	f.add(cmd)
	return cmd
}

func entitlementUpdate(a *app) *cobra.Command {
	var f entitlementFlags
	cmd := &cobra.Command{
		Use: "update ENTITLEMENT", Aliases: []string{"set"}, Short: "Put other commands in place of all that it has", Args: cobra.ExactArgs(1),
		Long: "Put other commands in place of all that it has. Every server where a grant gives it follows at once.\n\n" + howToType,
		Example: `  cardea admin entitlements update nginx --command '/usr/bin/systemctl reload nginx.service'
  cardea admin entitlements show nginx -o json >nginx.json; vi nginx.json; cardea admin entitlements update nginx -f nginx.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("entitlements", args[0])
			if err != nil {
				return err
			}
			var in api.EntitlementPatch
			if in.Commands, in.Description, err = f.read(cmd, a.in); err != nil {
				return err
			}
			if in.Commands == nil && in.Description == nil {
				return usageErrorf(cmd, "nothing to change")
			}
			e, err := call[api.Entitlement](cmd.Context(), a, "PATCH", path, in)
			if err != nil {
				return err
			}
			return showEntitlement(a, e)
		},
	}
	f.add(cmd)
	return cmd
}

// entitlementFlags are what one may say of an entitlement.
type entitlementFlags struct {
	description, file          string
	commands, directories      []string
	runAs                      string
	noExec, setEnv, needSecret bool
}

func (f *entitlementFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	// Arrays: a comma is part of what was typed, and not the beginning of another.
	flags.StringArrayVar(&f.commands, "command", nil, "a command, with its arguments if it must have these; once for each")
	flags.StringArrayVar(&f.directories, "directory", nil, "a directory, for every program that lies in it; once for each")
	flags.StringVar(&f.runAs, "run-as", "", "the user as whom they run (default root)")
	flags.BoolVar(&f.noExec, "noexec", false, "they may not start other programs")
	flags.BoolVar(&f.setEnv, "setenv", false, "people may set their environment, which for most programs is as good as any command")
	flags.BoolVar(&f.needSecret, "password", false, "ask for a password; accounts made by Cardea have none")
	flags.StringVar(&f.description, "description", "", "what it is for")
	flags.StringVarP(&f.file, "file", "f", "", "JSON as show -o json prints it; - is stdin")
	for _, name := range []string{"command", "directory", "run-as", "noexec", "setenv", "password"} {
		cmd.MarkFlagsMutuallyExclusive("file", name)
	}
}

// read returns what was given; nil for what was not.
func (f *entitlementFlags) read(cmd *cobra.Command, stdin io.Reader) (commands *[]entitlement.Command, description *string, err error) {
	if f.file != "" {
		commands, description, err = entitlementFile(f.file, stdin)
	} else if len(f.commands)+len(f.directories) > 0 {
		list := f.typed()
		commands = &list
	} else if cmd.Flags().Changed("run-as") || f.noExec || f.setEnv || f.needSecret {
		err = usageErrorf(cmd, "--run-as, --noexec, --setenv and --password say how a --command or --directory runs")
	}
	if cmd.Flags().Changed("description") {
		description = &f.description
	}
	return commands, description, err
}

// typed are the commands of the line. Whether they are good ones says the control plane.
func (f *entitlementFlags) typed() []entitlement.Command {
	var list []entitlement.Command
	for _, line := range f.commands {
		list = append(list, entitlement.Parse(line))
	}
	for _, dir := range f.directories {
		list = append(list, entitlement.Command{Kind: entitlement.Directory, Path: strings.TrimSuffix(dir, "/") + "/"})
	}
	for i := range list {
		list[i].RunAs, list[i].NoExec, list[i].SetEnv, list[i].Password = f.runAs, f.noExec, f.setEnv, f.needSecret
	}
	return list
}

// entitlementFile reads one as show -o json prints it. Its name and id are
// overruled by the command line.
func entitlementFile(name string, stdin io.Reader) (*[]entitlement.Command, *string, error) {
	const hint = "write it as this prints one: cardea admin entitlements show NAME -o json"
	from := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, nil, &usageError{err.Error(), "give a file, or - for stdin"}
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, api.MaxBody+1))
	if err != nil {
		return nil, nil, &usageError{err.Error(), "give a file, or - for stdin"}
	}
	if len(text) > api.MaxBody {
		return nil, nil, &usageError{fmt.Sprintf("%s is larger than %d bytes", name, api.MaxBody), "split it into several entitlements"}
	}
	var in struct {
		api.Entitlement
		Description *string                `json:"description"`
		Commands    *[]entitlement.Command `json:"commands"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a misspelt "noexec" would give more than was meant
	if err = d.Decode(&in); err == nil && d.More() {
		err = errors.New("something follows the object")
	}
	if err == nil && in.Commands == nil {
		err = errors.New(`there are no "commands" in it`)
	}
	if err != nil {
		return nil, nil, &usageError{name + ": " + err.Error(), hint}
	}
	return in.Commands, in.Description, nil
}
