package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/sshconfig"
	"golang.org/x/crypto/ssh"
)

const (
	// MaxLoan is how long files may be wanted at the most: as long as a session lasts by
	// default. Whoever wants them for longer asks again.
	MaxLoan = 12 * time.Hour
	// maxLoans bounds the folders with files at one time.
	maxLoans = 64
	// renewLeft is the part of a certificate's life that is left when it is renewed: a third.
	renewLeft = 3
	// loanTick is how often is looked what is over, while there are files.
	loanTick = time.Second
	// loansFile names the folders, so that files which a killed agent left are removed.
	loansFile = "files.json"
	// maxLoansFile bounds it, bytes.
	maxLoansFile = 1 << 20
)

// Lent are files for programs that know no agent. Their key is the same until the end, and
// good for nothing afterwards.
type Lent struct {
	Dir        string    `json:"dir"`
	ServerName string    `json:"server_name"`
	Login      string    `json:"login"`
	Expires    time.Time `json:"expires"` // the certificate, if nobody renews it
	Until      time.Time `json:"until"`   // it is renewed up to then
}

// loan is one folder of files. Its times are guarded by loans.mu, and change while
// loans.writing is held; all else stays as it is once it is in the list.
type loan struct {
	Lent
	server  string
	key     ed25519.PrivateKey
	renewAt time.Time
}

// loans are all that there are. It is safe for concurrent use.
type loans struct {
	// writing is held while files are written or removed, and before mu.
	writing sync.Mutex
	mu      sync.Mutex
	list    []*loan
}

func (l *loans) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

// in is the one of a folder; nil if there is none.
func (l *loans) in(dir string) *loan {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.list, func(x *loan) bool { return x.Dir == dir }); i >= 0 {
		return l.list[i]
	}
	return nil
}

// due are those to renew and those that are over.
func (l *loans) due(now time.Time) (renew, over []*loan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.list {
		switch {
		case !now.Before(x.Until) || !now.Before(x.Expires):
			over = append(over, x)
		case !now.Before(x.renewAt):
			renew = append(renew, x)
		}
	}
	return renew, over
}

// lend writes the files of a new loan, or makes one that there is last longer.
func (a *Agent) lend(ctx context.Context, req request) (*Lent, error) {
	now := a.now()
	if !req.Until.After(now) || req.Until.Sub(now) > MaxLoan+time.Minute {
		return nil, api.Errorf(api.Invalid, "files are lent for at most %s", MaxLoan).WithHint("type the same again when it is over")
	}
	server, err := a.serverOf(req)
	if err != nil {
		return nil, err
	}
	a.loans.writing.Lock()
	defer a.loans.writing.Unlock()
	if err := a.whileUnlocked(); err != nil { // it may have been locked while we waited
		return nil, err
	}
	if err := lentDir(req.Files); err != nil {
		return nil, err
	}
	x := a.loans.in(req.Files)
	if x == nil {
		if x, err = a.newLoan(req.Files); err != nil {
			return nil, err
		}
	}
	if x.server != "" && x.server != server {
		return nil, api.Errorf(api.Invalid, "the files in %s are for %s", req.Files, x.ServerName).WithHint("name another folder")
	}
	p, err := a.request(ctx, server, req.Login, x.key, nil)
	if err != nil {
		return nil, byName(err, server, req.Host)
	}
	a.loans.mu.Lock()
	if x.server == "" {
		x.server, x.ServerName, x.Login = p.identity.serverID, p.identity.serverName, p.identity.login
		a.loans.list = append(a.loans.list, x)
	}
	x.Until = req.Until
	x.extend(p.identity.expires, now)
	a.loans.mu.Unlock()
	select {
	case a.lent <- struct{}{}:
	default:
	}
	a.noteLoans() // before the files are there, so that none is forgotten
	if err := a.writeLoan(x, p.identity.cert); err != nil {
		a.endLoan(x)
		return nil, err
	}
	a.log.Info("key and certificate are in files", "server", x.server, "login", x.Login, "until", x.Until)
	lent := x.Lent
	return &lent, nil
}

func (x *loan) extend(expires, now time.Time) {
	x.Expires, x.renewAt = expires, expires.Add(-expires.Sub(now)/renewLeft)
}

