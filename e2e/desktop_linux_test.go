package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/demo/stage"
)

// What desktops do: an editor's windows, and X11.

// fullPause is how long an editor is without a network in the full matrix; in the other
// one it is a moment.
const fullPause = 30 * time.Second

// window is one of an editor's: a shell that it types commands into, and a proxy through
// which it speaks to what it has started there (ssh -T -D PORT host bash).
type window struct {
	m      *matrix
	column column
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	cancel context.CancelFunc
}

func (m *matrix) window(c column, dir string, port int) *window {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), longest+fullPause)
	w := &window{m: m, column: c, cancel: cancel}
	w.column.port = port
	w.cmd = m.command(ctx, c.person, dir, "ssh", "-T", "-D", fmt.Sprintf("127.0.0.1:%d", port), "web-1", "bash")
	w.cmd.Env = append(w.cmd.Env, m.variables(c)...)
	var err error
	w.in, err = w.cmd.StdinPipe()
	m.must(err)
	out, err := w.cmd.StdoutPipe()
	m.must(err)
	w.out = bufio.NewReader(out)
	m.must(w.cmd.Start())
	return w
}

// say has the shell run a command, and returns the line that it prints.
func (w *window) say(command string) string {
	if _, err := fmt.Fprintln(w.in, command); err != nil {
		return "the shell does not listen"
	}
	line, err := w.out.ReadString('\n')
	if err != nil {
		return "the shell is gone: " + line
	}
	return strings.TrimSpace(line)
}

// works is what a window finds through its shell and through its proxy.
func (w *window) works(what string) string {
	heard := w.say("echo there") // first: the proxy listens before there is a shell
	answer, err := w.m.socksTo(w.column, 22)
	return fmt.Sprintf("%s: %s, %q %v\n", what, heard, answer, err)
}

// lose ends the window's ssh as an editor does that has given it up.
func (w *window) lose() {
	w.cmd.Process.Kill()
	w.cmd.Wait()
	w.cancel()
}

// leave ends it in order.
func (w *window) leave() string {
	defer w.cancel()
	fmt.Fprintln(w.in, "exit 4")
	io.Copy(io.Discard, w.out)
	w.cmd.Wait()
	return fmt.Sprintf("ended with %d\n", w.cmd.ProcessState.ExitCode())
}

// windows opens two at once, takes the network away for a while, and has one of them lost
// and opened anew in the same place, while the other goes on.
func (m *matrix) windows(c column, dir string) outcome {
	m.t.Helper()
	first, second := m.window(c, dir, c.port), m.window(c, dir, c.port+1)
	defer func() { first.lose(); second.lose() }()
	said := first.works("the first") + second.works("the second")
	m.pause(c)
	said += first.works("the first, after a pause") + second.works("the second, after a pause")
	first.lose()
	first = m.window(c, dir, c.port)
	said += first.works("the first, opened again") + second.works("the second, meanwhile")
	said += first.leave() + second.leave()
	return m.outcome(c, said, "", 0)
}

// pause has nothing pass through the gateways for a while. Without one nothing is in
// between to be held up.
func (m *matrix) pause(c column) {
	m.t.Helper()
	long := time.Millisecond
	if os.Getenv(matrixVariable) != "" {
		long = fullPause
	}
	each := func(sig syscall.Signal, of []*stage.Gateway) {
		for _, g := range of {
			m.must(syscall.Kill(g.PID(), sig))
		}
	}
	if c.name != "plain" {
		each(syscall.SIGSTOP, m.stage.Gateways)
		defer each(syscall.SIGCONT, m.stage.Gateways)
	}
	time.Sleep(long)
}

// x11 shows a window's server, which is here, to a program there.
func (m *matrix) x11(c column, dir string) outcome {
	m.t.Helper()
	if os.Getenv(matrixVariable) == "" {
		m.t.Skipf("SKIPPED: X11 needs a server of its own; set %s=1 to have it", matrixVariable)
	}
	for program, from := range map[string]string{"Xvfb": "xvfb", "xauth": "xauth", "xdpyinfo": "x11-utils", "mcookie": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			m.t.Skipf("SKIPPED: there is no %s on this machine; type: apt-get install %s", program, from)
		}
	}
	return m.shell(c, dir, `ssh -n $H 'touch .Xauthority'; d=:$((P - 20000)); export XAUTHORITY=$PWD/auth; touch auth; xauth -q add $d . $(mcookie)
Xvfb $d +extension SECURITY -auth auth -screen 0 648x484x24 -nolisten tcp >xvfb.log 2>&1 & x=$!
export DISPLAY=$d; for i in $(seq 100); do xdpyinfo >/dev/null 2>&1 && break; sleep 0.1; done
for how in -X -Y; do ssh -n $how $H 'echo ${DISPLAY%:*}; xdpyinfo | grep dimensions'; echo $?; done
ssh -n -x $H 'echo "<$DISPLAY>"; xdpyinfo >/dev/null 2>&1'; echo $?
kill $x; wait $x 2>/dev/null; true`)
}
