package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/server-agent/sftd"
)

// configCommand prints what the agent goes by, as a file that would say the same.
func (v *verbs) configCommand() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print all options as they are in force, and where each comes from",
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Two steps, so that a value cannot bring the columns out of line.
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range v.loader.Settings() {
				fmt.Fprintf(w, "%s: %s\t# %s\n", s.Key, shown(s), v.whence(s))
			}
			return w.Flush()
		},
	}
}

// shown hides the password of a proxy: what this prints is pasted into tickets.
func shown(s config.Setting) string {
	scheme, rest, found := strings.Cut(s.YAML, "://")
	if at := strings.LastIndexByte(rest, '@'); s.Name == "https-proxy" && found && at >= 0 {
		return scheme + "://..." + rest[at:]
	}
	return s.YAML
}

func (v *verbs) whence(s config.Setting) string {
	switch s.Source {
	case config.FromFile:
		return v.loader.File()
	case config.FromEnv:
		return config.EnvName(s.Name)
	case config.FromFlag:
		return "--" + s.Name
	}
	return string(s.Source)
}

// sftdFile is where the other agent has its configuration.
const sftdFile = "/etc/sft/sftd.yaml"

func (v *verbs) importCommand() *cobra.Command {
	write := false
	cmd := &cobra.Command{
		Use: "import-sftd [FILE]", Short: "Explain the configuration of Okta's server agent, and write what it comes to here",
		Long: "Explain the configuration of the server agent of Okta's Advanced Server Access (" + sftdFile + ").\n\n" +
			"Prints a server-agent.yaml with what can be carried over, and says of every other key why not.\nNothing is changed but with --write.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			from := sftdFile
			if len(args) == 1 {
				from = args[0]
			}
			raw, err := readSFTD(from)
			if err != nil {
				return err
			}
			read := sftd.Read(raw, acceptable)
			text := read.Text(from, v.opt.ControlURL, asYAML)
			if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
				return err
			}
			if read.Unread {
				return fmt.Errorf("nothing of %s was read, and nothing is written; the last line of the above says why", from)
			}
			if !write {
				return nil
			}
			if err := v.writeConfig(text); err != nil {
				return err
			}
			fmt.Fprintf(v.stderr, "written to %s; to see what is in force type: cardea-server-agent config\n", v.loader.Path())
			return nil
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "write the result as the configuration, if that says nothing yet")
	return cmd
}

// readSFTD reads a little more than may be, so that a file that is too large is told
// like all else that is odd in it.
func readSFTD(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s; give the file, for example: cardea-server-agent import-sftd ./sftd.yaml", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, sftd.MaxFile+1))
}

// acceptable tries a setting as if it stood in the file by itself.
func acceptable(key string, texts []string) error {
	opt, _, err := tried(key, texts)
	if err == nil {
		err = opt.check()
	}
	if err != nil {
		// The reader knows the key, and has not typed the flag.
		return errors.New(strings.TrimPrefix(err.Error(), flagOf(key)+": "))
	}
	return nil
}

func flagOf(key string) string { return strings.ReplaceAll(key, "_", "-") }

func tried(key string, texts []string) (options, *config.Loader, error) {
	opt := defaults()
	flags := pflag.NewFlagSet("import", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	loader := config.Bind(flags, &opt, "")
	for _, t := range texts {
		if strings.ContainsRune(t, ',') {
			return opt, loader, errors.New("it has a comma in it")
		}
		if err := flags.Set(flagOf(key), t); err != nil {
			_, said, _ := strings.Cut(err.Error(), "flag: ")
			return opt, loader, errors.New(said)
		}
	}
	return opt, loader, loader.Load(func(string) (string, bool) { return "", false })
}

func asYAML(key string, texts []string) string {
	_, loader, _ := tried(key, texts)
	for _, s := range loader.Settings() {
		if s.Key == key {
			return s.YAML
		}
	}
	return ""
}

// writeConfig makes the file, and its folder, or replaces one that has comments alone,
// such as a package brings.
func (v *verbs) writeConfig(text string) error {
	path := v.loader.Path()
	if path == "" {
		return commandline.Wrongf("--write needs a file to write; give --config")
	}
	for _, s := range v.loader.Settings() {
		if s.Source == config.FromFile {
			return fmt.Errorf("%s says something already and was left as it is; put in by hand what you want of the above", path)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	_, err := atomicfile.Write(path, []byte(text), atomicfile.Options{Mode: 0o600})
	return err
}