// newLoan is one for a folder that has no file of another's with the names of ours.
func (a *Agent) newLoan(dir string) (*loan, error) {
	if a.loans.count() >= maxLoans {
		return nil, api.Errorf(api.Invalid, "there are files in %d folders already", maxLoans).WithHint("wait until some of them are over, or type: cardea agent stop")
	}
	for _, name := range lentNames {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, api.Errorf(api.Invalid, "%s is there already, and not of cardea's making", filepath.Join(dir, name)).WithHint("name an empty folder, or one that is not there yet")
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return &loan{Lent: Lent{Dir: dir}, key: key}, err
}

// lentNames are the files of a loan, the key last: what goes with it is there before.
var lentNames = []string{sshconfig.LentKnownHosts, sshconfig.LentConfig, sshconfig.LentCertificate, sshconfig.LentKey}

// lentDir makes the folder, or sees that nobody else can look into it.
func lentDir(dir string) error {
	if runtime.GOOS == "windows" { // whose modes say nothing of who may read it
		return api.Errorf(api.Invalid, "keys are not lent in files on Windows yet").WithHint("use a program that asks an agent, as ssh does")
	}
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return api.Errorf(api.Invalid, "%.200q is not the full path of a folder", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return api.Errorf(api.Invalid, "%s cannot be made: %s", dir, errors.Unwrap(err)).WithHint("name a folder below your home")
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir():
		return api.Errorf(api.Invalid, "%s is not a folder", dir)
	case !ownedByUs(info):
		return api.Errorf(api.Invalid, "%s belongs to somebody else", dir).WithHint("name a folder below your home")
	case othersMay(info, 0o077):
		return api.Errorf(api.Invalid, "others may look into %s", dir).WithHint("type: chmod 700 %s", dir)
	}
	return nil
}

// writeLoan writes what x is now. The caller holds writing.
func (a *Agent) writeLoan(x *loan, cert *ssh.Certificate) error {
	block, err := ssh.MarshalPrivateKey(x.key, "cardea "+x.Login+"@"+x.ServerName)
	if err != nil {
		return err
	}
	h, trust, err := a.lentHost(x)
	if err != nil {
		return err
	}
	known, err := sshconfig.KnownHosts(trust)
	if err != nil {
		return err
	}
	config, err := sshconfig.Config(sshconfig.Values{
		Hosts: []sshconfig.Host{h}, Binary: a.binary, AgentSocket: a.paths.SSHSocket(), Files: x.Dir, KnownHosts: filepath.Join(x.Dir, sshconfig.LentKnownHosts),
	})
	if err != nil {
		return err
	}
	texts := map[string][]byte{
		sshconfig.LentKnownHosts: known, sshconfig.LentConfig: config, sshconfig.LentKey: pem.EncodeToMemory(block),
		sshconfig.LentCertificate: []byte(sshcert.Line(cert) + "\n"),
	}
	for _, name := range lentNames {
		if _, err := atomicfile.Write(filepath.Join(x.Dir, name), texts[name], atomicfile.Options{Mode: 0o600}); err != nil {
			return err
		}
	}
	return nil
}

// lentHost is the one server of a loan, under all its names that mean no other, and what is
// trusted of it.
func (a *Agent) lentHost(x *loan) (sshconfig.Host, sshconfig.Trust, error) {
	cat, _, err := a.catalog.get()
	if err != nil {
		return sshconfig.Host{}, sshconfig.Trust{}, err
	}
	list, _ := hosts(cat.Servers, sshconfig.OwnHosts(nil, nil))
	for _, h := range list {
		if h.HostKeyAlias == sshcert.HostPrincipal(x.server) {
			h.Login = x.Login
			one := []sshconfig.Host{h}
			return h, trustOf(cat, one), nil
		}
	}
	return sshconfig.Host{}, sshconfig.Trust{}, api.Errorf(api.NotFound, "%s is not among your servers yet", x.ServerName).WithHint("try again in a moment")
}

// connectLent is connect for a program that shows the key of a loan: what leads to the server
// is made for that key, since a recording gateway lets no other one in.
func (a *Agent) connectLent(ctx context.Context, req request) (*Connected, error) {
	server, err := a.serverOf(req)
	if err != nil {
		return nil, err
	}
	x := a.loans.in(req.Files)
	if x == nil || x.server != server {
		return nil, api.Errorf(api.Invalid, "the files in %s are over, or are for another server", req.Files).WithHint("type: cardea ssh-config --files %s %s", req.Files, req.Host)
	}
	p, err := a.renewLoan(ctx, x)
	if err != nil {
		return nil, byName(err, server, req.Host)
	}
	return p.connected, nil
}

// renewLoan puts the next certificate in the place of the last.
func (a *Agent) renewLoan(ctx context.Context, x *loan) (*prepared, error) {
	p, err := a.request(ctx, x.server, x.Login, x.key, nil)
	if err != nil {
		return nil, err
	}
	a.loans.writing.Lock()
	defer a.loans.writing.Unlock()
	if a.loans.in(x.Dir) != x {
		return nil, api.Errorf(api.Invalid, "the files in %s are over", x.Dir)
	}
	a.loans.mu.Lock()
	x.extend(p.identity.expires, a.now())
	a.loans.mu.Unlock()
	if err := lentDir(x.Dir); err != nil {
		return nil, err
	}
	return p, a.writeLoan(x, p.identity.cert)
}

// keepLoans renews certificates in files, and removes the files when they are over, until
// ctx ends and all are.
func (a *Agent) keepLoans(ctx context.Context) error {
	defer a.endLoans()
	for {
		var tick <-chan time.Time // none while there are no files: a laptop sleeps well
		if a.loans.count() > 0 {
			tick = time.After(loanTick)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.lent:
		case <-tick:
			a.tendLoans(ctx)
		}
	}
}

func (a *Agent) tendLoans(ctx context.Context) {
	renew, over := a.loans.due(a.now())
	for _, x := range renew {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		_, err := a.renewLoan(ctx, x)
		cancel()
		switch kind := api.KindOf(err); {
		case err == nil:
		case kind == api.Denied || kind == api.NotFound || kind == api.SignIn:
			a.log.Warn("files are over before their time", "folder", x.Dir, "error", err)
			over = append(over, x)
		default: // it is tried again, for as long as the last certificate is good
			a.log.Warn("renew the certificate in a file", "folder", x.Dir, "error", err)
		}
	}
	for _, x := range over {
		a.loans.writing.Lock()
		a.endLoan(x)
		a.loans.writing.Unlock()
	}
}

// endLoan removes the files of a loan. The caller holds writing.
func (a *Agent) endLoan(x *loan) {
	a.loans.mu.Lock()
	a.loans.list = slices.DeleteFunc(a.loans.list, func(o *loan) bool { return o == x })
	a.loans.mu.Unlock()
	a.removeLent(x.Dir)
	a.noteLoans()
}

// endLoans ends all.
func (a *Agent) endLoans() {
	a.loans.writing.Lock()
	defer a.loans.writing.Unlock()
	a.loans.mu.Lock()
	all := slices.Clone(a.loans.list)
	a.loans.mu.Unlock()
	for _, x := range all {
		a.endLoan(x)
	}
}

// removeLent removes the files and, if nothing else is in it, the folder.
func (a *Agent) removeLent(dir string) {
	for _, name := range slices.Backward(lentNames) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.log.Warn("remove a file that is over", "error", err)
		}
	}
	os.Remove(dir) // it may have more in it, and then it stays
}

