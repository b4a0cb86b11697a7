package gateway

import (
	"bytes"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

const (
	// sealingLife is how long a key is the newest one.
	sealingLife = 24 * time.Hour
	// sealingKeep is how long the key before stays good after its successor was
	// acknowledged: a client may have been told it a moment before.
	sealingKeep = 25 * time.Hour
)

// sealing is the life of the sealing keys, which are in memory only.
//
// A key opens hellos from the moment it is reported, not from when the
// acknowledgement arrives: the control plane hands a key out only after it has
// stored it, and the word that it has may get lost. What waits for the
// acknowledgement is the end of the key before. So there are three at most:
// one that waits to be acknowledged, the one in use, and the one before.
type sealing struct {
	mu   sync.Mutex
	keys []sealingKey // newest first; guarded by mu
}

type sealingKey struct {
	key   *hello.SealingKey
	made  time.Time
	acked time.Time // zero while the control plane has not acknowledged it
}

// renew makes a new key if the newest is old enough and acknowledged, drops
// what has had its time, and gives the rest to the opener.
func (s *sealing) renew(now time.Time, opener *hello.Opener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due(now) {
		key, err := hello.NewSealingKey()
		if err != nil {
			return err
		}
		s.keys = append([]sealingKey{{key: key, made: now}}, s.keys...)
	}
	s.drop(now)
	opener.SetKeys(s.plain()...)
	return nil
}

func (s *sealing) due(now time.Time) bool {
	if len(s.keys) == 0 {
		return true
	}
	newest := s.keys[0]
	return !newest.acked.IsZero() && now.Sub(newest.made) >= sealingLife
}

// drop forgets each key whose successor was acknowledged sealingKeep ago.
func (s *sealing) drop(now time.Time) {
	for i := 1; i < len(s.keys); i++ {
		if successor := s.keys[i-1]; !successor.acked.IsZero() && now.Sub(successor.acked) >= sealingKeep {
			s.keys = s.keys[:i]
			return
		}
	}
}

func (s *sealing) plain() (out []*hello.SealingKey) {
	for _, k := range s.keys {
		out = append(out, k.key)
	}
	return out
}

// wants says whether there is something to report at once: a new key.
func (s *sealing) wants() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) > 0 && s.keys[0].acked.IsZero()
}

// public is what goes into a report, newest first.
func (s *sealing) public() (out []api.SealingKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		id := k.key.ID()
		out = append(out, api.SealingKey{ID: id[:], Public: k.key.Public()})
	}
	return out
}

func (s *sealing) acknowledge(ids [][]byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.keys {
		own := s.keys[i].key.ID()
		for _, id := range ids {
			if s.keys[i].acked.IsZero() && bytes.Equal(id, own[:]) {
				s.keys[i].acked = now
			}
		}
	}
}
