//go:build unix

package fanout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func sh(name, script string) Target {
	return Target{name, func(context.Context) ([]string, error) { return []string{"/bin/sh", "-c", script}, nil }}
}

func TestEachEndsInItsOwnWay(t *testing.T) {
	refused := errors.New("no grant")
	var out, errs bytes.Buffer
	var told []string
	results := Run(t.Context(), []Target{
		sh("a", "echo one; echo two >&2"),
		sh("bb", "printf 'no end'; exit 3"),
		{"c", func(context.Context) ([]string, error) { return nil, refused }},
		{"d", func(context.Context) ([]string, error) { return []string{"/no/such"}, nil }},
		sh("e", "kill -9 $$"),
	}, Options{Show: &Show{Out: &out, Err: &errs, Width: 2}, Done: func(r Result) { told = append(told, r.Name) }})
	if got, want := out.String(), "a  | one\nbb | no end\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := errs.String(), "a  | two\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	if want := []string{"a", "bb", "c", "d", "e"}; !slices.Equal(told, want) {
		t.Errorf("told of %q", told)
	}
	for i, want := range []struct {
		code int
		err  error
	}{{0, nil}, {3, new(exec.ExitError)}, {-1, refused}, {-1, fs.ErrNotExist}, {-1, new(exec.ExitError)}} {
		r := results[i]
		var exit *exec.ExitError
		same := errors.Is(r.Err, want.err) || errors.As(want.err, &exit) && errors.As(r.Err, &exit)
		if r.Code != want.code || !same {
			t.Errorf("%s ended with %d, %v; want %d, %v", r.Name, r.Code, r.Err, want.code, want.err)
		}
	}
	if string(results[0].Stdout) != "one\n" || string(results[0].Stderr) != "two\n" || results[0].Took <= 0 {
		t.Errorf("%+v", results[0])
	}
}

func TestNoMoreRunAtATimeThanWereAskedFor(t *testing.T) {
	const most = 3
	var now, peak atomic.Int32
	var targets []Target
	for i := range 12 {
		targets = append(targets, Target{fmt.Sprint(i), func(context.Context) ([]string, error) {
			for n := now.Add(1); ; {
				if p := peak.Load(); n <= p || peak.CompareAndSwap(p, n) {
					break
				}
			}
			time.Sleep(5 * time.Millisecond)
			now.Add(-1)
			return []string{"/bin/true"}, nil
		}})
	}
	Run(t.Context(), targets, Options{Parallel: most})
	if p := peak.Load(); p != most {
		t.Errorf("%d ran at a time, want %d", p, most)
	}
}

