package agent

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"
)

// Step is one part of a connection, for a person who asks where the time goes.
type Step struct {
	What string        `json:"what"`
	Took time.Duration `json:"took"`
	// Ended is when, as far as another process tells only how long each part took; else zero,
	// and it is now.
	Ended time.Time `json:"-"`
}

// steps collects the parts of one request. A nil one collects nothing, at the cost of a
// comparison.
type steps struct {
	mu   sync.Mutex // net/http tells from goroutines of its own
	last time.Time
	all  []Step
}

// collect begins a collection for who wants one.
func collect(wanted bool) *steps {
	if !wanted {
		return nil
	}
	return &steps{last: time.Now()}
}

// done notes what has happened since the step before.
func (s *steps) done(format string, args ...any) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.all = append(s.all, Step{What: fmt.Sprintf(format, args...), Took: now.Sub(s.last)})
	s.last = now
}

func (s *steps) list() []Step {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// calls has the parts of each HTTP call within ctx noted.
func (s *steps) calls(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			if i.Reused {
				s.done("the connection to the control plane is open")
			} else {
				s.done("a connection to the control plane was opened")
			}
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { s.done("the control plane was asked") },
		GotFirstResponseByte: func() { s.done("the control plane answered") },
	})
}

// with is a connection as it is told to who wants its steps.
func (c *Connected) with(s *steps) *Connected {
	if s == nil {
		return c
	}
	told := *c
	told.Steps = s.list()
	return &told
}
