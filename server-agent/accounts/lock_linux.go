package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long another's lock is waited for; lckpwdf(3) waits as long.
const lockWait = 15 * time.Second

// lockAccounts takes the locks under which shadow-utils write the account
// files below dir: that of lckpwdf(3), which systemd takes too, and then the
// files passwd.lock and so on with the number of the process that has them, which
// is all that they take where the C library has no lckpwdf. A lock whose process
// is gone is taken away, as they do.
func lockAccounts(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".pwd.lock"), os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	undo := []func(){func() { f.Close() }}
	unlock = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(50 * time.Millisecond) {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("lock the account files: %w", err)
	}
	for _, name := range []string{"passwd", "group", "shadow", "gshadow"} {
		lock := filepath.Join(dir, name+".lock")
		if err := lockFile(lock); err != nil {
			unlock()
			return nil, fmt.Errorf("lock the account files: %w", err)
		}
		undo = append(undo, func() { os.Remove(lock) })
	}
	return unlock, nil
}

// lockFile makes a lock file appear with its content, by a link that fails
// where there is one.
func lockFile(lock string) error {
	temp := strings.TrimSuffix(lock, "lock") + strconv.Itoa(os.Getpid())
	os.Remove(temp) // of an earlier process of this number
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\x00")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Link(temp, lock); !errors.Is(err, fs.ErrExist) {
		return err
	}
	raw, rerr := os.ReadFile(lock)
	pid, perr := strconv.Atoi(strings.TrimRight(string(raw), "\x00\n"))
	if rerr != nil || perr != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return err
	}
	if err := os.Remove(lock); err != nil {
		return err
	}
	return os.Link(temp, lock)
}

// copyLabel gives a new file the SELinux label of the old one: it would get
// that of the folder.
func copyLabel(from, to string) error {
	const label = "security.selinux"
	buf := make([]byte, 1024)
	n, err := unix.Lgetxattr(from, label, buf)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.Lsetxattr(to, label, buf[:n], 0)
}
