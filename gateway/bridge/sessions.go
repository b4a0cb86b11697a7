package bridge

import (
	"slices"
	"sync"
	"time"
)

// maxMentions is how many different sentences a user is told on stderr; the same one is told
// once. More would bury what he came for.
const maxMentions = 16

// sessions are the channels of type session, whose stderr is the only place to tell a user
// something.
type sessions struct {
	mu      sync.Mutex
	live    []*channel
	said    []string
	waiting []string // was said before there was a session to say it in
	none    bool     // no session may begin any more
}

func (s *sessions) add(c *channel) {
	s.mu.Lock()
	s.live = append(s.live, c)
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, sentence := range waiting {
		c.spawn(func() { c.say(sentence, sentenceTime) })
	}
}

func (s *sessions) remove(c *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = slices.DeleteFunc(s.live, func(x *channel) bool { return x == c })
}

// close lets no further session begin: OpenSSH asks for it where no other may share its
// connection.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.none = true
}

func (s *sessions) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.none
}

// news reports whether a sentence has not been said yet; s.mu is held.
func (s *sessions) news(sentence string) bool {
	if len(s.said) >= maxMentions || slices.Contains(s.said, sentence) {
		return false
	}
	s.said = append(s.said, sentence)
	return true
}

// mentionIn tells the user a sentence in c, once. It returns when it is said: ssh ends at some
// refusals, and reads nothing that comes later.
func (s *sessions) mentionIn(c *channel, sentence string) {
	s.mu.Lock()
	news := s.news(sentence)
	s.mu.Unlock()
	if news {
		c.say(sentence, sentenceTime)
		time.Sleep(readTime)
	}
}

// mention tells the user a sentence, once, in the newest session, or in the next one.
func (s *sessions) mention(sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.news(sentence) {
		return
	}
	if len(s.live) == 0 {
		s.waiting = append(s.waiting, sentence)
		return
	}
	c := s.live[len(s.live)-1]
	c.spawn(func() { c.say(sentence, sentenceTime) })
}

// tell says why the session ends in every channel, and returns when all have it or d is over.
func (s *sessions) tell(d time.Duration) {
	s.mu.Lock()
	live := slices.Clone(s.live)
	s.mu.Unlock()
	if len(live) == 0 {
		return
	}
	told := make(chan struct{}, len(live))
	for _, c := range live {
		c.spawn(func() {
			defer func() { told <- struct{}{} }()
			c.lastWord(d)
		})
	}
	limit := time.After(d)
	for range live {
		select {
		case <-told:
		case <-limit:
			return
		}
	}
}
