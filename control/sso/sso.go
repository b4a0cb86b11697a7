// Package sso is the relying party of identity providers: OpenID Connect Core 1.0
// by the authorization code flow (section 3.1) with PKCE (RFC 7636), nonce, and the
// issuer in the answer (RFC 9207).
//
//	Begin    the address of the provider to which the browser is sent
//	Finish   what the browser brought back becomes a Person
//	Rules    what a person's claims mean here: pure, no network
//	Verify   a token of any issuer, for those who get theirs elsewhere (CI jobs)
//
// A person is the issuer and the subject, and never an e-mail address or a name: those
// change hands. It keeps nothing: whose run of a browser it is, and that a state is used
// once, is the caller's part.
//
// What a provider answers is a stranger's input. Each fetch is bounded in time, size and
// redirects; only https is spoken, and never to link-local addresses, where clouds keep
// their metadata. Documents and keys are fetched once for all who wait for them, and kept.
package sso

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Options are what Issuers are made of; the zero value works.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Roots are the authorities that certificates of issuers may be of; nil means the
	// system's.
	Roots *x509.CertPool
	// LoopbackHTTP allows issuers at http://127.0.0.1, for tests: anybody on this machine
	// could be one.
	LoopbackHTTP bool
}

// maxIssuers is how many are remembered: an administrator names each.
const maxIssuers = 256

// Issuers knows issuers by what they publish. Make it with New; it is safe for
// concurrent use.
type Issuers struct {
	options Options
	http    *http.Client

	mu    sync.Mutex
	known map[string]*issuer // guarded by mu
}

// New makes Issuers.
func New(o Options) *Issuers {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Issuers{options: o, http: newHTTP(o), known: map[string]*issuer{}}
}

// issuer returns what is known of one.
func (i *Issuers) issuer(url string) *issuer {
	i.mu.Lock()
	defer i.mu.Unlock()
	known := i.known[url]
	if known == nil {
		for other := range i.known {
			if len(i.known) < maxIssuers {
				break
			}
			delete(i.known, other)
		}
		known = newIssuer(i, url)
		i.known[url] = known
	}
	return known
}

// CheckIssuer says whether url may be that of an issuer (OpenID Connect Discovery 1.0
// section 3): https, a host, and neither query nor fragment.
func (i *Issuers) CheckIssuer(url string) error { return checkIssuer(url, i.options.LoopbackHTTP) }

// shared makes a call for all who ask for it at the same time. It goes on when the first
// of them leaves, and no longer than requestTime.
func shared[T any](ctx context.Context, flights *singleflight.Group, call func(context.Context) (T, error)) (T, error) {
	done := flights.DoChan("", func() (_ any, err error) {
		defer func() { // nobody else is there to catch it, and it would end the process
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		defer cancel()
		return call(bounded)
	})
	var none T
	select {
	case r := <-done:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
