package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/version"
	serveragent "github.com/cardea-ssh/cardea/server-agent"
	"github.com/cardea-ssh/cardea/server-agent/program"
)

// verbs shares the options among the verbs.
type verbs struct {
	opt    options
	loader *config.Loader
	stderr io.Writer
}

func command(env func(string) (string, bool), stderr io.Writer) *cobra.Command {
	v := &verbs{opt: defaults(), stderr: stderr}
	root := &cobra.Command{
		Use:   "cardea-server-agent",
		Short: "Keep this server's accounts and sshd what the control plane says",
		Long:  "Keep this server's accounts and sshd what the control plane says.\n\nWithout a verb it runs until it is stopped.",
		RunE:  v.run,
	}
	v.loader = config.Bind(root.PersistentFlags(), &v.opt, configFile)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Name() == commandline.VersionVerb {
			return nil
		}
		if err := v.loader.Load(env); err != nil {
			return commandline.Wrong(err)
		}
		return commandline.Wrong(v.opt.check())
	}
	root.AddCommand(
		&cobra.Command{Use: "run", Short: "Run until stopped (as without a verb)", RunE: v.run},
		v.enrollCommand(),
		&cobra.Command{Use: "plan", Short: "Print what would be changed now, and change nothing", RunE: v.plan},
		&cobra.Command{Use: "confirm-removals", Short: "Let all accounts be locked that the newest state does not name, however many", RunE: v.confirm},
		v.statusCommand(),
		v.unenrollCommand(),
		v.configCommand(),
		v.importCommand(),
	)
	return commandline.Prepare(root, version.Get())
}

// agent is for verbs that need root: all but status and version.
func (v *verbs) agent(needRoot bool) (*serveragent.Agent, error) {
	if needRoot && os.Geteuid() != 0 {
		return nil, errors.New("this needs root; type it with sudo")
	}
	if needRoot {
		if err := v.trustConfig(); err != nil {
			return nil, err
		}
	}
	log, err := v.opt.Logger(v.stderr)
	if err != nil {
		return nil, commandline.Wrong(err)
	}
	return serveragent.New(serveragent.Options{
		ControlURL: v.opt.ControlURL, StateDir: v.opt.StateDir, TokenFile: v.opt.TokenFile, Cloud: v.opt.Cloud, AccessAddress: v.opt.AccessAddress,
		AccessInterface: v.opt.AccessInterface, HTTPSProxy: v.opt.HTTPSProxy,
		Hostname: v.opt.Hostname, AltNames: v.opt.AltNames, Bastion: v.opt.Bastion, HostLabels: v.opt.HostLabels, LabelCommands: v.opt.LabelCommands, LabelInterval: v.opt.LabelInterval, CloudLabels: v.opt.CloudLabels, DefaultShell: v.opt.DefaultShell, Adopt: v.opt.Adopt, AuthLog: v.opt.AuthLog,
		Log: log, Version: version.Get().Version, UserAgent: version.UserAgent("cardea-server-agent"),
	})
}

// trustConfig refuses a configuration that others can write: it names programs that
// run as root (label_commands) and the folder of what is believed (state_dir).
func (v *verbs) trustConfig() error {
	file := v.loader.File()
	if file == "" {
		return nil
	}
	file, err := filepath.Abs(file)
	if err == nil {
		err = program.TrustedConfig(file)
	}
	if err != nil {
		return commandline.Wrongf("the configuration is not used, because whoever can change it would be root: %v; type: chown root: %s && chmod go-w %s", err, file, file)
	}
	return nil
}

func (v *verbs) run(cmd *cobra.Command, _ []string) error {
	a, err := v.agent(true)
	if err != nil {
		return err
	}
	err = a.Run(cmd.Context())
	if cmd.Context().Err() != nil {
		return nil // stopped as asked
	}
	return err
}

func (v *verbs) plan(cmd *cobra.Command, _ []string) error {
	a, err := v.agent(true)
	if err != nil {
		return err
	}
	state, lines, err := a.Plan(cmd.Context())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if len(lines) == 0 {
		fmt.Fprintf(out, "nothing is to be done for state %s\n", state)
		return nil
	}
	fmt.Fprintf(out, "for state %s:\n", state)
	for _, l := range lines {
		fmt.Fprintln(out, l)
	}
	return nil
}

func (v *verbs) confirm(cmd *cobra.Command, _ []string) error {
	a, err := v.agent(true)
	if err != nil {
		return err
	}
	state, err := a.ConfirmRemovals()
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the removals of state %s are confirmed; the running agent locks those accounts within seconds\n", state)
	return nil
}

func (v *verbs) statusCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "status", Short: "Say what is in force and what is wrong"}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "text" && format != "json" {
			return commandline.Wrongf("output %q is neither text nor json", format)
		}
		s, err := serveragent.ReadStatus(v.opt.StateDir)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return errors.New("this needs root; type it with sudo")
		case errors.Is(err, fs.ErrNotExist):
			return errors.New("the agent has not run here yet, or this server was taken out of Cardea; to start it type: cardea-server-agent run")
		case err != nil:
			return err
		}
		if format == "json" {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(s)
		}
		return printStatus(cmd.OutOrStdout(), s)
	}
	return cmd
}

func printStatus(out io.Writer, s serveragent.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	running := "no"
	if s.Running() {
		running = fmt.Sprintf("yes, process %d", s.PID)
	}
	force := fmt.Sprintf("state %d.%d", s.InForce.Epoch, s.InForce.Counter)
	if s.Told != s.InForce {
		force += fmt.Sprintf(", and not yet %d.%d", s.Told.Epoch, s.Told.Counter)
	}
	for _, row := range [][2]string{
		{"server", s.Name + " (" + s.Server + ")"},
		{"control plane", s.ControlURL},
		{"running", running},
		{"in force", force},
		{"control plane answered", ago(s.Contact)},
		{"host looked at", ago(s.Applied)},
		{"reported", ago(s.Reported)},
		{"host certificate ends", at(s.CertificateEnds)},
		{"people", strings.Join(s.Accounts, " ")},
		{"labels", labelText(s.Labels)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], ident.Text(row[1]))
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "problem\t%s\n", p)
	}
	return w.Flush()
}

func labelText(labels map[string]string) string {
	var texts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		texts = append(texts, k+"="+labels[k])
	}
	return strings.Join(texts, " ")
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

func at(t time.Time) string {
	if t.IsZero() {
		return "there is none"
	}
	return t.Format(time.RFC3339)
}
