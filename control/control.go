package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/attestation"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/directory"
	"github.com/cardea-ssh/cardea/control/fleet"
	"github.com/cardea-ssh/cardea/control/issue"
	"github.com/cardea-ssh/cardea/control/jit"
	"github.com/cardea-ssh/cardea/control/provision"
	"github.com/cardea-ssh/cardea/control/recordings"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/control/trust"
	"github.com/cardea-ssh/cardea/control/web"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
	"gocloud.dev/blob"
	"gocloud.dev/secrets"
)

// Options are what a Server is made of. Store, Nonces and PublicURL are needed;
// the rest has defaults.
type Options struct {
	Store store.Store
	// Nonces issues and checks the proofs' nonces, with a secret that all
	// instances share.
	Nonces *dpop.Nonces
	// PublicURL is where clients reach the control plane, without a path. Proofs
	// are checked against it and never against the Host header.
	PublicURL string
	// Proxies are the addresses of the TLS proxies or balancers in front of this
	// instance. Only from them is X-Forwarded-For believed.
	Proxies []netip.Prefix
	// Logger gets causes; nil discards them.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Version of this build, shown at /v1/team.
	Version string
	// Passwords is shared by everything of this process that hashes; nil makes one.
	Passwords *password.Queue
	// Keys opens what signs certificates, desired states and tickets; Keeper seals
	// the CAs of new projects. Both are needed by New.
	Keys   *ca.Keyring
	Keeper *secrets.Keeper
	// Clouds knows the keys of clouds whose instances may enrol; nil makes one that
	// knows what it does by itself.
	Clouds *attestation.Verifier
	// Recordings is the bucket in which gateways store recordings; nil if nobody has
	// said where it is.
	Recordings *blob.Bucket
	// SessionLife is that of a device's session, 1 to 25 hours; zero means 12.
	SessionLife time.Duration
	// Issuers speaks to identity providers; nil makes one.
	Issuers *sso.Issuers
}

// Server is one instance of the control plane.
type Server struct {
	options Options
	origin  string // PublicURL, as browsers write it and as paths are put behind it
	routes  []route
	handler http.Handler
	signin  *signin.Service
	web     *web.Pages
	pages   *pages
	proofs  dpop.Checker
	limits  *limits
	ration  *caller.Ration // of audit rows about refusals
	// sightings bound the writes about who uses his session.
	sightings sightings
	// recordings is nil where there are none.
	recordings *recordings.Service
	health     daemon.Health
	// unfounded ends live sessions that nobody would be given now; nil where there are none.
	unfounded func(context.Context) error

	// stopping ends, by stop, when the server is about to.
	stopping context.Context
	stop     context.CancelFunc

	readiness struct {
		sync.Mutex
		at  time.Time // by the machine's clock, of the last answer
		err error
	}
}

// New makes a Server. It fails on options that cannot work and on a faulty
// route table.
func New(o Options) (*Server, error) {
	if o.Keys == nil || o.Keeper == nil {
		return nil, errors.New("the control plane needs a key ring and its keeper")
	}
	return build(o, register)
}

// register fills the table: one line for each file routes_NAME.go.
func register(t *table) {
	teamRoutes(t)
	pageRoutes(t)
	signinRoutes(t)
	rotationRoutes(t)
	providerRoutes(t)
	workloadRoutes(t)
	domainRoutes(t)
	healthRoutes(t)
	docsRoutes(t)
}

// domainRoutes makes the domains that own what remains.
func domainRoutes(t *table) {
	o := t.server.options
	machines := &fleet.Service{Store: o.Store, Keys: o.Keys, Now: o.Now,
		Strangers: caller.NewRation(auditBurst, auditEvery), Spent: caller.NewRation(auditBurst, auditEvery),
		Instances: fleet.Instances{Clouds: o.Clouds, Challenges: o.Nonces, Audience: o.PublicURL}}
	people := &directory.Service{Store: o.Store, Keeper: o.Keeper, Passwords: o.Passwords, Now: o.Now}
	directoryRoutes(t, people)
	serviceUserRoutes(t, people)
	fleetRoutes(t, machines)
	trustRoutes(t, &trust.Service{Store: o.Store, Keeper: o.Keeper, Now: o.Now})
	recorded := &recordings.Service{Store: o.Store, Now: o.Now}
	if o.Recordings != nil {
		recorded.Bucket = o.Recordings
	}
	t.server.recordings = recorded
	recordingRoutes(t, recorded)
	liveRoutes(t, machines)
	connections := &issue.Service{Store: o.Store, Keys: o.Keys, Router: machines, Now: o.Now}
	issueRoutes(t, connections)
	requests := &jit.Service{Store: o.Store, Doors: connections, Now: o.Now}
	requestRoutes(t, requests)
	dashboardRoutes(t, requests)
	scimRoutes(t, &provision.Service{Store: o.Store, PublicURL: o.PublicURL, Now: o.Now})
	t.server.unfounded = connections.EndUnfounded
}

func build(o Options, register func(*table)) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	look, err := web.New()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, origin: o.PublicURL, web: look, signin: signin.New(signin.Options{
		Store: o.Store, Passwords: o.Passwords, PublicURL: o.PublicURL,
		SessionLife: o.SessionLife, Logger: o.Logger, Now: o.Now, Issuers: o.Issuers, Keeper: o.Keeper,
	})}
	s.limits, s.ration = newLimits(), caller.NewRation(auditBurst, auditEvery)
	s.stopping, s.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	t := &table{server: s, mux: mux}
	register(t)
	if err := errors.Join(t.errs...); err != nil {
		return nil, err
	}
	s.routes = t.routes
	s.handler = s.around(mux)
	return s, nil
}

// complete checks o and fills in defaults.
func (o *Options) complete() error {
	if o.Store == nil || o.Nonces == nil {
		return errors.New("the control plane needs a store and nonces")
	}
	if err := api.CheckURL(o.PublicURL); err != nil {
		return fmt.Errorf("public URL: %w", err)
	}
	origin, err := originOf(o.PublicURL)
	if err != nil {
		return err
	}
	o.PublicURL = origin
	if o.SessionLife != 0 && (o.SessionLife < signin.MinSession || o.SessionLife > signin.MaxSession) {
		return fmt.Errorf("a session lives %s to %s, not %s", signin.MinSession, signin.MaxSession, o.SessionLife)
	}
	if o.Clouds == nil {
		if o.Clouds, err = attestation.New(attestation.Options{Now: o.Now}); err != nil {
			return err
		}
	}
	if o.Passwords == nil {
		o.Passwords = password.NewQueue()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// originOf brings a public URL to the form in which browsers name an origin
// (RFC 6454 section 6.2): lower case, no default port, no path.
func originOf(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSuffix(raw, "/"))
	if err != nil || u.Path != "" {
		// Cookies and proofs hang on the whole origin, so a shared one is refused.
		return "", fmt.Errorf("public URL %q has a path; give the control plane a host name of its own", raw)
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host, nil
}

// secure reports whether browsers and clients come by TLS.
func (s *Server) secure() bool { return strings.HasPrefix(s.origin, "https:") }

// Handler serves everything: the API, the sign-in pages, documentation and
// health.
func (s *Server) Handler() http.Handler { return s.handler }
