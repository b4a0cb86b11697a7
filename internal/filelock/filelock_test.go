package filelock

import (
	"path/filepath"
	"testing"
)

// One at a time has the lock; who does not want to wait is told so, who does gets it next.
func TestOneHasTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, ok, err := Take(path, false)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if f, ok, err := Take(path, false); ok || err != nil {
		t.Errorf("a second one has it as well: %v, %v", f, err)
	}
	waited := make(chan error, 1)
	go func() {
		f, ok, err := Take(path, true)
		if err == nil && ok {
			f.Close()
		}
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Errorf("who waits did not wait: %v", err)
	default:
	}
	first.Close()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if again, ok, err := Take(path, false); err != nil || !ok {
		t.Errorf("it was not given back: %v", err)
	} else {
		again.Close()
	}
	if _, ok, err := Take(filepath.Join(path, "below"), false); ok || err == nil {
		t.Error("a lock that cannot be made is held")
	}
}
