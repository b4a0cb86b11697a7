//go:build unix

package agent

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepDescriptors keeps what this process inherited from the next one that it starts: a
// pipe that the agent held would never end for whoever reads it (a build, "cardea ssh … |
// tee" in a script), for as long as the agent stays. undo gives them back, for ssh may need
// them: "cardea ssh web-1 -F <(…)". What Go itself opened is never passed on.
func keepDescriptors() (undo func()) {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return func() {} // no such folder here; nothing worse than before
	}
	var kept []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags|unix.FD_CLOEXEC); err == nil {
			kept = append(kept, fd)
		}
	}
	return func() {
		for _, fd := range kept {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags&^unix.FD_CLOEXEC)
			}
		}
	}
}
