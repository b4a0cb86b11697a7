package sshcert

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// A recording gateway stands between a user and a server, so there are three
// certificates: the user's for the gateway (ToGateway), the gateway's for the user
// (GatewayHost), and the gateway's for the server (Target).

const (
	// TargetLifetime is that of a Target: the gateway uses it at once, and no later.
	TargetLifetime = 2 * time.Minute
	// GatewayHostLifetime is that of a GatewayHost: ssh looks at it once, when the
	// connection begins.
	GatewayHostLifetime = 2 * time.Minute
	// MaxSources bounds the addresses of a Target. A gateway has no more.
	MaxSources = 16

	// optSource has sshd take a certificate from these addresses alone
	// (PROTOCOL.certkeys): comma-separated, in CIDR form.
	optSource = "source-address"
	// keyIDGateway stands in the key id of a Target, behind what a user's has. No login
	// has such characters.
	keyIDGateway = ":gateway="
)

// ToGateway is the facts behind the certificate with which a user goes to a recording
// gateway. It is what a User's is; but the team's gateway CA signs it, which no server
// trusts: so it is good for gateways alone.
type ToGateway struct{ User }

// Target is the facts behind the certificate with which a gateway goes to the server in
// a user's place: what the user may there, from the gateway's addresses.
type Target struct {
	User             // whose session it is; its Lifetime is TargetLifetime at most
	GatewayID string // gw_…
	// Sources are the addresses and prefixes from which the gateway reaches servers, 1
	// to MaxSources.
	Sources []string
}

// GatewayHost is the facts behind the host certificate with which a gateway stands for a
// server, towards the user of one session.
type GatewayHost struct {
	GatewayID string // gw_…
	ServerID  string // srv_…
	Serial    uint64 // from NewSerial
	Issued    time.Time
	// Lifetime counts from Issued; zero means GatewayHostLifetime, which also bounds it.
	Lifetime time.Duration
}

// BuildTarget makes the unsigned certificate of t for subject, a key of the gateway's.
func BuildTarget(t Target, subject ssh.PublicKey) (*ssh.Certificate, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("build certificate for a server: %w", err)
	}
	sources, err := sourceList(t.Sources)
	if err != nil {
		return nil, fmt.Errorf("build certificate for a server: %w", err)
	}
	user := t.User
	user.Lifetime = orDefault(user.Lifetime, TargetLifetime)
	cert, err := BuildUser(user, subject)
	if err != nil {
		return nil, err
	}
	cert.KeyId += keyIDGateway + t.GatewayID
	cert.CriticalOptions = map[string]string{optSource: sources}
	return cert, nil
}

// BuildGatewayHost makes the unsigned certificate of g for subject, the gateway's own
// host key.
func BuildGatewayHost(g GatewayHost, subject ssh.PublicKey) (*ssh.Certificate, error) {
	if err := g.check(); err != nil {
		return nil, fmt.Errorf("build host certificate of a gateway: %w", err)
	}
	if err := CheckSubjectKey(subject); err != nil {
		return nil, err
	}
	after, before := window(g.Issued, orDefault(g.Lifetime, GatewayHostLifetime))
	return &ssh.Certificate{
		Key:             subject,
		Serial:          g.Serial,
		CertType:        ssh.HostCert,
		KeyId:           gatewayHostKeyID(g.GatewayID, g.ServerID),
		ValidPrincipals: []string{HostPrincipal(g.ServerID)},
		ValidAfter:      after,
		ValidBefore:     before,
	}, nil
}

func gatewayHostKeyID(gateway, server string) string {
	return "cardea:gateway=" + gateway + ":host=" + server
}

// GatewayOf reads which gateway a host certificate claims to be of, standing for its server.
// It is a claim until VerifyHost has confirmed it for that very gateway.
func GatewayOf(cert *ssh.Certificate) (gatewayID string, ok bool) {
	if cert == nil || cert.CertType != ssh.HostCert {
		return "", false
	}
	rest, is := strings.CutPrefix(cert.KeyId, "cardea:gateway=")
	gateway, _, host := strings.Cut(rest, ":host=")
	if !is || !host {
		return "", false
	}
	return gateway, true
}

func (t Target) check() error {
	if t.Lifetime > TargetLifetime {
		return fmt.Errorf("lifetime %s is above %s", t.Lifetime, TargetLifetime)
	}
	if t.BreakGlass != "" {
		return errors.New("under a break-glass nobody goes through a gateway")
	}
	return errors.Join(t.User.check(), ident.Check(t.GatewayID, ident.Gateway))
}

