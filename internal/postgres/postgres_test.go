package postgres

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestAServerListensOnItsSocketAloneAndLeavesNothing(t *testing.T) {
	s, err := Start(t.Context(), "max_connections = 7")
	if errors.Is(err, ErrNone) || errors.Is(err, ErrNobody) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for ask, want := range map[string]string{"SHOW listen_addresses": "", "SHOW max_connections": "7", "SHOW fsync": "on"} {
		if got, err := s.SQL("postgres", ask); err != nil || got != want {
			t.Errorf("%s: %q, %v", ask, got, err)
		}
	}
	if out, err := s.SQL("postgres", "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(out, err)
	}
	s.Kill()
	if s.PID() != 0 {
		t.Error("a killed server has a process")
	}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := s.SQL("postgres", "SELECT count(*) FROM kept"); err != nil || out != "0" {
		t.Errorf("after kill -9: %q, %v", out, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("its folder is left: %v", err)
	}
}

func TestAWrongSettingIsToldAndNothingIsLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if err := os.Chmod(os.TempDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), "max_connections = many")
	if errors.Is(err, ErrNone) || errors.Is(err, ErrNobody) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err == nil || !strings.Contains(err.Error(), "postgres ended") && !strings.Contains(err.Error(), "initdb") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
