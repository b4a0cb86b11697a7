package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/recordings"
)

// recordingsPage is how many recordings the screen reads at a time: some screens full.
const recordingsPage = 200

// recordingsOptions is one `cardea sessions`.
type recordingsOptions struct{ server, key string }

// recordingsScreen shows the screen until the person has enough.
func (a *app) recordingsScreen(cmd *cobra.Command, o recordingsOptions, in, out *os.File) error {
	// Ctrl-C while something is fetched to be played is for that alone.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if _, err := a.client(ctx); err != nil {
		return err
	}
	saved, err := a.home.Peek()
	if err != nil {
		return err
	}
	lists, err := a.recordingLists(ctx, saved.Session.Admin, o.server)
	if err != nil {
		return err
	}
	w := recordings.Wires{
		Key: o.key, Now: a.now, Asks: saved.Session.Admin, // others may fetch none
		Load: func(ctx context.Context, list int, from string) (recordings.Page, error) {
			return a.recordingPage(ctx, lists[list], from)
		},
		Play: (&showings{program: os.Executable, flags: givenFlags(cmd)}).play,
	}
	for _, l := range lists {
		w.Lists = append(w.Lists, l.name)
	}
	return a.show(ctx, recordings.New(ctx, w), in, out)
}

// recordingList is a list of the screen.
type recordingList struct {
	name   string
	server string // its id, "" for all
	mine   bool
}

// recordingLists are those that somebody may see: his own, those of a server, and all.
func (a *app) recordingLists(ctx context.Context, admin bool, server string) ([]recordingList, error) {
	lists := []recordingList{{name: "Yours", mine: true}}
	if server != "" {
		id, name, err := a.recordedServer(ctx, server)
		if err != nil {
			return nil, err
		}
		of := recordingList{name: "On " + name, server: id}
		if !admin {
			of.name = "Yours on " + name
		}
		lists = append(lists, of)
	}
	if admin {
		lists = append(lists, recordingList{name: "All"})
	}
	return lists, nil
}

// recordedServer is the id of a server, and what it is called: of one that the person may
// reach, or that an administrator names.
func (a *app) recordedServer(ctx context.Context, name string) (id, called string, err error) {
	s, err := a.server(ctx, name)
	saved, _ := a.home.Peek()
	switch unknown := api.KindOf(err) == api.NotFound; {
	case unknown && ident.Check(name, ident.Server) == nil: // of one that is gone, too
		return name, name, nil
	case unknown && saved.Session.Admin:
		path, perr := pathOf("servers", name)
		if perr != nil {
			return "", "", perr
		}
		one, aerr := call[api.Server](ctx, a, "GET", path, nil)
		return one.ID, one.Name, aerr
	}
	return s.ID, s.Name, err
}

func (a *app) recordingPage(ctx context.Context, l recordingList, from string) (recordings.Page, error) {
	q := url.Values{"limit": {strconv.Itoa(recordingsPage)}}
	if from != "" {
		q.Set("cursor", from)
	}
	if l.mine {
		q.Set("mine", "true")
	}
	if l.server != "" {
		q.Set("server", l.server)
	}
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return recordings.Page{}, problem(err)
	}
	var got api.List[api.Recording]
	if _, err := client.Get(ctx, "/v1/recordings", q, &got); err != nil {
		return recordings.Page{}, problem(err)
	}
	page := recordings.Page{Next: got.Next}
	for _, r := range got.Items {
		if l.server == "" || r.Server == l.server { // an older control plane sends all
			page.Rows = append(page.Rows, recordingRow(r))
		}
	}
	return page, nil
}

// recordingRow is a recording as the screen shows it.
func recordingRow(r api.Recording) recordings.Recording {
	row := recordings.Recording{
		Session: r.Session, At: r.StartedAt, Started: stamp(r.StartedAt), Length: lengthOf(r), User: cmp.Or(r.UserName, r.User), Login: r.Login,
		Server: cmp.Or(r.ServerName, r.Server), Project: cmp.Or(r.ProjectName, r.Project), State: r.State,
	}
	if r.Overdue {
		row.State = "overdue"
	}
	fact := cmp.Or(explained[r.State], r.State) + fmt.Sprintf(", %d bytes", r.Bytes)
	if r.Source != "" {
		fact = "from " + r.Source + "; " + fact
	}
	row.Facts = append(row.Facts, fact)
	for _, c := range recordingShowColumns() {
		if text := c.text(r); text != "" && slices.Contains([]string{"gateway", "ended by", "fault"}, c.name) {
			row.Facts = append(row.Facts, c.name+": "+text)
		}
	}
	return row
}

// showings plays what is chosen on the screen: by this very program.
type showings struct {
	program func() (string, error)
	flags   []string
}

func (s *showings) play(session, key string, done func(string, error) tea.Msg) tea.Cmd {
	program, err := s.program()
	if err == nil {
		err = ident.Check(session, ident.GatewaySession) // it is an argument
	}
	if err != nil {
		return func() tea.Msg { return done("", err) }
	}
	args := []string{"sessions", "play", "--hold"}
	if key != "" {
		args = append(args, "--identity="+homeFile(key))
	}
	one := &showing{cmd: exec.Command(program, slices.Concat(s.flags, args, []string{"--", session})...)}
	return tea.Exec(one, func(err error) tea.Msg { return done(one.ended(err)) })
}

// homeFile is a file as a shell would find it.
func homeFile(name string) string {
	rest, below := strings.CutPrefix(name, "~/")
	if home, err := os.UserHomeDir(); below && err == nil {
		return filepath.Join(home, rest)
	}
	return name
}

// showing is a play, which has the whole terminal. What it says besides is kept for the
// screen that comes after it.
type showing struct {
	cmd  *exec.Cmd
	said bytes.Buffer
}

func (s *showing) SetStdin(r io.Reader)  { s.cmd.Stdin = r }
func (s *showing) SetStdout(w io.Writer) { s.cmd.Stdout = w }
func (s *showing) SetStderr(io.Writer)   {}

// Run implements tea.ExecCommand.
func (s *showing) Run() error {
	s.cmd.Stderr = &s.said
	return s.cmd.Run()
}

// ended is what the screen says afterwards.
func (s *showing) ended(err error) (string, error) {
	text := strings.TrimSpace(s.said.String())
	switch code := codeOf(err); {
	case err == nil:
		return text, nil
	case code == int(ExitInterrupted):
		return "", nil
	case code < 0 || text == "":
		return "", err
	}
	lines := strings.Split(text, "\n")
	why, hint, _ := strings.Cut(strings.TrimPrefix(lines[len(lines)-1], "cardea: "), "; ")
	return "", &draw.Problem{Text: why, Hint: hint}
}
