package storetest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// CrashWriter is the child of Crash: it changes the store from eight goroutines
// until it is killed, and says on out which changes were acknowledged, one name
// a line, and which failed ("!" before the name).
func CrashWriter(s store.Store, out io.Writer) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range benchCallers {
		wg.Go(func() {
			for {
				name := ident.New("n")
				m := store.Meta{Now: start, Audit: [][]byte{[]byte(name)}}
				_, err := s.CreateGroup(context.Background(), store.Group{ID: "grp_" + name, Name: name}, m)
				mu.Lock()
				switch {
				case err == nil:
					fmt.Fprintln(out, name)
				case !strings.Contains(err.Error(), "outcome unknown"):
					fmt.Fprintln(out, "!"+name)
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
}

// Crash starts child, which runs CrashWriter on the database, calls kill while
// it writes, then kills the child (kill -9), and checks that after the database
// was opened again each acknowledged change is there with its audit row, and
// nothing of those that failed.
func Crash(t *testing.T, db Database, child *exec.Cmd, kill func()) {
	w := newWorld(t, db)
	w.ok(w.s.Close())
	out, err := child.StdoutPipe()
	w.ok(err)
	w.ok(child.Start())
	defer child.Wait()
	defer child.Process.Kill()
	told := make(chan said, 1)
	flowing := make(chan struct{})
	go listenTo(out, flowing, told)
	select {
	case <-flowing:
	case <-time.After(time.Minute):
		t.Fatal("the writer writes nothing")
	}
	if kill != nil {
		kill()
		time.Sleep(500 * time.Millisecond) // the writer goes on
	}
	child.Process.Kill()
	heard := <-told
	w.s = db.Open(t, "after")
	groups := map[string]bool{}
	page := store.Page{Limit: 1000}
	for {
		rows, next, err := w.s.Groups(w.ctx, page)
		w.ok(err)
		for _, g := range rows {
			groups[g.Name] = true
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	logged := map[string]bool{}
	for _, r := range w.audit() {
		logged[string(r.Payload)] = true
	}
	for _, name := range heard.acknowledged {
		if !groups[name] || !logged[name] {
			t.Errorf("%s was acknowledged: group %v, audit row %v", name, groups[name], logged[name])
		}
	}
	for _, name := range heard.failed {
		if groups[name] || logged[name] {
			t.Errorf("%s failed: group %v, audit row %v", name, groups[name], logged[name])
		}
	}
	for name := range groups {
		if !logged[name] {
			t.Errorf("%s has no audit row", name)
		}
	}
	w.verifyAudit()
	t.Logf("%d changes were acknowledged, %d failed, %d are there", len(heard.acknowledged), len(heard.failed), len(groups))
}

// enough changes make sure that the writer is killed in full flow.
const enough = 200

// said is what a writer told of its changes.
type said struct{ acknowledged, failed []string }

// listenTo reads until the writer's end, and closes flowing once enough came.
func listenTo(out io.Reader, flowing chan<- struct{}, end chan<- said) {
	var v said
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, failed := strings.CutPrefix(lines.Text(), "!"); failed {
			v.failed = append(v.failed, name)
			continue
		}
		if v.acknowledged = append(v.acknowledged, lines.Text()); len(v.acknowledged) == enough {
			close(flowing)
		}
	}
	end <- v
}
