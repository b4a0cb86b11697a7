package daemon

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reader takes what is written when it is told to.
type reader struct {
	take chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *reader) Write(b []byte) (int, error) {
	<-r.take
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func TestALogThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{take: make(chan struct{})}
		log, end, err := LogOptions{}.Queued(r)
		if err != nil {
			t.Fatal(err)
		}
		const lines = 5000
		long := strings.Repeat("x", 1000)
		for i := range lines {
			log.Info("said", "number", i, "long", long)
		}
		close(r.take) // somebody reads again
		synctest.Wait()
		kept := strings.Count(r.String(), "msg=said")
		if kept < maxQueued/1200 || kept >= lines {
			t.Errorf("%d of %d lines were kept", kept, lines)
		}
		if want := "nobody took them"; strings.Count(r.String(), want) != 1 || !strings.HasSuffix(strings.TrimSpace(r.String()), "lines="+strconv.Itoa(lines-kept)) {
			t.Errorf("it ends with %q", r.String()[len(r.String())-200:])
		}
		log.Info("the last")
		end()
		if !strings.HasSuffix(r.String(), "msg=\"the last\"\n") {
			t.Error("the last line is not there")
		}
		log.Info("too late")
	})
}

func TestAProgramEndsThoughNobodyReadsItsLastLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{take: make(chan struct{})}
		log, end, err := LogOptions{}.Queued(r)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("said")
		began := time.Now()
		if end(); time.Since(began) != lastLines {
			t.Errorf("it waited for %s", time.Since(began))
		}
		close(r.take)
	})
}

func TestALogOfAnUnknownFormatIsNotQueued(t *testing.T) {
	if _, _, err := (LogOptions{Format: "xml"}).Queued(io.Discard); err == nil {
		t.Error("it is")
	}
}