func (g GatewayHost) check() error {
	if err := errors.Join(ident.Check(g.GatewayID, ident.Gateway), ident.Check(g.ServerID, ident.Server)); err != nil {
		return err
	}
	return checkCommon(g.Serial, g.Issued, g.Lifetime, GatewayHostLifetime)
}

// sourceList writes addresses and prefixes as sshd reads them: sorted, each once.
func sourceList(sources []string) (string, error) {
	if len(sources) == 0 || len(sources) > MaxSources {
		return "", fmt.Errorf("%d source addresses, want 1 to %d: without one it would be good from everywhere", len(sources), MaxSources)
	}
	var list []string
	for _, s := range sources {
		p, err := netip.ParsePrefix(s)
		if ip, notPrefix := netip.ParseAddr(s); notPrefix == nil {
			p, err = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
		}
		if err != nil || !p.IsValid() || p.Addr().Is4In6() || p.Bits() == 0 || strings.Contains(s, "%") {
			return "", fmt.Errorf("%.60q is no address or prefix that connections come from", s)
		}
		list = append(list, p.Masked().String())
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ","), nil
}

// lint replaces that of User, which a Target has too.
func (t Target) lint(cert *ssh.Certificate) error {
	if err := t.check(); err != nil {
		return err
	}
	if cert.CertType != ssh.UserCert {
		return fmt.Errorf("type %d is not a user certificate", cert.CertType)
	}
	keyID := fmt.Sprintf("cardea:user=%s:session=%s:device=%s:login=%s:gateway=%s", t.UserID, t.SessionID, t.DeviceID, t.Login, t.GatewayID)
	if err := lintCommon(cert, t.Serial, keyID, t.Login+"@"+t.ServerID, 1); err != nil {
		return err
	}
	if err := t.lintSources(cert.CriticalOptions["source-address"]); err != nil {
		return err
	}
	if err := lintTimes(cert, t.Issued, t.Lifetime, 120*time.Second); err != nil {
		return err
	}
	return t.lintExtensions(cert)
}

// lintSources allows exactly the addresses of the facts: it counts each that is there
// off against those that should be.
func (t Target) lintSources(list string) error {
	want := map[netip.Prefix]bool{}
	for _, s := range t.Sources {
		if !strings.Contains(s, "/") {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("source address %.60q: %w", s, err)
			}
			s = fmt.Sprintf("%s/%d", ip.Unmap(), ip.Unmap().BitLen())
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Bits() < 1 {
			return fmt.Errorf("source address %.60q is none", s)
		}
		want[p.Masked()] = true
	}
	for _, s := range strings.Split(list, ",") {
		p, err := netip.ParsePrefix(s)
		if err != nil || !want[p] {
			return fmt.Errorf("source address %.60q does not belong there", s)
		}
		delete(want, p)
	}
	if len(want) > 0 {
		return fmt.Errorf("%d source addresses are missing", len(want))
	}
	return nil
}

func (g GatewayHost) lint(cert *ssh.Certificate) error {
	if err := g.check(); err != nil {
		return err
	}
	if cert.CertType != ssh.HostCert {
		return fmt.Errorf("type %d is not a host certificate", cert.CertType)
	}
	if err := lintCommon(cert, g.Serial, fmt.Sprintf("cardea:gateway=%s:host=%s", g.GatewayID, g.ServerID), g.ServerID+".cardea", 0); err != nil {
		return err
	}
	if len(cert.Extensions) != 0 {
		return errors.New("host certificate has extensions")
	}
	return lintTimes(cert, g.Issued, g.Lifetime, 120*time.Second)
}

// verifyGateway checks what tells a gateway's own certificate from a user's, and lets
// neither stand for the other.
func (e ExpectUser) verifyGateway(cert *ssh.Certificate) error {
	_, gateway, named := strings.Cut(cert.KeyId, keyIDGateway)
	if e.Gateway == "" {
		if named || len(cert.CriticalOptions) != 0 {
			return errors.New("critical options or a gateway, which users' certificates never have")
		}
		return nil
	}
	if err := ident.Check(e.Gateway, ident.Gateway); err != nil {
		return fmt.Errorf("expectation: %w", err)
	}
	if gateway != e.Gateway {
		return fmt.Errorf("key id %.200q does not name gateway %s", cert.KeyId, e.Gateway)
	}
	list, err := sourceList(strings.Split(cert.CriticalOptions[optSource], ","))
	if err != nil {
		return err
	}
	if len(cert.CriticalOptions) != 1 || cert.CriticalOptions[optSource] != list {
		return errors.New("critical options are not exactly a list of source addresses")
	}
	return nil
}
