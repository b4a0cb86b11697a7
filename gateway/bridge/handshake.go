package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/sshcert"
)

// version is what we call ourselves to both ends. OpenSSH sends no-more-sessions@openssh.com
// and eow@openssh.com, without which `ssh host yes | head` never ends, only to versions that
// begin like its own.
const version = "SSH-2.0-OpenSSH_for_Cardea"

// Names of what a verified certificate said, in ServerConn.Permissions.
const (
	permKeyID  = "key-id"
	permSerial = "serial"
)

// algorithms are those of both legs: post-quantum where the peer has it, and AES-GCM, which
// costs half of chacha20 here and takes no part in prefix truncation (CVE-2023-48795).
func algorithms(l *leg) ssh.Config {
	return ssh.Config{
		Rand:         random{&l.rekey},
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM},
	}
}

// forPrograms adds what clients need that know no AES-GCM, such as the paramiko of Debian 12:
// AES in counter mode, and a code over the plain text, which prefix truncation does not
// reach either (docs/adr/0012). A client's own order decides: OpenSSH has our line in its
// configuration and takes AES-GCM.
func forPrograms(c ssh.Config) ssh.Config {
	c.Ciphers = append(c.Ciphers, ssh.CipherAES128CTR, ssh.CipherAES256CTR)
	c.MACs = []string{ssh.HMACSHA256, ssh.HMACSHA512}
	return c
}

// entry is what the two handshakes tell each other.
type entry struct {
	*bridge
	begin     time.Time
	done      chan struct{} // closed when the server's side is settled; err is readable then
	err       error
	banner    chan string // what the server wants shown before the login; holds one
	hostKey   []byte      // the server's, at the first key exchange
	preparing ssh.ServerPreAuthConn
}

var errPanicked = errors.New("internal error of the gateway")

// handshake makes both connections at once. The user is let in only when the server's side
// has succeeded, so that a failure there can be told while he still listens.
func (b *bridge) handshake() error {
	e := &entry{bridge: b, begin: time.Now(), done: make(chan struct{}), banner: make(chan string, 1)}
	b.user.SetDeadline(e.begin.Add(b.kexTime))
	b.server.SetDeadline(e.begin.Add(b.kexTime))
	over, cancel := context.WithCancel(context.Background())
	b.spawn(func() {
		select {
		case <-b.ending:
			b.user.Close()
			b.server.Close()
		case <-over.Done():
		}
	})
	defer cancel()
	b.spawn(func() {
		defer close(e.done)
		e.err = errPanicked
		e.err = e.toServer()
	})
	err := errPanicked
	b.guard(func() { err = e.toUser() })
	if err != nil {
		b.server.Close()
		<-e.done
		return errors.Join(fmt.Errorf("user's side: %w", err), e.err)
	}
	<-e.done // it has: the user was let in
	b.user.SetDeadline(time.Time{})
	b.server.SetDeadline(time.Time{})
	b.user.rekey.armed.Store(true)
	b.server.rekey.armed.Store(true)
	select {
	case <-b.ending:
		return b.why
	default:
		return nil
	}
}

// toUser is the user's side.
func (e *entry) toUser() error {
	config := &ssh.ServerConfig{
		Config: forPrograms(algorithms(e.user)), ServerVersion: version, MaxAuthTries: maxAuthTries,
		PublicKeyAuthAlgorithms: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		},
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			_, err := e.admit(meta, key)
			return &ssh.Permissions{}, err
		},
		VerifiedPublicKeyCallback: e.verified,
		PreAuthConnCallback: func(c ssh.ServerPreAuthConn) {
			e.user.SetDeadline(e.begin.Add(e.authTime))
			e.preparing = c
		},
		AuthLogCallback: func(meta ssh.ConnMetadata, method string, err error) {
			e.Log.Debug("authentication", "method", printable(method, maxName), "error", err)
		},
	}
	// OpenSSH asks for the certificate alone; who knows none is shown the key.
	config.AddHostKey(e.HostKey)
	if e.PlainKey != nil {
		config.AddHostKey(e.PlainKey)
	}
	conn, chans, requests, err := ssh.NewServerConn(e.user, config)
	if err != nil {
		return err
	}
	e.user.conn, e.user.chans, e.user.requests, e.user.side = conn, chans, requests, fromUser
	// Who this is, is what the verified key said, and nothing that was offered before.
	if conn.Permissions == nil || conn.Permissions.Extensions[permSerial] == "" {
		conn.Close()
		return errors.New("let in without a verified certificate")
	}
	e.Log.Debug("user's side is up", "key_id", conn.Permissions.Extensions[permKeyID],
		"client", printable(string(conn.ClientVersion()), maxName))
	return nil
}

