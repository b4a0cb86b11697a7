package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestALogThatNobodyTakesEndsNoSession: first nobody reads the gateway's log, then whoever did
// has gone. Sessions begin, run and end as before.
func TestALogThatNobodyTakesEndsNoSession(t *testing.T) {
	t.Parallel()
	c, server := newControl(t), echo(t)
	p := startAs(t, c, "-", "", true, "--log-level=debug")
	come := func(n int) {
		t.Helper()
		for i := range n {
			conn, a, err := p.call(c, server)
			if err != nil || !a.Accepted {
				t.Fatalf("number %d: %+v, %v", i, a, err)
			}
			ping(t, conn)
			conn.Close()
		}
	}
	p.wait("the first session", func() bool {
		_, a, _ := p.call(c, server)
		return a.Accepted
	})
	// Each says some hundred bytes when it begins and when it ends; a pipe holds 64 KiB.
	come(400)
	p.unread.Close()
	come(10)
	if len(p.gone) > 0 {
		t.Error("it has ended")
	}
}

// TestMonitorsThatHangKeepNoBalancerFromAsking: as many as may ask at once ask nothing, or
// half a question, or ask and stay.
func TestMonitorsThatHangKeepNoBalancerFromAsking(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	p := start(t, c, "-")
	for name, question := range map[string]string{"nothing": "", "half a question": "GET /readyz HTTP/1.1\r\nHo", "a question, and stays": "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for range maxHealth {
			conn, err := net.Dial("tcp", p.health)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, question)
		}
		began := time.Now()
		client := &http.Client{Timeout: patience}
		res, err := client.Get(fmt.Sprintf("http://%s/readyz", p.health))
		if err != nil {
			t.Fatalf("while %d say %s: %v", maxHealth, name, err)
		}
		res.Body.Close()
		t.Logf("while %d say %s: %s", maxHealth, name, time.Since(began))
	}
}
