//go:build unix

package socketpair

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsWrittenToOneEndIsReadAtTheOtherUntilItCloses(t *testing.T) {
	for first := range 2 {
		ends, err := New()
		if err != nil {
			t.Fatal(err)
		}
		from, to := os.NewFile(uintptr(ends[first]), "from"), os.NewFile(uintptr(ends[1-first]), "to")
		io.WriteString(from, "ping")
		from.Close()
		if got, err := io.ReadAll(to); err != nil || string(got) != "ping" {
			t.Errorf("end %d read %q, %v", 1-first, got, err)
		}
		to.Close()
	}
}

// A process that has an end without knowing of it keeps the connection open as long as it runs.
func TestNoProcessInheritsAnEndByAccident(t *testing.T) {
	ends, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range ends {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("end %d is inherited: %#x, %v", i, flags, err)
		}
		unix.Close(fd)
	}
}
