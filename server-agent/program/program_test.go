package program

import (
	"bytes"
	"context"
	"strconv"
	"testing"
	"time"
)

func TestTheEnvironmentIsEmpty(t *testing.T) {
	t.Setenv("LD_PRELOAD_TEST", "x")
	out, err := Run(context.Background(), "/usr/bin/env")
	if err != nil || len(out) != 0 {
		t.Fatalf("env printed %q, %v", out, err)
	}
}

func TestARelativePathIsRefused(t *testing.T) {
	for _, argv := range [][]string{{}, {"env"}, {"./env"}, {""}} {
		if _, err := Run(context.Background(), argv...); err == nil {
			t.Errorf("%q ran", argv)
		}
	}
}

func TestAFailureQuotesTheComplaintOnOneSafeLine(t *testing.T) {
	_, err := Run(context.Background(), "/bin/sh", "-c", `printf 'no\033[2J\nway\n' >&2; exit 3`)
	if err == nil || err.Error() != `sh: exit status 3: no\x1b[2J; way` {
		t.Fatalf("error %q", err)
	}
}

func TestATimeOutKillsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	// The inner sleep holds stdout open: without killing the group, Run waits for it.
	if _, err := Run(ctx, "/bin/sh", "-c", "sleep 20 & sleep 20"); err == nil {
		t.Fatal("a program outlived its time")
	}
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Fatalf("gave up only after %s", d)
	}
}

func TestOutputIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name string
		n    int
		ok   bool
	}{{"at the limit", MaxOutput, true}, {"one byte more", MaxOutput + 1, false}} {
		out, err := Run(context.Background(), "/usr/bin/head", "-c", strconv.Itoa(tc.n), "/dev/zero")
		if (err == nil) != tc.ok || len(out) > MaxOutput || len(bytes.Trim(out, "\x00")) != 0 {
			t.Errorf("%s: %d bytes, %v", tc.name, len(out), err)
		}
	}
}
