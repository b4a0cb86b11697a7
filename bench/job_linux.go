package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// asRunner makes this program the process that runs one job.
	asRunner = "run-job"
	// jobTime bounds a job: 200 connections at once on two slow cores.
	jobTime = 5 * time.Minute
	// orphanTime is how long what a command left behind has to end by itself.
	orphanTime = 3 * time.Second
)

// job is a command to be measured, once or several times at once.
//
// It runs below a process of its own, to which the kernel gives every orphan
// (PR_SET_CHILD_SUBREAPER): ssh does not wait for its ProxyCommand, whose CPU
// time counts all the same, and one that stays is found.
type job struct {
	Argv  []string
	Env   []string // empty means this process's
	Dir   string
	Times int
}

// outcome is what a job took.
type outcome struct {
	// Wall is from the first start to the last end.
	Wall time.Duration
	// CPU is that of all processes of the job.
	CPU time.Duration
	// Failed is how many ended with another code than 0, Orphans how many
	// processes outlived the commands by more than orphanTime.
	Failed, Orphans int
	// Stderr is what they said, its beginning.
	Stderr string
}

// do runs a job in a runner.
func (j job) do(ctx context.Context) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTime+10*time.Second)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return outcome{}, err
	}
	cmd := exec.CommandContext(ctx, self, asRunner)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	answer, err := cmd.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("run %s: %w", strings.Join(j.Argv, " "), err)
	}
	var out outcome
	return out, json.Unmarshal(answer, &out)
}

// must is do for what has to succeed.
func (j job) must(ctx context.Context) (outcome, error) {
	out, err := j.do(ctx)
	if err == nil && out.Failed > 0 {
		err = fmt.Errorf("%s: %d of %d failed: %s", strings.Join(j.Argv, " "), out.Failed, max(1, j.Times), strings.TrimSpace(out.Stderr))
	}
	return out, err
}

// runner is the other side of do.
func runner(in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	said, err := os.CreateTemp("", "cardea-bench-stderr")
	if err != nil {
		return err
	}
	defer said.Close()
	if err := os.Remove(said.Name()); err != nil {
		return err
	}
	got, err := j.run(said)
	if err != nil {
		return err
	}
	text := make([]byte, 1000)
	n, _ := said.ReadAt(text, 0) // what there is
	got.Stderr = string(text[:n])
	return json.NewEncoder(out).Encode(got)
}

func (j job) run(stderr *os.File) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	cmds := make([]*exec.Cmd, max(1, j.Times))
	for i := range cmds {
		cmds[i] = exec.CommandContext(ctx, j.Argv[0], j.Argv[1:]...)
		cmds[i].Dir, cmds[i].Stderr = j.Dir, stderr
		if len(j.Env) > 0 {
			cmds[i].Env = j.Env
		}
	}
	failed := make([]bool, len(cmds))
	began := time.Now()
	var all sync.WaitGroup
	for i, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			return outcome{}, err
		}
		all.Go(func() { failed[i] = cmd.Wait() != nil })
	}
	all.Wait()
	out := outcome{Wall: time.Since(began), Orphans: reap(orphanTime)}
	for _, f := range failed {
		if f {
			out.Failed++
		}
	}
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &used); err != nil {
		return out, err
	}
	out.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return out, nil
}

// reap waits for orphans, ends those that stay, and says how many did.
func reap(patience time.Duration) (stayed int) {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return stayed
		case pid > 0:
			continue
		case time.Now().After(end):
			pids := children()
			for _, p := range pids {
				unix.Kill(p, unix.SIGKILL)
			}
			stayed += len(pids)
			end = time.Now().Add(patience)
		}
	}
}

// children are those of this process.
func children() (pids []int) {
	lists, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	for _, thread := range lists {
		text, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
