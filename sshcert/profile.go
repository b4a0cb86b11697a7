package sshcert

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// Permissions are what a user certificate allows beyond running a command.
type Permissions struct {
	PTY             bool `json:"pty"`
	PortForwarding  bool `json:"port_forwarding"`
	AgentForwarding bool `json:"agent_forwarding"`
	X11             bool `json:"x11"`
	UserRC          bool `json:"user_rc"`
}

// Profile is the facts that a certificate is made from: a User, a Host, a Canary, and
// those of a recording gateway: ToGateway, Target, GatewayHost.
type Profile interface {
	lint(*ssh.Certificate) error
}

// User is the facts behind one user certificate: one login on one server, for one session
// of one device. Every field but the subject key comes from the database.
type User struct {
	Login     string // Unix login, as ident.Login allows
	ServerID  string // srv_…
	UserID    string // usr_…
	SessionID string // ses_…
	DeviceID  string // dev_…
	ProjectID string // prj_…
	Serial    uint64 // from NewSerial
	// BreakGlass is the one under which it is issued, brg_…, or empty. It stands in the key
	// id, which sshd writes into its log: so the server agent knows whom to send away when
	// the break-glass is over.
	BreakGlass string

	// Issued is the instant of the decision; the certificate is valid from Backdate before it.
	Issued time.Time
	// Lifetime counts from Issued; zero means DefaultUserLifetime, and MaxUserLifetime bounds
	// it. It is cut to whole seconds.
	Lifetime    time.Duration
	Permissions Permissions
}

// Host is the facts behind one host certificate.
type Host struct {
	ServerID string // srv_…
	Serial   uint64 // from NewSerial
	Issued   time.Time
	// Lifetime counts from Issued; zero means HostLifetime, which also bounds it.
	Lifetime time.Duration
}

// BuildUser makes the unsigned certificate of u for subject. The result still has to pass
// Lint before it is signed.
func BuildUser(u User, subject ssh.PublicKey) (*ssh.Certificate, error) {
	if err := u.check(); err != nil {
		return nil, fmt.Errorf("build user certificate: %w", err)
	}
	if err := CheckSubjectKey(subject); err != nil {
		return nil, err
	}
	after, before := window(u.Issued, orDefault(u.Lifetime, DefaultUserLifetime))
	return &ssh.Certificate{
		Key:             subject,
		Serial:          u.Serial,
		CertType:        ssh.UserCert,
		KeyId:           u.keyID(),
		ValidPrincipals: []string{UserPrincipal(u.Login, u.ServerID)},
		ValidAfter:      after,
		ValidBefore:     before,
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{},
			Extensions:      u.extensions(),
		},
	}, nil
}

// BuildHost makes the unsigned certificate of h for subject, the server's own host key.
func BuildHost(h Host, subject ssh.PublicKey) (*ssh.Certificate, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("build host certificate: %w", err)
	}
	if err := CheckSubjectKey(subject); err != nil {
		return nil, err
	}
	after, before := window(h.Issued, orDefault(h.Lifetime, HostLifetime))
	return &ssh.Certificate{
		Key:             subject,
		Serial:          h.Serial,
		CertType:        ssh.HostCert,
		KeyId:           hostKeyID(h.ServerID),
		ValidPrincipals: []string{HostPrincipal(h.ServerID)},
		ValidAfter:      after,
		ValidBefore:     before,
	}, nil
}

func (u User) check() error {
	err := errors.Join(
		ident.Login(u.Login),
		ident.Check(u.ServerID, ident.Server), ident.Check(u.ProjectID, ident.Project),
		ident.Check(u.UserID, ident.User), ident.Check(u.SessionID, ident.Session), ident.Check(u.DeviceID, ident.Device),
	)
	if err == nil && u.BreakGlass != "" {
		err = ident.Check(u.BreakGlass, ident.BreakGlass)
	}
	if err != nil {
		return err
	}
	return checkCommon(u.Serial, u.Issued, u.Lifetime, MaxUserLifetime)
}

func (h Host) check() error {
	if err := ident.Check(h.ServerID, ident.Server); err != nil {
		return err
	}
	return checkCommon(h.Serial, h.Issued, h.Lifetime, HostLifetime)
}

func checkCommon(serial uint64, issued time.Time, lifetime, limit time.Duration) error {
	if serial == 0 || serial > maxSerial {
		return fmt.Errorf("serial %d is not within 1 to 2^63-1", serial)
	}
	if issued.Unix() <= int64(Backdate/time.Second) {
		return fmt.Errorf("time of issue %s is not a time", issued.UTC().Format(time.RFC3339))
	}
	if lifetime != 0 && lifetime < time.Second || lifetime > limit {
		return fmt.Errorf("lifetime %s is not within 1s to %s", lifetime, limit)
	}
	return nil
}

func hostKeyID(server string) string { return "cardea:host=" + server }

// keyID is what sshd writes into its log for every login: ids that the audit log explains,
// and the login for whoever reads the server's log alone.
func (u User) keyID() string {
	id := "cardea:user=" + u.UserID + ":session=" + u.SessionID + ":device=" + u.DeviceID + ":login=" + u.Login
	if u.BreakGlass != "" {
		id += keyIDGlass + u.BreakGlass
	}
	return id
}

// keyIDGlass stands in the key id before a break-glass. No login has a colon.
const keyIDGlass = ":glass="

var glassIn = regexp.MustCompile(keyIDGlass + `(brg_[a-z0-9]{1,40})$`)

// BreakGlassOf is the break-glass under which a user's certificate of that key id was
// issued, or empty.
func BreakGlassOf(keyID string) string {
	if m := glassIn.FindStringSubmatch(keyID); m != nil {
		return m[1]
	}
	return ""
}

func (u User) extensions() map[string]string {
	ext := map[string]string{extProject: u.ProjectID}
	for name, granted := range map[string]bool{
		extPTY:             u.Permissions.PTY,
		extPortForwarding:  u.Permissions.PortForwarding,
		extAgentForwarding: u.Permissions.AgentForwarding,
		extX11Forwarding:   u.Permissions.X11,
		extUserRC:          u.Permissions.UserRC,
	} {
		if granted {
			ext[name] = ""
		}
	}
	return ext
}

func window(issued time.Time, lifetime time.Duration) (after, before uint64) {
	return uint64(issued.Add(-Backdate).Unix()), uint64(issued.Add(lifetime).Unix())
}

func orDefault(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return d
}
