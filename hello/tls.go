package hello

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"sync"
	"time"
)

// ALPN names the transport in which the same bytes travel inside TLS 1.3
// (RFC 7301). It lets a balancer or firewall tell it from a web site.
const ALPN = "cardea/1"

const (
	// tlsCertLife is how long a self-made certificate is good: nobody checks it,
	// but boxes on the way may look at its dates.
	tlsCertLife = 7 * 24 * time.Hour
	// tlsCertRenew is the age at which a gateway makes another.
	tlsCertRenew = 24 * time.Hour
)

// errNotOurs means that the other end speaks TLS and something else inside.
var errNotOurs = errors.New("what answers inside TLS does not speak " + ALPN)

// ClientTLS is how a client reaches a gateway inside TLS. name goes into SNI, by
// which balancers route; it may be an address, which is not sent then.
//
// This TLS is a coat for the way, through what lets nothing else pass. It
// authenticates nobody: the seal of the hello does, which only the gateways that
// the control plane named can open, and their answer, which only they can
// make. So whoever ends this TLS, an impostor or a firewall that reads along,
// stands where he would stand on a plain connection: he has a message that he
// cannot open, and then SSH, which checks the host certificate. Certificates
// of the team's own would have to be bought, renewed and trusted, for nothing.
func ClientTLS(name string) *tls.Config {
	return &tls.Config{
		ServerName: name, NextProtos: []string{ALPN}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // see above; floors_test.go allows it in this file alone
		VerifyConnection:   ours,
	}
}

// ServerTLS is the other side. It makes its own certificate, and a new one each
// day, in memory only.
func ServerTLS() *tls.Config {
	maker := new(certMaker)
	return &tls.Config{
		GetCertificate: maker.get, NextProtos: []string{ALPN}, MinVersion: tls.VersionTLS13,
		// Nobody comes back to one member of a pool, and there is no key to rotate.
		SessionTicketsDisabled: true,
		VerifyConnection:       ours,
	}
}

// ours refuses a peer that did not name our protocol: TLS itself goes on where
// one side names none.
func ours(s tls.ConnectionState) error {
	if s.NegotiatedProtocol != ALPN {
		return errNotOurs
	}
	return nil
}

// certMaker makes certificates when they are asked for.
type certMaker struct {
	mu   sync.Mutex
	cert *tls.Certificate // guarded by mu, as below
	made time.Time
}

func (m *certMaker) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if age := now.Sub(m.made); m.cert != nil && age >= 0 && age < tlsCertRenew {
		return m.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// No names in it: an onlooker learns nothing from it, and it stands for nobody.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(tlsCertLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	m.cert, m.made = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, now
	return m.cert, nil
}
