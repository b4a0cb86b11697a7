package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/sample"
	"github.com/cardea-ssh/cardea/internal/vhost"
)

// benchVariable has the test run all parts. Without it there are the first, which is quick,
// and sampleParts others, drawn anew each time.
const (
	benchVariable = "CARDEA_BENCH"
	sampleParts   = 3
)

// tablesOf are the tables that the parts make.
var tablesOf = map[string]string{
	"start": "memory start", "wall": "wall wall-curve25519", "bulk": "bulk bulk-aes", "storm": "storm-4", "idle": "idle",
	"record":  "record-wall record-wall-curve25519 record-bulk record-bulk-aes record-storm-4 record-echo record-idle",
	"connect": "connect", "identity": "identity", "accounts": "accounts grant", "many": "many", "far": "far",
}

// drawParts returns parts in their order.
func drawParts(t *testing.T) []string {
	t.Helper()
	if os.Getenv(benchVariable) != "" {
		return parts
	}
	return append(parts[:1:1], sample.Of(sample.Dice(t), sampleParts, parts[1:])...)
}

// TestTheBenchmarksRun proves that all of it runs, fails nowhere and leaves
// nothing behind; the figures of so few rounds mean nothing.
func TestTheBenchmarksRun(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it builds all programs and a team")
	}
	if err := vhost.Check(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	for _, program := range []string{"/usr/sbin/sshd", "/usr/bin/ssh"} {
		if _, err := os.Stat(program); err != nil {
			t.Skipf("SKIPPED: OpenSSH is not installed: %v", err)
		}
	}
	drawn := drawParts(t)
	bin := t.TempDir()
	err := buildtest.Build(bin, "../cmd/cardea", "../cmd/cardea-control", "../cmd/cardea-gateway", "../cmd/cardea-server-agent", "./nodelay", ".")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(bin, "report.json")
	temp, err := os.MkdirTemp("", "b") // short, because sockets lie below it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o711); err != nil { // PostgreSQL, another user, lives below it
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bench"), "-quick", "-only", strings.Join(drawn, ","), "-bin", bin, "-out", file, "-json")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, buildtest.RaceOptions)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("bench: %v\n%s", err, stderr.String())
	}
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(text, stdout.Bytes()) {
		t.Errorf("the file and stdout differ: %v", err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tab := range r.Tables {
		names = append(names, tab.Name)
		if len(tab.Rows) == 0 {
			t.Errorf("table %s is empty", tab.Name)
		}
	}
	var want []string
	for _, part := range drawn {
		want = append(want, strings.Fields(tablesOf[part])...)
	}
	if !slices.Equal(names, want) {
		t.Errorf("tables %s, want %s", names, want)
	}
	if slices.Contains(drawn, "storm") {
		for _, name := range []string{wayDirect, wayJump, wayPipe, wayPass} {
			for _, key := range []string{"failures", "orphans", "sessions", "files"} {
				if v, ok := r.value("storm-4", name, key); !ok || v != 0 {
					t.Errorf("%s: %s %v (measured: %v)", name, key, v, ok)
				}
			}
		}
	}
	if v, ok := r.value("connect", engineSQLite, "failures"); slices.Contains(drawn, "connect") && (!ok || v != 0) {
		t.Errorf("connect: %v failures (measured: %v)", v, ok)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWrongFlagsAreUsageErrors(t *testing.T) {
	for name, args := range map[string][]string{
		"an unknown part": {"-only", "nonsense"},
		"an argument":     {"quick"},
		"no rounds":       {"-rounds", "0"},
		"an unknown flag": {"-nonsense"},
	} {
		if code := run(args); code != 2 {
			t.Errorf("%s: exit code %d, want 2", name, code)
		}
	}
}
