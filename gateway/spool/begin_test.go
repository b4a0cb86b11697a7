package spool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cardea-ssh/cardea/recording"
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

// TestASegmentThatNobodyStoredIsNotRemoved: whatever meta.json says of the rest.
func TestASegmentThatNobodyStoredIsNotRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := origin()
	dir := filepath.Join(r.dir, o.Session)
	need(t, os.MkdirAll(dir, 0o700))
	m := Meta{Version: metaVersion, Origin: o, Owner: ".owner-dead", State: Finished, End: &End{Cause: recording.Interrupted}}
	need(t, m.first(dir))
	need(t, os.WriteFile(filepath.Join(dir, "000001.seg"), []byte("what a user saw"), 0o600))
	s := r.open(nil)
	if _, err := s.Recover(r.key); err != nil {
		t.Fatal(err)
	}
	r.drain(s)
	if text, err := os.ReadFile(filepath.Join(r.dir, quarantineDir, o.Session, "000001.seg")); err != nil || string(text) != "what a user saw" {
		t.Errorf("what nobody stored is gone: %v", err)
	}
	if s.Figures().Quarantined != 1 {
		t.Errorf("%+v", s.Figures())
	}
}
