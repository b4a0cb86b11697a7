package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/store"
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
}

// Server is one instance of the control plane.
type Server struct {
	options Options
	origin  string // PublicURL in the form in which paths are put behind it
	routes  []route
	handler http.Handler
}

// New makes a Server. It fails on options that cannot work and on a faulty
// route table.
func New(o Options) (*Server, error) { return build(o, register) }

// register fills the table: one line for each file routes_NAME.go.
func register(t *table) {
	teamRoutes(t)
}

func build(o Options, register func(*table)) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Server{options: o, origin: o.PublicURL}
	mux := http.NewServeMux()
	t := newTable(s, mux)
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
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	// Cookies and proofs hang on the whole origin, so a shared one is refused.
	if u, err := url.Parse(o.PublicURL); err != nil || u.Path != "" {
		return fmt.Errorf("public URL %q has a path; give the control plane a host name of its own", o.PublicURL)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Handler serves everything: the API, the sign-in pages, documentation and
// health.
func (s *Server) Handler() http.Handler { return s.handler }
