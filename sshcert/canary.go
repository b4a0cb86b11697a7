package sshcert

import (
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// CanaryLifetime is enough to change sshd's configuration, prove it and, if it does not
// hold, prove the old one again.
const CanaryLifetime = 5 * time.Minute

// Canary is the facts behind the certificate with which a server agent proves to itself
// that its sshd still lets managed users in. The account it is for, ident.Canary, has no
// shell and exists for nothing else; the certificate permits nothing but the login.
type Canary struct {
	ServerID  string // srv_…
	ProjectID string // prj_…
	Serial    uint64 // from NewSerial
	Issued    time.Time
}

// BuildCanary makes the unsigned certificate of c for subject, valid for CanaryLifetime.
func BuildCanary(c Canary, subject ssh.PublicKey) (*ssh.Certificate, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("build canary certificate: %w", err)
	}
	if err := CheckSubjectKey(subject); err != nil {
		return nil, err
	}
	after, before := window(c.Issued, CanaryLifetime)
	return &ssh.Certificate{
		Key:             subject,
		Serial:          c.Serial,
		CertType:        ssh.UserCert,
		KeyId:           "cardea:canary=" + c.ServerID,
		ValidPrincipals: []string{UserPrincipal(ident.Canary, c.ServerID)},
		ValidAfter:      after,
		ValidBefore:     before,
		Permissions:     ssh.Permissions{Extensions: map[string]string{extProject: c.ProjectID}},
	}, nil
}

func (c Canary) check() error {
	if err := errors.Join(ident.Check(c.ServerID, ident.Server), ident.Check(c.ProjectID, ident.Project)); err != nil {
		return err
	}
	return checkCommon(c.Serial, c.Issued, CanaryLifetime, CanaryLifetime)
}

func (c Canary) lint(cert *ssh.Certificate) error {
	if err := c.check(); err != nil {
		return err
	}
	if cert.CertType != ssh.UserCert {
		return fmt.Errorf("type %d is not a user certificate", cert.CertType)
	}
	if err := lintCommon(cert, c.Serial, "cardea:canary="+c.ServerID, "cardea-canary@"+c.ServerID, 0); err != nil {
		return err
	}
	if len(cert.Extensions) != 1 || cert.Extensions[extProject] != c.ProjectID {
		return errors.New("extensions are not exactly the project")
	}
	return lintTimes(cert, c.Issued, 0, CanaryLifetime)
}
