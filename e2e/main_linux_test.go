// Package e2e runs scripts over the real programs, the real ssh and the real
// sshd: alice has a grant, bob has none, mallory lies, admin decides. Each
// script in testdata begins with the story or the attack that it tells.
//
// The servers are virtual hosts, so the tests need root; without it they are
// skipped, loudly.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/buildtest"
)

// asBrowser makes this program the browser of the people in the scripts.
const asBrowser = "browser"

// binVariable names a folder with the four programs, to build none.
const binVariable = "CARDEA_E2E_BIN"

// bin is the folder of the programs, begun that of a control plane that has been
// initialised, and skip says why nothing can run: all are set before the first test and
// never after.
var bin, begun, skip string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asBrowser {
		os.Exit(browse.Main(os.Args[2:]))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if skip = missing(); skip != "" {
		fmt.Fprintln(os.Stderr, skip)
		return m.Run()
	}
	name, value, _ := strings.Cut(buildtest.RaceOptions, "=")
	os.Setenv(name, value)
	dir, err := os.MkdirTemp("", "cardea-bin")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the programs:", err)
		return 1
	}
	return m.Run()
}

// prepare builds the programs into dir unless they are there, and begins a control plane.
func prepare(dir string) error {
	if bin = os.Getenv(binVariable); bin == "" {
		bin = dir
		if err := build(dir); err != nil {
			return err
		}
	}
	begun = filepath.Join(dir, "begun")
	if err := os.Mkdir(begun, 0o700); err != nil {
		return err
	}
	return stage.Begin(context.Background(), stage.Options{Bin: bin, Dir: begun})
}

// missing says what the machine lacks.
func missing() string {
	if os.Geteuid() != 0 {
		return "SKIPPED: virtual hosts need root; type: sudo make test"
	}
	for _, program := range []string{"/usr/sbin/sshd", "ssh", "scp", "sftp", "rsync", "git", "sudo", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Sprintf("SKIPPED: there is no %s on this machine; type: make test, which installs it", program)
		}
	}
	return ""
}

// programs are all that a deployment has.
var programs = []string{"cardea", "cardea-control", "cardea-gateway", "cardea-server-agent"}

func build(dir string) error {
	var packages []string
	for _, p := range programs {
		packages = append(packages, "../cmd/"+p)
	}
	return buildtest.Build(dir, packages...)
}

// shortDir is a fresh folder with a path so short that sockets fit below it.
func shortDir() (string, error) {
	const longest = 40
	dir, err := os.MkdirTemp("", "ce2e")
	if err == nil && len(dir) > longest {
		err = errors.New("TMPDIR is too long for the sockets below it: " + dir)
	}
	return dir, err
}
