// Command packaging makes the deb, rpm and apk packages that a release has, as
// goreleaser.yaml describes them, without goreleaser: for whoever wants to try a
// change on a host, and for the tests here, which install, upgrade, remove and
// purge what it made.
//
//	go run ./packaging -version 1.2.3 -out dist cardea-server-agent
//
// The maintainer scripts of each format, the units and the manual page lie beside.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	var m maker
	flag.StringVar(&m.root, "root", ".", "folder of goreleaser.yaml")
	flag.StringVar(&m.version, "version", "0.0.0~devel", "version of the packages, without a v")
	flag.StringVar(&m.arch, "arch", runtime.GOARCH, "amd64 or arm64")
	flag.StringVar(&m.out, "out", "dist", "folder to write to")
	flag.StringVar(&m.nfpm, "nfpm", "", "nfpm program (default: built from "+nfpmModule+")")
	formats := flag.String("formats", "", "some of deb,rpm,apk (default: all)")
	flag.Parse()
	if *formats != "" {
		m.formats = strings.Split(*formats, ",")
	}
	made, err := m.make(context.Background(), flag.Args()...)
	for _, file := range made {
		fmt.Println(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// maker makes packages of one version for one architecture.
type maker struct {
	root, version, arch, out, nfpm string
	formats                        []string // empty means all that a package has
	// quick packs next to nothing: what is thrown away again need not be small.
	quick bool
	// race builds the programs with the race detector instead of as a release: as the
	// tests and their other programs are built, so that all is compiled once.
	race bool
	// program says where a program lies that has been built; nil means that none has.
	program func(build) (string, error)
}

// make makes the named packages, or all, and returns their files.
func (m *maker) make(ctx context.Context, names ...string) (files []string, err error) {
	work, err := os.MkdirTemp("", "cardea-packaging")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if m.root, err = filepath.Abs(m.root); err != nil {
		return nil, err
	}
	if m.out, err = filepath.Abs(m.out); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return nil, err
	}
	rel, err := readRelease(m.root, m.version, m.arch)
	if err != nil {
		return nil, err
	}
	packages, err := rel.named(names)
	if err != nil {
		return nil, err
	}
	if m.nfpm == "" {
		if m.nfpm, err = buildNFPM(ctx, work, m.race); err != nil {
			return nil, err
		}
	}
	for _, p := range packages {
		made, err := m.one(ctx, work, rel, p)
		files = append(files, made...)
		if err != nil {
			return files, fmt.Errorf("%s: %w", p.name(), err)
		}
	}
	return files, nil
}
