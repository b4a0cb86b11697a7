package sshd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"golang.org/x/crypto/ssh"
)

// Release makes sshd what it would be without Cardea: the drop-in and the
// Include that was added for it go, what others changed meanwhile stays. It is
// the same kind of change as Apply: checked, loaded, proved, or put back. The
// probe has no certificate any more, so the proof is that sshd answers at every
// address at which it did, with a host key of its own, up to asking who comes.
//
// The files below Dir go last, when nothing names them. Doing it twice does no
// harm.
func (m *Manager) Release(ctx context.Context) error {
	if _, err := m.Recover(ctx); err != nil {
		return fmt.Errorf("an earlier change of sshd could not be put back, look at %s: %w", m.undoPath(), err)
	}
	config, err := os.ReadFile(ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m.removeOwn() // no sshd on this host any more
	}
	if err != nil {
		return err
	}
	changes := []change{{path: DropIn}, {ConfigFile, []byte(strings.Replace(string(config), includeText, "", 1))}}
	_, err = os.Lstat(DropIn)
	if there := err == nil; there || string(changes[1].data) != string(config) {
		if err := m.release(ctx, changes); err != nil {
			return err
		}
	}
	return m.removeOwn()
}

func (m *Manager) release(ctx context.Context, changes []change) error {
	if _, err := m.run(ctx, sshdProgram, "-t"); err != nil {
		return fmt.Errorf("sshd's configuration is broken already, mend it first: %w", err)
	}
	before, err := m.standing(ctx)
	if err != nil {
		return err
	}
	old, err := capture(changes)
	if err == nil {
		err = saveUndo(m.undoPath(), old)
	}
	if err != nil {
		return fmt.Errorf("sshd is left as it is: %w", err)
	}
	ctx = context.WithoutCancel(ctx) // from here on it is finished or put back
	if err := m.tryRelease(ctx, changes, before); err != nil {
		if undo := m.undo(ctx, old); undo != nil {
			return fmt.Errorf("sshd could not be put back to what it was, look at %s: %w", m.undoPath(), errors.Join(err, undo))
		}
		return fmt.Errorf("sshd was put back to what it was: %w", err)
	}
	m.stage("commit")
	_, err = atomicfile.Remove(m.undoPath())
	return err
}

// standing is how sshd stands, without regard to what Cardea wants of it. It may
// be stopped.
func (m *Manager) standing(ctx context.Context) (h host, err error) {
	own, err := ownAddresses()
	if err != nil {
		return h, err
	}
	h.others = map[string][]string{}
	for _, user := range unmanaged {
		e, err := m.effective(ctx, user)
		if err != nil {
			return h, err
		}
		h.others[user], h.pidFile = flatten(e), e.first("pidfile")
		h.probes = probeAddresses(e["listenaddress"], own, m.Access)
	}
	h.probes = slices.DeleteFunc(h.probes, func(addr string) bool { return reachable(ctx, addr) != nil })
	return h, nil
}

func (m *Manager) tryRelease(ctx context.Context, changes []change, before host) error {
	m.stage("write")
	if err := write(changes[1:]); err != nil { // the configuration before what it names
		return err
	}
	if _, err := atomicfile.Remove(DropIn); err != nil {
		return err
	}
	m.stage("check")
	if _, err := m.run(ctx, sshdProgram, "-t"); err != nil {
		return err
	}
	var keys []ssh.PublicKey
	for _, user := range unmanaged {
		e, err := m.effective(ctx, user)
		if err != nil {
			return err
		}
		if !slices.Equal(flatten(e), before.others[user]) {
			return fmt.Errorf("without Cardea's part other settings would hold for %s", user)
		}
		keys = hostKeys(e["hostkey"])
	}
	m.stage("reload")
	if err := m.reload(ctx, before.pidFile); err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	m.stage("prove")
	for _, addr := range before.probes {
		if err := answersAgain(ctx, addr, keys); err != nil {
			return err
		}
	}
	return nil
}

func hostKeys(files []string) (keys []ssh.PublicKey) {
	for _, file := range files {
		if key, err := readPublicKey(file + ".pub"); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func answersAgain(ctx context.Context, addr string, keys []ssh.PublicKey) error {
	for deadline := time.Now().Add(proofLimit); ; time.Sleep(proofPause) {
		err := answers(ctx, addr, keys)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("sshd does not answer at %s any more: %w", addr, err)
		}
	}
}

// answers goes as far as one can without being anybody: host key shown and
// checked, session encrypted, and root's login refused for want of a key.
func answers(ctx context.Context, addr string, keys []ssh.PublicKey) error {
	dialer := net.Dialer{Timeout: reachLimit}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(loginLimit)); err != nil {
		return err
	}
	client, _, _, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: unmanaged[0],
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(key.Marshal()) }) {
				return errors.New("it shows another host key than its own")
			}
			return nil
		},
	})
	if err == nil {
		return client.Close()
	}
	if isRefusal(err) {
		return nil
	}
	return err
}

// removeOwn removes what only Cardea ever read, and the drop-in folder if it was
// made for the drop-in and is empty.
func (m *Manager) removeOwn() error {
	if info, err := os.Lstat(Dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a folder; move it away", Dir)
	}
	if err := errors.Join(os.RemoveAll(Dir), atomicfile.SyncDir(filepath.Dir(Dir))); err != nil {
		return err
	}
	if _, err := os.Lstat(m.madePath()); err == nil {
		if entries, err := os.ReadDir(filepath.Dir(DropIn)); err == nil && len(entries) == 0 {
			if err := os.Remove(filepath.Dir(DropIn)); err != nil {
				return err
			}
		}
	}
	for _, path := range []string{m.madePath(), m.backupPath()} {
		if _, err := atomicfile.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) backupPath() string { return filepath.Join(m.State, "sshd_config.before") }

// madePath is a file that is there if Cardea made the drop-in folder.
func (m *Manager) madePath() string { return filepath.Join(m.State, "sshd_config.d.made") }
