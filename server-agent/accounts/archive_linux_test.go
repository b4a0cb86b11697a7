package accounts

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const goner = 70001

// leaver is an applier with a base of homes, in which goner has one.
func leaver(t *testing.T) (a *Applier, home string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: homes of others can be made by root only")
	}
	dir := t.TempDir()
	a = &Applier{Register: filepath.Join(dir, "state", "accounts.json"), homeBase: filepath.Join(dir, "home")}
	home = filepath.Join(a.homeBase, "alice")
	for _, d := range []string{filepath.Dir(a.Register), home} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	give(t, home)
	return a, home
}

func give(t *testing.T, path string) {
	t.Helper()
	if err := os.Lchown(path, goner, goner); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	give(t, path)
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func never() bool { return false }

func leaveStep(what string) Step {
	return Step{Op: OpLeave, Login: "alice", UID: goner, Home: what}
}

// unpacked is what is in the only archive: names with types, and the files' text.
func unpacked(t *testing.T, a *Applier) map[string]string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(a.archives(), "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("archives: %v, %v", found, err)
	}
	if info, err := os.Stat(found[0]); err != nil || info.Mode() != 0o600 {
		t.Fatalf("the archive: %v, %v", info.Mode(), err)
	}
	f, err := os.Open(found[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(h.Typeflag) + ":" + string(text) + h.Linkname
	}
}

func TestAHomeIsArchivedWholeAndThenDeleted(t *testing.T) {
	a, home := leaver(t)
	secret := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, home+"/notes", "mine", 0o600)
	put(t, home+"/bin/sh", "program", 0o755|os.ModeSetuid)
	put(t, home+"/odd\xff\nname", "odd", 0o600)
	if err := errors.Join(
		os.Symlink(filepath.Dir(secret), home+"/etc"), os.Symlink(secret, home+"/passwords"),
		os.Link(secret, home+"/hard"), os.Link(home+"/notes", home+"/bin/notes"), unix.Mkfifo(home+"/pipe", 0o600),
	); err != nil {
		t.Fatal(err)
	}
	note, err := a.leaveHome(leaveStep(homeArchive), never)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{`set-id programs "bin/sh"`, "files of other owners", `not archived, because they are other people's by another name too: "hard"`} {
		if !strings.Contains(note, word) {
			t.Errorf("%q is not told: %s", word, note)
		}
	}
	got := unpacked(t, a)
	for name, text := range map[string]string{
		"alice": "5:", "alice/bin": "5:", "alice/bin/sh": "0:program", "alice/odd\xff\nname": "0:odd",
		"alice/etc": "2:" + filepath.Dir(secret), "alice/passwords": "2:" + secret, "alice/pipe": "6:", "alice/hard": "",
	} {
		if got[name] != text {
			t.Errorf("%q in the archive is %q, want %q", name, got[name], text)
		}
	}
	if one, two := got["alice/notes"], got["alice/bin/notes"]; one+two != "0:mine1:alice/notes" && two+one != "0:mine1:alice/bin/notes" {
		t.Errorf("two names of one file are %q and %q", one, two)
	}
	if left, _ := os.ReadDir(a.homeBase); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if raw, err := os.ReadFile(secret); err != nil || string(raw) != "root's" {
		t.Errorf("what was linked to is %q, %v", raw, err)
	}
}

