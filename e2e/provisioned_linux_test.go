package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// provisionedStorm is how many connections somebody makes while he is disabled.
const provisionedStorm = 50

// instances are two control planes on one database, at one address in turn.
type instances struct {
	listen [2]string
	log    bytes.Buffer // of the second
}

// newInstances has what dials the public address reach one of the two, in turn; the second
// once it is there.
func newInstances(t testing.TB) (i *instances, port int) {
	t.Helper()
	i = &instances{}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	for n := range i.listen {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		i.listen[n] = l.Addr().String()
	}
	go i.serve(front)
	return i, front.Addr().(*net.TCPAddr).Port
}

func (i *instances) serve(front net.Listener) {
	var turn atomic.Int64
	for {
		c, err := front.Accept()
		if err != nil {
			return // the test is over
		}
		go func() {
			defer c.Close()
			n := turn.Add(1)
			to, err := net.DialTimeout("tcp", i.listen[n%2], time.Second)
			if err != nil {
				to, err = net.DialTimeout("tcp", i.listen[(n+1)%2], time.Second)
			}
			if err != nil {
				return
			}
			defer to.Close()
			go func() {
				io.Copy(to, c)
				to.Close()
				c.Close()
			}()
			io.Copy(c, to)
		}()
	}
}

// second starts the other instance.
func (i *instances) second(ctx context.Context, w *world, database string) {
	w.t.Helper()
	dir := filepath.Dir(w.stage.Admin.Home)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cardea-control"), "serve")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "CARDEA_DATABASE=" + database, "CARDEA_KEY_FILE=" + filepath.Join(dir, "control", "kek"),
		"CARDEA_LISTEN=" + i.listen[1], "CARDEA_PUBLIC_URL=" + w.stage.URL, "CARDEA_INSTANCE=second"}
	cmd.Stdout, cmd.Stderr = &i.log, &i.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.must(cmd.Start())
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	w.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-done
		if w.t.Failed() {
			w.t.Logf("the second instance:\n%s", tail(i.log.String()))
		}
	})
	w.until("the second instance", func() bool {
		res, err := http.Get("http://" + i.listen[1] + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// TestWhoIsDisabledByHisProviderIsOut: bob makes 50 connections at once over two instances on
// PostgreSQL, and has two that stay. His provider says that he is not active. No certificate is
// of a later time than the answer, nobody gets in, and what stays ends within 30 seconds.
func TestWhoIsDisabledByHisProviderIsOut(t *testing.T) {
	if skip != "" {
		t.Skip(skip)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	w := newWorld(t)
	w.raise(ctx, "database=postgres", "instances=2", "web-1")
	w.instances.second(ctx, w, w.database.URL("test1"))
	bob := w.people["bob"]
	w.must(w.stage.Access(ctx, "web", "watchers", "user", "bob"))
	w.signIn(ctx, bob)
	// There is no identity provider on this stage: bob signs in with a password, and is put
	// into the provider's keeping by hand.
	var client api.ScimToken
	w.must(w.stage.Client().Send(ctx, "POST", "/v1/scim-clients", api.NewScimClient{Name: "okta"}, &client))
	w.database.SQL(t, "test1", fmt.Sprintf(`INSERT INTO scim_users SELECT id, '%s', 'x', name, name, true, '{"userName":"bob"}', 1, created_at, created_at FROM users WHERE name = 'bob'`, client.ID))
	var u api.User
	_, err := w.stage.Client().Get(ctx, "/v1/users/bob", nil, &u)
	w.must(err)
	stay := []*live{w.stay(ctx), w.stay(ctx)}

	type result struct {
		began time.Time
		in    bool
	}
	var mu sync.Mutex
	var results []result
	var people sync.WaitGroup
	over := make(chan struct{})
	for range provisionedStorm {
		people.Go(func() {
			for last := false; !last; {
				select {
				case <-over:
					last = true // each tries once more after the answer
				default:
				}
				began := time.Now()
				err := w.command(ctx, bob, bob.Home, "ssh", "web-1", "true").Run()
				mu.Lock()
				results = append(results, result{began, err == nil})
				mu.Unlock()
			}
		})
	}
	in := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range results {
			if r.in {
				n++
			}
		}
		return n
	}
	w.until("somebody who is in", func() bool { return in() >= 5 })
	req, err := http.NewRequestWithContext(ctx, "PATCH", "http://"+w.instances.listen[1]+api.ScimPath+"/Users/"+u.ID,
		bytes.NewReader([]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","value":{"active":false}}]}`)))
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+client.Token)
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	res.Body.Close()
	answered := time.Now()
	close(over)
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	for _, l := range stay {
		select {
		case <-l.job.done:
		case <-time.After(time.Until(answered.Add(30 * time.Second))):
			t.Error("a session goes on 30 seconds after its user was disabled")
		}
	}
	ended := time.Since(answered)
	people.Wait()
	events, err := w.events()
	w.must(err)
	by := map[string]int{}
	for _, e := range events {
		if e.Action != "connect" || e.Outcome != "allowed" || e.Actor != u.ID {
			continue
		}
		by[e.Instance]++
		if e.At.After(answered) {
			t.Errorf("%s issued a certificate %s after the answer", e.Instance, e.At.Sub(answered))
		}
	}
	after := 0
	for _, r := range results {
		if !r.began.After(answered) {
			continue
		}
		if after++; r.in {
			t.Errorf("somebody came in who began %s after the answer", r.began.Sub(answered))
		}
	}
	if after < provisionedStorm {
		t.Errorf("%d tries began after the answer", after)
	}
	if len(by) != 2 {
		t.Errorf("certificates by instance: %v: both should have been asked", by)
	}
	t.Logf("certificates by instance: %v; %d of %d came in, none of the last %d; what stayed ended within %s", by, in(), len(results), after, ended.Round(time.Millisecond))
}
