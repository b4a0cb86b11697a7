package control

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// callPrefix begins the id under which one call is found in the log. It names
// nothing that is kept.
const callPrefix = "call_"

// around is what happens to every request, of the API and of the pages.
func (s *Server) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := caller.Caller{Source: s.source(r), RequestID: ident.New(callPrefix)}
		r = r.WithContext(caller.With(r.Context(), by))
		defer s.recover(w, r, by)
		s.headers(w.Header())
		deadlines(w, r)
		next.ServeHTTP(w, r)
	})
}

// headers are on every answer. Pages loosen the content policy for themselves.
func (s *Server) headers(h http.Header) {
	h.Set(api.HeaderNonce, s.options.Nonces.Issue(s.options.Now()))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// With no-referrer a browser would send "Origin: null" with our own forms.
	h.Set("Referrer-Policy", "same-origin")
	if s.secure() {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// recover turns a panic into an answer, so that one request alone fails.
func (s *Server) recover(w http.ResponseWriter, r *http.Request, by caller.Caller) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p) // net/http's own way of cutting an answer off
	}
	writeProblem(w, s.public(r.Context(), by, fmt.Errorf("panic: %v\n%s", p, debug.Stack())))
}

// source is the address of the peer: that of the connection, unless this is a
// proxy that we know; then it is the last one that the proxy added.
func (s *Server) source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	peer = peer.Unmap()
	if !s.proxy(peer) {
		return peer.String()
	}
	// A proxy appends, so what stands before was written by strangers. Several
	// of ours in a row are skipped from the right.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if peer = a.Unmap(); !s.proxy(peer) {
			break
		}
	}
	return peer.String()
}

func (s *Server) proxy(a netip.Addr) bool {
	return slices.ContainsFunc(s.options.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}
