package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/version"
	serveragent "github.com/cardea-ssh/cardea/server-agent"
)

const configFile = "/etc/cardea/server-agent.yaml"

// options are those of every verb; each is a flag, a variable and a key.
type options struct {
	daemon.LogOptions
	ControlURL    string            `name:"control-url" help:"URL of the control plane; needed to enrol, remembered afterwards"`
	StateDir      string            `name:"state-dir" help:"folder of this server's identity and last good state"`
	TokenFile     string            `name:"token-file" help:"file with an enrolment token, removed after use (default enrollment.token in the state folder)"`
	AccessAddress string            `name:"access-address" help:"host or host:port at which sshd is reached, proposed to the control plane (default: found)"`
	Hostname      string            `name:"hostname" help:"name to propose for this server (default: the host's own)"`
	HostLabels    map[string]string `name:"host-labels" help:"labels that this host gives itself; they are shown below host/ and never grant anything"`
	DefaultShell  string            `name:"default-shell" help:"shell of people who have none of their own (default /bin/bash)"`
	AuthLog       string            `name:"auth-log" help:"log file to read logins from (default: the journal, else /var/log/auth.log)"`
}

// verbs shares the options among the verbs.
type verbs struct {
	opt    options
	stderr io.Writer
}

func command(env func(string) (string, bool), stderr io.Writer) *cobra.Command {
	v := &verbs{opt: options{StateDir: serveragent.DefaultStateDir}, stderr: stderr}
	root := &cobra.Command{
		Use:           "cardea-server-agent",
		Short:         "Keep this server's accounts and sshd what the control plane says",
		Long:          "Keep this server's accounts and sshd what the control plane says.\n\nWithout a verb it runs until it is stopped.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          v.run,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		verb := ""
		if cmd.HasParent() {
			verb = cmd.Name() + " "
		}
		return usageError{err, verb}
	})
	loader := config.Bind(root.PersistentFlags(), &v.opt, configFile)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Name() == "version" {
			return nil
		}
		if err := loader.Load(env); err != nil {
			return usageError{err, ""}
		}
		return nil
	}
	root.AddCommand(
		&cobra.Command{Use: "run", Short: "Run until stopped (as without a verb)", Args: noArgs, RunE: v.run},
		&cobra.Command{Use: "enroll", Aliases: []string{"enrol"}, Short: "Exchange the enrolment token for this server's credential", Args: noArgs, RunE: v.enroll},
		&cobra.Command{Use: "plan", Short: "Print what would be changed now, and change nothing", Args: noArgs, RunE: v.plan},
		&cobra.Command{Use: "confirm-removals", Short: "Let all accounts be locked that the newest state does not name, however many", Args: noArgs, RunE: v.confirm},
		v.statusCommand(),
		versionCommand(),
	)
	return root
}

// agent is for verbs that need root: all but status and version.
func (v *verbs) agent(needRoot bool) (*serveragent.Agent, error) {
	if needRoot && os.Geteuid() != 0 {
		return nil, errors.New("this needs root; type it with sudo")
	}
	log, err := v.opt.Logger(v.stderr)
	if err != nil {
		return nil, usageError{err, ""}
	}
	return serveragent.New(serveragent.Options{
		ControlURL: v.opt.ControlURL, StateDir: v.opt.StateDir, TokenFile: v.opt.TokenFile, AccessAddress: v.opt.AccessAddress,
		Hostname: v.opt.Hostname, HostLabels: v.opt.HostLabels, DefaultShell: v.opt.DefaultShell, AuthLog: v.opt.AuthLog,
		Log: log, Version: version.Get().Version, UserAgent: version.UserAgent("cardea-server-agent"),
	})
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

func (v *verbs) enroll(cmd *cobra.Command, _ []string) error {
	a, err := v.agent(true)
	if err != nil {
		return err
	}
	id, name, err := a.Enrol(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "enrolled as %s (%s); start it with: cardea-server-agent run\n", ident.Text(name), id)
	return nil
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
	cmd := &cobra.Command{Use: "status", Short: "Say what is in force and what is wrong", Args: noArgs}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "text" && format != "json" {
			return usageError{fmt.Errorf("output %q is neither text nor json", format), "status "}
		}
		s, err := serveragent.ReadStatus(v.opt.StateDir)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return errors.New("this needs root; type it with sudo")
		case errors.Is(err, fs.ErrNotExist):
			return errors.New("the agent has not run here yet; start it with: cardea-server-agent run")
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
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], ident.Text(row[1]))
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "problem\t%s\n", p)
	}
	return w.Flush()
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
