package serveragent

import (
	"context"
	"crypto/ed25519"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/dpop"
)

// reporter is an agent that reports to p and has no state to apply.
func reporter(t *testing.T, p *plane, change func(*Options)) *reconciler {
	t.Helper()
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	opt := Options{StateDir: filepath.Join(t.TempDir(), "state"), ControlURL: srv.URL}
	change(&opt)
	a, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dpop.LoadOrCreate(a.path(identityFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.use(credential{ControlURL: srv.URL, Token: "cardea_srv_test", Server: p.server, PolicyKey: p.policy.Public().(ed25519.PublicKey)}, key); err != nil {
		t.Fatal(err)
	}
	return &reconciler{Agent: a}
}

func TestTheHostsLabelsAreReportedWhileTheyChange(t *testing.T) {
	t.Parallel() // the loop looks every five seconds
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, whose programs alone are run")
	}
	dir, err := os.MkdirTemp("/root", "cardea-said-") // no folder above may be everybody's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	script, answer := filepath.Join(dir, "role"), filepath.Join(dir, "answer")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(script, "#!/bin/sh\nread -r line <"+answer+" && echo \"$line\"\n")
	write(answer, "web\n")
	p := newPlane(t)
	r := reporter(t, p, func(o *Options) {
		o.HostLabels = map[string]string{"host/rack": "b7"}
		o.LabelCommands = map[string][]string{"role": {script}}
		o.LabelInterval = 50 * time.Millisecond
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.gatherLabels(ctx) }()
	loop := make(chan struct{})
	go func() { defer close(loop); r.run(ctx, nil) }()
	defer func() { stop(); <-done; <-loop }()
	says := func(want map[string]string) {
		t.Helper()
		p.wait("the labels are told", func() bool {
			if len(p.reports) == 0 {
				return false
			}
			got := p.reports[len(p.reports)-1].HostLabels
			return got != nil && maps.Equal(*got, want)
		})
	}
	says(map[string]string{"rack": "b7", "role": "web"})
	write(answer, "db\n")
	says(map[string]string{"rack": "b7", "role": "db"})
	write(answer, "two words\n")
	p.problem("label role failed")
	says(map[string]string{"rack": "b7", "role": "db"})
}
