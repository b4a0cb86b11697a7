package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/server-agent/program"
)

// find lists the hooks of an event in the order of their names, and says which
// files there are none.
func find(dir string, e Event) (paths, problems []string) {
	dir = filepath.Join(dir, string(e)+".d")
	if err := rootsOwn(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, []string{fmt.Sprintf("no hook of %s is run: %v", dir, err)}
	}
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, []string{fmt.Sprintf("no hook of %s is run: %v", dir, err)}
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			continue // of an editor or a package manager
		}
		if err := fit(path); err != nil {
			problems = append(problems, fmt.Sprintf("the hook %s is not run: %v", strconv.QuoteToASCII(path), err))
			continue
		}
		if len(paths) == maxHooks {
			problems = append(problems, fmt.Sprintf("of the hooks in %s only the first %d are run", dir, maxHooks))
			break
		}
		paths = append(paths, path)
	}
	return paths, problems
}

// rootsOwn makes sure that root alone can change the folder or put another in
// its place.
func rootsOwn(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is not a folder", dir)
		case !program.RootsAlone(info):
			return fmt.Errorf("others than root can write to %s", dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func fit(path string) error {
	if !runParts(filepath.Base(path)) {
		return errors.New("its name has more than letters, digits, - and _")
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case !program.RootsAlone(info):
		return errors.New("others than root can write to it")
	case info.Mode().Perm()&0o100 == 0:
		return errors.New("it is not executable")
	}
	return nil
}

// runParts is the grammar of run-parts(8) without options: it leaves out what
// package managers and editors leave behind (.dpkg-old, ~).
func runParts(name string) bool {
	rest := strings.TrimLeftFunc(name, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	})
	return name != "" && rest == ""
}
