package spool

import (
	"path/filepath"
	"testing"
)

// TestNobodyFinishesWhatBegins: the process looks for what dead ones left while sessions
// begin, and theirs is none of that.
func TestNobodyFinishesWhatBegins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				s.Recover(r.key)
			}
		}
	}()
	var all []Origin
	for range 200 {
		o := origin()
		if _, err := s.Begin(o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	close(stop)
	<-stopped
	if _, err := s.Begin(all[0]); err == nil {
		t.Error("a recording begins twice")
	}
	for _, o := range all {
		m, err := readMeta(filepath.Join(r.dir, o.Session))
		e, _ := s.entry(o.Session)
		if err != nil || m.State != Recording || e == nil || !s.isLive(e) {
			t.Fatalf("a session that has just begun is %q: %v", m.State, err)
		}
	}
}
