package serveragent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/logins"
)

// tell keeps events for the control plane.
func (a *Agent) tell(events ...api.AgentEvent) {
	for i := range events {
		e := &events[i]
		if e.At.IsZero() {
			e.At = a.now().UTC()
		}
		e.Detail = cutText(ident.Text(e.Detail), maxProblem)
	}
	if err := a.queue.add(events...); err != nil {
		a.log.Error("events could not be kept", "events", len(events), "err", err)
		a.board.set("queue", "events cannot be kept on disk: "+err.Error())
	} else if len(events) > 0 {
		a.board.set("queue")
	}
}

// alarm is for what an administrator should look at now.
func (a *Agent) alarm(text string) {
	a.log.Error("alarm", "text", text)
	a.tell(api.AgentEvent{Kind: "alarm", Detail: text})
}

// watchLogins reads logins for ever. A log that cannot be read is a problem
// and no reason to end.
func (a *Agent) watchLogins(ctx context.Context) error {
	source := logins.Find(a.opt.AuthLog, a.opt.StateDir)
	source.Watch(a.ledger.saw)
	for failures := 1; ; failures++ {
		began := time.Now()
		err := source.Follow(ctx, func(e api.AgentEvent) {
			if ownProbe(e) {
				return
			}
			a.log.Info("seen", "kind", e.Kind, "login", e.Login, "from", e.Source, "serial", e.Serial, "more", e.More)
			a.tell(e)
			switch e.Kind {
			case logins.Login:
				a.enforce() // who may not be there any more, and came in just before
			case logins.Logout:
				a.nudge()
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > maxBackoff {
			failures = 1
		}
		if a.board.set("events", "logins cannot be seen: "+err.Error()) {
			a.log.Error("logins cannot be seen", "err", err)
		}
		if err := sleep(ctx, a.opt.backoff(failures, nil)); err != nil {
			return err
		}
	}
}

// ownProbe knows the canary, which nobody else can be: an account that only our
// own certificates open. Others may have theirs refused there.
func ownProbe(e api.AgentEvent) bool {
	return e.Login == ident.Canary && (e.Kind != logins.Refused || strings.HasPrefix(e.KeyID, "cardea:canary="))
}

// postEvents sends what is in the queue, in order and each once.
func (a *Agent) postEvents(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.queue.ready:
		}
		for failures := 0; ; {
			in, ok := a.queue.batch()
			if !ok {
				break
			}
			if failures > 0 {
				in.Events = in.Events[:min(len(in.Events), 1)] // find the one that is in the way
			}
			err := a.postBatch(ctx, in)
			if err == nil {
				failures = 0
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failures++
			if api.KindOf(err) == api.Invalid && len(in.Events) == 1 {
				a.log.Error("the control plane refuses an event, which is left out", "kind", in.Events[0].Kind, "err", err)
				if err := a.queue.skip(); err != nil {
					return err
				}
				failures = 0
				continue
			}
			if err := sleep(ctx, a.opt.backoff(failures, err)); err != nil {
				return err
			}
		}
	}
}

func (a *Agent) postBatch(ctx context.Context, in api.AgentEvents) error {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var out api.AgentEventsAnswer
	if err := a.client.Send(call, "POST", "/v1/agent/events", in, &out); err != nil {
		return err
	}
	if out.Next < 0 || len(in.Events) > 0 && out.Next == in.First {
		return fmt.Errorf("the control plane did not take event %d", in.First)
	}
	return a.queue.arrived(len(in.Events), out.Next)
}
