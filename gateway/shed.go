package gateway

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	// shedEvery is how soon a lack of memory is seen: who reads nothing can have half a GiB
	// wait for him within a second.
	shedEvery = 100 * time.Millisecond
	// minShed is what must wait in a session for it to be ended: else the memory is somewhere
	// else, and ending sessions helps nobody. It is less than one channel may have.
	minShed = 1 << 20
	// shedTime is how long one that was told to end may take before the next one is chosen.
	shedTime = 5 * time.Second
)

// shedding is the session that was ended last for want of memory.
type shedding struct {
	session *session
	at      time.Time
}

// shedLoop ends recorded sessions in which much waits to be read, the one with the most first, before
// the kernel ends all of them. In relay mode the kernel itself holds what waits, and little.
func (g *Gateway) shedLoop(ctx context.Context) error {
	var last shedding
	for ctx.Err() == nil {
		sleep(ctx, shedEvery)
		last = g.shed(ctx, last)
	}
	return nil
}

func (g *Gateway) shed(ctx context.Context, last shedding) shedding {
	worst, holds := g.heaviest()
	if holds < minShed || g.short(ctx) == nil {
		return last
	}
	if last.session != nil && g.sessions.has(last.session) && time.Since(last.at) < shedTime {
		return last
	}
	debug.FreeOSMemory() // what sessions before have left
	err := g.short(ctx)
	if err == nil {
		return last
	}
	g.log.Warn("a session is ended: too much of it waits to be read", "session", worst.id, "mib", holds>>20, "error", err)
	worst.cut(causeError, fmt.Sprintf("the gateway has no memory left, and %d MiB of this session wait to be read", holds>>20))
	return shedding{worst, time.Now()}
}

// short says that the kernel may soon have to kill somebody.
func (g *Gateway) short(ctx context.Context) error { return cmp.Or(memory(ctx), g.memory.room()) }

// heaviest is the session in which most waits, of those that have not been ended yet.
func (g *Gateway) heaviest() (worst *session, holds int64) {
	for _, s := range g.sessions.all() {
		if s.recorded == nil || s.isEnded() {
			continue
		}
		if n := s.recorded.held.Bytes(); n > holds {
			worst, holds = s, n
		}
	}
	return worst, holds
}
