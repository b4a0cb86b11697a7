package store

import (
	"context"
	"strings"
	"time"
)

// Dashboard is a person signed in to the control plane's own pages. It is no Session: it
// has no device and no key, its token counts in a cookie alone, and it opens no server.
type Dashboard struct {
	ID, User    string
	TokenHash   []byte // SHA-256
	BrowserHash []byte // SHA-256 of the cookie of the browser
	Browser     string // what that calls itself
	Source      string // its address when it signed in
	// Provider is the id of the one that said who the person is; empty for a password of ours.
	Provider        string
	AuthenticatedAt time.Time
	CreatedAt       time.Time
	ExpiresAt       time.Time
	RevokedAt       time.Time
	SeenAt          time.Time // last use, as far as SeeDashboard was told
}

// DashboardOpening trades a request that leads to the dashboard for a Dashboard.
type DashboardOpening struct {
	Request     string // its ID
	BrowserHash []byte // of the browser that the request is bound to
	LoginHash   []byte // the TokenHash of the browser session of who signed in there
	// Replaces is the TokenHash of the dashboard that was open in this browser, which
	// ends; nil for none.
	Replaces []byte
	// Dashboard has ID, TokenHash, Browser, Source and ExpiresAt; the rest comes from the
	// browser session.
	Dashboard Dashboard
}

// Dashboards keeps who is signed in to the dashboard. Whatever ends the sessions of a user
// ends these, too: a new password, a user who is not active any more, new second factors.
type Dashboards interface {
	// OpenDashboard consumes the request and makes the Dashboard. ErrUsed if the request was
	// used, refused or is over; ErrDenied if it is one of a device, BrowserHash differs, the
	// user is not active, or his browser session is over, half, or older than a request
	// with a Project.
	OpenDashboard(ctx context.Context, o DashboardOpening, m Meta) (Dashboard, error)
	// Dashboard finds one by its token, whatever its state, with its user and the team's
	// IdleSeconds, in one read.
	Dashboard(ctx context.Context, tokenHash []byte) (Dashboard, User, int, error)
	// SeeDashboard notes that it was used at m.Now.
	SeeDashboard(ctx context.Context, id string, m Meta) error
	// Dashboards lists those of a user, or all for "", oldest first.
	Dashboards(ctx context.Context, user string, p Page) ([]Dashboard, string, error)
	DashboardByID(ctx context.Context, id string) (Dashboard, error)
	// RevokeDashboard ends one. One that is revoked stays as it is.
	RevokeDashboard(ctx context.Context, id string, m Meta) error
}

// Dashboard tells of a request that leads to a page of the control plane itself, which is
// its RedirectURI, and not to a device: no code ever comes of it.
func (r AuthRequest) Dashboard() bool { return strings.HasPrefix(r.RedirectURI, "/") }
