package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/tui/habit"
	"github.com/cardea-ssh/cardea/tui/picker"
)

const (
	// pickerEvery is how often the picker asks for what is new, and pickerSettle how long a
	// server is chosen before it asks about that: who moves on has not waited so long.
	pickerEvery  = time.Minute
	pickerSettle = 150 * time.Millisecond
	// pickerPaint is what painting the first picture takes, with two frames to wait for.
	pickerPaint = 30 * time.Millisecond
	// crowd is from how many servers on it asks less often: the list then has megabytes.
	crowd      = 2000
	crowdEvery = 5 * time.Minute
	// firstRows is how many servers are stored to be painted first: more than any screen
	// has. Reading all of 10,000 takes longer than a person should wait for a picture.
	firstRows     = 200
	maxFirstBytes = 1 << 20
	habitFile     = "habits.json"
	firstFile     = "first.json"
	// sessionsShown is how many of one's own sessions the details list.
	sessionsShown = 3
)

func newTUI(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "tui", GroupID: groupAccess,
		Short: "Find a server on a screen, and connect to it",
		Long: `Find a server on a screen, and connect to it. Press ? there for all keys. At a
terminal cardea alone opens it, too. All that it does other verbs do as well.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, out, ok := a.screen()
			if !ok {
				return &usageError{"there is no terminal to draw on", "to list your servers type: cardea ls"}
			}
			return a.pickerScreen(cmd, in, out)
		},
	}
}

// pickAlone has the program without a verb open the picker at a terminal. Elsewhere it
// prints its help as before.
func (a *app) pickAlone(root *cobra.Command) {
	otherwise := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if in, out, ok := a.screen(); ok && len(args) == 0 {
			return a.pickerScreen(cmd, in, out)
		}
		return otherwise(cmd, args)
	}
}

// pickerScreen shows the picker until the person has enough.
func (a *app) pickerScreen(cmd *cobra.Command, in, out *os.File) error {
	a.working = true
	// Ctrl-C in what the picker runs is for that alone.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	s := &pickerSource{app: a}
	w := picker.Wires{
		Known: s.known, Load: s.load, Explain: s.explain, Favour: s.favour, Now: a.now, Every: pickerEvery, Settle: pickerSettle, Paint: pickerPaint,
		Can: a.pickerCan(cmd.Root()),
		Do:  (&visits{program: os.Executable, flags: givenFlags(cmd), now: a.now}).do,
	}
	w.First = s.first()
	if w.First.Total > crowd {
		w.Every = crowdEvery
	}
	return a.show(ctx, picker.New(ctx, w), in, out)
}

// pickerCan are the verbs that there are here.
func (a *app) pickerCan(root *cobra.Command) []picker.Verb {
	can := []picker.Verb{picker.Forward, picker.Request}
	if c, _, err := root.Find([]string{"exec"}); err == nil && c != root {
		can = append(can, picker.Run)
	}
	if a.env("TMUX") != "" {
		can = append(can, picker.Panes)
	}
	return can
}

// givenFlags are the flags that every verb has, as they were given to this one: for those
// that it runs.
func givenFlags(cmd *cobra.Command) (out []string) {
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			out = append(out, "--"+f.Name+"="+f.Value.String())
		}
	})
	return out
}

// pickerSource is where the picker's servers come from.
type pickerSource struct{ app *app }

func (s *pickerSource) habits() string { return filepath.Join(s.app.paths.State, habitFile) }

// user is who is signed in, without asking a keyring or anybody else. Who has signed out
// sees nothing, and nobody sees what somebody else may reach.
func (s *pickerSource) user() (string, error) {
	saved, err := s.app.home.Peek()
	if err == nil && s.app.opt.URL != "" && s.app.opt.URL != saved.URL {
		err = api.Errorf(api.SignIn, "signed in at %s, not at %s", saved.URL, s.app.opt.URL).WithHint("type: cardea login %s", s.app.opt.URL)
	}
	if err != nil {
		err = signedOut(s.app.whereToSignIn(saved, err))
		var out *picker.SignedOut
		if errors.As(err, &out) {
			out.Nowhere = saved.URL == "" && s.app.opt.URL == ""
		}
		return "", err
	}
	return saved.Session.User, nil
}

// signedOut is an error as the picker needs it, where only a sign-in helps or an
// administrator.
func signedOut(err error) error {
	var e *api.Error
	if kind := api.KindOf(err); errors.As(err, &e) && (kind == api.SignIn || kind == api.Denied) {
		return &picker.SignedOut{Text: e.Detail, Hint: cmp.Or(e.Hint, map[api.Kind]string{api.SignIn: "type: cardea login", api.Denied: "ask an administrator"}[kind])}
	}
	return problem(err)
}

// firstPage is what the picker showed on its first screen last.
type firstPage struct {
	User  string
	Known time.Time // when it was known to be current
	At    time.Time // as of picker.List
	Total int
	Hosts []picker.Host
}

// first is what can be painted at once.
func (s *pickerSource) first() picker.List {
	user, err := s.user()
	if err != nil {
		return picker.List{}
	}
	f, err := os.Open(filepath.Join(s.app.paths.State, firstFile))
	if err != nil {
		return picker.List{}
	}
	defer f.Close()
	var page firstPage
	if text, err := io.ReadAll(io.LimitReader(f, maxFirstBytes)); err != nil || json.Unmarshal(text, &page) != nil || page.User != user {
		return picker.List{}
	}
	page.Hosts = slices.DeleteFunc(page.Hosts, func(h picker.Host) bool { return checkHost(h) != nil })
	accustom(page.Hosts, habit.Load(s.habits()), s.app.now())
	return picker.List{Hosts: page.Hosts, Total: page.Total, At: page.At, Age: max(s.app.now().Sub(page.Known), 0)}
}

// keep stores the first screen for the next time. That it cannot be matters to nobody.
func (s *pickerSource) keep(user string, list picker.List) {
	order := picker.Sort(list.Hosts)
	page := firstPage{User: user, Known: s.app.now().Add(-list.Age), At: list.At, Total: len(order), Hosts: order[:min(len(order), firstRows)]}
	if text, err := json.Marshal(page); err == nil && len(text) < maxFirstBytes && os.MkdirAll(s.app.paths.State, 0o700) == nil {
		atomicfile.Write(filepath.Join(s.app.paths.State, firstFile), text, atomicfile.Options{Mode: 0o600})
	}
}

// known is what an agent knows, or knew last.
func (s *pickerSource) known(ctx context.Context) (picker.List, error) {
	user, err := s.user()
	if err != nil {
		return picker.List{}, err
	}
	stored := s.app.paths.CatalogStored()
	c, age, err := s.app.local.Catalog(ctx)
	if api.KindOf(err) == api.SignIn { // what is stored is of a session that is over
		return picker.List{}, problem(err)
	}
	if err != nil || c.Session.User != user {
		if c, stored, err = s.app.paths.StoredCatalog(); err != nil {
			return picker.List{}, err
		}
		age = s.app.now().Sub(stored)
	}
	if c.Session.User != user {
		return picker.List{}, errors.New("the list that is here is somebody else's")
	}
	return s.list(user, c, age, stored), nil
}

// load asks the control plane itself: an agent asks for what may be reached, and not how
// each server is by now.
func (s *pickerSource) load(ctx context.Context) (picker.List, error) {
	defer debug.SetGCPercent(100) // from here on it only stays open
	user, err := s.user()
	if err != nil {
		return picker.List{}, err
	}
	client, err := s.app.client(ctx)
	if err != nil {
		return picker.List{}, signedOut(err)
	}
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	var c api.Catalog
	if _, err := client.Get(ctx, "/v1/catalog", nil, &c); err != nil {
		return picker.List{}, signedOut(err)
	}
	return s.list(user, c, 0, s.app.now()), nil
}

func (s *pickerSource) list(user string, c api.Catalog, age time.Duration, at time.Time) picker.List {
	list := picker.List{Hosts: pickerHosts(c.Servers), Age: max(age, 0), At: at}
	accustom(list.Hosts, habit.Load(s.habits()), s.app.now())
	s.keep(user, list)
	return list
}

// pickerHosts are the servers as the picker shows them. What no server may be called is
// left out: programs are run with these names.
func pickerHosts(servers []api.CatalogEntry) []picker.Host {
	count, name := map[string]int{}, make(map[string]string, len(servers))
	for _, s := range servers {
		name[s.ID] = s.Name
		for _, n := range append([]string{s.Name}, s.AltNames...) {
			count[n]++
		}
	}
	hosts := make([]picker.Host, 0, len(servers))
	for _, s := range servers {
		if checkEntry(s) != nil {
			continue
		}
		h := picker.Host{
			ID: s.ID, Name: s.Name, Project: s.ProjectName, Login: s.Login, Role: s.Role, Gateway: s.Gateway, Call: s.Name,
			Bastion: name[s.Bastion], AltNames: s.AltNames, Labels: s.Labels, Recorded: s.Recorded, Seen: s.LastSeen,
		}
		if count[s.Name] > 1 {
			h.Call = fullName(s)
		}
		if g := s.BreakGlass; g != nil {
			h.Note = "break-glass until " + stamp(g.Until) + ": " + g.Reason
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// checkHost refuses what came out of a file and is no server.
func checkHost(h picker.Host) error {
	return errors.Join(checkServer(h.Call), checkServer(h.ID))
}

// accustom adds a person's habits.
func accustom(hosts []picker.Host, book habit.Book, now time.Time) {
	for i := range hosts {
		h := &hosts[i]
		known := book.Servers[h.ID]
		h.Favourite, h.Weight, h.Uses, h.Used = known.Favourite, known.Now(now), known.Uses, known.Last
	}
}

func (s *pickerSource) favour(id string, on bool) error {
	return habit.Change(s.habits(), func(b *habit.Book) { b.Favour(id, on) })
}

// noteUse counts that somebody goes to a server, for the order of the picker. It is no
// reason for anything to fail.
func (a *app) noteUse(id string) {
	habit.Change((&pickerSource{app: a}).habits(), func(b *habit.Book) { b.Use(id, a.now()) })
}

// explain tells why somebody may enter a server, and of his sessions there.
func (s *pickerSource) explain(ctx context.Context, h picker.Host) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	client, err := s.app.client(ctx)
	if err != nil {
		return nil, problem(err)
	}
	var w api.Why
	if _, err := client.Get(ctx, "/v1/why", url.Values{"server": {h.ID}}, &w); err != nil {
		return nil, problem(err)
	}
	lines := []string{"You may enter: " + w.Reason}
	if !w.Allow {
		lines = []string{"You may not enter: " + w.Reason}
		if w.Hint != "" {
			lines = append(lines, w.Hint)
		}
	}
	lines = append(lines, factLines(w.Chain, "")...)
	for _, c := range sudoColumns(w.Sudo) {
		lines = append(lines, "sudo: "+c.text(w))
	}
	if !h.Recorded {
		return lines, nil
	}
	var recorded api.List[api.Recording]
	if _, err := client.Get(ctx, "/v1/recordings", url.Values{"mine": {"true"}}, &recorded); err != nil {
		return lines, nil // that is for the one who wonders
	}
	shown := 0
	for _, r := range recorded.Items {
		if r.Server != h.ID || shown == sessionsShown {
			continue
		}
		shown++
		lines = append(lines, "your session of "+stamp(r.StartedAt)+": "+cmp.Or(lengthOf(r), "not over")+", "+r.Session)
	}
	return lines, nil
}

// choose asks a person which of the servers he means that a name stands for. Where nobody
// can be asked, or he chooses none, it returns the error that lists them.
func (a *app) choose(ctx context.Context, servers []api.CatalogEntry, name string, ambiguous error) (api.CatalogEntry, error) {
	in, out, ok := a.screen()
	if !ok {
		return api.CatalogEntry{}, ambiguous
	}
	found := meant(servers, name)
	list := picker.List{Hosts: pickerHosts(found), At: a.now()}
	accustom(list.Hosts, habit.Load((&pickerSource{app: a}).habits()), a.now())
	m := picker.New(ctx, picker.Wires{First: list, Question: "Which " + name + "?", Now: a.now})
	if err := a.show(ctx, m, in, out); err != nil {
		return api.CatalogEntry{}, err
	}
	h, ok := m.Chosen()
	i := slices.IndexFunc(found, func(s api.CatalogEntry) bool { return s.ID == h.ID })
	if !ok || i < 0 {
		return api.CatalogEntry{}, ambiguous
	}
	return found[i], nil
}
