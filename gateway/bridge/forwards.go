package bridge

import (
	"sync"
	"sync/atomic"
)

// forwards is what the user has asked the server to open towards him.
type forwards struct {
	tcp   listeners[uint32] // by port
	unix  listeners[string] // by path
	agent atomic.Bool

	mu  sync.Mutex
	x11 int // connections that may come; below zero any number; guarded by mu
}

// allowX11 lets one more connection come, or any number.
func (f *forwards) allowX11(single bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !single:
		f.x11 = -1
	case f.x11 >= 0:
		f.x11++
	}
}

func (f *forwards) takeX11() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.x11 > 0 {
		f.x11--
		return true
	}
	return f.x11 < 0
}

// listeners are those that the server has for the user, by what a connection to them names.
type listeners[K comparable] struct {
	mu   sync.Mutex
	cond *sync.Cond
	live map[K]int // how many of each: the same port on two addresses is two
	open int       // requests whose key is not known before the answer
}

func (l *listeners[K]) locked() {
	l.mu.Lock()
	if l.cond == nil {
		l.cond, l.live = sync.NewCond(&l.mu), map[K]int{}
	}
}

// ask notes a listener before it is asked for: its first connection may overtake the answer.
// unknown says that only the answer tells its key.
func (l *listeners[K]) ask(k K, unknown bool) bool {
	l.locked()
	defer l.mu.Unlock()
	total := l.open
	for _, n := range l.live {
		total += n
	}
	if total >= maxForwards {
		return false
	}
	if unknown {
		l.open++
	} else {
		l.live[k]++
	}
	return true
}

// settle notes the answer.
func (l *listeners[K]) settle(asked, got K, unknown, ok bool) {
	l.locked()
	defer l.mu.Unlock()
	switch {
	case unknown:
		l.open--
		if ok {
			l.live[got]++
		}
	case !ok:
		l.less(asked)
	}
	l.cond.Broadcast()
}

func (l *listeners[K]) drop(k K) {
	l.locked()
	defer l.mu.Unlock()
	l.less(k)
}

func (l *listeners[K]) less(k K) {
	if l.live[k]--; l.live[k] <= 0 {
		delete(l.live, k)
	}
}

// has reports whether k listens. It waits for an answer that might say so.
func (l *listeners[K]) has(k K) bool {
	l.locked()
	defer l.mu.Unlock()
	for l.live[k] == 0 && l.open > 0 {
		l.cond.Wait()
	}
	return l.live[k] > 0
}
