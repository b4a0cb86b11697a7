package sshd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

const (
	// loginLimit bounds one try of the probe's login. A host that looks up names
	// of clients may be slow; it is still far below the certificate's life.
	loginLimit = 15 * time.Second
	// proofLimit bounds the proof of one address, all tries: a busy sshd drops
	// connections at random (MaxStartups).
	proofLimit = 20 * time.Second
	proofPause = 300 * time.Millisecond
	// reachLimit bounds a connection attempt to the host's own address.
	reachLimit = 3 * time.Second
)

// probe is the key and certificate with which the canary logs in.
type probe struct {
	signer ssh.Signer
}

// newProbe fetches the certificate. What comes back is checked before anything
// of the host's is touched: a wrong one would only end in an undo.
func newProbe(ctx context.Context, want checked, fetch Fetch, now time.Time) (*probe, error) {
	if fetch == nil {
		return nil, errors.New("no control plane to ask")
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	line, err := fetch(ctx, sshcert.Line(signer.PublicKey()))
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(line)
	if err != nil {
		return nil, err
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return now }}
	switch {
	case cert.CertType != ssh.UserCert || string(cert.Key.Marshal()) != string(signer.PublicKey().Marshal()):
		return nil, errors.New("the probe's certificate is not for the probe's key")
	case !slices.ContainsFunc(want.userCAs, func(ca ssh.PublicKey) bool {
		return string(ca.Marshal()) == string(cert.SignatureKey.Marshal())
	}):
		return nil, errors.New("the probe's certificate is not signed by a CA of this state")
	}
	if err := checker.CheckCert(sshcert.UserPrincipal(ident.Canary, want.Server), cert); err != nil {
		return nil, err
	}
	certified, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, err
	}
	return &probe{signer: certified}, nil
}

func parseCertificate(line string) (*ssh.Certificate, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("not one line with a certificate")
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("a plain key instead of a certificate")
	}
	return cert, nil
}

// prove logs in at every address. That sshd says yes is the proof: the account
// has no shell to run.
func (p *probe) prove(ctx context.Context, addrs []string, want checked, now func() time.Time) error {
	for _, addr := range addrs {
		deadline := time.Now().Add(proofLimit)
		for {
			err := p.login(ctx, addr, want, now)
			if err == nil {
				break
			}
			if ctx.Err() != nil || time.Now().After(deadline) || isRefusal(err) {
				return fmt.Errorf("the probe could not log in at %s: %w", addr, err)
			}
			time.Sleep(proofPause)
		}
	}
	return nil
}

// isRefusal tells an answer of sshd's from a connection that was dropped.
func isRefusal(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate") || errors.Is(err, sshcert.ErrRefused)
}

func (p *probe) login(ctx context.Context, addr string, want checked, now func() time.Time) error {
	dialer := net.Dialer{Timeout: reachLimit}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(loginLimit)); err != nil {
		return err
	}
	var refused error
	config := &ssh.ClientConfig{
		User:              ident.Canary,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(p.signer)},
		HostKeyAlgorithms: []string{ssh.CertAlgoED25519v01},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			cert, ok := key.(*ssh.Certificate)
			if !ok {
				refused = fmt.Errorf("%w: sshd shows a plain host key", sshcert.ErrRefused)
			} else {
				refused = sshcert.VerifyHost(cert, sshcert.ExpectHost{CAs: want.hostCAs, ServerID: want.Server, Now: now()})
			}
			return refused
		},
	}
	client, _, _, err := ssh.NewClientConn(conn, addr, config)
	if refused != nil {
		return refused
	}
	if err != nil {
		return err
	}
	return client.Close()
}

// probeAddresses turns sshd's listen addresses into ones that can be dialled
// from here: a wildcard means the loopback, and the access address if that is
// one of the host's own.
func probeAddresses(listen []string, own []string, access string) []string {
	var out []string
	add := func(a netip.Addr, port uint16) {
		s := netip.AddrPortFrom(a, port).String()
		if slices.Contains(own, a.WithZone("").String()) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	accessIP, _ := netip.ParseAddr(access)
	for _, l := range listen {
		ap, err := netip.ParseAddrPort(l)
		if err != nil {
			continue
		}
		a := ap.Addr()
		if !a.IsUnspecified() {
			add(a, ap.Port())
			continue
		}
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if a.Is6() {
			loopback = netip.IPv6Loopback()
		}
		add(loopback, ap.Port())
		if accessIP.IsValid() && accessIP.Unmap().Is4() == a.Is4() {
			add(accessIP.Unmap(), ap.Port())
		}
	}
	return out
}

// ownAddresses are those of all interfaces, without link-local ones, which
// mean nothing without their zone.
func ownAddresses() ([]string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if s := p.Addr().Unmap().String(); !slices.Contains(out, s) && len(out) < maxSources {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out, nil
}

// reachable says whether something answers like an SSH server.
func reachable(ctx context.Context, addr string) error {
	dialer := net.Dialer{Timeout: reachLimit}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(reachLimit))
	var banner [4]byte
	if n, err := conn.Read(banner[:]); err != nil || string(banner[:n]) != "SSH-" {
		return fmt.Errorf("%s does not answer as an SSH server", addr)
	}
	return nil
}
