// Package sshtest runs the real OpenSSH for tests: a throwaway sshd on the
// loopback, the real ssh, scp and sftp against whatever the test built, and
// the keys and certificates between them. What a machine lacks is skipped
// with a message that cannot be overlooked; make test installs it.
package sshtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// killAfter is how long a program may hold on to its pipes after its end, or
// after the test's.
const killAfter = 2 * time.Second

// Path is the absolute path of a program. sshd insists on being called by one
// and lives where a user's PATH does not look. On Windows a test that needs one is skipped.
func Path(t testing.TB, name string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skipf("SKIPPED: %s is run on Unix only: its OpenSSH has other folders, and no process groups", name)
	}
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/", "/usr/lib/openssh/", "/sbin/", "/bin/"} {
		if fi, err := os.Stat(dir + name); err == nil && fi.Mode().IsRegular() {
			return dir + name
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	t.Skipf("SKIPPED: %s is not installed here: run make test, which installs what the tests need", name)
	return ""
}

// Command prepares a program that ends with the test, together with all it
// started: it leads a process group of its own.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Path(t, name), args...)
	lead(cmd)
	cmd.Cancel = func() error { return kill(-cmd.Process.Pid) }
	cmd.WaitDelay = killAfter
	return cmd
}

// Result is how a program ended. Exit is -1 if a signal ended it.
type Result struct {
	Stdout, Stderr string
	Exit           int
}

// Run runs a program to its end. A program that cannot be started fails the
// test; one that ends with an error does not.
func Run(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

var versionLine = regexp.MustCompile(`OpenSSH_(\d+)\.(\d+)`)

// Version is the version of the OpenSSH installed, as 902 for 9.2.
func Version(t testing.TB) int {
	t.Helper()
	said := Run(t, Command(t, "ssh", "-V"))
	m := versionLine.FindStringSubmatch(said.Stderr)
	if m == nil {
		t.Skipf("SKIPPED: ssh is not OpenSSH: %s", strings.TrimSpace(said.Stderr))
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major*100 + minor
}
