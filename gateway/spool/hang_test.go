package spool

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/recording"
)

// frozen is a file on a disk that says nothing until it thaws.
type frozen struct {
	file
	thawed chan struct{}
}

func (f frozen) Sync() error {
	<-f.thawed
	return f.file.Sync()
}

// TestADiskThatNeverAnswersCountsAsOneThatFails: output is withheld, the session ends, none
// begins, and when the disk comes back all is there.
func TestADiskThatNeverAnswersCountsAsOneThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	thawed := make(chan struct{})
	thaw := sync.OnceFunc(func() { close(thawed) })
	defer thaw()
	s := r.open(func(o *Options) {
		o.hangs, o.syncLimit = 200*time.Millisecond, 100*time.Millisecond
		o.open = func(path string) (file, error) {
			f, err := openSegment(path)
			return frozen{f, thawed}, err
		}
	})
	defer s.Close()
	rec := r.begin(s, 0)
	said := ""
	var err error
	for began := time.Now(); err == nil; time.Sleep(time.Millisecond) {
		if err = rec.say("line\n"); err == nil {
			said += "line\n"
		}
		if time.Since(began) > generous {
			t.Fatal("output goes on though nothing is on the disk")
		}
	}
	if !strings.Contains(err.Error(), "the disk has kept nothing") {
		t.Errorf("the session fails with %v", err)
	}
	if _, err := s.Begin(origin()); !errors.Is(err, ErrFailing) {
		t.Errorf("another begins: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		rec.Close(recording.Ended{Cause: "error"})
		ended <- rec.session.Finish("error", r.key)
	}()
	thaw()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	eventually(t, "sessions again", func() bool { s.look(); return s.Ready() == nil })
	r.drain(s)
	if got := r.output(rec.origin); !strings.HasPrefix(got, said) || !r.verify(rec.origin).Ended {
		t.Errorf("%d bytes were seen, %d are kept", len(said), len(got))
	}
}

// TestADiskThatIsAskedAndDoesNotAnswerFailsMeanwhile, whoever asked.
func TestADiskThatIsAskedAndDoesNotAnswerFailsMeanwhile(t *testing.T) {
	d := diskHealth{hangs: 20 * time.Millisecond}
	answered := d.ask()
	if err := d.failing(); err != nil {
		t.Errorf("at once: %v", err)
	}
	time.Sleep(2 * d.hangs)
	if err := d.failing(); !errors.Is(err, ErrFailing) {
		t.Errorf("after its time: %v", err)
	}
	answered()
	if err := d.failing(); err != nil {
		t.Errorf("after its answer: %v", err)
	}
}
