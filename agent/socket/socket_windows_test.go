package socket

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// unused is a pipe that nobody else has.
func unused(t *testing.T) string { return Path(fmt.Sprint(os.Getpid(), t.Name()), "agent.sock") }

// end is one end of a pipe, as Check looks at it.
type end struct {
	net.Conn
	handle windows.Handle
}

func (e end) Fd() uintptr { return uintptr(e.handle) }

// opened is the server's end of a pipe with a descriptor, made by Windows' own call.
func opened(t *testing.T, path, descriptor string) (end, error) {
	t.Helper()
	d, err := windows.SecurityDescriptorFromString(descriptor)
	if err != nil {
		t.Fatal(err)
	}
	attributes := windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: d}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := windows.CreateNamedPipe(name, windows.PIPE_ACCESS_DUPLEX, windows.PIPE_TYPE_BYTE, 1, pipeBuffer, pipeBuffer, 0, &attributes)
	if err == nil {
		t.Cleanup(func() { windows.CloseHandle(handle) })
	}
	return end{handle: handle}, err
}

func TestEitherEndOfAPipeKnowsWhoIsAtTheOther(t *testing.T) {
	self, err := ourselves()
	if err != nil {
		t.Fatal(err)
	}
	path := unused(t)
	server, err := opened(t, path, ownerOnly(self.String()))
	if err != nil {
		t.Fatal(err)
	}
	client, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, conn := range map[string]net.Conn{"server": server, "client": client} {
		if pid, err := Check(conn); err != nil || pid != os.Getpid() {
			t.Errorf("the %s meets process %d, %v", name, pid, err)
		}
	}
}

// Somebody took the name before: what answers there is not ours, whoever may open it.
func TestAPipeOfSomebodyElsesIsRefused(t *testing.T) {
	path := unused(t)
	if _, err := opened(t, path, "O:BAD:P(A;;GA;;;WD)"); err != nil {
		t.Skip("SKIPPED: this user can make no pipe that is owned by administrators: ", err)
	}
	client, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if pid, err := Check(client); err == nil || !strings.Contains(err.Error(), "belongs to S-1-5-32-544") {
		t.Errorf("process %d is taken for us: %v", pid, err)
	}
}

// The pipe is its owner's: he gets through it, knows who is at the other end, and no second
// program has it meanwhile.
func TestAPipeLeadsToItsOwnerAlone(t *testing.T) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		t.Skip("SKIPPED: Wine makes pipes otherwise than Windows: a client there meets the one that only keeps the name")
	}
	path := unused(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Addr().String() != path {
		t.Errorf("it listens at %s", l.Addr())
	}
	if second, err := Listen(path); err == nil {
		second.Close()
		t.Error("a second program has the same pipe")
	}
	served := make(chan error, 1)
	go func() { served <- serveOne(l) }()
	conn, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if pid, err := Check(conn); err != nil || pid != os.Getpid() {
		t.Errorf("the server is %d, %v", pid, err)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "you said hello\n" {
		t.Errorf("it answers %q, %v", got, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	descriptor, err := windows.GetNamedSecurityInfo(path, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Skip("SKIPPED: the descriptor of a pipe cannot be asked for by its name here: ", err)
	}
	self, err := ourselves()
	if err != nil {
		t.Fatal(err)
	}
	if text := descriptor.String(); strings.Count(text, "(A;") != 1 || strings.Count(text, self.String()) != 2 {
		t.Errorf("its descriptor is %s", text)
	}
}

func serveOne(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := Check(conn); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "you said "+line)
	return err
}

func TestWhatIsNoPipeIsRefused(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := Check(a); err == nil {
		t.Error("it is taken for one")
	}
	if _, err := Dial(unused(t)); err == nil {
		t.Error("somebody answers where nobody is")
	}
}
