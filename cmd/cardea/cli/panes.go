package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/agent/offer"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/login"
)

const (
	// tmuxTime bounds a call of tmux, which takes some milliseconds.
	tmuxTime = 5 * time.Second
	// A pane smaller than this, in cells, shows no shell that one could work in.
	paneColumns, paneRows = 40, 8
	// maxPanes is more than anybody looks at, and not so many that a slip of the finger
	// fills a laptop.
	maxPanes = 60
)

// pane is a call of this program beside others, and the name that stands above it.
type pane struct {
	name string
	args []string
	keep bool // it stays when that has ended, also where all went well
}

// newPane is what runs in a pane: what was said where something went wrong has to be read, and
// of a program that has ended tmux shows all but the first line.
func newPane(a *app) *cobra.Command {
	keep := false
	cmd := &cobra.Command{
		Use: "pane [flags] -- VERB...", GroupID: groupAccess, Hidden: true, Args: cobra.MinimumNArgs(1), Annotations: map[string]string{rawKey: ""},
		Short: "Run a verb in a pane of tmux (cardea exec --tmux runs this)",
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			child := exec.Command(self, args...)
			child.Stdin, child.Stdout, child.Stderr = a.in, a.out, a.err
			err = child.Run() // Ctrl-C is for that alone
			if err != nil || keep {
				end := "it is over"
				if code := codeOf(err); code != 0 {
					end = fmt.Sprintf("ended with code %d", code)
				}
				a.say("\n%s; press enter to close this", end)
				bufio.NewReader(a.in).ReadString('\n')
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "wait also where all went well")
	return cmd
}

// words is the command line as tmux takes it.
func (p pane) words(program string) []string {
	words := []string{program, "pane"}
	if p.keep {
		words = append(words, "--keep")
	}
	words = append(append(words, "--"), p.args...)
	for i := range words {
		words[i] = word(words[i])
	}
	return words
}

// word is one for tmux, to which one that ends with a semicolon ends a command.
func word(w string) string {
	if before, ends := strings.CutSuffix(w, ";"); ends {
		return before + `\;`
	}
	return w
}

// openPanes opens windows of tmux, with as many panes in each as can be read.
func openPanes(panes []pane) (string, error) {
	if len(panes) > maxPanes {
		return "", fmt.Errorf("these are %d servers, and panes are for %d at most; choose fewer, or to run a command on all of them type: cardea exec --help", len(panes), maxPanes)
	}
	size, err := tmux("display-message", "-p", "#{window_width} #{window_height}")
	if err != nil {
		return "", err
	}
	windows := 0
	for some := range slices.Chunk(panes, panesFor(size)) {
		if err := openWindow(some); err != nil {
			return "", err
		}
		windows++
	}
	where := "a window"
	if windows > 1 {
		where = fmt.Sprintf("%d windows", windows)
	}
	return fmt.Sprintf("opened %d in %s of tmux", len(panes), where), nil
}

// panesFor is how many panes a window of that size has room for.
func panesFor(size string) int {
	width, height := 0, 0
	fmt.Sscan(size, &width, &height)
	return max(1, width/paneColumns) * max(1, height/paneRows)
}

// openWindow opens one. Its programs begin when all panes have their place: the first may have
// ended, and its window with it, before the second is there.
func openWindow(panes []pane) error {
	const waits = "cat"
	window, err := tmux("new-window", "-P", "-F", "#{window_id}", "-n", "cardea", waits)
	if err != nil {
		return err
	}
	for _, option := range [][2]string{{"pane-border-status", "top"}, {"pane-border-format", " #{@cardea} "}} {
		if _, err := tmux("set-option", "-w", "-t", window, option[0], option[1]); err != nil {
			return err
		}
	}
	for range panes[1:] {
		if _, err := tmux("split-window", "-t", window, waits, ";", "select-layout", "-t", window, "tiled"); err != nil {
			return err
		}
	}
	ids, err := tmux("list-panes", "-t", window, "-F", "#{pane_id}")
	if err != nil {
		return err
	}
	for i, id := range strings.Fields(ids) {
		if i == len(panes) {
			break
		}
		if err := panes[i].begin(id); err != nil {
			return err
		}
	}
	_, err = tmux("select-pane", "-t", window+".{top-left}")
	return err
}

// begin begins the program in a pane. Its name stands above it, where no program changes it;
// tmux reads formats in it.
func (p pane) begin(id string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	name := strings.ReplaceAll(ident.Text(p.name), "#", "##")
	args := slices.Concat([]string{"set-option", "-p", "-t", id, "@cardea", name, ";", "respawn-pane", "-k", "-t", id}, paneEnvironment(), p.words(program))
	_, err = tmux(args...)
	return err
}

// paneEnvironment is what this program goes by: tmux gives its panes the environment in which
// its server was started. Everybody on this machine can read a command line, so only what is
// known to be no secret stands there: a variable of the control plane's may have a password.
func paneEnvironment() (args []string) {
	known := config.Bind(pflag.NewFlagSet("", pflag.ContinueOnError), new(options), "").Variables()
	known = append(known, login.BrowserVariable, traceVariable, "HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "PATH")
	for _, name := range known {
		if value, set := os.LookupEnv(name); set {
			args = append(args, "-e", word(name+"="+value))
		}
	}
	return args
}

// execInPanes opens a shell on each server, or the command with a terminal of its own.
func (a *app) execInPanes(servers []api.CatalogEntry, flags []string, o execOptions) error {
	said, err := openPanes(panesOn(servers, flags, o))
	if err == nil {
		a.say("%s; to type into all of a window at once type in tmux: :setw synchronize-panes", said)
	}
	return err
}

// panesOn are what execInPanes opens. What is short for a server among those that were chosen
// may mean another one as well: that stands above the pane, which goes by project and name.
func panesOn(servers []api.CatalogEntry, flags []string, o execOptions) (panes []pane) {
	names := offer.Names(servers)
	for i, s := range servers {
		line := append(slices.Clone(flags), "ssh")
		if o.login != "" {
			line = append(line, "--login="+o.login)
		}
		if len(o.command) > 0 {
			line = append(line, "-t")
		}
		line = append(line, fullName(s))
		if len(o.command) > 0 {
			line = append(append(line, "--"), o.command...)
		}
		panes = append(panes, pane{names[i], line, len(o.command) > 0})
	}
	return panes
}

func tmux(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tmuxTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "tmux", args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil && text == "" {
		text = err.Error()
	}
	if err != nil {
		return "", fmt.Errorf("tmux: %s; to see what it has open type: tmux list-windows", text)
	}
	return text, nil
}
