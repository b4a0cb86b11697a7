package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ticking says something by itself all the time, and repeats what it is told, until its
// standard input ends.
const ticking = `(i=0; while sleep 0.05; do i=$((i+1)); echo tick $i; done) & cat; kill $!`

// TestRecordedSessionsRunOnThroughUpgrades: the gateway's program is replaced while sessions
// are recorded, twice in a row. They run on, each to its end, and each recording is whole, has
// all that was seen and is signed by keys that the control plane knows. The same holds where
// only TLS passes, through a proxy.
func TestRecordedSessionsRunOnThroughUpgrades(t *testing.T) {
	needs(t)
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("SKIPPED: there is no haproxy on this machine; type: make test, which installs it")
	}
	t.Parallel()
	w := newWorld(t)
	w.raise(t.Context(), "gateways=1", "balancer=haproxy", "drain=10m", "web-1")
	m := newMatrix(t, w)
	alice := m.enter(0)
	m.beRecorded()
	m.stored(m.relayed())
	known := m.sessions()
	row := &gatewayRow{matrix: m, pids: []int{w.stage.Gateways[0].PID()}}

	first := m.talk(alice)
	row.upgrade()
	second := m.talk(alice) // carried by the process that has come
	m.echoes(first)
	row.upgrade()
	third := m.talk(alice)
	for _, l := range []*live{first, second, third} {
		m.echoes(l)
	}
	row.runs(3)
	m.wholeAfter(known, first, second, third)
	row.runs(1)

	m.must(w.balancer.start(w.stage.Gateways, false)) // from here on nothing but TLS passes
	proxy := "HTTPS_PROXY=" + w.balancer.proxy(t)
	inside := m.talk(alice, proxy)
	row.upgrade()
	m.echoes(inside)
	m.wholeAfter(known, inside)
	m.wholeFile(alice, known, proxy)
}

// talk begins a session that is never quiet.
func (m *matrix) talk(c column, env ...string) *live {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	cmd := m.command(ctx, c.person, c.person.Home, "ssh", "web-1", ticking)
	cmd.Env = append(cmd.Env, append(m.variables(c), env...)...)
	j, err := begin(cmd, cancel)
	m.must(err)
	m.must(j.heard(regexp.MustCompile(`tick 3\n`), longest))
	l := &live{job: j}
	m.echoes(l)
	return l
}

// wholeAfter ends sessions, in the order in which they began, and compares what each user saw
// with the recordings.
func (m *matrix) wholeAfter(known map[string]bool, sessions ...*live) {
	m.t.Helper()
	for _, l := range sessions {
		if !l.job.running() {
			m.t.Fatalf("a session did not run on: %s", l.job.errs.String())
		}
		m.must(l.job.finish(longest))
	}
	all := m.stored(known)
	if len(all) != len(sessions) {
		m.t.Fatalf("%d recordings of %d sessions", len(all), len(sessions))
	}
	for i, r := range all {
		seen := sessions[i].job.out.String()
		if string(r.output[1]) != seen || r.ended.Cause != "client" {
			m.t.Errorf("session %d: %d bytes were seen and %d are recorded, which differ from byte %d on; it ended by %+v",
				i+1, len(seen), len(r.output[1]), differ(string(r.output[1]), seen), *r.ended)
		}
	}
}

// wholeFile brings a file in and back, and expects both in the recordings.
func (m *matrix) wholeFile(c column, known map[string]bool, env string) {
	m.t.Helper()
	dir, err := os.MkdirTemp(c.person.Home, "m")
	m.must(err)
	defer os.RemoveAll(dir)
	got := m.shell(c, dir, "export "+env+`; scp -q $FILE $H:up.bin && scp -q $H:up.bin back.bin; sha256sum <back.bin | cut -c1-64; ssh -n $H 'rm up.bin; echo removed >&2; exit 7'`)
	if want := (outcome{m.sum + "\n", "removed\n", 7}); got != want {
		m.t.Errorf("%+v, want %+v", got, want)
	}
	all := m.stored(known)
	if len(all) != 3 {
		m.t.Fatalf("%d recordings of 3 sessions", len(all))
	}
	m.file1(all[0], "upload", "up.bin")
	m.file1(all[1], "download", "up.bin")
	if string(all[2].errput[1]) != "removed\n" || len(all[2].exits) != 1 || all[2].exits[0].Code != 7 {
		m.t.Errorf("recorded %q and %+v", all[2].errput[1], all[2].exits)
	}
}

// gatewayRow are the processes of one gateway, one after the other.
type gatewayRow struct {
	*matrix
	pids []int
}

var readyLine = regexp.MustCompile(`msg="the next process is ready" pid=(\d+)`)

// upgrade has the newest process start the next one, and waits until that serves.
func (r *gatewayRow) upgrade() {
	r.t.Helper()
	n := len(r.pids)
	r.must(syscall.Kill(r.pids[n-1], syscall.SIGUSR2))
	file := filepath.Join(filepath.Dir(r.stage.Admin.Home), "log", r.stage.Gateways[0].Name+".log")
	r.until(fmt.Sprint("process ", n+1, " of the gateway"), func() bool {
		text, err := os.ReadFile(file)
		r.must(err)
		found := readyLine.FindAllSubmatch(text, -1)
		if len(found) < n || strings.Count(string(text), "msg=serving") <= n {
			return false
		}
		pid, err := strconv.Atoi(string(found[n-1][1]))
		r.must(err)
		r.pids = append(r.pids, pid)
		return true
	})
}

// runs waits until the newest so many processes run, and none before them.
func (r *gatewayRow) runs(count int) {
	r.t.Helper()
	r.until("the end of those that have no session any more", func() bool {
		for i, pid := range r.pids {
			if alive := syscall.Kill(pid, 0) == nil; alive != (i >= len(r.pids)-count) {
				return false
			}
		}
		return true
	})
}
