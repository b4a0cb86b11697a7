package sshcert

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// ErrRefused marks a certificate that VerifyUser or VerifyHost does not accept. The rest of
// the text is for logs: it repeats what the certificate claims.
var ErrRefused = errors.New("certificate refused")

// ExpectUser is what a user certificate must prove. Every field is needed, so that a
// forgotten one refuses instead of accepting anything.
type ExpectUser struct {
	CAs         []ssh.PublicKey // compared by bytes; empty is an error
	Login       string
	ServerID    string
	ProjectID   string
	MaxLifetime time.Duration // zero means MaxUserLifetime, or TargetLifetime for a Gateway
	Now         time.Time
	// Gateway makes it the certificate with which this gateway goes to the server
	// (Target); empty means a user's own, which nobody else's can stand for.
	Gateway string
}

// ExpectHost is what a host certificate must prove.
type ExpectHost struct {
	CAs      []ssh.PublicKey
	ServerID string
	Now      time.Time
	// Gateways makes it the certificate of one of these gateways, standing for the
	// server (GatewayHost); empty means the server's own.
	Gateways []string
}

// VerifyUser accepts cert only if it is, in every field, a user certificate that one of the
// expected CAs could have signed for exactly this login on this server, valid now. All
// components use it, in place of ssh.CertChecker alone. Errors wrap ErrRefused.
//
// It does not know whether the peer holds the private key: use it where the SSH library
// has checked that (VerifiedPublicKeyCallback), or after checking a signature.
func VerifyUser(cert *ssh.Certificate, e ExpectUser) error {
	err := verifyUser(cert, e)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

func verifyUser(cert *ssh.Certificate, e ExpectUser) error {
	if err := errors.Join(ident.Login(e.Login), ident.Check(e.ServerID, ident.Server), ident.Check(e.ProjectID, ident.Project)); err != nil {
		return fmt.Errorf("expectation: %w", err)
	}
	most := MaxUserLifetime
	if e.Gateway != "" {
		most = TargetLifetime
	}
	limit := orDefault(e.MaxLifetime, most)
	if limit > most {
		return fmt.Errorf("expectation: lifetime above %s", most)
	}
	principal := UserPrincipal(e.Login, e.ServerID)
	if err := verifyShape(cert, ssh.UserCert, principal, limit); err != nil {
		return err
	}
	if err := e.verifyGateway(cert); err != nil {
		return err
	}
	if got := cert.Extensions[extProject]; got != e.ProjectID {
		return fmt.Errorf("project %q, want %q", got, e.ProjectID)
	}
	for name, value := range cert.Extensions {
		if !knownExtension(name, value) {
			return fmt.Errorf("extension %q is not one that we issue", name)
		}
	}
	return verifySignature(cert, e.CAs, principal, e.Now, e.Gateway != "")
}

// VerifyHost accepts cert only if it is the host certificate of the expected server, signed
// by one of the CAs and valid now. Errors wrap ErrRefused. There is no trust on first use:
// without CAs nothing is accepted.
func VerifyHost(cert *ssh.Certificate, e ExpectHost) error {
	err := verifyHost(cert, e)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

func verifyHost(cert *ssh.Certificate, e ExpectHost) error {
	if err := ident.Check(e.ServerID, ident.Server); err != nil {
		return fmt.Errorf("expectation: %w", err)
	}
	principal, limit, keyIDs := HostPrincipal(e.ServerID), HostLifetime, []string{hostKeyID(e.ServerID)}
	if len(e.Gateways) > 0 {
		limit, keyIDs = GatewayHostLifetime, nil
		for _, g := range e.Gateways {
			if err := ident.Check(g, ident.Gateway); err != nil {
				return fmt.Errorf("expectation: %w", err)
			}
			keyIDs = append(keyIDs, gatewayHostKeyID(g, e.ServerID))
		}
	}
	if err := verifyShape(cert, ssh.HostCert, principal, limit); err != nil {
		return err
	}
	if !slices.Contains(keyIDs, cert.KeyId) {
		return fmt.Errorf("key id %.200q is not that of whoever is expected", cert.KeyId)
	}
	if len(cert.Extensions) != 0 || len(cert.CriticalOptions) != 0 {
		return errors.New("host certificate with extensions or critical options")
	}
	return verifySignature(cert, e.CAs, principal, e.Now, false)
}

// verifyShape checks what all certificates have, and needs neither a key nor a clock.
// Critical options are for the caller to check, who knows which belong there.
func verifyShape(cert *ssh.Certificate, certType uint32, principal string, limit time.Duration) error {
	if cert == nil || cert.Key == nil || cert.SignatureKey == nil || cert.Signature == nil {
		return errors.New("incomplete")
	}
	if cert.CertType != certType {
		return fmt.Errorf("type %d, want %d", cert.CertType, certType)
	}
	if err := CheckSubjectKey(cert.Key); err != nil {
		return err
	}
	if len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != principal {
		return fmt.Errorf("principals %.200q, want exactly %q", cert.ValidPrincipals, principal)
	}
	if cert.Serial == 0 || cert.Serial > maxSerial {
		return fmt.Errorf("serial %d", cert.Serial)
	}
	if err := checkKeyID(cert.KeyId); err != nil {
		return err
	}
	if len(cert.Reserved) != 0 {
		return errors.New("reserved data that we never issue")
	}
	if cert.ValidBefore > maxSerial || cert.ValidAfter >= cert.ValidBefore {
		return errors.New("validity is empty or unlimited")
	}
	if life := cert.ValidBefore - cert.ValidAfter; life > uint64((limit+Backdate)/time.Second) {
		return fmt.Errorf("valid for %d s, more than %s", life, limit)
	}
	return nil
}

// verifySignature takes a list of source addresses only where the caller has checked it.
func verifySignature(cert *ssh.Certificate, cas []ssh.PublicKey, principal string, now time.Time, sources bool) error {
	if len(cas) == 0 || now.IsZero() {
		return errors.New("expectation: no CA or no time given")
	}
	if !isOneOf(cert.SignatureKey, cas) {
		return errors.New("signed by a CA that is not expected here")
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return now }}
	if sources {
		checker.SupportedCriticalOptions = []string{optSource}
	}
	return checker.CheckCert(principal, cert)
}

func isOneOf(key ssh.PublicKey, cas []ssh.PublicKey) bool {
	if _, nested := key.(*ssh.Certificate); nested {
		return false
	}
	wire := key.Marshal()
	for _, ca := range cas {
		if ca != nil && bytes.Equal(ca.Marshal(), wire) {
			return true
		}
	}
	return false
}

func knownExtension(name, value string) bool {
	switch name {
	case extPTY, extPortForwarding, extAgentForwarding, extX11Forwarding, extUserRC:
		return value == ""
	case extProject:
		return true // its value was compared by the caller
	}
	return false
}

// ServerOf reads which server a host certificate claims to be for. It is a claim until
// VerifyHost has confirmed it for that very id.
func ServerOf(cert *ssh.Certificate) (serverID string, ok bool) {
	if cert == nil || cert.CertType != ssh.HostCert || len(cert.ValidPrincipals) != 1 {
		return "", false
	}
	return strings.CutSuffix(cert.ValidPrincipals[0], hostSuffix)
}
