package sshd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/program"
	"github.com/cardea-ssh/cardea/sshcert"
)

// Manager keeps sshd's part of a host. Use one at a time.
type Manager struct {
	// State is a folder of the agent's for the undo file and the copy of the
	// first sshd_config.
	State string
	// Access is the host's registered address without port, if it is known.
	Access string
	// Run runs programs; nil means program.Run.
	Run program.Runner
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Before is called before every stage of a change, for tests that stop there.
	Before func(stage string)
}

// Fetch asks the control plane for a certificate for a public key; both are
// authorized_keys lines.
type Fetch func(ctx context.Context, publicKey string) (certificate string, err error)

// Outcome is what came of an Apply.
type Outcome struct {
	// InForce is true if sshd now does what was wanted.
	InForce bool
	// Changed is true if sshd was reloaded and proved.
	Changed bool
	// Problem is why it is not in force, one sentence; safe to print.
	Problem string
	// Alarm is true if a change had been begun and was put back.
	Alarm bool
}

func refused(format string, args ...any) Outcome {
	return Outcome{Problem: ident.Text(fmt.Errorf(format, args...).Error())}
}

// Recover undoes a change that was not proved because the agent was killed.
// Call it once at the start, before Apply.
func (m *Manager) Recover(ctx context.Context) (undone bool, err error) {
	files, err := loadUndo(m.undoPath())
	if err != nil || files == nil {
		return false, err
	}
	return true, m.undo(ctx, files)
}

// Pending says what Apply would change, without changing anything.
func (m *Manager) Pending(want Want) ([]string, error) {
	c, err := want.check()
	if err != nil {
		return nil, err
	}
	changes, err := wanted(c)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, ch := range changes {
		out = append(out, "write "+ch.path+", reload sshd and prove it")
	}
	keys, serials, err := want.revocations()
	if err != nil {
		return nil, err
	}
	if have, err := os.ReadFile(RevokedFile); err != nil || string(have) != string(krl(keys, serials)) {
		out = append(out, "write "+RevokedFile)
	}
	own, err := ownAddresses()
	if err != nil {
		return nil, err
	}
	files := c.principals(m.now(), location(), own)
	for _, login := range slices.Sorted(maps.Keys(files)) {
		if have, err := os.ReadFile(filepath.Join(PrincipalsDir, login)); err != nil || string(have) != string(files[login]) {
			out = append(out, "write "+filepath.Join(PrincipalsDir, login))
		}
	}
	entries, err := os.ReadDir(PrincipalsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if _, ok := files[e.Name()]; !ok && !slices.Contains(want.Keep, e.Name()) {
			out = append(out, "remove "+filepath.Join(PrincipalsDir, e.Name()))
		}
	}
	return out, nil
}