// noteLoans writes down which folders have files of ours.
func (a *Agent) noteLoans() {
	dirs := []string{}
	a.loans.mu.Lock()
	for _, x := range a.loans.list {
		dirs = append(dirs, x.Dir)
	}
	a.loans.mu.Unlock()
	text, err := json.Marshal(dirs)
	if err == nil {
		_, err = atomicfile.Write(filepath.Join(a.paths.State, loansFile), text, atomicfile.Options{Mode: 0o600})
	}
	if err != nil {
		a.log.Warn("note which folders have files", "error", err)
	}
}

// forgetLoans removes what an agent left that was killed. Their certificates are over, or
// nearly: nobody renews them.
func (a *Agent) forgetLoans() {
	text, err := readUpTo(filepath.Join(a.paths.State, loansFile), maxLoansFile)
	var dirs []string
	if err != nil || json.Unmarshal(text, &dirs) != nil || len(dirs) == 0 {
		return
	}
	for _, dir := range dirs {
		if filepath.IsAbs(dir) {
			a.removeLent(dir)
		}
	}
	a.noteLoans()
}

// Config is the file for programs that read the configuration of OpenSSH.
func (l Lent) Config() string { return filepath.Join(l.Dir, sshconfig.LentConfig) }

// String says what the files are good for.
func (l Lent) String() string {
	return fmt.Sprintf("%s opens %s as %s until %s", filepath.Join(l.Dir, sshconfig.LentKey), l.ServerName, l.Login, l.Until.Local().Format("15:04:05"))
}
