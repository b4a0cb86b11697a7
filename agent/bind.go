package agent

import (
	"time"

	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// sessionBind is specified in OpenSSH's PROTOCOL.agent, section 1.
const sessionBind = "session-bind@openssh.com"

// binding is what an ssh said about the connections that its agent connection serves.
type binding struct {
	bound     bool   // the first bind was good
	refused   bool   // nothing is offered any more
	serverID  string // "" for a host that is none of ours
	gateway   string // id of the gateway that stands in the server's place; "" for none
	sessionID []byte
	hostKey   []byte
}

func (s *session) extension(msg []byte) []byte {
	var req struct {
		Name     string `sshtype:"27"`
		Contents []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(msg, &req); err != nil || req.Name != sessionBind {
		return []byte{msgFailure}
	}
	if why := s.bind(req.Contents); why != "" {
		// A bind that fails leaves the connection without any identity: it must not do
		// better than one that never said where it goes.
		s.binding.refused = true
		s.report(why)
		return []byte{msgExtensionFailure}
	}
	return []byte{msgSuccess}
}

// bind takes in one session-bind message and says why it is refused; "" if it is not.
func (s *session) bind(contents []byte) string {
	var b struct {
		HostKey    []byte
		SessionID  []byte
		Signature  []byte
		Forwarding bool
	}
	if err := ssh.Unmarshal(contents, &b); err != nil || len(b.SessionID) == 0 {
		return "malformed session-bind"
	}
	key, ok := parseHostKey(b.HostKey)
	if !ok {
		return "session-bind with a host key that cannot be parsed"
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil || verifyBy(key, b.SessionID, &sig) != nil {
		return "session-bind with a wrong signature"
	}
	// OpenSSH's agent takes up to 16 binds, because forwarding adds one for each hop. Here
	// nothing is forwarded, so one is all there can be.
	if b.Forwarding {
		return "a forwarded connection asked for an identity"
	}
	if s.binding.bound {
		return "a second session-bind on a connection that is bound"
	}
	s.binding.bound, s.binding.sessionID, s.binding.hostKey = true, b.SessionID, b.HostKey
	s.binding.serverID, s.binding.gateway = s.serverOf(key)
	return ""
}

// serverOf is the id of the server that key proves to be, and of the gateway that stands in
// its place if one does; "" if it proves none. Whether a gateway is wanted there, the
// identity knows.
func (s *session) serverOf(key ssh.PublicKey) (server, gateway string) {
	cert, _ := key.(*ssh.Certificate)
	server, ok := sshcert.ServerOf(cert)
	if !ok {
		return "", ""
	}
	e := sshcert.ExpectHost{CAs: s.hostCAs(), ServerID: server, Now: s.now()}
	gateway, between := sshcert.GatewayOf(cert)
	if between {
		e.CAs, e.Gateways = s.gatewayCAs(), []string{gateway}
	}
	if err := sshcert.VerifyHost(cert, e); err != nil {
		s.report("the host's certificate is not good: " + err.Error())
		return "", ""
	}
	return server, gateway
}

// parseHostKey takes certificates through the parser that cannot be nested, and else plain
// keys alone.
func parseHostKey(wire []byte) (ssh.PublicKey, bool) {
	if cert, err := sshcert.ParseCertificate(wire); err == nil {
		return cert, true
	}
	key, err := sshcert.ParseSubjectKey(wire)
	return key, err == nil
}

// verifyBy checks with the key inside a certificate, whose own Verify passes any algorithm on.
func verifyBy(key ssh.PublicKey, data []byte, sig *ssh.Signature) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return key.Verify(data, sig)
}

// defaultNow is the clock where none is given.
func defaultNow(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
