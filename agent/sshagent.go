package agent

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// Messages of the ssh-agent protocol (draft-ietf-sshm-ssh-agent, section 6.1).
const (
	msgFailure          = 5
	msgSuccess          = 6
	msgRequestIDs       = 11
	msgIDsAnswer        = 12
	msgSignRequest      = 13
	msgSignResponse     = 14
	msgLock             = 22
	msgUnlock           = 23
	msgExtension        = 27
	msgExtensionFailure = 28
)

const (
	// maxMessage is OpenSSH's own limit for a message of ssh-agent (AGENT_MAX_LEN).
	maxMessage = 256 << 10
	// messageTime bounds how long one message may take once it has begun. They are small and
	// local; who takes longer holds a slot for nothing.
	messageTime = 10 * time.Second
	// idleTime bounds the silence between messages: ssh asks for an identity, then a person
	// may have to be asked something before it asks for the signature.
	idleTime = 5 * time.Minute
)

// guard is the lock of the agent.
type guard interface {
	locked() bool
	lockUp(passphrase string) error
	unlock(passphrase string) error
}

// session is one connection of an ssh to the agent.
type session struct {
	ids     *identities
	pid     int
	hostCAs func() []ssh.PublicKey
	// gatewayCAs sign for gateways that stand in a server's place.
	gatewayCAs func() []ssh.PublicKey
	now        func() time.Time
	guard      guard
	// mayUse asks the person, where he wants to be asked; nil asks nobody.
	mayUse func(*identity) bool
	// report tells the log why something was refused; it never gets key material.
	report func(why string)

	binding binding
}

// serve answers messages until the peer goes, breaks the protocol or is silent for long.
func (s *session) serve(conn net.Conn) error {
	for {
		msg, err := readMessage(conn)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		answer := s.answer(msg)
		frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(answer)), uint32(len(answer)))
		if err := conn.SetWriteDeadline(time.Now().Add(messageTime)); err != nil {
			return err
		}
		if _, err := conn.Write(append(frame, answer...)); err != nil {
			return err
		}
	}
}

// readMessage reads one frame. It takes memory as bytes arrive and not as they are promised.
func readMessage(conn net.Conn) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxMessage {
		return nil, errors.New("message of an impossible length")
	}
	if err := conn.SetReadDeadline(time.Now().Add(messageTime)); err != nil {
		return nil, err
	}
	msg, err := io.ReadAll(io.LimitReader(conn, int64(n)))
	if err == nil && len(msg) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	return msg, err
}

// answer never fails: what it does not know or want it answers with a failure. Adding and
// removing keys and smartcards are among that on purpose.
func (s *session) answer(msg []byte) []byte {
	switch msg[0] {
	case msgRequestIDs:
		if len(msg) == 1 {
			return s.list()
		}
	case msgSignRequest:
		return s.signature(msg)
	case msgExtension:
		return s.extension(msg) // also while it is locked: what was bound stays so afterwards
	case msgLock, msgUnlock:
		return s.turn(msg)
	}
	return []byte{msgFailure}
}

// offered are the identities that this connection may see, and so use.
func (s *session) offered() []*identity {
	switch {
	case s.binding.refused, s.guard.locked():
		return nil
	case s.binding.bound:
		return s.ids.forServer(s.binding.serverID, s.binding.gateway, s.pid)
	default:
		return s.ids.forProcess(s.pid)
	}
}

func (s *session) list() []byte {
	offered := s.offered()
	out := binary.BigEndian.AppendUint32([]byte{msgIDsAnswer}, uint32(len(offered)))
	for _, id := range offered {
		out = append(out, ssh.Marshal(struct {
			Blob    []byte
			Comment string
		}{id.blob, "cardea " + id.login + "@" + id.serverName})...)
	}
	return out
}

// userauth is what an ssh client signs (RFC 4252 section 7), with the host key that
// publickey-hostbound-v00@openssh.com adds.
type userauth struct {
	SessionID []byte
	Type      byte
	User      string
	Service   string
	Method    string
	HasSig    bool
	Algorithm string
	Key       []byte
	HostKey   []byte `ssh:"rest"`
}

const msgUserauthRequest = 50

func (s *session) signature(msg []byte) []byte {
	var req struct {
		Blob  []byte `sshtype:"13"`
		Data  []byte
		Flags uint32
	}
	if err := ssh.Unmarshal(msg, &req); err != nil {
		return []byte{msgFailure}
	}
	id := find(s.offered(), req.Blob)
	if id == nil {
		s.report("a signature was asked for with a key that is not offered here")
		return []byte{msgFailure}
	}
	if why := s.mayNotSign(id, req.Blob, req.Data); why != "" {
		s.report(why)
		return []byte{msgFailure}
	}
	if s.mayUse != nil && !s.mayUse(id) {
		s.report("the use of a key was not confirmed")
		return []byte{msgFailure}
	}
	if s.guard.locked() { // while the person was asked
		return []byte{msgFailure}
	}
	sig, err := id.sign(req.Data)
	if err != nil {
		s.report("signing failed")
		return []byte{msgFailure}
	}
	s.ids.markUsed(id)
	return ssh.Marshal(struct {
		Type byte
		Sig  []byte
	}{msgSignResponse, ssh.Marshal(sig)})
}

// mayNotSign says why data is not the authentication request that id is for; "" if it is.
func (s *session) mayNotSign(id *identity, blob, data []byte) string {
	var a userauth
	if err := ssh.Unmarshal(data, &a); err != nil || a.Type != msgUserauthRequest || !a.HasSig || a.Service != "ssh-connection" {
		return "asked to sign what is not an authentication request"
	}
	switch {
	case a.User != id.login:
		return "your login on " + id.serverName + " is " + id.login + ", and another one was asked for"
	case string(a.Key) != string(blob) || a.Algorithm != id.cert.Type():
		return "asked to sign for another key than the one named"
	case s.binding.bound && string(a.SessionID) != string(s.binding.sessionID):
		return "asked to sign for another connection than the one that was bound"
	}
	switch a.Method {
	case "publickey":
		if len(a.HostKey) == 0 {
			return ""
		}
	case "publickey-hostbound-v00@openssh.com":
		var h struct{ Key []byte }
		if err := ssh.Unmarshal(a.HostKey, &h); err == nil && s.binding.bound && string(h.Key) == string(s.binding.hostKey) {
			return ""
		}
	}
	return "asked to sign for another host than the one that was bound"
}
