// Package fanout runs one command for each of many targets and tells their output apart.
//
// It knows nothing of servers: a target is a name and a command to start. Output is moved
// line by line with the target's name before it, kept in files of its own, or both; whatever
// ends badly is a Result and never stops the others.
package fanout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// MaxParallel bounds how many run at a time: each is an ssh with some 10 MB.
	MaxParallel = 200
	// keep is how much of each stream a Result carries, in bytes: its end.
	keep = 64 << 10
	// grace is how long a command may go on after it was told to end.
	grace = 2 * time.Second
)

// Target is one of those for which the command runs.
type Target struct {
	Name string
	// Command says what is run, the program's path first. An error is the Result, and
	// nothing is run.
	Command func(ctx context.Context) (argv []string, err error)
}

// Options say how. The zero value runs one after the other, and shows nothing.
type Options struct {
	Parallel int
	Timeout  time.Duration // for each; 0 is none
	Input    []byte        // every command reads this; nil is nothing
	Show     *Show         // nil: lines are not shown
	Dir      string        // where NAME.out and NAME.err are made; empty: nowhere
	// Done is told each Result as it comes, one at a time. May be nil.
	Done func(Result)
}

// Result is how one command ended.
type Result struct {
	Name string
	Code int   // the command's; -1 if it did not end by itself
	Err  error // nil if it ended with 0
	Took time.Duration
	// Stdout and Stderr are the last 64 KiB of each; Cut says that there was more.
	Stdout, Stderr []byte
	Cut            bool
}

// ErrTimeout is the Err of a command that took longer than Options.Timeout.
var ErrTimeout = errors.New("took too long and was ended")

// Run runs all and returns their Results in the order of the targets. When ctx ends, those
// that run are told to, and the rest is not begun.
func Run(ctx context.Context, targets []Target, o Options) []Result {
	results := make([]Result, len(targets))
	done := make(chan int)
	go func() {
		defer close(done)
		var group errgroup.Group
		group.SetLimit(min(max(o.Parallel, 1), MaxParallel))
		for i, t := range targets {
			group.Go(func() error {
				results[i] = o.one(ctx, t)
				done <- i
				return nil
			})
		}
		group.Wait()
	}()
	for i := range done {
		if o.Done != nil {
			o.Done(results[i])
		}
	}
	return results
}

// one runs the command of one target.
func (o Options) one(ctx context.Context, t Target) (r Result) {
	r = Result{Name: t.Name, Code: -1}
	began := time.Now()
	defer func() { r.Took = time.Since(began) }()
	if r.Err = ctx.Err(); r.Err != nil {
		return r
	}
	running := ctx
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		running, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	argv, err := t.Command(running)
	if err != nil {
		r.Err = timely(ctx, running, err)
		return r
	}
	stdout, stderr, err := o.streams(t.Name)
	if err != nil {
		r.Err = err
		return r
	}
	cmd := exec.CommandContext(running, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if o.Input != nil {
		cmd.Stdin = bytes.NewReader(o.Input)
	}
	cmd.Cancel, cmd.WaitDelay = func() error { return end(cmd.Process) }, grace
	err = timely(ctx, running, cmd.Run())
	if cmd.ProcessState != nil {
		r.Code = cmd.ProcessState.ExitCode()
	}
	r.Err = errors.Join(err, stdout.close(), stderr.close())
	r.Stdout, r.Stderr, r.Cut = stdout.last.bytes(), stderr.last.bytes(), stdout.last.cut || stderr.last.cut
	return r
}

// timely tells a time-out from an interruption, whatever else they caused.
func timely(whole, one context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case whole.Err() != nil:
		return whole.Err()
	case one.Err() != nil:
		return ErrTimeout
	}
	return err
}

// streams are where a target's output goes.
func (o Options) streams(name string) (stdout, stderr *stream, err error) {
	stdout, stderr = &stream{}, &stream{}
	if o.Show != nil {
		stdout.shown, stderr.shown = o.Show.lines(name, o.Show.Out), o.Show.lines(name, o.Show.Err)
	}
	if o.Dir == "" {
		return stdout, stderr, nil
	}
	if stdout.file, err = create(o.Dir, name+".out"); err == nil {
		stderr.file, err = create(o.Dir, name+".err")
	}
	if err != nil {
		stdout.close()
	}
	return stdout, stderr, err
}

// stream is one output of one command: shown, kept, and its end remembered. Its one writer
// is the command.
type stream struct {
	shown *lines
	file  *os.File
	last  tail
}

// Write implements io.Writer. That something cannot be shown or kept is told to the
// command, which then gets SIGPIPE, as with any closed pipe.
func (s *stream) Write(p []byte) (int, error) {
	s.last.write(p)
	if s.file != nil {
		if _, err := s.file.Write(p); err != nil {
			return 0, err
		}
	}
	if s.shown != nil {
		if _, err := s.shown.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (s *stream) close() (err error) {
	if s.shown != nil {
		err = s.shown.flush()
	}
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// tail remembers the last bytes.
type tail struct {
	buf []byte
	cut bool
}

func (t *tail) write(p []byte) {
	if len(p) > keep {
		p, t.cut = p[len(p)-keep:], true
	}
	if over := len(t.buf) + len(p) - 2*keep; over > 0 { // moved once for each 64 KiB
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-keep:]...)
		t.cut = true
	}
	t.buf = append(t.buf, p...)
}

func (t *tail) bytes() []byte {
	if len(t.buf) > keep {
		t.cut = true
		return t.buf[len(t.buf)-keep:]
	}
	return t.buf
}

// MakeDir makes the folder for the files of a run. One that holds something already is
// refused: what an earlier run brought is not overwritten.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if names, err := d.Readdirnames(1); err != io.EOF {
		if err != nil {
			return err
		}
		return fmt.Errorf("%s holds %s already; name another folder", dir, names[0])
	}
	return nil
}

// create makes a file that only this user reads: output may hold secrets.
func create(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}
