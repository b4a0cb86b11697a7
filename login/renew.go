package login

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// renewBefore is how long before the end of its session a service user signs in again: a
// connection that begins now still has its answer. A session that is shorter than four times
// that does so in its last quarter.
const renewBefore = 5 * time.Minute

// ServiceKeyForm is what a service user sends to sign in; the proof of his key is the rest.
func ServiceKeyForm() url.Values {
	return url.Values{"grant_type": {api.GrantServiceKey}, "client_id": {api.ClientID}}
}

// isJobKey tells whether JobKey made a key.
func (h *Home) isJobKey(file string) bool {
	dir, name := filepath.Split(file)
	return filepath.Clean(dir) == filepath.Clean(h.Dir) && strings.HasPrefix(name, jobKeyPrefix)
}

// again tells whether it is time to sign in again by itself. That is for service users alone:
// a person is asked, and the token of a job is not kept.
func (a *Account) again(s Saved) bool {
	if !s.SignedIn() || s.KeyFile == "" || a.Home.isJobKey(s.KeyFile) {
		return false
	}
	a.mu.Lock()
	after := a.rotateAfter
	a.mu.Unlock()
	life := s.Session.ExpiresAt.Sub(s.Session.CreatedAt)
	now := a.now()
	if now.Before(after) {
		return false
	}
	return !now.Before(s.Session.ExpiresAt.Add(-min(renewBefore, life/4))) || a.otherKey(s)
}

// otherKey tells whether the key file holds another key than the session is bound to: then
// the session goes on only where its own key is still in memory.
func (a *Account) otherKey(s Saved) bool {
	if s.Thumbprint == "" {
		return false
	}
	key, err := a.Home.KeyOf(s)
	return err == nil && key.Thumbprint() != s.Thumbprint
}

// signInAgain is for who holds the lock. The session before dies by itself, and with it
// nothing that it began.
func (a *Account) signInAgain(ctx context.Context, old Saved) error {
	key, err := a.Home.KeyOf(old)
	if err != nil {
		return err
	}
	hc, err := a.transport(old.CAFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rotateTime)
	defer cancel()
	next, err := Flow{URL: old.URL, Key: key, HTTP: hc, UserAgent: a.UserAgent}.Program(ctx, ServiceKeyForm())
	if err != nil {
		return err
	}
	if next.Session.User != old.Session.User { // an administrator gave the key to another one
		return errors.New("the key is of another service user by now; sign in with it to become that one")
	}
	next.CAFile, next.KeyFile = old.CAFile, old.KeyFile
	return a.Home.save(next)
}
