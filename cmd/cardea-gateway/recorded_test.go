package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/sshcert"
)

// recorded is a control plane that has every session recorded, and the server behind the
// gateway, which repeats what it hears.
type recorded struct {
	*control
	t                         *testing.T
	userCA, hostCA, gatewayCA sshtest.KeyPair
	server, project, address  string
	recipient                 string
}

func newRecorded(t *testing.T) *recorded {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{
		control: newControl(t), t: t, userCA: sshtest.Key(t), hostCA: sshtest.Key(t), gatewayCA: sshtest.Key(t),
		server: ident.New(ident.Server), project: ident.New(ident.Project), recipient: identity.Recipient().String(),
	}
	r.On("POST", "/v1/gateway/sessions", r.claim)
	r.serve()
	return r
}

// claim answers as the control plane does.
func (r *recorded) claim(call apitest.Call) (any, error) {
	var in api.Claim
	call.Into(r.t, &in)
	host, err := sshcert.ParseLine(in.HostKey)
	if err != nil {
		return nil, err
	}
	target, err := sshcert.ParseLine(in.TargetKey)
	if err != nil {
		return nil, err
	}
	// The names of folders are made of it.
	id := ident.New(ident.GatewaySession)
	for _, about := range []string{"end", "recording", "refusals"} {
		r.Reply("POST", "/v1/gateway/sessions/"+id+"/"+about, nil)
	}
	return api.Claimed{Session: id, Record: &api.RecordOrder{
		Required: true, Recipients: []string{r.recipient},
		HostCertificate: sshtest.Line(r.host(r.gatewayCA, host)), TargetCertificate: sshtest.Line(r.user(r.userCA, target)),
		UserCAs: []string{sshtest.Line(r.gatewayCA.PublicKey())}, HostCAs: []string{sshtest.Line(r.hostCA.PublicKey())},
	}}, nil
}

func (r *recorded) user(ca ssh.Signer, key ssh.PublicKey) *ssh.Certificate {
	cert, err := sshcert.BuildUser(sshcert.User{
		Login: "alice", ServerID: r.server, UserID: ident.New(ident.User), SessionID: ident.New(ident.Session), DeviceID: ident.New(ident.Device),
		ProjectID: r.project, Serial: sshcert.NewSerial(), Issued: time.Now(),
	}, key)
	return r.sign(cert, err, ca)
}

func (r *recorded) host(ca ssh.Signer, key ssh.PublicKey) *ssh.Certificate {
	cert, err := sshcert.BuildHost(sshcert.Host{ServerID: r.server, Serial: sshcert.NewSerial(), Issued: time.Now()}, key)
	return r.sign(cert, err, ca)
}

func (r *recorded) sign(cert *ssh.Certificate, err error, ca ssh.Signer) *ssh.Certificate {
	if err == nil {
		err = cert.SignCert(rand.Reader, ca)
	}
	if err != nil {
		r.t.Error(err)
	}
	return cert
}

// serve is the server.
func (r *recorded) serve() {
	key := sshtest.Key(r.t)
	signer, err := ssh.NewCertSigner(r.host(r.hostCA, key.PublicKey()), key)
	if err != nil {
		r.t.Fatal(err)
	}
	checker := &ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), r.userCA.PublicKey().Marshal()) }}
	config := &ssh.ServerConfig{PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		cert, ok := key.(*ssh.Certificate)
		if !ok || !checker.IsUserAuthority(cert.SignatureKey) {
			return nil, ssh.ErrNoAuth
		}
		return nil, checker.CheckCert(sshcert.UserPrincipal(m.User(), r.server), cert)
	}}
	config.AddHostKey(signer)
	r.address = tcptest.Serve(r.t, func(conn net.Conn) { repeat(conn, config) })
}

// repeat runs any command as if it were cat.
func repeat(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range requests {
				req.Reply(req.Type == "exec", nil)
			}
		}()
		go func() { io.Copy(channel, channel); channel.Close() }()
	}
}

// visit is a user who runs a command through the gateway.
func (r *recorded) visit(p *process) (io.ReadWriteCloser, hello.Answer, error) {
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, hello.Answer{}, err
	}
	conn, a, err := p.callWith(r.control, fresh, hello.Ticket{Server: r.server, Address: r.address, Mode: hello.Record})
	if err != nil || !a.Accepted {
		return conn, a, err
	}
	signer, err := ssh.NewSignerFromKey(fresh)
	if err != nil {
		return conn, a, err
	}
	certified, err := ssh.NewCertSigner(r.user(r.gatewayCA, signer.PublicKey()), signer)
	if err != nil {
		return conn, a, err
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(certified)}, HostKeyAlgorithms: []string{ssh.CertAlgoED25519v01},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			return sshcert.VerifyHost(key.(*ssh.Certificate), sshcert.ExpectHost{CAs: []ssh.PublicKey{r.gatewayCA.PublicKey()}, ServerID: r.server, Now: time.Now()})
		},
	})
	if err != nil {
		return conn, a, err
	}
	client := ssh.NewClient(sc, channels, requests)
	channel, answers, err := client.OpenChannel("session", nil)
	if err != nil {
		return conn, a, err
	}
	go ssh.DiscardRequests(answers)
	if ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"cat"})); err != nil || !ok {
		return conn, a, err
	}
	return visited{channel, client}, a, conn.SetDeadline(time.Time{})
}

// visited ends with its connection.
type visited struct {
	io.ReadWriter
	io.Closer
}
