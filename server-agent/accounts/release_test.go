package accounts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// A scene of a host that leaves: what is done before sshd is put back, and what
// after it.
func TestReleasesOfScenes(t *testing.T) {
	files, err := filepath.Glob("testdata/release/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenes", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			host, _ := scene(t, ar)
			before, after := Release(host, Fate(strings.TrimSpace(section(ar, "fate"))))
			got := steps(before) + "then sshd\n" + steps(after)
			if os.Getenv("UPDATE") != "" {
				update(t, file, ar, got)
				return
			}
			if diff := cmp.Diff(section(ar, "plan"), got); diff != "" {
				t.Errorf("%s\nplan (-want +got):\n%s", ar.Comment, diff)
			}
		})
	}
}

func steps(p Plan) string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String() + "\n")
	}
	for _, s := range p.Problems {
		b.WriteString("problem: " + s + "\n")
	}
	return b.String()
}
