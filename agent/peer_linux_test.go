package agent_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"golang.org/x/sys/unix"
)

// as connects to a socket as another user, sends and returns what comes back.
func as(t *testing.T, uid int, socket, send string) (answer string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Only this thread becomes the other user; it is never given back, so it ends here.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Error(errno)
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			answer = err.Error()
			return
		}
		unix.Write(fd, []byte(send))
		buf := make([]byte, 4096)
		n, _ := unix.Read(fd, buf)
		answer = string(buf[:max(n, 0)])
	}()
	<-done
	return answer
}

// Others do not reach the sockets; and if somebody opens the folder up, they get nothing.
func TestAnotherUserGetsNothingFromTheSockets(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: becoming another user needs root")
	}
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	const nobody = 65534
	for _, socket := range []string{w.Paths.ControlSocket(), w.Paths.SSHSocket()} {
		if got := as(t, nobody, socket, "x"); got != unix.EACCES.Error() {
			t.Errorf("as it is: %q", got)
		}
	}
	for _, path := range []string{filepath.Dir(w.Paths.Run), w.Paths.Run, w.Paths.ControlSocket(), w.Paths.SSHSocket()} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if got := as(t, nobody, w.Paths.ControlSocket(), `{"verb":"status"}`+"\n"); got != "" {
		t.Errorf("the control socket says %q", got)
	}
	if got := as(t, nobody, w.Paths.SSHSocket(), "\x00\x00\x00\x01\x0b"); got != "" {
		t.Errorf("the agent says %q", got)
	}
	if got := as(t, 0, w.Paths.SSHSocket(), "\x00\x00\x00\x01\x0b"); got != "\x00\x00\x00\x05\x0c\x00\x00\x00\x00" {
		t.Errorf("to its user the agent says %q", got)
	}
}
