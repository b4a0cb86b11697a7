package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/buildtest"
)

// asBrowser makes this program the browser of the people in the tests.
const asBrowser = "browser"

// filesVariable names a folder with what was built before, for machines without
// Go: packages in old/ and new/, the programs in bin/.
const filesVariable = "CARDEA_TEST_FILES"

// prepareVariable names an empty folder to build all that into, and do no more.
const prepareVariable = "CARDEA_TEST_PREPARE"

// The two versions that are installed one over the other.
const oldVersion, newVersion = "1.0.0", "1.10.0"

// files is the folder of what is installed, "" until TestMain has run. It is set
// before the first test and never after.
var files string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asBrowser {
		os.Exit(browse.Main(os.Args[2:]))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if dir := os.Getenv(prepareVariable); dir != "" {
		if err := prepare(dir); err != nil {
			fmt.Fprintln(os.Stderr, "make the packages:", err)
			return 1
		}
		return 0
	}
	if files = os.Getenv(filesVariable); files != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "cardea-packages")
	if err == nil {
		defer os.RemoveAll(dir)
		files, err = dir, prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make the packages:", err)
		return 1
	}
	return m.Run()
}

// prepare makes the packages of the three services in two versions, and the programs
// of the other side.
func prepare(dir string) error {
	nfpm, err := buildNFPM(context.Background(), dir, buildtest.Raced())
	if err != nil {
		return err
	}
	for folder, version := range map[string]string{"old": oldVersion, "new": newVersion} {
		m := maker{root: "..", version: version, arch: runtime.GOARCH, out: filepath.Join(dir, folder), nfpm: nfpm, quick: true, race: buildtest.Raced()}
		if folder == "old" {
			m.formats = []string{"deb", "rpm"} // an apk is only looked into
		}
		if _, err := m.make(context.Background(), "cardea-server-agent", "cardea-gateway", "cardea-control"); err != nil {
			return err
		}
	}
	return buildtest.Build(filepath.Join(dir, "bin"), "../cmd/cardea", "../cmd/cardea-control")
}
