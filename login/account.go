package login

import (
	"context"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Account is who is signed in on this device, as a client of the control
// plane. It is safe for concurrent use; a long-lived process keeps one, and
// gets the new session when another process signs in or out.
type Account struct {
	Home *Home
	// UserAgent names the program and version.
	UserAgent string

	mu     sync.Mutex // guards what follows
	stamp  stamp
	saved  Saved
	client *api.Client
}

// stamp tells one content of the session file from another: every Save makes a
// new file.
type stamp struct {
	info    fs.FileInfo
	size    int64
	changed time.Time
}

// Client speaks as the session that is saved now. The error is of kind SignIn
// if there is none.
func (a *Account) Client(ctx context.Context) (*api.Client, error) {
	_, client, err := a.get(ctx)
	return client, err
}

// Saved is the session that is saved now.
func (a *Account) Saved(ctx context.Context) (Saved, error) {
	saved, _, err := a.get(ctx)
	return saved, err
}

func (a *Account) get(ctx context.Context) (Saved, *api.Client, error) {
	if err := ctx.Err(); err != nil {
		return Saved{}, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now, err := look(a.Home.Path())
	if err == nil && a.client != nil && now.same(a.stamp) {
		return a.saved, a.client, nil
	}
	saved, err := a.Home.Load()
	if err != nil {
		a.client = nil
		return saved, nil, err
	}
	key, err := a.Home.DeviceKey()
	if err != nil {
		return saved, nil, err
	}
	hc, err := HTTP(saved.CAFile)
	if err != nil {
		return saved, nil, err
	}
	if a.client != nil {
		a.client.HTTP.CloseIdleConnections()
	}
	a.stamp, a.saved = now, saved
	a.client = &api.Client{URL: saved.URL, Prover: key, Token: saved.Token, HTTP: hc, UserAgent: a.UserAgent}
	return saved, a.client, nil
}

func look(path string) (stamp, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info, info.Size(), info.ModTime()}, nil
}

func (s stamp) same(t stamp) bool {
	return s.info != nil && t.info != nil && os.SameFile(s.info, t.info) && s.size == t.size && s.changed.Equal(t.changed)
}
