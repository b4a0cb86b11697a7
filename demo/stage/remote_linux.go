package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// Remote has the machines made by a helper process with more rights, sudo's as
// a rule: one request and one answer a line, on its stdin and stdout. The
// helper ends with its stdin, and the machines with it.
type Remote struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	mu  sync.Mutex
}

// request and reply are the lines.
type (
	request struct {
		Verb, Name, Control, Token string
	}
	reply struct {
		Address, Error string
	}
)

// NewRemote starts the helper: a program that calls ServeRemote.
func NewRemote(argv ...string) (*Remote, error) {
	r := &Remote{cmd: exec.Command(argv[0], argv[1:]...)}
	r.cmd.Stderr = os.Stderr // sudo may have to say something
	in, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.in, r.out = in, bufio.NewScanner(out)
	return r, r.cmd.Start()
}

func (r *Remote) ask(q request) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := json.Marshal(q)
	if err != nil {
		return "", err
	}
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		return "", fmt.Errorf("the helper that makes servers has ended: %w", err)
	}
	if !r.out.Scan() {
		return "", errors.New("the helper that makes servers has ended")
	}
	var a reply
	if err := json.Unmarshal(r.out.Bytes(), &a); err != nil {
		return "", fmt.Errorf("the helper that makes servers: %w", err)
	}
	if a.Error != "" {
		return "", errors.New(a.Error)
	}
	return a.Address, nil
}

// Egress asks for this machine's address on the servers' network.
func (r *Remote) Egress(context.Context) (string, error) { return r.ask(request{Verb: "egress"}) }

// Make asks for a machine.
func (r *Remote) Make(_ context.Context, name, control string) (string, error) {
	return r.ask(request{Verb: "make", Name: name, Control: control})
}

// Enrol asks to enrol it.
func (r *Remote) Enrol(_ context.Context, name, token string) error {
	_, err := r.ask(request{Verb: "enrol", Name: name, Token: token})
	return err
}

// Close ends the helper, and waits until it has removed everything.
func (r *Remote) Close() error {
	return errors.Join(r.in.Close(), r.cmd.Wait())
}

// ServeRemote is the helper's side: it serves until its stdin ends.
func ServeRemote(ctx context.Context, agent string, in io.Reader, out io.Writer) (err error) {
	l := &Local{Agent: agent}
	defer func() { err = errors.Join(err, l.Close()) }()
	enc := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var q request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		var a reply
		var fault error
		switch q.Verb {
		case "egress":
			a.Address, fault = l.Egress(ctx)
		case "make":
			a.Address, fault = l.Make(ctx, q.Name, q.Control)
		case "enrol":
			fault = l.Enrol(ctx, q.Name, q.Token)
		default:
			fault = fmt.Errorf("unknown verb %q", q.Verb)
		}
		if fault != nil {
			a.Error = fault.Error()
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return nil
}
