package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/sshconfig"
	"golang.org/x/crypto/ssh"
)

const (
	// pollRetry and maxPollRetry bound the pause after a failed poll: full jitter between
	// nothing and a limit that doubles (so that agents do not come back all at once).
	pollRetry    = time.Second
	maxPollRetry = time.Minute
	// shortestPoll is how long the control plane waits at the least before it says "nothing".
	shortestPoll = time.Second
	// signInRetry is the pause while nobody is signed in; a sign-in wakes us anyway.
	signInRetry = 30 * time.Second
	// refreshTime bounds a fetch that somebody waits for.
	refreshTime = 15 * time.Second
	// probeTime bounds the look at the user's ssh, which takes 5 ms.
	probeTime = 5 * time.Second
	// maxCatalogFile bounds what is read back from disk, bytes.
	maxCatalogFile = 64 << 20
)

// catalog is what the user may reach, as far as is known. It is safe for concurrent use.
type catalog struct {
	now func() time.Time

	mu      sync.Mutex
	have    bool
	current api.Catalog
	encoded []byte // current, see compact.go
	names   sortedNames
	seenAt  time.Time // when current was known to be current
	ids     map[string]string
	cas     []ssh.PublicKey
	between []ssh.PublicKey // gateway CAs
	known   sshconfig.Trust // what ssh's file says
	skipped []string
	problem string
	refused error // what the control plane last said of the session that current was given to
}

func (c *catalog) get() (*api.Catalog, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held()
}

// held is get for who holds c.mu.
func (c *catalog) held() (*api.Catalog, time.Duration, error) {
	if !c.have {
		return nil, 0, api.Errorf(api.Unavailable, "the agent has no list of servers yet").WithHint("type: cardea status")
	}
	current := c.current // its slices are never changed, only replaced
	return &current, c.now().Sub(c.seenAt), nil
}

// shown is get for who looks at the list: it is shown to nobody whose session the control plane
// says is over, though it may be new.
func (c *catalog) shown() (*api.Catalog, time.Duration, error) {
	list, _, age, err := c.named()
	return list, age, err
}

// named is shown with the names of that list's servers: it may be another person's a moment
// later.
func (c *catalog) named() (*api.Catalog, sortedNames, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused != nil {
		return nil, sortedNames{}, 0, c.refused
	}
	list, age, err := c.held()
	return list, c.names, age, err
}

// encodedForm is shown with the catalog encoded.
func (c *catalog) encodedForm() ([]byte, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused != nil {
		return nil, 0, c.refused
	}
	_, age, err := c.held()
	return c.encoded, age, err
}

// resolve finds the one server that a name means.
func (c *catalog) resolve(name string) (id string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok = c.ids[name]
	return id, ok
}

// projectOf is the project of a server of the catalog; empty for any other.
func (c *catalog) projectOf(server string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.current.Servers, func(e api.CatalogEntry) bool { return e.ID == server })
	if i < 0 {
		return ""
	}
	return c.current.Servers[i].Project
}

func (c *catalog) hostCAs() []ssh.PublicKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cas
}

func (c *catalog) gatewayCAs() []ssh.PublicKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.between
}

// trusts is true if ssh has been told of all whose certificates it may meet.
func (c *catalog) trusts(got api.Connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	without := func(known []string) func(string) bool {
		return func(l string) bool { return !slices.Contains(known, l) }
	}
	return !slices.ContainsFunc(got.HostCAs, without(c.known.HostCAs)) && (!got.Recorded ||
		slices.Contains(c.known.Recorded, sshcert.HostPrincipal(got.ServerID)) && !slices.ContainsFunc(got.GatewayCAs, without(c.known.GatewayCAs)))
}

