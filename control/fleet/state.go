package fleet

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/store"
)

// State waits until the caller's project has a state newer than have, and
// returns it for the caller's server; nil if none came within wait.
func (s *Service) State(ctx context.Context, by caller.Caller, have api.StateVersion, wait time.Duration) (*api.SignedState, error) {
	server := by.Server
	if err := s.Store.SeenServer(ctx, server.ID, s.now()); err != nil {
		return nil, err
	}
	topics := []string{store.ProjectTopic(server.Project), store.StateTopic(server.ID)}
	return lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*api.SignedState, []string, error) {
		state, err := s.newerThan(ctx, server.ID, server.Project, have)
		return state, topics, err
	})
}

// newerThan reads the facts first and the server's own row after them. So the
// row may be newer than the version that is signed, and then a newer version
// follows; the other way about an old row would be signed as the new version,
// and stay.
func (s *Service) newerThan(ctx context.Context, server, project string, have api.StateVersion) (*api.SignedState, error) {
	v, err := s.states.view(ctx, s, project)
	if err != nil {
		return nil, err
	}
	if v.onDemand() {
		return s.newerOnDemand(ctx, server, project, have)
	}
	if !have.Less(v.version) {
		return nil, nil
	}
	row, err := s.Store.Server(ctx, server)
	if err != nil {
		return nil, caller.Explain(err, "server "+server)
	}
	if row.State == store.Held {
		return nil, Held(row) // since the poll began
	}
	if row.Project != project {
		return nil, fmt.Errorf("server %s is in project %s and not in %s", server, row.Project, project)
	}
	return s.sign(ctx, v.state(row, nil, s.now()))
}

func (s *Service) sign(ctx context.Context, d api.DesiredState) (*api.SignedState, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode desired state: %w", err)
	}
	if err := fits(len(raw)); err != nil {
		return nil, err
	}
	signer, err := s.signer(ctx)
	if err != nil {
		return nil, err
	}
	sig, err := signer.Sign(nil, append([]byte(api.StateDomain), raw...), crypto.Hash(0))
	if err != nil {
		return nil, err
	}
	return &api.SignedState{State: raw, Signature: sig}, nil
}

// maxState is how large a state may be, in bytes: an agent reads no more than
// api.MaxAnswer, in which there is base64 of it, and its signature in the rest.
const maxState = (api.MaxAnswer - 1<<10) / 4 * 3

// fits refuses a state that the agent would have to refuse. It says why, in what the
// agent reports as a problem, and goes on with the last one that did fit.
func fits(n int) error {
	if n <= maxState {
		return nil
	}
	return api.Errorf(api.Conflict, "the state of this server would have %d bytes, and %d are the most; its last state holds", n, maxState).
		WithHint("give fewer people access to it, or fewer sudo commands that are different from person to person")
}

// signerLife is how long it is believed which key signs. Agents have pinned it,
// so that it hardly ever changes.
const signerLife = 5 * time.Second

// signing keeps the key that signs, open. The zero value is empty.
type signing struct {
	mu     sync.Mutex
	signer *ca.Signer // guarded by mu
	read   time.Time  // guarded by mu
}

func (s *Service) signer(ctx context.Context) (*ca.Signer, error) {
	c, now := &s.signing, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.signer != nil && now.Sub(c.read) < signerLife {
		return c.signer, nil
	}
	key, err := s.key(ctx, ca.Policy)
	if err != nil {
		return nil, err
	}
	signer, err := s.Keys.Signer(ctx, record(key))
	if err != nil {
		return nil, err
	}
	c.signer, c.read = signer, now
	return signer, nil
}
