package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/picker"
)

// visits does what is chosen in the picker: by this very program, which has a verb for all.
type visits struct {
	program func() (string, error)
	flags   []string
	now     func() time.Time
}

// do makes the command of a choice.
func (v *visits) do(c picker.Choice, done func(said string, err error) tea.Msg) tea.Cmd {
	program, err := v.program()
	if err == nil && c.Verb == picker.Panes {
		return func() tea.Msg { return done(v.panes(c.Hosts)) }
	}
	var args []string
	if err == nil {
		args, err = verbOf(c)
	}
	if err != nil {
		return func() tea.Msg { return done("", err) }
	}
	run := &visit{cmd: exec.Command(program, slices.Concat(v.flags, args)...), choice: c, now: v.now}
	return tea.Exec(run, func(err error) tea.Msg { return done(run.said(err)) })
}

// verbOf is the command line of a choice. Hosts are called by names that the grammar allows,
// and nothing else that was typed stands where it could be a flag.
func verbOf(c picker.Choice) ([]string, error) {
	var calls []string
	for _, h := range c.Hosts {
		if err := checkServer(h.Call); err != nil {
			return nil, err
		}
		calls = append(calls, h.Call)
	}
	switch c.Verb {
	case picker.Connect:
		return append([]string{"ssh"}, calls...), nil
	case picker.Forward:
		spec, err := forwardSpec(c.Text)
		return append([]string{"ssh", "-N", "-L", spec}, calls...), err
	case picker.Run:
		return append(append([]string{"exec"}, calls...), "--", c.Text), nil
	case picker.Request:
		return []string{"request", "--reason=" + c.Text, "--", c.To}, nil
	case picker.Requests:
		return []string{"requests"}, nil
	case picker.Recordings:
		args := []string{"sessions"}
		for _, call := range calls {
			args = append(args, "--server="+call)
		}
		return args, nil
	case picker.SignIn:
		return []string{"login"}, nil
	}
	return nil, fmt.Errorf("the picker knows no %s", c.Verb)
}

// forwardSpec is what ssh takes after -L, of what is shorter to type: 8080 is that port
// there and here, 8080:80 port 80 there, 8080:db:5432 what the server reaches as db.
func forwardSpec(text string) (string, error) {
	parts := strings.Split(text, ":")
	local, host, remote := parts[0], "localhost", parts[len(parts)-1]
	if len(parts) == 3 {
		host = parts[1]
	}
	if len(parts) > 3 || !isPort(local) || !isPort(remote) || host == "" || strings.ContainsAny(host, " \t-/[]*") && ident.ServerName(host) != nil {
		return "", &draw.Problem{Text: fmt.Sprintf("%q is no forwarding", text), Hint: "type for example 8080, or 8080:80, or 8080:db:5432"}
	}
	return local + ":" + host + ":" + remote, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// briefVisit is how long a connection lasts at most that did not come to be: what it said
// then has to be read.
const briefVisit = 5 * time.Second

// visit is a program that has the whole terminal for a while.
type visit struct {
	cmd    *exec.Cmd
	choice picker.Choice
	now    func() time.Time
}

func (v *visit) SetStdin(r io.Reader)  { v.cmd.Stdin = r }
func (v *visit) SetStdout(w io.Writer) { v.cmd.Stdout = w }
func (v *visit) SetStderr(w io.Writer) { v.cmd.Stderr = w }

// Run runs it, and waits for the person where something may stand there to be read.
func (v *visit) Run() error {
	if v.choice.Verb == picker.Forward {
		fmt.Fprintf(v.cmd.Stdout, "Forwarding %s through %s; Ctrl-C ends it\n", ident.Text(v.choice.Text), v.to())
	}
	began := v.now()
	err := v.cmd.Run()
	if v.toBeRead(err, v.now().Sub(began)) {
		fmt.Fprintf(v.cmd.Stdout, "\n%s; press enter to go back ", v.ended(err))
		bufio.NewReader(v.cmd.Stdin).ReadString('\n')
	}
	return err
}

// toBeRead reports whether what was printed is what the person wanted, or says why he did
// not get it. A shell that ends with the code of its last command says nothing.
func (v *visit) toBeRead(err error, lasted time.Duration) bool {
	switch v.choice.Verb {
	case picker.Run, picker.Request:
		return true
	case picker.Requests, picker.Recordings:
		return err != nil
	case picker.Connect, picker.Forward:
		return err != nil && lasted < briefVisit || codeOf(err) == sshFailed && v.choice.Verb == picker.Connect
	}
	return err != nil
}

func codeOf(err error) int {
	var child *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &child):
		return child.ExitCode()
	}
	return -1
}

func (v *visit) to() string {
	switch n := len(v.choice.Hosts); n {
	case 0:
		return string(v.choice.Verb)
	case 1:
		return v.choice.Hosts[0].Name
	default:
		return fmt.Sprintf("%s on %d servers", v.choice.Verb, n)
	}
}

// ended is how it ended, as a sentence.
func (v *visit) ended(err error) string {
	switch code := codeOf(err); {
	case err == nil && v.choice.Verb == picker.Request:
		return "asked" // that the request is over would be another thing
	case err == nil:
		return v.to() + ": over"
	case code >= 0:
		return fmt.Sprintf("%s: ended with code %d", v.to(), code)
	}
	return v.to() + ": " + ident.Text(err.Error())
}

// said is what the picker says afterwards. A program that could not be started is an error.
func (v *visit) said(err error) (string, error) {
	if err != nil && codeOf(err) < 0 {
		return "", err
	}
	return v.ended(err), nil
}

// panes opens a connection to each host beside the others.
func (v *visits) panes(hosts []picker.Host) (string, error) {
	var panes []pane
	for _, h := range hosts {
		args, err := verbOf(picker.Choice{Verb: picker.Connect, Hosts: []picker.Host{h}})
		if err != nil {
			return "", err
		}
		panes = append(panes, pane{name: h.Call, args: slices.Concat(v.flags, args)})
	}
	return openPanes(panes)
}
