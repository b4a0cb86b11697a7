package ca

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// ErrUsed means that a Permission was used before.
var ErrUsed = errors.New("this permission to sign was used before")

// Authority is an open SSH certificate authority.
type Authority struct {
	ref    Ref
	public ssh.PublicKey
	signer func() ssh.Signer // a function, because package fmt prints what a field holds
}

// ID is the id of the key.
func (a *Authority) ID() string { return a.ref.ID }

// PublicKey is what servers and clients trust.
func (a *Authority) PublicKey() ssh.PublicKey { return a.public }

// Prepare lints an unsigned certificate against the facts that it was built from, and
// checks that this authority is the one for such facts: a project's user CA for users of
// that project, the host CA for hosts, the gateway CA for what passes between users and
// recording gateways. The permission holds its own copy of cert.
func (a *Authority) Prepare(cert *ssh.Certificate, facts sshcert.Profile) (*Permission, error) {
	if err := a.responsible(facts); err != nil {
		return nil, err
	}
	if cert == nil || cert.Signature != nil || cert.SignatureKey != nil {
		return nil, errors.New("prepare: the certificate is missing or signed already")
	}
	own := copyOf(cert)
	if err := sshcert.Lint(own, facts); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return &Permission{authority: a, cert: own, facts: facts}, nil
}

func (a *Authority) responsible(facts sshcert.Profile) error {
	switch f := facts.(type) {
	case sshcert.User:
		if a.ref.Purpose == UserCA && a.ref.Scope == f.ProjectID {
			return nil
		}
	case sshcert.Target:
		if a.ref.Purpose == UserCA && a.ref.Scope == f.ProjectID {
			return nil
		}
	case sshcert.ToGateway, sshcert.GatewayHost:
		if a.ref.Purpose == GatewayCA && a.ref.Scope == Team {
			return nil
		}
	case sshcert.Canary:
		if a.ref.Purpose == UserCA && a.ref.Scope == f.ProjectID {
			return nil
		}
	case sshcert.Host:
		if a.ref.Purpose == HostCA && a.ref.Scope == Team {
			return nil
		}
	}
	return fmt.Errorf("prepare: key %s (%s of %s) does not sign a %T of that scope", a.ref.ID, a.ref.Purpose, a.ref.Scope, facts)
}

// Permission is the right to sign one linted certificate once.
type Permission struct {
	authority *Authority
	cert      *ssh.Certificate
	facts     sshcert.Profile
	used      atomic.Bool
}

// Describe tells what will be signed, for the record that must be durable before Issue.
func (p *Permission) Describe() sshcert.Description { return sshcert.Describe(p.cert) }

// Authority is the id of the key that will sign.
func (p *Permission) Authority() string { return p.authority.ref.ID }

// Issue signs, and verifies what came out before anybody sees it: a fault in memory or in a
// signing device must not leave the house. A second call gives ErrUsed, also after a failure.
func (p *Permission) Issue() (*ssh.Certificate, error) {
	if p.used.Swap(true) {
		return nil, ErrUsed
	}
	cert := p.cert
	if err := cert.SignCert(rand.Reader, p.authority.signer()); err != nil {
		return nil, fmt.Errorf("sign certificate %d: %w", cert.Serial, err)
	}
	// From here on the certificate is what a peer will parse, not what we hold.
	parsed, err := sshcert.ParseCertificate(cert.Marshal())
	if err != nil {
		return nil, fmt.Errorf("verify certificate %d: %w", cert.Serial, err)
	}
	checker := ssh.CertChecker{
		Clock:                    func() time.Time { return time.Unix(int64(parsed.ValidAfter), 0) },
		SupportedCriticalOptions: slices.Collect(maps.Keys(cert.CriticalOptions)), // the lint knows which belong there
	}
	if err := errors.Join(checker.CheckCert(parsed.ValidPrincipals[0], parsed), sshcert.Lint(parsed, p.facts)); err != nil {
		return nil, fmt.Errorf("verify certificate %d: %w", cert.Serial, err)
	}
	return parsed, nil
}

func copyOf(c *ssh.Certificate) *ssh.Certificate {
	out := *c
	out.ValidPrincipals = slices.Clone(c.ValidPrincipals)
	out.CriticalOptions = maps.Clone(c.CriticalOptions)
	out.Extensions = maps.Clone(c.Extensions)
	out.Reserved = slices.Clone(c.Reserved)
	return &out
}
