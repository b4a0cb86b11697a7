package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/doctor"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/internal/version"
)

// doctorTime bounds all checks together. A person who types this waits for it with nothing
// else to do, and what takes longer is broken.
const doctorTime = 8 * time.Second

// checkup is what `cardea doctor -o json` prints. Its names are for ever.
type checkup struct {
	Version string           `json:"version"`
	Well    bool             `json:"well"` // nothing failed
	Checks  []doctor.Finding `json:"checks"`
}

func newDoctor(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor [SERVER]", GroupID: groupSetup,
		Short: "Check the whole way to your servers, and tell what to do",
		Long: `Check the whole way to your servers, and tell what to do: configuration, ssh, agent,
session, device key, clock, control plane and the gateways to which connections were led.
With a server the gateways of that one, and the way there:
a connection is begun as ssh would begin it, and ended when the server has said its name.

It changes nothing, opens no browser and shows no secret. It ends with code 0 if all is
well, also with warnings, and with 1 if something failed.`,
		Example: "  cardea doctor\n  cardea doctor web-1\n  cardea doctor ide",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.completeServers,
		// It has to say what is wrong with the configuration, and go on.
		Annotations: map[string]string{rawKey: ""},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.doctor(cmd.Context(), args)
		},
	}
	cmd.AddCommand(newDoctorIDE(a))
	return cmd
}

func (a *app) doctor(ctx context.Context, args []string) error {
	configErr := a.load()
	if err := a.place(); err != nil {
		return err
	}
	server := ""
	if len(args) > 0 {
		if err := checkServer(args[0]); err != nil {
			return err
		}
		server = args[0]
	}
	p := a.patient(configErr)
	checks := []doctor.Check{
		{Name: "configuration", Run: p.config}, {Name: "ssh", Run: p.ssh}, {Name: "agent", Run: p.agent},
		{Name: "session", Run: p.session}, {Name: "device-key", Run: p.key},
		{Name: "control-plane", Run: p.control}, {Name: "gateway", Run: func(ctx context.Context) []doctor.Finding { return p.gateways(ctx, server) }},
	}
	if server != "" {
		checks = append(checks, doctor.Check{Name: "server", Run: func(ctx context.Context) []doctor.Finding { return p.server(ctx, server) }})
	}
	return a.examine(ctx, checks)
}

// examine makes the checks and shows what they found.
func (a *app) examine(ctx context.Context, checks []doctor.Check) error {
	waits, done := a.progress()
	found := doctor.Run(ctx, checks, doctorTime, waits)
	done()
	if err := ctx.Err(); err != nil {
		return err
	}
	c := checkup{Version: version.Get().Version, Well: doctor.Well(found), Checks: found}
	var err error
	if a.output == asJSON {
		err = printJSON(a.out, c)
	} else {
		err = showFindings(a.out, found)
	}
	if err == nil && !c.Well {
		err = silentError{ExitFailed}
	}
	return err
}

// showFindings prints one line for each, with what to do behind a semicolon.
func showFindings(w io.Writer, found []doctor.Finding) error {
	var table [][]string
	for _, f := range found {
		text := f.Text
		if f.State == doctor.Skipped {
			text = "because " + text
		}
		if f.Cure != "" {
			text += "; " + f.Cure
		}
		table = append(table, []string{string(f.State), f.Check, ident.Text(text)})
	}
	return writeTable(w, table)
}

// progress tells on a terminal what is awaited; done takes the line away.
func (a *app) progress() (waits func([]string), done func()) {
	f, isFile := a.err.(*os.File)
	if !isFile || !term.IsTerminal(f) || a.output == asJSON {
		return nil, func() {}
	}
	width := term.Width(f, 80)
	tell := func(left []string) {
		line := "looking at: " + strings.Join(left, ", ")
		fmt.Fprintf(f, "\r\x1b[K%.*s", width-1, line)
	}
	return tell, func() { fmt.Fprint(f, "\r\x1b[K") }
}

// errNoSession is for checks that need one.
var errNoSession = errors.New("there is no session")
