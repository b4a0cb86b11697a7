package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/filelock"
)

const (
	// RotateEvery is how old a token becomes in use. A copy of it is good for so long
	// at the most before it is noticed, by its use or ours.
	RotateEvery = 30 * time.Minute
	// rotateRetry is the pause after a rotation that came to nothing.
	rotateRetry = 10 * time.Minute
	// rotateTime bounds the control plane's answer: nobody waits for it gladly.
	rotateTime = 5 * time.Second
	// lockFile is held by who changes the session, so that a sign-in and a rotation
	// never write over each other.
	lockFile = "session.lock"
	// lockTime is how long a sign-in waits for it: longer than a rotation takes.
	lockTime, lockPoll = 2 * rotateTime, 20 * time.Millisecond
)

// Rotate exchanges the session's token for its next one, if it is time. Whatever goes
// wrong, killed at any point and with a full disk too, the session stays: the control
// plane takes the old token until the new one was used, and that is used only once it
// is written down. Without a session, or where another process rotates just now, it
// does nothing. A service user whose session is over, or soon will be, signs in again
// instead, with the same key.
func (a *Account) Rotate(ctx context.Context) error {
	saved, _, err := a.get(ctx)
	if err != nil || !a.due(saved) && !a.again(saved) {
		return err
	}
	lock, ok, err := filelock.Take(filepath.Join(a.Home.Dir, lockFile), false)
	if err != nil || !ok {
		return err
	}
	defer lock.Close()
	// Another process may have done it between the look and the lock.
	renew := a.rotate
	switch saved, err = a.Home.Load(); {
	case err != nil:
		return err
	case a.again(saved):
		renew = a.signInAgain
	case !a.due(saved):
		return nil
	}
	if err := renew(ctx, saved); err != nil {
		a.mu.Lock()
		a.rotateAfter = a.now().Add(rotateRetry)
		a.mu.Unlock()
		return fmt.Errorf("renew the token of the session: %w", err)
	}
	return nil
}

func (a *Account) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

// due tells whether the token is old enough, of a session that is not over.
func (a *Account) due(s Saved) bool {
	a.mu.Lock()
	after := a.rotateAfter
	a.mu.Unlock()
	since, now := s.RotatedAt, a.now()
	if since.IsZero() {
		since = s.Session.CreatedAt
	}
	return !now.Before(since.Add(RotateEvery)) && now.Before(s.Session.ExpiresAt) && !now.Before(after)
}

// rotate is for who holds the lock.
func (a *Account) rotate(ctx context.Context, saved Saved) error {
	// First of all it is written down that the token is about to change: then no process
	// trusts what it read before, wherever this one is killed. And if even that cannot be
	// written, nothing was asked for.
	saved.Rotating = true
	if err := a.Home.write(saved); err != nil {
		return err
	}
	next, err := a.nextToken(ctx, saved)
	if err == nil && saved.Keyring {
		err = a.Home.ring().set(saved.Session.ID, next)
	}
	if err == nil {
		saved.Token, saved.RotatedAt = next, a.now()
	}
	saved.Rotating = false
	return errors.Join(err, a.Home.write(saved))
}

func (a *Account) nextToken(ctx context.Context, saved Saved) (string, error) {
	key, err := a.Home.KeyOf(saved)
	if err != nil {
		return "", err
	}
	hc, err := a.transport(saved.CAFile)
	if err != nil {
		return "", err
	}
	in, err := a.report(ctx, saved)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, rotateTime)
	defer cancel()
	var token api.Token
	c := &api.Client{URL: saved.URL, Prover: key, Token: saved.Token, HTTP: hc, UserAgent: a.UserAgent}
	err = c.Send(ctx, http.MethodPost, "/v1/session/token", in, &token)
	if err == nil && token.AccessToken == "" {
		err = api.Errorf(api.Foreign, "%s gave no token", saved.URL)
	}
	return token.AccessToken, err
}

// locked runs do while no other process changes the session.
func (h *Home) locked(do func() error) error {
	return whileLocked(filepath.Join(h.Dir, lockFile), "write the session", do)
}

// whileLocked runs do, which is what, while no other process has the lock at path.
func whileLocked(path, what string, do func() error) error {
	for end := time.Now().Add(lockTime); ; time.Sleep(lockPoll) {
		lock, ok, err := filelock.Take(path, false)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case ok:
			defer lock.Close()
			return do()
		case time.Now().After(end):
			return fmt.Errorf("%s: another program holds %s; wait a moment and try again", what, path)
		}
	}
}
