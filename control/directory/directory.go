// Package directory keeps the people and the rules of a team: users, groups and
// memberships, projects with their user CA, the grants that tie the two
// together, and the entitlements that say what a grant lets people run by sudo.
//
// Every method is called for a caller whom the HTTP layer has authenticated as
// an administrator. It checks each name against the grammar that agents and
// clients will check it with again, asks the store for one atomic change, and
// writes an audit event with it. What is refused is audited too where the
// refusal protects the team.
package directory

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
	"gocloud.dev/secrets"
)

// Service works on one store. Store, Keeper and Passwords are needed.
type Service struct {
	Store store.Store
	// Keeper seals the user CA of a new project.
	Keeper *secrets.Keeper
	// Passwords hashes, a few at a time.
	Passwords *password.Queue
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// refuse audits that a change was refused and gives back why. If even that
// cannot be written down, the fault is what the caller hears of.
func (s *Service) refuse(ctx context.Context, e audit.Event, why *api.Error) error {
	return caller.Refuse(ctx, s.Store, e, why.Detail, why)
}

// ended tells whether a time that ends something has come; zero never does.
func ended(until, now time.Time) bool { return !until.IsZero() && !until.After(now) }

func checkUntil(until, now time.Time) error {
	if ended(until, now) {
		return api.Errorf(api.Invalid, "the end %s is in the past", until.UTC().Format(time.RFC3339)).
			WithHint("give a time to come, or none")
	}
	return nil
}
