package accounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/entitlement"
)

// sudoHost stands for visudo and cvtsudoers of a host.
type sudoHost struct {
	*Applier
	calls map[string]int
	// refused says why the whole is not valid with these files; nil is valid.
	refused func(files map[string]string) error
}

func newSudoHost(t *testing.T) *sudoHost {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can give files to root")
	}
	for _, program := range []string{visudo, cvtsudoers} {
		if _, err := os.Stat(program); err != nil {
			t.Skip("SKIPPED: sudo is not here")
		}
	}
	h := &sudoHost{Applier: &Applier{Register: filepath.Join(t.TempDir(), "register"), sudoers: t.TempDir()}, calls: map[string]int{}}
	h.Run = func(ctx context.Context, argv ...string) ([]byte, error) {
		if slices.Equal(argv, []string{visudo, "-c"}) {
			h.calls["whole"]++
			if h.refused == nil {
				return nil, nil
			}
			return nil, h.refused(h.files())
		}
		h.calls[filepath.Base(argv[0])]++
		h2 := &Applier{}
		return h2.run(ctx, argv...) // the real one
	}
	return h
}

func (h *sudoHost) files() map[string]string {
	found := map[string]string{}
	entries, _ := os.ReadDir(h.sudoers)
	for _, e := range entries {
		raw, _ := os.ReadFile(filepath.Join(h.sudoers, e.Name()))
		found[e.Name()] = string(raw)
	}
	return found
}

func sudoSteps(n int) (steps []Step) {
	for i := range n {
		login := fmt.Sprintf("p%d", i)
		rules := entitlement.Rules{Everything: i%3 == 0}
		if i%3 > 0 {
			rules.Commands = []entitlement.Command{{Kind: entitlement.Executable, Path: "/opt/" + login}, {Kind: entitlement.Executable, Path: "/bin/id", Arguments: entitlement.NoArguments}}
		}
		steps = append(steps, Step{Op: OpSudo, Subject: "sudo " + login, Login: login, UID: 70000 + i, Sudo: rules})
	}
	return steps
}

func TestManySudoRulesAreCheckedTogether(t *testing.T) {
	const n = sudoBatch + 44
	h := newSudoHost(t)
	res := Result{Failed: map[string]bool{}, Plan: Plan{Steps: sudoSteps(n)}}
	if err := h.take(t.Context(), &res); err != nil || len(res.Problems) > 0 || len(res.Done) != n {
		t.Fatal(err, res.Problems, len(res.Done))
	}
	if len(h.files()) != n || h.calls["whole"] != 3 || h.calls["cvtsudoers"] != 2 {
		t.Errorf("%d files by %v", len(h.files()), h.calls)
	}
	for i, s := range res.Steps {
		if want, _ := sudoFile(s.Login, s.Sudo); h.files()[fmt.Sprintf("50-cardea-%d", 70000+i)] != want {
			t.Fatalf("the file of %s is another", s.Login)
		}
	}
	if _, err := os.Stat(h.checkFile()); err == nil {
		t.Error("the file in which rules are checked is left")
	}
}

// One rule that does not do holds nobody else up, and is not in place.
func TestOfManySudoRulesTheBadOneIsFound(t *testing.T) {
	bad := "50-cardea-70007"
	for name, spoil := range map[string]func(*sudoHost, []Step){
		"the whole is not valid with it": func(h *sudoHost, _ []Step) {
			h.refused = func(files map[string]string) error {
				if _, there := files[bad]; there {
					return errors.New("not valid")
				}
				return nil
			}
		},
		"the builder refuses it": func(_ *sudoHost, steps []Step) {
			steps[7].Sudo = entitlement.Rules{Commands: []entitlement.Command{{Path: "x"}}}
		},
		"visudo refuses it apart": func(h *sudoHost, _ []Step) {
			run := h.Run
			h.Run = func(ctx context.Context, argv ...string) ([]byte, error) {
				if raw, _ := os.ReadFile(argv[len(argv)-1]); strings.Contains(string(raw), "\np7 ") {
					return nil, errors.New("no")
				}
				return run(ctx, argv...)
			}
		},
		"its place is taken by a folder": func(h *sudoHost, _ []Step) { os.Mkdir(filepath.Join(h.sudoers, bad), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newSudoHost(t)
			res := Result{Failed: map[string]bool{}, Plan: Plan{Steps: sudoSteps(30)}}
			spoil(h, res.Steps)
			if err := h.take(t.Context(), &res); err != nil {
				t.Fatal(err)
			}
			if len(res.Problems) != 1 || !strings.Contains(res.Problems[0], " p7 ") || len(res.Done) != 29 {
				t.Errorf("%d done, problems %q", len(res.Done), res.Problems)
			}
			files := h.files()
			if files[bad] != "" {
				t.Errorf("it is there: %q", files[bad])
			}
			if delete(files, bad); len(files) != 29 {
				t.Errorf("%d files", len(files))
			}
		})
	}
}

func TestNothingIsAddedToABrokenSudoConfiguration(t *testing.T) {
	h := newSudoHost(t)
	h.refused = func(map[string]string) error { return errors.New("broken") }
	res := Result{Failed: map[string]bool{}, Plan: Plan{Steps: sudoSteps(30)}}
	if err := h.take(t.Context(), &res); err != nil {
		t.Fatal(err)
	}
	if len(res.Problems) != 30 || !strings.Contains(res.Problems[0], "mend it with visudo") || len(h.files()) != 0 || h.calls["whole"] != 1 {
		t.Errorf("%q, %d files, %v", res.Problems, len(h.files()), h.calls)
	}
}

func TestWhatIsTakenTogether(t *testing.T) {
	run, home, sudo := Step{Op: OpRun}, Step{Op: OpHome}, Step{Op: OpSudo}
	for name, c := range map[string]struct {
		steps []Step
		want  int
	}{
		"programs one by one":  {[]Step{run, run}, 1},
		"homes":                {[]Step{home, home, run, home}, 2},
		"as many homes as may": {slices.Repeat([]Step{home}, homesTogether+1), homesTogether},
		"rules":                {[]Step{sudo, sudo}, 2},
		"as many rules as may": {slices.Repeat([]Step{sudo}, sudoBatch+1), sudoBatch},
	} {
		if got := together(c.steps); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