func TestAHomeThatCannotBeArchivedStays(t *testing.T) {
	deep := func(home string) {
		for range maxTreeDepth + 2 {
			home = filepath.Join(home, "d")
		}
		os.MkdirAll(home, 0o700)
	}
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, a *Applier, home string)
		want    string
	}{
		"it is larger than an archive may be": {func(t *testing.T, _ *Applier, home string) {
			put(t, home+"/big", "", 0o600)
			if err := os.Truncate(home+"/big", maxArchive+1); err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
		}, "more than an archive may"},
		"the disk is short": {func(t *testing.T, _ *Applier, home string) {
			put(t, home+"/big", "", 0o600)
			if err := os.Truncate(home+"/big", maxArchive-100); err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			var st unix.Statfs_t
			if err := unix.Statfs(home, &st); err != nil || int64(st.Bavail)*st.Bsize > maxArchive {
				t.Skip("SKIPPED: the disk has room for everything")
			}
		}, "must stay free"},
		"the folder of archives is open to others": {func(t *testing.T, a *Applier, _ string) {
			if err := errors.Join(os.Mkdir(a.archives(), 0o700), os.Chmod(a.archives(), 0o755)); err != nil {
				t.Fatal(err)
			}
		}, "root alone can open"},
		"something is mounted in it": {func(t *testing.T, _ *Applier, home string) {
			put(t, home+"/deep/mount/x", "", 0o600)
			if err := unix.Mount("none", home+"/deep/mount", "tmpfs", 0, ""); err != nil {
				t.Skipf("SKIPPED: nothing can be mounted here: %v", err)
			}
			t.Cleanup(func() { unix.Unmount(home+"/deep/mount", 0) })
		}, "unmount it"},
		"folders are too deep in each other": {func(_ *testing.T, _ *Applier, home string) { deep(home) }, "inside each other"},
		"the home is another's":              {func(t *testing.T, _ *Applier, home string) { os.Chown(home, 1234, 1234) }, "belongs to uid 1234"},
		"the home is a link": {func(t *testing.T, _ *Applier, home string) {
			if err := errors.Join(os.Rename(home, home+"-real"), os.Symlink(home+"-real", home)); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			a, home := leaver(t)
			put(t, home+"/notes", "mine", 0o600)
			tc.prepare(t, a, home)
			if _, err := a.leaveHome(leaveStep(homeArchive), never); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if raw, err := os.ReadFile(home + "/notes"); err != nil || string(raw) != "mine" {
				t.Errorf("the home has %q, %v", raw, err)
			}
			if left, _ := os.ReadDir(a.archives()); len(left) != 0 {
				t.Errorf("archives: %v", left)
			}
		})
	}
	t.Run("a deep one can be deleted", func(t *testing.T) {
		a, home := leaver(t)
		deep(home)
		if _, err := a.leaveHome(leaveStep(homeDelete), never); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(a.homeBase); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestAHomeThatIsStoppedOnItsWayIsWholeOrGoesOn(t *testing.T) {
	for stop := int32(1); ; stop++ {
		a, home := leaver(t)
		for _, name := range []string{"a", "b/c", "b/d", "e"} {
			put(t, home+"/"+name, name, 0o600)
		}
		var asked atomic.Int32
		_, err := a.leaveHome(leaveStep(homeArchive), func() bool { return asked.Add(1) == stop })
		if err == nil {
			if stop < 15 {
				t.Fatalf("it asked only %d times", stop)
			}
			return
		}
		if !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		if _, err := os.Lstat(home); err == nil {
			_, err = a.leaveHome(leaveStep(homeArchive), never)
			if err != nil {
				t.Fatalf("stopped at %d: %v", stop, err)
			}
		} else if uids := oldHomes(a.homeBase); !slices.Equal(uids, []int{goner}) {
			t.Fatalf("stopped at %d: there is neither the home nor what is to be deleted: %v", stop, uids)
		} else if err := a.wipeOld(goner, never); err != nil {
			t.Fatal(err)
		}
		if got := unpacked(t, a); got["alice/b/c"] != "0:b/c" || len(got) != 6 {
			t.Fatalf("stopped at %d: the archive has %q", stop, got)
		}
		if left, _ := os.ReadDir(a.homeBase); len(left) != 0 {
			t.Errorf("stopped at %d: left %v", stop, left)
		}
	}
}

// Somebody who may still write below the home, of another account, swaps a
// folder of it for a link to a place of root's, all the time.
func TestWhoSwapsFoldersForLinksLosesNobodyElsesFiles(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "etc")
	kept := []string{"passwd", "shadow", "group"}
	for _, name := range kept {
		if err := errors.Join(os.MkdirAll(victim, 0o755), os.WriteFile(filepath.Join(victim, name), []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 50 {
		a, home := leaver(t)
		for _, name := range kept {
			put(t, home+"/swap/"+name, "mine", 0o600)
		}
		var over atomic.Bool
		done := make(chan struct{})
		dir, err := os.Open(home)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(done)
			fd := int(dir.Fd()) // it goes with the home when that is moved
			unix.Symlinkat(victim, fd, "link")
			for !over.Load() {
				unix.Renameat2(fd, "swap", fd, "link", unix.RENAME_EXCHANGE)
			}
		}()
		what := homeDelete
		if round%2 == 0 {
			what = homeArchive
		}
		a.leaveHome(leaveStep(what), never) // may refuse
		over.Store(true)
		<-done
		dir.Close()
		for _, name := range kept {
			if raw, err := os.ReadFile(filepath.Join(victim, name)); err != nil || string(raw) != name {
				t.Fatalf("%s is %q, %v", name, raw, err)
			}
		}
		if found, _ := filepath.Glob(filepath.Join(a.archives(), "*")); len(found) == 1 {
			for name, text := range unpacked(t, a) {
				if strings.HasSuffix(text, "passwd") && !strings.HasPrefix(text, "2:") {
					t.Fatalf("the archive has %s of elsewhere: %q", name, text)
				}
			}
		}
	}
}

// Bob has a file of his own in a folder that alice let everybody write to, and a
// lease on it, which he would take again whenever it is broken. The agent must not
// wait for him: nothing else would be done on the host meanwhile.
func TestWhoHoldsALeaseIsNotWaitedFor(t *testing.T) {
	a, home := leaver(t)
	held := filepath.Join(home, "incoming", "bobs")
	put(t, held, "mine", 0o600)
	f, err := os.OpenFile(held, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("SKIPPED: this file system has no leases: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := a.leaveHome(leaveStep(homeArchive), never)
		done <- err
	}()
	select {
	case err = <-done:
	case <-time.After(30 * time.Second): // the kernel breaks a lease after 45
		f.Close()
		<-done
		t.Fatal("the agent waits for bob")
	}
	if !errors.Is(err, errHeld) || !strings.Contains(err.Error(), "incoming/bobs") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(held); err != nil {
		t.Error(err)
	}
	f.Close()
	if _, err := a.leaveHome(leaveStep(homeArchive), never); err != nil {
		t.Error(err)
	}
}

// A filter of system calls that is older than openat2 says that it is not permitted.
func TestAFilterThatDoesNotKnowOpenat2(t *testing.T) {
	a, home := leaver(t)
	put(t, filepath.Join(home, "src", "main.go"), "package main", 0o644)
	const allow, refuse = 0x7fff0000, 0x00050000 | uint32(unix.EPERM) // SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_OPENAT2},
		{Code: unix.BPF_RET | unix.BPF_K, K: refuse},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the filter
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if err == nil {
			if _, refused := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{}); !errors.Is(refused, unix.EPERM) {
				err = fmt.Errorf("the filter does not hold: %v", refused)
			}
		}
		if err == nil {
			_, err = a.leaveHome(leaveStep(homeArchive), never)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(home); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the home is there yet: %v", err)
	}
}

func TestKernelsWithoutOpenat2AreAsStrict(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(dir+"/sub/mount", 0o700), os.Symlink("sub", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	for name, ok := range map[string]bool{"sub": true, "link": false, "..": false, ".": false, "sub/mount": false, "": false} {
		f, err := openBelowOld(int(top.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
		if err == nil {
			f.Close()
		}
	}
	if err := unix.Mount("none", dir+"/sub", "tmpfs", 0, ""); err != nil {
		t.Skipf("SKIPPED: nothing can be mounted here: %v", err)
	}
	defer unix.Unmount(dir+"/sub", 0)
	if _, err := openBelowOld(int(top.Fd()), "sub", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW); err == nil {
		t.Error("it went into a mount")
	}
}
