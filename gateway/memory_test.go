package gateway

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/hello"
)

// groups writes a tree of control groups.
func groups(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTheTightestLimitOfTheControlGroupsCounts(t *testing.T) {
	const gateway = "0::/system.slice/cardea-gateway.service"
	for name, c := range map[string]struct {
		files map[string]string
		limit int64
		used  int64
	}{
		"no control groups": {nil, 0, 0},
		"no limit": {map[string]string{"proc/self/cgroup": gateway,
			"sys/fs/cgroup/system.slice/cardea-gateway.service/memory.max": "max"}, 0, 0},
		"its own": {map[string]string{"proc/self/cgroup": gateway,
			"sys/fs/cgroup/system.slice/cardea-gateway.service/memory.max":     "268435456",
			"sys/fs/cgroup/system.slice/cardea-gateway.service/memory.current": "100000",
			"sys/fs/cgroup/system.slice/cardea-gateway.service/memory.stat":    "anon 7\ninactive_file 40000\nactive_file 3"}, 268435456, 59997},
		"that of the slice above": {map[string]string{"proc/self/cgroup": gateway,
			"sys/fs/cgroup/system.slice/cardea-gateway.service/memory.max": "268435456",
			"sys/fs/cgroup/system.slice/memory.max":                        "1000000",
			"sys/fs/cgroup/system.slice/memory.current":                    "5000"}, 1000000, 5000},
		"a container that sees its host's path": {map[string]string{"proc/self/cgroup": "0::/kubepods/pod1/abc",
			"sys/fs/cgroup/memory.max": "500000", "sys/fs/cgroup/memory.current": "9"}, 500000, 9},
		"version 1": {map[string]string{"proc/self/cgroup": "5:cpu:/x\n4:memory:/gw\n0::/",
			"sys/fs/cgroup/memory/gw/memory.limit_in_bytes": "700000", "sys/fs/cgroup/memory/gw/memory.usage_in_bytes": "600",
			"sys/fs/cgroup/memory/gw/memory.stat": "total_inactive_file 100", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 700000, 500},
	} {
		m := newMemoryGroup(groups(t, c.files))
		var used int64
		if m.used != nil {
			used, _ = m.used()
		}
		if m.limit != c.limit || used != c.used {
			t.Errorf("%s: %d of %d, want %d of %d", name, used, m.limit, c.used, c.limit)
		}
	}
}

func TestMemoryIsShortNearItsLimit(t *testing.T) {
	for used, ok := range map[string]bool{"920": true, "921": false, "broken": true} {
		root := groups(t, map[string]string{"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.current": used})
		if err := newMemoryGroup(root).room(); (err == nil) != ok {
			t.Errorf("%s of 1000: %v", used, err)
		}
	}
}

func TestGarbageTurnsNobodyAway(t *testing.T) {
	const limit, most = 1000 << 20, 650 << 20
	for name, c := range map[string]struct {
		used, garbage int64
		collected     int
		ok            bool
	}{
		"little is in use":                       {most, 0, 0, true},
		"a little more":                          {most + 1, 0, 1, false},
		"as much is garbage":                     {most + 1, 1, 1, true},
		"half is garbage, of all":                {limit / 100 * 92, limit / 2, 1, true},
		"the kernel is about to kill, whatever":  {limit/100*92 + 1, limit / 2, 0, false},
		"nearly all is garbage, and not so much": {limit / 100 * 92, limit/100*27 - 1, 1, false},
	} {
		collected := 0
		m := &memoryGroup{limit: limit, used: func() (int64, error) { return c.used, nil }, collect: func() int64 { collected++; return c.garbage }}
		for range 3 { // one look is for all that come within it
			if err := m.begin(t.Context(), 1); (err == nil) != c.ok || (err != nil && !errors.Is(err, errNoMemory)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if collected != c.collected {
			t.Errorf("%s: collected %d times", name, collected)
		}
	}
}

func TestWhatSessionsMayComeToNeedIsKeptForThem(t *testing.T) {
	const limit = 256 << 20
	m := &memoryGroup{limit: limit, used: func() (int64, error) { return 0, nil }}
	count := 0
	for m.begin(t.Context(), recordedNeeds) == nil {
		count++
	}
	if want := limit / 100 * promisePercent / recordedNeeds; count != want {
		t.Errorf("%d recorded sessions begin in 256 MiB, want %d", count, want)
	}
	if m.fits(t.Context()) == nil {
		t.Error("it is said to be ready for another one")
	}
	if m.begin(t.Context(), relayedNeeds) != nil {
		t.Error("what is left is not for a relayed one")
	}
	m.end(relayedNeeds)
	m.end(recordedNeeds)
	if m.fits(t.Context()) != nil || m.begin(t.Context(), recordedNeeds) != nil {
		t.Error("one that ended left nothing behind")
	}
	if err := (&memoryGroup{}).begin(t.Context(), 1<<50); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// While one process takes over from another both have sessions, and one limit.
func TestWhatWasPromisedBeforeAnUpgradeStaysPromised(t *testing.T) {
	ours, theirs := net.Pipe()
	old := &memoryGroup{others: func() int64 { return 7 }} // of a process still older
	for range 3 {
		if err := old.begin(t.Context(), recordedNeeds); err != nil {
			t.Fatal(err)
		}
	}
	var b before
	next := &memoryGroup{limit: 8 * recordedNeeds, used: func() (int64, error) { return 0, nil }, others: b.needs}
	follows := make(chan struct{})
	go func() {
		defer close(follows)
		for lines := json.NewDecoder(theirs); ; {
			var w word
			if lines.Decode(&w) != nil {
				b.forget()
				return
			}
			b.hear(w)
		}
	}()
	h := &heirloom{conn: ours, promised: old.promised}
	h.tell(word{Live: []string{"gse_1", "gse_2", "gse_3"}})
	eventually(t, "the promise", func() bool { return b.needs() == 3*recordedNeeds+7 })
	begun := 0
	for next.begin(t.Context(), recordedNeeds) == nil {
		begun++
	}
	if begun != 2 { // of the five that 70 % of the limit is for
		t.Errorf("%d begin", begun)
	}
	old.end(recordedNeeds)
	h.tell(word{Ended: "gse_1"})
	eventually(t, "room for one", func() bool { return next.begin(t.Context(), recordedNeeds) == nil })
	ours.Close()
	<-follows
	if b.needs() != 0 {
		t.Error("a process that has ended still needs something")
	}
}

func TestTheRuntimeHasWhatTheKernelLeavesIt(t *testing.T) {
	for name, c := range map[string]struct{ used, held, want int64 }{
		"nothing but the runtime's":           {20, 20, 85},
		"the kernel has as much":              {40, 20, 65},
		"the kernel has nearly all":           {90, 10, 25},
		"pages that the runtime never used":   {10, 30, 85},
		"a quarter is its own in any case":    {100, 39, 25},
		"a little more than this is its, too": {100, 41, 26},
	} {
		if got := allowance(100<<20, c.used<<20, c.held<<20) >> 20; got != c.want && got != c.want-1 {
			t.Errorf("%s: %d MiB, want %d", name, got, c.want)
		}
	}
}

func TestSessionsAreToldApartByWhatTheyNeed(t *testing.T) {
	if r, i, b := memoryOf(hello.Relay, false), memoryOf(hello.Relay, true), memoryOf(hello.Record, false); r >= i || i >= b || b != memoryOf(hello.Record, true) {
		t.Errorf("%d, %d, %d", r, i, b)
	}
}

// Before the kernel kills sessions no other begins: clients go to the next gateway,
// balancers and the control plane are told, and what runs goes on.
func TestWithoutMemoryNoSessionBeginsAndTheLiveOnesRunOn(t *testing.T) {
	t.Parallel() // it waits for two looks of five seconds
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	var used atomic.Int64
	g.memory.mu.Lock()
	g.memory.limit, g.memory.used, g.memory.seen = 256<<20, func() (int64, error) { return used.Load(), nil }, time.Time{}
	g.memory.mu.Unlock()
	used.Store(250 << 20)
	eventually(t, "the refusal", func() bool {
		_, a := newCaller(t, p, server.addr, g).call(g)
		return !a.Accepted && a.Kind == "busy"
	})
	eventually(t, "readiness to be over, and the report", func() bool {
		r := p.lastReport()
		return readiness(g) == 503 && !r.Healthy && strings.Contains(r.Health, "memory: ")
	})
	say(t, client, "ping")
	hear(t, remote, "ping")
	used.Store(100 << 20)
	eventually(t, "sessions again", func() bool { _, a := newCaller(t, p, server.addr, g).call(g); return a.Accepted })
	eventually(t, "a healthy report", func() bool { return p.lastReport().Healthy })
}

func TestTheLoadOfTheMachineIsThatOfItsProcessors(t *testing.T) {
	for text, want := range map[string]int64{"0.10": 5, "2.00": 100, "64.1": 3205} {
		root := groups(t, map[string]string{"proc/loadavg": text + " 1.00 1.00 2/345 678"})
		if got, ok := load(root, 2); !ok || got != want {
			t.Errorf("load %s on two processors: %d, %v", text, got, ok)
		}
	}
	for _, root := range []string{t.TempDir(), groups(t, map[string]string{"proc/loadavg": "what"})} {
		if got, ok := load(root, 2); ok {
			t.Errorf("where nothing is known: %d", got)
		}
	}
}
