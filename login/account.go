package login

import (
	"context"
	"io/fs"
	"net/http"
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
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Report is what a device says of itself; nil means Device.Report.
	Report func(context.Context, Device) api.DeviceReport

	// Slow becomes that of its clients.
	Slow func()

	mu     sync.Mutex // guards what follows
	stamp  stamp
	saved  Saved
	client *api.Client
	http   *http.Client // to a control plane with the TLS root caFile
	caFile string
	// rotateAfter is when to try again after a rotation that failed.
	rotateAfter time.Time
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
	if err == nil && a.client != nil && now.same(a.stamp) && !a.saved.Rotating {
		return a.saved, a.client, nil
	}
	saved, err := a.Home.Load()
	if err != nil {
		a.client = nil
		return saved, nil, err
	}
	key, err := a.Home.KeyOf(saved)
	if err != nil {
		return saved, nil, err
	}
	same := a.client != nil && a.saved.Session.ID == saved.Session.ID && a.saved.Token == saved.Token && a.saved.URL == saved.URL && a.saved.CAFile == saved.CAFile && a.saved.KeyFile == saved.KeyFile
	a.stamp, a.saved = now, saved
	if same {
		return saved, a.client, nil
	}
	hc, err := a.keptTransport(saved.CAFile)
	if err != nil {
		return saved, nil, err
	}
	a.client = &api.Client{
		URL: saved.URL, Prover: key, Token: saved.Token, HTTP: hc, UserAgent: a.UserAgent, Slow: a.Slow,
		Fresh: func() string { return a.token(saved) },
	}
	return saved, a.client, nil
}

// token is the one that the session of s has by now, and that of s if it has ended.
func (a *Account) token(s Saved) string {
	now, _, err := a.get(context.Background())
	if err != nil || now.Session.ID != s.Session.ID {
		return s.Token
	}
	return now.Token
}

// transport keeps the connections while tokens come and go.
func (a *Account) transport(caFile string) (*http.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keptTransport(caFile)
}

// keptTransport is called with mu held.
func (a *Account) keptTransport(caFile string) (*http.Client, error) {
	if a.http != nil && a.caFile == caFile {
		return a.http, nil
	}
	hc, err := HTTP(caFile)
	if err != nil {
		return nil, err
	}
	if a.http != nil {
		a.http.CloseIdleConnections()
	}
	a.http, a.caFile = hc, caFile
	return hc, nil
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
