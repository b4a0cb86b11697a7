// Demo walks the whole path on this machine, from a browser sign-in to a shell
// on a real sshd through a gateway, prints each step with its time, and cleans
// up. On a terminal it then stays, for you to try it yourself.
//
// Only the servers need root, because they are Linux namespaces: run it as
// root, or it asks sudo for that part.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/browse"
)

// Words that make this program play another part.
const (
	asBrowser = "browser" // signs in at the URL that follows
	asServers = "servers" // makes servers; the agent's program follows
)

// longest bounds the walk: it takes half a minute.
const longest = 5 * time.Minute

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Who reads us may go first (`make demo | head`, a closed terminal): a write
	// then fails, and must not end us before everything is cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	switch {
	case len(args) > 1 && args[0] == asBrowser:
		return browse.Main(args[1:])
	case len(args) == 2 && args[0] == asServers:
		// Ctrl-C reaches every process of the terminal; this one must outlive it
		// to clean up, and ends when its stdin does.
		signal.Ignore(os.Interrupt, syscall.SIGHUP)
		return tell(stage.ServeRemote(context.Background(), args[1], os.Stdin, os.Stdout))
	case len(args) > 0:
		fmt.Fprintln(os.Stderr, "demo: it takes no arguments; type: make demo")
		return 2
	}
	return tell(demo(ctx))
}

func tell(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	return 1
}

func demo(ctx context.Context) (err error) {
	bin, dir, err := folders()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	servers, err := makeServers(self, filepath.Join(bin, "cardea-server-agent"))
	if err != nil {
		return err
	}
	w := &walk{out: os.Stdout, began: time.Now()}
	walking, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	w.title("A team on this machine")
	store := []string{"CARDEA_RECORDINGS=file://" + filepath.Join(dir, "recordings")}
	if err := os.Mkdir(filepath.Join(dir, "recordings"), 0o700); err != nil {
		return err
	}
	s, err := stage.New(walking, stage.Options{
		Bin: bin, Dir: dir, Gateways: 2, Servers: servers, Browser: self + " " + asBrowser, Step: w.step,
		Control: store, Gateway: store,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w.stage = s
	if err := w.journey(walking); err != nil {
		return err
	}
	fmt.Printf("\nAll of it worked, in %.1f s.\n", time.Since(w.began).Seconds())
	return w.stay(ctx, bin)
}

// folders are that of the programs and a fresh one for all that is written.
func folders() (bin, dir string, err error) {
	here, err := os.Getwd()
	if err != nil {
		return "", "", err
	}
	bin = filepath.Join(here, "bin")
	if _, err := os.Stat(filepath.Join(bin, "cardea")); err != nil {
		return "", "", errors.New("the programs are not built; type: make demo")
	}
	state := filepath.Join(here, "demo/.state")
	// The path of a socket ends at 108 bytes, and ours lie 40 below.
	const longestPath = 60
	if len(state) > longestPath {
		state = filepath.Join(os.TempDir(), fmt.Sprintf("cardea-demo-%d", os.Getpid()))
	}
	if err := os.Mkdir(state, 0o700); errors.Is(err, os.ErrExist) {
		return "", "", fmt.Errorf("%s is left from another run; if none runs now, type: rm -rf %s", state, state)
	} else if err != nil {
		return "", "", err
	}
	return bin, state, nil
}

// makeServers makes them here as root, else by sudo, which asks for a password
// on the terminal if it needs one.
func makeServers(self, agent string) (stage.Servers, error) {
	if os.Geteuid() == 0 {
		return &stage.Local{Agent: agent}, nil
	}
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return nil, errors.New("the servers are Linux namespaces, which need root; run make demo as root, or install sudo")
	}
	fmt.Println("The servers are Linux namespaces with their own /etc and /home. Making them needs root: asking sudo for that part.")
	if err := exec.Command(sudo, "-n", "true").Run(); err != nil {
		ask := exec.Command(sudo, "-v")
		ask.Stdin, ask.Stdout, ask.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := ask.Run(); err != nil {
			return nil, fmt.Errorf("sudo: %w", err)
		}
	}
	return stage.NewRemote(sudo, self, asServers, agent)
}