// set replaces the catalog. Names that break the grammar, and CAs that are no keys, are
// left out: the control plane checks them, and so do we before we use them.
func (c *catalog) set(cat api.Catalog, seen time.Time) {
	cat.Servers = slices.DeleteFunc(slices.Clone(cat.Servers), func(e api.CatalogEntry) bool {
		return errors.Join(ident.Check(e.ID, ident.Server), ident.ServerName(e.Name), ident.ProjectName(e.ProjectName), ident.Login(e.Login)) != nil
	})
	for i, e := range cat.Servers {
		cat.Servers[i].AltNames = slices.DeleteFunc(slices.Clone(e.AltNames), func(n string) bool { return ident.ServerName(n) != nil })
	}
	// In the order in which they are shown: so nobody who asks has to move ten thousand of them.
	slices.SortStableFunc(cat.Servers, func(x, y api.CatalogEntry) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ProjectName, y.ProjectName))
	})
	cas, between := keysOf(cat.HostCAs), keysOf(cat.GatewayCAs)
	ids := resolvable(cat.Servers)
	names := namesOf(cat.Servers)
	encoded, err := encodeCatalog(cat)
	if err != nil {
		return // strings and times that came as JSON: it cannot be
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.encoded, c.names = encoded, names
	c.have, c.current, c.seenAt, c.cas, c.between, c.ids = true, cat, seen, cas, between, ids
}

