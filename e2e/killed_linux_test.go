package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cardea-ssh/cardea/internal/sample"
	"github.com/cardea-ssh/cardea/recording"
)

const (
	// killVariable is how often a gateway is killed, under crowdFull sessions through a pool of
	// poolFull, each of which has its own moment; a thousand kills take half an hour. Without it
	// there are killSample of one gateway under crowdSample.
	killVariable            = "CARDEA_KILLS"
	killSample, crowdSample = 3, 6
	crowdFull, poolFull     = 100, 4
	// sampleWithin and fullWithin bound the moment of a kill after the sessions were begun: from
	// before their first byte to well into their stream, with a crowd on two cores.
	sampleWithin, fullWithin = 1500 * time.Millisecond, 5 * time.Second
	// killsShown is after how many kills a long run says how far it is.
	killsShown = 20
)

// counting prints numbered lines for ever, some at once and some by and by, and is never
// quiet for long.
const counting = `i=0; while :; do i=$((i+1)); echo "line $i of $0 $(($i*$i))"; [ $((i%40)) = 0 ] && sleep 0.02; done`

// TestNothingSeenIsLostWhenTheGatewayIsKilled: what a user has seen of a recorded session is
// in the recording, at whatever moment kill -9 hits its gateway. Started again, the gateway
// finishes the recordings, says that they were interrupted, and stores them.
func TestNothingSeenIsLostWhenTheGatewayIsKilled(t *testing.T) {
	needs(t)
	kills, pool, crowd, within := killSample, 1, crowdSample, sampleWithin
	if n, err := strconv.Atoi(os.Getenv(killVariable)); err == nil {
		kills, pool, crowd, within = n, poolFull, crowdFull, fullWithin
	}
	dice := sample.Dice(t)
	w := newWorld(t)
	w.raise(t.Context(), fmt.Sprintf("gateways=%d", pool), "web-1")
	m := newMatrix(t, w)
	alice := m.enter(0)
	m.beRecorded()
	m.stored(m.relayed()) // what came before is no part of it
	known := m.sessions()
	var sessions, seen int
	for done := 0; done < kills; done += pool {
		moments := make([]time.Duration, pool)
		for i := range moments {
			moments[i] = time.Duration(dice.Int64N(int64(within)))
		}
		// However slow the machine is, the last kill meets what somebody sees.
		seenFirst := done+pool >= kills && seen == 0
		s, b := m.kill(alice, crowd, seenFirst, moments, known)
		sessions, seen = sessions+s, seen+b
		if t.Failed() {
			t.Fatalf("after %d kills, %d sessions and %d bytes", done+pool, sessions, seen)
		}
		if (done+pool)%killsShown == 0 {
			t.Logf("%s: %d of %d kills, %d sessions, %d bytes seen", time.Now().Format(time.TimeOnly), done+pool, kills, sessions, seen)
		}
	}
	t.Logf("%d kills, %d sessions, %d bytes seen, none lost", kills, sessions, seen)
	if sessions == 0 || seen == 0 {
		t.Error("no session was live at any kill")
	}
}

// relayed are the sessions so far that nobody records.
func (m *matrix) relayed() map[string]bool {
	m.t.Helper()
	ids := map[string]bool{}
	for id, recorded := range m.recordedSessions() {
		if !recorded {
			ids[id] = true
		}
	}
	return ids
}

// kill begins a crowd of sessions, kills each gateway at its moment after that, or after a
// client has got something if seenFirst, and compares what each client got with what its
// recording has. It returns how many there were, and the bytes.
func (m *matrix) kill(c column, crowd int, seenFirst bool, moments []time.Duration, known map[string]bool) (sessions, seen int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*longest)
	defer cancel()
	jobs := map[string]*job{} // by the mark in its stream
	for i := range crowd {
		mark := fmt.Sprintf("m%d-%d", len(known), i)
		cmd := m.command(ctx, c.person, c.person.Home, "ssh", "-n", "web-1", "exec bash -c '"+counting+"' "+mark)
		cmd.Env = append(cmd.Env, m.variables(c)...)
		j, err := begin(cmd, func() {})
		m.must(err)
		jobs[mark] = j
	}
	for _, j := range jobs {
		if seenFirst {
			m.must(j.heard(regexp.MustCompile(`line 1 `), longest))
			break
		}
	}
	var killing errgroup.Group
	for i, gw := range m.stage.Gateways {
		killing.Go(func() error {
			time.Sleep(moments[i]) // is what the test is about
			return gw.Kill()
		})
	}
	m.must(killing.Wait())
	for mark, j := range jobs {
		if err := j.wait(longest); err != nil {
			m.t.Fatalf("%s did not end with its gateway: %v", mark, err)
		}
	}
	for _, gw := range m.stage.Gateways {
		m.must(gw.Start(ctx))
	}
	matched := map[string]bool{}
	for _, r := range m.storedBy(known) {
		m.must(os.RemoveAll(m.folder(r.header.Session, "/recordings/"))) // it would be walked through at each kill
		mark := ""
		for _, q := range r.requests {
			if _, after, found := strings.Cut(q.Command, "' "); found {
				mark = after
			}
		}
		sessions++
		// The one that was killed before it heard what to run is finished, too. Its client may
		// have gone to the next gateway before.
		if r.ended.Cause != recording.Interrupted && mark != "" {
			m.t.Errorf("the recording of %q ended by %+v, not interrupted", mark, *r.ended)
		}
		j := jobs[mark]
		if j == nil {
			continue
		}
		matched[mark] = true
		got, has := j.out.String(), string(r.output[1])
		seen += len(got)
		if !strings.HasPrefix(has, got) {
			m.t.Errorf("%s: the client got %d bytes, and the recording has %d; they differ from byte %d on", mark, len(got), len(has), differ(has, got))
		}
	}
	for mark, j := range jobs {
		if !matched[mark] && j.out.String() != "" {
			m.t.Errorf("%s: the client got %d bytes, and there is no recording", mark, len(j.out.String()))
		}
	}
	return sessions, seen
}

// differ is where two texts begin to.
func differ(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
