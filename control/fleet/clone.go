package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/store"
)

// maxBeatWord bounds each word of a beat, in bytes.
const maxBeatWord = 64

// beatOf checks a beat and gives it the next word; nil for none.
func beatOf(by caller.Caller, in *api.AgentBeat, address string) (*store.Beat, error) {
	if in == nil {
		return nil, nil
	}
	const good = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for _, word := range []string{in.Run, in.Last, in.Machine} {
		if len(word) > maxBeatWord || strings.Trim(word, good) != "" {
			return nil, fmt.Errorf("a word of the beat is not up to %d letters or digits", maxBeatWord)
		}
	}
	if in.Run == "" || in.Number < 1 {
		return nil, errors.New("a beat names its process and its number")
	}
	where := by.Source
	if address, err := checkProposal(address); err == nil {
		where += " (" + address + ")" // many hosts may come from one address
	}
	return &store.Beat{Run: in.Run, Number: in.Number, Last: in.Last, Machine: in.Machine, Next: rand.Text(), Where: where}, nil
}

// Held is what a server that is held, and its administrator, hear of it.
func Held(v store.Server) *api.Error {
	return api.Errorf(api.Denied, "server %s is held: %s", v.Name, v.Held).
		WithHint("if there is a copy, type there: cardea-server-agent enroll --anew; then an administrator types: cardea admin servers release %s", v.Name)
}

// ReleaseServer lets a held server work again. If both hosts still use its
// credential it will be held again within minutes.
func (s *Service) ReleaseServer(ctx context.Context, by caller.Caller, ref string) (*api.Server, error) {
	row, err := s.server(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ServerRelease)
	e.Server, e.Project, e.Detail = row.ID, row.Project, map[string]string{"name": row.Name, "held": row.Held}
	released, err := s.Store.ReleaseServer(ctx, row.ID, by.MetaFor(e.Time, row.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		released, err = s.Store.Server(ctx, row.ID)
	}
	if errors.Is(err, store.ErrDenied) {
		return nil, api.Errorf(api.Conflict, "server %s is %s, and not held", row.Name, row.State).WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "server "+row.Name)
	}
	out := serverOf(released)
	return &out, nil
}
