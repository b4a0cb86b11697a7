package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// unreachable says why there was no answer, as far as a person can act on it: a
// mistyped host, a port where nothing is, a network that is down and a stranger's
// server each need another step.
func unreachable(base string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	why := func(reason, hint string, args ...any) error {
		return Errorf(Unavailable, "the control plane at %s cannot be reached%s", base, reason).WithHint(hint, args...).WithCause(err)
	}
	var name *net.DNSError
	var op *net.OpError
	var late interface{ Timeout() bool }
	switch {
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return why(": the proxy does not answer", "check HTTPS_PROXY, then try again")
	case errors.As(err, &name) && name.IsNotFound:
		return why(": there is no host "+name.Name, "check the URL; to see whether the name is known type: nslookup %s", name.Name)
	case errors.As(err, &name):
		return why(": the name "+name.Name+" cannot be looked up now", "check the network, then try again")
	case errors.Is(err, syscall.ECONNREFUSED):
		return why(": nothing listens there", "check the URL and its port; on that machine type: cardea-control serve")
	case hungUp(err):
		return why(": what listens there ended the connection", "check the URL and its port, then try again")
	case isTLS(err):
		return distrusted(base, err)
	case talksFirst(err):
		return foreign(base, err)
	case errors.As(err, &late) && late.Timeout():
		return unanswered(base, err)
	}
	return why("", "check the network, then try again")
}

// unanswered is for a call that was let wait for too long.
func unanswered(base string, err error) error {
	return Errorf(Unavailable, "the control plane at %s does not answer", base).WithHint("check the network, then try again").WithCause(err)
}

// talksFirst reports whether what came was not HTTP. net/http has no type for it, and another
// error where a server that speaks first, as sshd does, was quicker than our request.
func talksFirst(err error) bool {
	return strings.Contains(err.Error(), "malformed HTTP") || strings.Contains(err.Error(), "readLoopPeekFail")
}

// hungUp reports whether somebody took the connection and ended it without an answer, as a
// gateway does to whoever speaks HTTP.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// isTLS reports whether two met, and did not agree on TLS.
func isTLS(err error) bool {
	var untrusted *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &untrusted) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}

// distrusted says what is wrong with the TLS of whoever listens at base.
func distrusted(base string, err error) error {
	var untrusted *tls.CertificateVerificationError
	var other x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case !errors.As(err, &untrusted):
		hint := "check the URL and its port"
		if u, _ := url.Parse(base); u != nil && errors.Is(err, http.ErrSchemeMismatch) && loopback(u) {
			hint += "; without TLS it answers at http://" + u.Host
		}
		return Errorf(Unavailable, "%s does not speak TLS", base).WithHint("%s", hint).WithCause(err)
	case errors.As(err, &other):
		return Errorf(Unavailable, "the TLS certificate of %s is for another name", base).WithHint("check the URL").WithCause(err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Errorf(Unavailable, "the TLS certificate of %s is expired or not yet good", base).
			WithHint("check the clock of this machine; if it is right, an administrator must renew the certificate").WithCause(err)
	}
	return Errorf(Unavailable, "the TLS certificate of %s is not one to trust", base).
		WithHint("check the URL; a private root belongs to the roots of this system, or for cardea into --ca-file").WithCause(err)
}

// foreign is for an answer that no control plane gives.
func foreign(base string, err error) error {
	return Errorf(Foreign, "%s did not answer as a control plane of Cardea does", base).
		WithHint("check the URL; a browser at %s shows what answers there", origin(base)).WithCause(err)
}

// origin is a URL as a browser takes it, "" before what cannot be read.
func origin(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	return u.Scheme + "://" + u.Host
}
