package bridge

import (
	"sync"

	"github.com/cardea-ssh/cardea/recording"
)

// refusals counts what was refused.
type refusals struct {
	mu    sync.Mutex
	count int
}

// take reports whether another refusal is to be told.
func (r *refusals) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return r.count <= maxRefusals
}

func (r *refusals) unsaid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.count-maxRefusals)
}

// refuse writes down that something was not passed on, and returns the sentence. It does not
// answer the peer.
func (b *bridge) refuse(channel uint32, name, sentence string) string {
	if !b.refusals.take() {
		return sentence
	}
	r := Refusal{Time: b.Now(), Type: printable(name, maxName), Sentence: sentence}
	b.note(channel, recording.Refused{Type: r.Type, Sentence: r.Sentence})
	if b.Refused != nil {
		b.Refused(r)
	}
	return sentence
}
