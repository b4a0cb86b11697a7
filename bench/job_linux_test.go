package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test program be the runner of a job.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asRunner {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func sh(script string, times int) job {
	return job{Argv: []string{"/bin/sh", "-c", script}, Times: times}
}

func TestAJobCountsWhatItsOrphansUse(t *testing.T) {
	// The shell ends at once; what it left burns CPU time for a while.
	got, err := sh("(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done) >/dev/null 2>&1 &", 1).must(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.CPU < 10*time.Millisecond || got.Orphans != 0 {
		t.Errorf("CPU %v, %d orphans; want that of the loop, and none", got.CPU, got.Orphans)
	}
}

func TestAJobCountsFailuresAndOrphans(t *testing.T) {
	got, err := sh("echo no >&2; exit 3", 4).do(t.Context())
	if err != nil || got.Failed != 4 || !strings.HasPrefix(got.Stderr, "no\n") {
		t.Errorf("%+v, %v; want 4 failures and what they said", got, err)
	}
	if _, err := sh("exit 3", 1).must(t.Context()); err == nil {
		t.Error("a failure was no error")
	}
	got, err = sh("sleep 60 >/dev/null 2>&1 &", 2).do(t.Context())
	if err != nil || got.Orphans != 2 || got.Failed != 0 {
		t.Errorf("%+v, %v; want 2 orphans", got, err)
	}
}