// A command that ignores being told to end is ended, and one that hears it can clean up.
func TestATimeOutEndsOneAndAnInterruptionAll(t *testing.T) {
	results := Run(t.Context(), []Target{sh("slow", "trap 'echo cleaned; exit 9' TERM; while :; do sleep 0.01; done"), sh("quick", "true")},
		Options{Timeout: 300 * time.Millisecond, Parallel: 2})
	if !errors.Is(results[0].Err, ErrTimeout) || string(results[0].Stdout) != "cleaned\n" || results[1].Err != nil {
		t.Errorf("%+v", results)
	}
	ctx, cancel := context.WithCancel(t.Context())
	began := filepath.Join(t.TempDir(), "began")
	results = Run(ctx, []Target{
		sh("first", "exec sleep 60"), {"second", func(context.Context) ([]string, error) {
			cancel()
			return []string{"/bin/touch", began}, nil
		}}, sh("third", "touch "+began),
	}, Options{Parallel: 2})
	for _, r := range results[:1:1] {
		if !errors.Is(r.Err, context.Canceled) {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
	if !errors.Is(results[2].Err, context.Canceled) {
		t.Errorf("the third was begun: %+v", results[2])
	}
}

func TestEveryOneReadsTheWholeInput(t *testing.T) {
	results := Run(t.Context(), []Target{sh("a", "cat"), sh("b", "exit 0"), sh("c", "wc -c")}, Options{Input: []byte("text"), Parallel: 3})
	if string(results[0].Stdout) != "text" || strings.TrimSpace(string(results[2].Stdout)) != "4" {
		t.Errorf("%q, %q", results[0].Stdout, results[2].Stdout)
	}
	if r := Run(t.Context(), []Target{sh("a", "cat")}, Options{})[0]; r.Err != nil || len(r.Stdout) != 0 {
		t.Errorf("without input: %+v", r)
	}
}

func TestOutputIsKeptInFilesThatNobodyElseReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "of", "run")
	if err := MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	Run(t.Context(), []Target{sh("a", `printf 'a\033[2J\n'; echo b >&2`)}, Options{Dir: dir})
	for name, want := range map[string]string{"a.out": "a\x1b[2J\n", "a.err": "b\n"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if err := MakeDir(dir); err == nil {
		t.Error("a folder that holds something was taken")
	}
	r := Run(t.Context(), []Target{sh("a", "touch "+dir+"/ran"), sh("../b", "touch "+dir+"/ran")}, Options{Dir: dir})
	if r[0].Err == nil || r[1].Err == nil {
		t.Errorf("a file was written twice, or outside: %v, %v", r[0].Err, r[1].Err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("what cannot be kept was run")
	}
}

func TestAResultCarriesTheEndOfLongOutput(t *testing.T) {
	for _, c := range []struct {
		size int
		cut  bool
	}{{keep, false}, {keep + 1, true}, {5*keep + 7, true}} {
		r := Run(t.Context(), []Target{sh("a", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; printf end", c.size-3))}, Options{})[0]
		if r.Err != nil || len(r.Stdout) != min(c.size, keep) || !strings.HasSuffix(string(r.Stdout), "end") || r.Cut != c.cut {
			t.Errorf("of %d bytes %d, cut %v, %v", c.size, len(r.Stdout), r.Cut, r.Err)
		}
	}
}

func TestNoServerWritesOverTheLinesOfAnother(t *testing.T) {
	for said, want := range map[string]string{
		"plain\tü\n":                         "x | plain\tü\n",
		"10%\r50%\r100%\n":                   "x | 100%\n",
		"dos\r\n":                            "x | dos\n",
		"\x1b[2J\x1b[1;1Hgone\n":             "x | gone\n",
		"\x1b]0;title\x07a\x1b]2;t\x1b\\b\n": "x | ab\n",
		"\x1b[31mred\x1b[0m\n":               "x | red\n",
		"a\x1b":                              "x | a\n",
		"a\x1b[":                             "x | a\n",
		"a\x1b]never ends\n":                 "x | a\n",
		"a\u202egnp\xff\x00\x9bm\n":          "x | agnpm\n",
		"\n\n":                               "x | \nx | \n",
	} {
		var out bytes.Buffer
		l := (&Show{Out: &out, Harmless: true}).lines("x", &out)
		if _, err := l.Write([]byte(said)); err != nil {
			t.Fatal(err)
		}
		l.flush()
		if got := out.String(); got != want {
			t.Errorf("%q was shown as %q, want %q", said, got, want)
		}
	}
}

func TestALineIsShownWholeAndOneWithoutAnEndInPieces(t *testing.T) {
	var out bytes.Buffer
	l := (&Show{}).lines("x", &out)
	for _, p := range []string{"he", "llo\nwor", "ld\n"} {
		l.Write([]byte(p))
	}
	if got := out.String(); got != "x | hello\nx | world\n" {
		t.Errorf("%q", got)
	}
	out.Reset()
	l.Write(bytes.Repeat([]byte("y"), maxLine))
	if out.Len() > 0 {
		t.Error("shown before the limit")
	}
	l.Write([]byte("y"))
	if out.Len() == 0 {
		t.Error("held beyond the limit")
	}
}

func TestTheStatusGivesWayToLines(t *testing.T) {
	var term bytes.Buffer
	s := &Show{Out: &term, Status: &term}
	s.Say("1 of 2")
	s.lines("x", &term).Write([]byte("line\n"))
	s.End()
	if got := term.String(); got != "\r\x1b[K1 of 2\r\x1b[Kx | line\n" {
		t.Errorf("%q", got)
	}
}

func FuzzHarmless(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b]0;t\x1b\\x\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		for _, b := range string(harmless(said)) {
			if b < ' ' && b != '\t' || b >= 0x7f && b < 0xa0 {
				t.Errorf("%q came out of %q", b, said)
			}
		}
	})
}