// Principals writes the files of principals alone. It needs no proof, and
// whoever has to go must not wait for one.
func (m *Manager) Principals(want Want) error {
	c, err := want.check()
	if err != nil {
		return err
	}
	own, err := ownAddresses()
	if err != nil {
		return err
	}
	for _, dir := range []string{Dir, PrincipalsDir} {
		if err := makeDir(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{Dir, PrincipalsDir, filepath.Dir(DropIn), filepath.Dir(ConfigFile)} {
		if err := atomicfile.Sweep(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err = writePrincipals(PrincipalsDir, c.principals(m.now(), location(), own), want.Keep)
	return err
}

// Apply makes sshd's configuration what is wanted, as the package comment
// says. It changes nothing if canary cannot be had.
func (m *Manager) Apply(ctx context.Context, want Want, canary Fetch) Outcome {
	c, err := want.check()
	if err != nil {
		return refused("the state asks sshd for something that is not allowed: %w", err)
	}
	// The undo file of an earlier change is the only copy of what was there.
	if _, err := m.Recover(ctx); err != nil {
		return refused("an earlier change of sshd could not be put back, look at %s: %w", m.undoPath(), err)
	}
	changes, err := wanted(c)
	if err != nil {
		return refused("sshd's files cannot be read: %w", err)
	}
	if len(changes) == 0 {
		return Outcome{InForce: true}
	}
	if err := revocationsKept(); err != nil {
		return refused("sshd is left as it is: %w", err)
	}
	before, err := m.examine(ctx, c)
	if err != nil {
		return refused("sshd is left as it is: %w", err)
	}
	p, err := newProbe(ctx, c, canary, m.now())
	if err != nil {
		return refused("sshd is left as it is, because the probe has no certificate to prove a change with: %w", err)
	}
	return m.transact(ctx, c, changes, before, p)
}

// wanted lists the files that differ, in the order in which they are written:
// what is named before what names it.
func wanted(c checked) ([]change, error) {
	config, err := os.ReadFile(ConfigFile)
	if err != nil {
		return nil, err
	}
	var changes []change
	for _, ch := range []change{
		{UserCAFile, c.userCAText()},
		{CertificateFile, []byte(strings.TrimSpace(c.Certificate) + "\n")},
		{DropIn, []byte(dropInText)},
		{ConfigFile, []byte(withInclude(string(config)))},
	} {
		have, err := os.ReadFile(ch.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || string(have) != string(ch.data) {
			changes = append(changes, ch)
		}
	}
	return changes, nil
}

// host is how sshd stands before a change.
type host struct {
	pidFile string
	probes  []string            // addresses at which to prove
	others  map[string][]string // effective settings of unmanaged accounts
}

// unmanaged are accounts of every Unix that Cardea never keeps, whose settings
// must not change.
var unmanaged = [...]string{"root", "nobody"}

func (m *Manager) examine(ctx context.Context, c checked) (host, error) {
	var h host
	if _, err := m.run(ctx, sshdProgram, "-t"); err != nil {
		return h, fmt.Errorf("its configuration is broken already, mend it first: %w", err)
	}
	if err := CheckCertificate(c.Certificate, m.hostKeyLine(c), c.Server, c.HostCAs, m.now()); err != nil {
		return h, fmt.Errorf("there is no host certificate to show: %w", err)
	}
	h.others = map[string][]string{}
	for _, user := range unmanaged {
		e, err := m.effective(ctx, user)
		if err != nil {
			return h, err
		}
		h.others[user] = flatten(e)
		h.pidFile = e.first("pidfile")
		cert, err := parseCertificate(c.Certificate)
		if err != nil {
			return h, err
		}
		if file := foreignCertificates(e["hostcertificate"], cert.Key); file != "" {
			return h, fmt.Errorf("the host key has a certificate of somebody else's, %s, that Cardea's would take the place of", file)
		}
		own, err := ownAddresses()
		if err != nil {
			return h, err
		}
		h.probes = probeAddresses(e["listenaddress"], own, m.Access)
	}
	if len(h.probes) == 0 {
		return h, errors.New("it listens at no address of this host")
	}
	for _, addr := range h.probes {
		if err := reachable(ctx, addr); err != nil {
			return h, fmt.Errorf("it does not run: %w", err)
		}
	}
	return h, nil
}

// hostKeyLine is the key that the certificate was asked for; the proof finds
// out whether sshd has it.
func (m *Manager) hostKeyLine(c checked) string {
	if cert, err := parseCertificate(c.Certificate); err == nil {
		return sshcert.Line(cert.Key)
	}
	return ""
}

// transact makes the changes under an undo file.
func (m *Manager) transact(ctx context.Context, c checked, changes []change, before host, p *probe) Outcome {
	if err := m.keepFirst(changes); err != nil {
		return refused("sshd is left as it is: %w", err)
	}
	old, err := capture(changes)
	if err == nil {
		err = saveUndo(m.undoPath(), old)
	}
	if err != nil {
		return refused("sshd is left as it is: %w", err)
	}
	// From here on everything is finished or put back, also when the agent is
	// asked to stop.
	ctx = context.WithoutCancel(ctx)
	err = m.try(ctx, c, changes, before, p)
	if err == nil {
		m.stage("commit")
		if _, err := atomicfile.Remove(m.undoPath()); err != nil {
			return refused("the undo file cannot be removed: %w", err)
		}
		return Outcome{InForce: true, Changed: true}
	}
	out := refused("sshd was put back to what it was: %w", err)
	if err := m.undo(ctx, old); err != nil {
		out = refused("sshd could not be put back to what it was, look at %s: %w", m.undoPath(), err)
	}
	out.Alarm = true
	return out
}

func (m *Manager) try(ctx context.Context, c checked, changes []change, before host, p *probe) error {
	m.stage("write")
	for _, ch := range changes {
		dir := filepath.Dir(ch.path)
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			if ch.path == DropIn {
				if _, err := atomicfile.Write(m.madePath(), []byte(dir+"\n"), atomicfile.Options{Mode: 0o600}); err != nil {
					return err
				}
			}
			if err := makeDir(dir); err != nil {
				return err
			}
		}
	}
	if err := write(changes); err != nil {
		return err
	}
	m.stage("check")
	if _, err := m.run(ctx, sshdProgram, "-t"); err != nil {
		return err
	}
	if err := m.checkEffective(ctx, c, before); err != nil {
		return err
	}
	m.stage("reload")
	if err := m.reload(ctx, before.pidFile); err != nil {
		return err
	}
	m.stage("prove")
	return p.prove(ctx, before.probes, c, m.now)
}

// checkEffective asks sshd itself what it now means: Cardea's settings for the
// probe and for one person, and nothing new for anybody else.
func (m *Manager) checkEffective(ctx context.Context, c checked, before host) error {
	managed := []string{ident.Canary}
	if len(c.Logins) > 0 {
		managed = append(managed, c.Logins[0])
	}
	for _, user := range managed {
		e, err := m.effective(ctx, user)
		if err != nil {
			return err
		}
		for _, s := range managedSettings {
			if got := strings.Join(e[s[0]], " "); got != s[1] {
				return fmt.Errorf("for %s another part of the configuration sets %s to %q", user, s[0], got)
			}
		}
		if !slices.Contains(e["hostcertificate"], CertificateFile) {
			return errors.New("the host certificate does not take effect")
		}
	}
	for _, user := range unmanaged {
		e, err := m.effective(ctx, user)
		if err != nil {
			return err
		}
		if !slices.Equal(flatten(e), before.others[user]) {
			return fmt.Errorf("the change would touch the logins of %s, whom Cardea does not keep", user)
		}
	}
	return nil
}

// flatten makes effective settings comparable, but for the host certificate,
// the one thing that is added for everybody.
func flatten(e effective) (out []string) {
	for keyword, values := range e {
		if keyword != "hostcertificate" {
			out = append(out, keyword+" "+strings.Join(values, "\n"))
		}
	}
	slices.Sort(out)
	return out
}

func (m *Manager) effective(ctx context.Context, user string) (effective, error) {
	out, err := m.run(ctx, sshdProgram, "-T", "-C", "user="+user+",host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22")
	if err != nil {
		return nil, err
	}
	return parseEffective(out), nil
}

// undo puts the files back and makes sshd read them, then forgets the change.
func (m *Manager) undo(ctx context.Context, files []saved) error {
	if err := restore(files); err != nil {
		return err
	}
	e, err := m.effective(ctx, unmanaged[0])
	if err != nil {
		return err
	}
	if err := m.reload(ctx, e.first("pidfile")); err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	_, err = atomicfile.Remove(m.undoPath())
	return err
}

// keepFirst keeps the sshd_config that was there before Cardea first changed
// it, for whoever wants it back.
func (m *Manager) keepFirst(changes []change) error {
	if !slices.ContainsFunc(changes, func(c change) bool { return c.path == ConfigFile }) {
		return nil
	}
	backup := m.backupPath()
	if _, err := os.Lstat(backup); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	raw, err := os.ReadFile(ConfigFile)
	if err != nil {
		return err
	}
	_, err = atomicfile.Write(backup, raw, atomicfile.Options{Mode: 0o600})
	return err
}

func (m *Manager) undoPath() string { return filepath.Join(m.State, "sshd-undo.json") }

func (m *Manager) stage(name string) {
	if m.Before != nil {
		m.Before(name)
	}
}

func (m *Manager) run(ctx context.Context, argv ...string) ([]byte, error) {
	if m.Run != nil {
		return m.Run(ctx, argv...)
	}
	return program.Run(ctx, argv...)
}

func (m *Manager) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}
