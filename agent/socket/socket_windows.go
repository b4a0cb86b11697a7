package socket

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

const (
	// pipeBuffer is what the kernel keeps for either end of a pipe, bytes.
	pipeBuffer = 64 << 10
	// pipeBusy is how long a pipe may be taken by others, each of whom has it for a moment.
	pipeBusy = 2 * time.Second
)

// Path is the pipe that stands for the socket called name in a folder.
func Path(folder, name string) string { return pipePath(folder, name) }

// Listen opens a pipe, which must not be there: it ends with the process that has it. It is
// for this machine alone.
func Listen(path string) (net.Listener, error) {
	self, err := ourselves()
	if err != nil {
		return nil, err
	}
	l, err := winio.ListenPipe(path, &winio.PipeConfig{SecurityDescriptor: ownerOnly(self.String()), InputBufferSize: pipeBuffer, OutputBufferSize: pipeBuffer})
	if err != nil {
		return nil, fmt.Errorf("open the pipe %s, which another program may have: %w", path, err)
	}
	return l, nil
}

// Dial connects to path. Check tells whether that is the user himself; whoever has the pipe
// cannot act as him.
func Dial(path string) (net.Conn, error) {
	busy := pipeBusy
	return winio.DialPipe(path, &busy)
}

// Check returns the process at the other end, of the user himself. A pipe that is not ours is refused: nobody can
// make one that is owned by somebody else, and ours lets in nobody else. Beside that the
// process at the other end must be of the same user, as far as he may look at it.
func Check(conn net.Conn) (pid int, err error) {
	pipe, ok := conn.(interface{ Fd() uintptr })
	if !ok {
		return 0, errors.New("not a named pipe")
	}
	handle := windows.Handle(pipe.Fd())
	self, err := ourselves()
	if err != nil {
		return 0, err
	}
	descriptor, err := windows.GetSecurityInfo(handle, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return 0, fmt.Errorf("see whose the pipe is: %w", err)
	}
	owner, _, err := descriptor.Owner()
	if err != nil {
		return 0, fmt.Errorf("see whose the pipe is: %w", err)
	}
	if !owner.Equals(self) {
		return 0, fmt.Errorf("the pipe belongs to %s, and not to %s", owner, self)
	}
	process, err := otherEnd(handle)
	if err != nil {
		return 0, fmt.Errorf("see who is at the other end of the pipe: %w", err)
	}
	return int(process), checkProcess(process, self)
}

func otherEnd(pipe windows.Handle) (pid uint32, err error) {
	var flags uint32
	if err := windows.GetNamedPipeInfo(pipe, &flags, nil, nil, nil); err != nil {
		return 0, err
	}
	if flags&windows.PIPE_SERVER_END != 0 {
		err = windows.GetNamedPipeClientProcessId(pipe, &pid)
	} else {
		err = windows.GetNamedPipeServerProcessId(pipe, &pid)
	}
	return pid, err
}

// checkProcess sees that a process is of the user self. One that he may not look at has more
// rights than this one, as a console that was opened as administrator: it could read our
// memory, and the pipe took it for him.
func checkProcess(pid uint32, self *windows.SID) error {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	defer windows.CloseHandle(process)
	var token windows.Token
	err = windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	defer token.Close()
	user, err := token.GetTokenUser()
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	if !user.User.Sid.Equals(self) {
		return fmt.Errorf("process %d of user %s is at the other end", pid, user.User.Sid)
	}
	return nil
}

// ourselves is the user of this process.
func ourselves() (*windows.SID, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("see whose process this is: %w", err)
	}
	return user.User.Sid, nil
}