func keysOf(lines []string) (keys []ssh.PublicKey) {
	for _, line := range lines {
		if key, err := sshcert.ParseLine(line); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// seen notes that the catalog is current, and what is wrong nevertheless.
func (c *catalog) seen(at time.Time, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seenAt, c.problem, c.refused = at, problem, nil
}

// refuse takes note that the control plane gives no list, and why.
func (c *catalog) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = err.Error()
	if api.KindOf(err) == api.SignIn {
		c.refused = err
	}
}

func (c *catalog) note(problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = problem
}

// resolvable maps everything that means one server only to its id: the id, project/name,
// name.project, and the name alone where it is unique; and all that for its other names.
func resolvable(servers []api.CatalogEntry) map[string]string {
	ids, twice := make(map[string]string, 4*len(servers)), map[string]bool{}
	add := func(name, id string) {
		if other, taken := ids[name]; taken && other != id {
			twice[name] = true
		}
		ids[name] = id
	}
	for _, e := range servers {
		add(e.ID, e.ID)
		for _, name := range append([]string{e.Name}, e.AltNames...) {
			add(name, e.ID)
			add(e.ProjectName+"/"+name, e.ID)
			add(name+"."+e.ProjectName, e.ID)
		}
	}
	for name := range twice {
		delete(ids, name)
	}
	return ids
}

// hosts chooses the names under which ssh knows each server: its name, name.project and
// its other names, without those that mean two servers or that the user's own
// configuration uses. The latter are reported.
func hosts(servers []api.CatalogEntry, own *sshconfig.Own) (hosts []sshconfig.Host, skipped []string) {
	ids := resolvable(servers)
	for _, e := range servers {
		h := sshconfig.Host{HostKeyAlias: sshcert.HostPrincipal(e.ID), Login: e.Login}
		for _, name := range append([]string{e.Name, e.Name + "." + e.ProjectName}, e.AltNames...) {
			switch {
			case ids[name] != e.ID || ident.ServerName(name) != nil || slices.Contains(h.Names, name):
			case own.Uses(name):
				if name == e.Name+"."+e.ProjectName {
					name = e.Name
				}
				skipped = append(skipped, name)
			default:
				h.Names = append(h.Names, name)
			}
		}
		if len(h.Names) > 0 {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(skipped)
	return hosts, slices.Compact(skipped)
}

// watch keeps the catalog current until ctx ends. It alone fetches; who wants it sooner
// sends to a.wake, and hears when it is done.
func (a *Agent) watch(ctx context.Context) error {
	failures := 0
	var waiting []chan error
	for {
		poll, cancel := context.WithTimeout(ctx, api.LongPoll+refreshTime)
		var err error
		long := len(waiting) == 0
		if long {
			stop := a.cancelOnWake(poll, cancel, &waiting)
			err = a.fetch(poll, api.LongPoll)
			stop()
		} else {
			err = a.fetch(poll, 0)
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		a.renew(ctx, err)
		if long && len(waiting) > 0 {
			continue // woken in the middle of a poll: they want what is true after that
		}
		for _, w := range waiting {
			w <- told(err)
		}
		waiting = nil
		if err == nil {
			failures = 0
			continue
		}
		failures++
		select {
		case <-ctx.Done():
			return nil
		case w := <-a.wake:
			waiting = append(waiting, w)
		case <-time.After(pause(err, failures)):
		}
	}
}

// renew has the token of the session renewed while it is in use. That it could not be
// matters to nobody now: the one that there is stays good, and it is tried again.
func (a *Agent) renew(ctx context.Context, fetched error) {
	if a.rotate == nil || fetched != nil && api.KindOf(fetched) != api.SignIn { // a program that slept signs in again
		return
	}
	if err := a.rotate(ctx); err != nil {
		a.log.Warn("keep the token of the session", "error", err)
	}
}

// told is what a person hears who asked for the catalog.
func told(err error) error {
	if errors.Is(err, errNothingNew) {
		return nil
	}
	return err
}

func pause(err error, failures int) time.Duration {
	if api.KindOf(err) == api.SignIn {
		return signInRetry
	}
	return rand.N(min(maxPollRetry, pollRetry<<min(failures, 6)))
}

// cancelOnWake ends the poll when somebody wants the catalog now. The returned function
// waits until it has ended itself.
func (a *Agent) cancelOnWake(poll context.Context, cancel context.CancelFunc, waiting *[]chan error) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case w := <-a.wake:
			*waiting = append(*waiting, w)
			cancel()
		case <-quit:
		case <-poll.Done():
		}
	}()
	return func() { close(quit); <-done }
}

// errNothingNew is an answer that says nothing and did not wait: whoever gives it would give
// it again at once, so it counts as a failure and is followed by a pause.
var errNothingNew = errors.New("the control plane answers a long poll at once")

// fetch asks for the catalog once and puts what is new into effect.
func (a *Agent) fetch(ctx context.Context, wait time.Duration) error {
	client, err := a.account.Client(ctx)
	if err != nil {
		a.catalog.note(err.Error())
		return err
	}
	if a.changed.Swap(false) {
		a.fetched = false // what we have belongs to another session
	}
	query := url.Values{"wait": {strconv.Itoa(int(wait / time.Second))}}
	if old, _, err := a.catalog.get(); err == nil && a.fetched {
		query.Set("version", old.Version)
	}
	var got api.Catalog
	began := time.Now()
	found, err := client.Get(ctx, "/v1/catalog", query, &got)
	if err != nil {
		if ctx.Err() == nil {
			a.catalog.refuse(err)
		}
		return err
	}
	if found {
		a.catalog.set(got, a.now())
		a.fetched = true
		a.saveCatalog(got)
	}
	problem := ""
	if err := a.writeSSH(ctx); err != nil {
		a.log.Error("write the ssh configuration", "error", err)
		problem = "the ssh configuration could not be written: " + err.Error()
	}
	a.catalog.seen(a.now(), problem)
	old := found && query.Get("version") == got.Version && got.Version != ""
	if old || !found && wait > 0 && time.Since(began) < shortestPoll {
		return errNothingNew
	}
	return nil
}

// refresh has watch fetch now, and waits for it.
func (a *Agent) refresh(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case a.wake <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loadCatalog takes the catalog of the last run, so that names resolve offline.
func (a *Agent) loadCatalog() {
	switch old, written, err := a.paths.StoredCatalog(); {
	case err == nil:
		a.catalog.set(old, written)
	case errors.Is(err, errUnreadable):
		a.log.Warn("the stored catalog cannot be read; it will be fetched anew", "error", err)
	}
}

var errUnreadable = errors.New("not a catalog")

// StoredCatalog is what an agent stored last, and when: for who wants to know something
// before an agent answers, or although none runs.
func (p Paths) StoredCatalog() (api.Catalog, time.Time, error) {
	path := filepath.Join(p.State, catalogFile)
	info, err := os.Lstat(path)
	if err != nil {
		return api.Catalog{}, time.Time{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCatalogFile || !ownedByUs(info) {
		return api.Catalog{}, time.Time{}, fmt.Errorf("%s is no file of ours", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return api.Catalog{}, time.Time{}, err
	}
	var c api.Catalog
	if err := json.Unmarshal(text, &c); err != nil {
		return api.Catalog{}, time.Time{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return c, info.ModTime(), nil
}

// CatalogStored is when StoredCatalog was stored; zero if it is not there.
func (p Paths) CatalogStored() time.Time {
	info, err := os.Lstat(filepath.Join(p.State, catalogFile))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (a *Agent) saveCatalog(cat api.Catalog) {
	text, err := json.Marshal(cat)
	if err == nil {
		_, err = atomicfile.Write(filepath.Join(a.paths.State, catalogFile), text, atomicfile.Options{Mode: 0o600})
	}
	if err != nil {
		a.log.Warn("store the catalog", "error", err) // it is only for the next start
	}
}
