package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/buildtest"
)

const (
	// shedVariable is how many sessions are tried at a gateway that may use shedMemory: 4000
	// by hand, each of them in relay and in record mode. Without it there are shedSample in
	// relay mode alone, in as much memory as so many do not fit into.
	shedVariable = "CARDEA_SHED"
	shedMemory   = 256 << 20
	shedSample   = 300
	// What those are told who do not get in.
	noMemory = "this gateway has no memory for another session"
	noRoom   = "this gateway has no room for another session"
	// crowd is how many come at once.
	crowd = 16
)

// memoryGroup makes a control group with a limit, in whichever version there is.
func memoryGroup(t *testing.T, limit int64) (dir string) {
	t.Helper()
	for file, root := range map[string]string{"memory.limit_in_bytes": "/sys/fs/cgroup/memory", "memory.max": "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue // there is nothing, or the other version below it
		}
		dir = filepath.Join(root, fmt.Sprint("cardea-test-", os.Getpid(), "-", time.Now().UnixNano()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			for range 100 { // the kernel takes a moment to see that nobody is in it
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o644) == nil {
			return dir
		}
	}
	t.Skip("SKIPPED: no control group can be made here; as root, where memory can be limited, it is tested")
	return ""
}

// killed is how often the kernel had to kill somebody of the group.
func killed(t *testing.T, group string) int {
	t.Helper()
	for _, file := range []string{"memory.oom_control", "memory.events"} {
		text, err := os.ReadFile(filepath.Join(group, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "oom_kill" {
				n, _ := strconv.Atoi(fields[1])
				return n
			}
		}
	}
	return 0
}

// TestTooManySessionsAreTurnedAwayBeforeTheKernelKills: more sessions come than memory is
// there for. Those that are too many are told so, balancers and the control plane hear of it,
// and all others work, also when all of them do so at once. When some end, others get in.
func TestTooManySessionsAreTurnedAwayBeforeTheKernelKills(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(shedVariable))
	full := err == nil
	if !full {
		n = shedSample
	}
	t.Run("relay", func(t *testing.T) {
		c, server := newControl(t), echo(t)
		shed(t, c, n, full, func(p *process) (io.ReadWriteCloser, hello.Answer, error) {
			conn, a, err := p.call(c, server)
			if conn != nil {
				conn.SetDeadline(time.Time{})
			}
			return conn, a, err
		})
	})
	if full {
		t.Run("record", func(t *testing.T) {
			r := newRecorded(t)
			shed(t, r.control, n, full, r.visit, "--spool-reserve=1")
		})
	}
}

// sampleMemory is so little that some of shedSample do not get in, whether the program has the
// race detector or not.
func sampleMemory() int64 {
	if buildtest.Raced() {
		return 128 << 20
	}
	return 24 << 20
}

func shed(t *testing.T, c *control, n int, full bool, visit func(*process) (io.ReadWriteCloser, hello.Answer, error), args ...string) {
	limit, much := sampleMemory(), 4<<10
	if full {
		// So much each way makes every buffer as large as it gets.
		limit, much = shedMemory, 256<<10
	}
	group := memoryGroup(t, limit)
	p := startAs(t, c, "-", group, false, args...)
	p.wait("the first session", func() bool {
		s, a, _ := visit(p)
		if s != nil {
			s.Close()
		}
		return a.Accepted
	})
	before := usage(t, group)
	var mu sync.Mutex
	var in []io.ReadWriteCloser
	refused, most := map[string]int{}, int64(0)
	atOnce(n, func(int) {
		s, a, err := visit(p)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case t.Failed(): // once is enough
		case err != nil:
			t.Errorf("after %d sessions somebody met %v", len(in), err)
		case a.Accepted:
			in = append(in, s)
		case a.Kind == "busy":
			refused[a.Sentence]++
			s.Close()
		default:
			t.Errorf("after %d sessions somebody was told %+v", len(in), a)
		}
		most = max(most, usage(t, group))
	})
	t.Logf("of %d sessions %d got in, and the others were told %v; %d MiB of %d were used at most, %d before the first",
		n, len(in), refused, most>>20, limit>>20, before>>20)
	if len(in) == 0 || t.Failed() {
		t.FailNow()
	}
	if refused[noRoom] > 0 {
		t.Logf("the limit on open files let no more in; memory was no matter")
		return
	}
	if refused[noMemory] == 0 {
		t.Fatal("nobody was turned away")
	}
	p.wait("the word to balancers and the control plane", func() bool {
		if s, _, _ := visit(p); s != nil {
			s.Close()
		}
		return c.told("memory: ")
	})
	var worked, peak atomic.Int64
	atOnce(len(in), func(i int) {
		text := bytes.Repeat([]byte{byte(i)}, much)
		got := make([]byte, len(text))
		go in[i].Write(text)
		if _, err := io.ReadFull(in[i], got); err == nil && bytes.Equal(got, text) {
			worked.Add(1)
		}
		peak.Store(max(peak.Load(), usage(t, group))) // about
	})
	if int(worked.Load()) != len(in) {
		t.Errorf("%d of %d sessions work", worked.Load(), len(in))
	}
	if k := killed(t, group); k > 0 || len(p.gone) > 0 {
		t.Fatalf("the kernel killed %d", k)
	}
	t.Logf("%d MiB were used at most when all of them moved %d KiB both ways", peak.Load()>>20, much>>10)
	if buildtest.Raced() {
		return // what the race detector knows of a goroutine it never forgets
	}
	for _, s := range in[len(in)/2:] {
		s.Close()
	}
	p.wait("room for others", func() bool {
		s, a, _ := visit(p)
		if s != nil {
			s.Close()
		}
		res, err := http.Get("http://" + p.health + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return a.Accepted && res.StatusCode == http.StatusOK
	})
	t.Logf("%d MiB are used when half of them have gone", usage(t, group)>>20)
}

// atOnce does something n times, crowd of it at a time.
func atOnce(n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	all.Wait()
}

// usage is what a group uses, in bytes, with the pages of files.
func usage(t *testing.T, group string) int64 {
	for _, file := range []string{"memory.usage_in_bytes", "memory.current"} {
		if text, err := os.ReadFile(filepath.Join(group, file)); err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				t.Error(err)
			}
			return n
		}
	}
	return 0
}
