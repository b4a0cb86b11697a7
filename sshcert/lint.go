package sshcert

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// Lint says whether cert is what its facts allow, and nothing more. It is the last look
// before the signature, so it shares no code with Build: it reads the finished certificate
// field by field and compares each with a value that it works out itself.
func Lint(cert *ssh.Certificate, facts Profile) error {
	if cert == nil || facts == nil {
		return errors.New("lint: no certificate or no facts")
	}
	if err := facts.lint(cert); err != nil {
		return fmt.Errorf("lint: %w", err)
	}
	return nil
}

func (u User) lint(cert *ssh.Certificate) error {
	if err := u.check(); err != nil {
		return err
	}
	if cert.CertType != ssh.UserCert {
		return fmt.Errorf("type %d is not a user certificate", cert.CertType)
	}
	keyID := fmt.Sprintf("cardea:user=%s:session=%s:device=%s:login=%s", u.UserID, u.SessionID, u.DeviceID, u.Login)
	if u.BreakGlass != "" {
		keyID += ":glass=" + u.BreakGlass
	}
	if err := lintCommon(cert, u.Serial, keyID, u.Login+"@"+u.ServerID, 0); err != nil {
		return err
	}
	if err := lintTimes(cert, u.Issued, u.Lifetime, MaxUserLifetime); err != nil {
		return err
	}
	return u.lintExtensions(cert)
}

// lintExtensions allows exactly the granted permissions: none is missing, none is extra.
func (u User) lintExtensions(cert *ssh.Certificate) error {
	want := 1
	for _, p := range []struct {
		name    string
		granted bool
	}{
		{"permit-pty", u.Permissions.PTY},
		{"permit-port-forwarding", u.Permissions.PortForwarding},
		{"permit-agent-forwarding", u.Permissions.AgentForwarding},
		{"permit-X11-forwarding", u.Permissions.X11},
		{"permit-user-rc", u.Permissions.UserRC},
	} {
		value, has := cert.Extensions[p.name]
		if has != p.granted || value != "" {
			return fmt.Errorf("extension %s does not match what was granted", p.name)
		}
		if has {
			want++
		}
	}
	if cert.Extensions[extProject] != u.ProjectID {
		return fmt.Errorf("project %q is not %q", cert.Extensions[extProject], u.ProjectID)
	}
	if len(cert.Extensions) != want {
		return fmt.Errorf("%d extensions, want %d", len(cert.Extensions), want)
	}
	return nil
}

func (h Host) lint(cert *ssh.Certificate) error {
	if err := h.check(); err != nil {
		return err
	}
	if cert.CertType != ssh.HostCert {
		return fmt.Errorf("type %d is not a host certificate", cert.CertType)
	}
	if err := lintCommon(cert, h.Serial, "cardea:host="+h.ServerID, h.ServerID+".cardea", 0); err != nil {
		return err
	}
	if len(cert.Extensions) != 0 {
		return errors.New("host certificate has extensions")
	}
	return lintTimes(cert, h.Issued, h.Lifetime, HostLifetime)
}

// lintCommon checks what all have. Of critical options it only counts those that belong
// there.
func lintCommon(cert *ssh.Certificate, serial uint64, keyID, principal string, critical int) error {
	if err := CheckSubjectKey(cert.Key); err != nil {
		return err
	}
	if cert.Serial != serial {
		return fmt.Errorf("serial %d is not %d", cert.Serial, serial)
	}
	if cert.KeyId != keyID {
		return fmt.Errorf("key id %q is not %q", cert.KeyId, keyID)
	}
	if err := checkKeyID(cert.KeyId); err != nil {
		return err
	}
	if len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != principal {
		return fmt.Errorf("principals %q are not exactly %q", cert.ValidPrincipals, principal)
	}
	if len(cert.CriticalOptions) != critical {
		return fmt.Errorf("%d critical options, want %d", len(cert.CriticalOptions), critical)
	}
	if len(cert.Reserved) != 0 {
		return errors.New("the reserved field is not empty")
	}
	return nil
}

func lintTimes(cert *ssh.Certificate, issued time.Time, lifetime, limit time.Duration) error {
	if cert.ValidAfter >= cert.ValidBefore || cert.ValidBefore > maxSerial {
		return errors.New("validity is empty or unlimited")
	}
	if d := issued.Unix() - int64(cert.ValidAfter); d < 0 || d > 60 {
		return fmt.Errorf("valid from %d s before the issue, want 0 to 60", d)
	}
	// The facts may leave the lifetime to the default; it never exceeds the limit then either.
	allowed := limit
	if lifetime > 0 {
		allowed = lifetime
	}
	most := int64((allowed + time.Second - 1) / time.Second)
	if left := int64(cert.ValidBefore) - issued.Unix(); left <= 0 || left > most {
		return fmt.Errorf("valid for %d s after the issue, want 1 to %d", left, most)
	}
	return nil
}