// admit says whether a key may come in; that its owner holds it, is not proven here.
func (e *entry) admit(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Certificate, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("a key without a certificate")
	}
	if meta.User() != e.Expect.Login {
		return nil, fmt.Errorf("login %s is not the one this session is for", printable(meta.User(), maxName))
	}
	if sha256.Sum256(cert.Key.Marshal()) != e.Fresh {
		return nil, errors.New("the certificate is not for the key of this session")
	}
	expect := e.Expect
	expect.Now = e.Now()
	return cert, sshcert.VerifyUser(cert, expect)
}

// verified is called when the user has proven that the key is his. Only what it returns is
// the identity of the connection.
func (e *entry) verified(meta ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	cert, err := e.admit(meta, key)
	if err != nil {
		return nil, err
	}
	<-e.done // bounded by the server's deadline
	select {
	case text := <-e.banner:
		if e.noteBanner(text) == nil {
			e.preparing.SendAuthBanner(text)
		}
	default:
	}
	if e.err != nil {
		e.user.SetDeadline(time.Now().Add(finishTime)) // to read why, and go
		return nil, &ssh.BannerError{Err: e.err, Message: "cardea: " + excuse(e.err) + "\r\n"}
	}
	return &ssh.Permissions{Extensions: map[string]string{
		permKeyID: cert.KeyId, permSerial: strconv.FormatUint(cert.Serial, 10),
	}}, nil
}

// noteBanner records what the server shows before the login.
func (e *entry) noteBanner(text string) error {
	for part := range slices.Chunk([]byte(text), chunk) {
		if err := e.record(0, recording.Errput, part); err != nil {
			return err
		}
	}
	return nil
}

// excuse is what the user is told when the server's side fails. The cause is for the log.
func excuse(err error) string {
	var auth interface{ Timeout() bool }
	switch {
	case errors.Is(err, sshcert.ErrRefused), errors.Is(err, errChanged):
		return "the server did not prove to be the one that it should be, so the gateway does not connect to it"
	case errors.As(err, &auth) && auth.Timeout():
		return "the server did not answer the gateway in time"
	}
	return "the gateway cannot log in to the server; try again, and if it stays so ask your administrator, who finds more in its log"
}

var errChanged = errors.New("the server's host key is not what it was before")

// toServer is the server's side.
func (e *entry) toServer() error {
	config := &ssh.ClientConfig{
		Config: algorithms(e.server), ClientVersion: version, User: e.Expect.Login,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(e.TargetKey)},
		HostKeyCallback: e.checkHost,
		HostKeyAlgorithms: []string{
			ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
		},
		BannerCallback: func(text string) error {
			select {
			case e.banner <- text:
			default: // one is enough
			}
			return nil
		},
	}
	conn, chans, requests, err := ssh.NewClientConn(e.server, "", config)
	if err != nil {
		return fmt.Errorf("server's side: %w", err)
	}
	e.server.conn, e.server.chans, e.server.requests, e.server.side = conn, chans, requests, fromServer
	return nil
}

// checkHost takes a host certificate for the expected server alone, and at later key
// exchanges, when that may be over, the very key of the first.
func (e *entry) checkHost(_ string, _ net.Addr, key ssh.PublicKey) error {
	wire := key.Marshal()
	if e.hostKey != nil {
		if !bytes.Equal(wire, e.hostKey) {
			return errChanged
		}
		return nil
	}
	e.shown.Store(&key)
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return fmt.Errorf("%w: a host key without a certificate", sshcert.ErrRefused)
	}
	expect := e.ExpectHost
	expect.Now = e.Now()
	if err := sshcert.VerifyHost(cert, expect); err != nil {
		return err
	}
	e.hostKey = wire
	e.server.SetDeadline(e.begin.Add(e.authTime / 6 * 5)) // before the user's, who is to be told
	return nil
}
