package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

// client is the way to a client: plain TCP, which the kernel splices, or the
// inside of TLS, which is copied.
type client interface {
	net.Conn
	// CloseWrite ends our direction alone.
	CloseWrite() error
}

// tlsClient is a client inside TLS.
type tlsClient struct {
	*tls.Conn
	raw *net.TCPConn
}

// Close does not say goodbye, for which tls.Conn would wait up to five seconds
// where the client's window is full. Whoever has something to end says it with
// CloseWrite before.
func (c tlsClient) Close() error { return c.raw.Close() }

// errSource is why a connection is closed although its header was right.
var errSource = errors.New("too many connections of this source")

// admit takes what stands before the hello: the header of a balancer, and TLS.
// It returns the way to the client and the client's own address. All of it and
// the hello have helloTimeout together.
func (g *Gateway) admit(conn *net.TCPConn, v *visitor, peer netip.AddrPort, inside bool) (client, netip.AddrPort, error) {
	end := time.Now().Add(g.opt.helloTimeout)
	conn.SetDeadline(end)
	from := peer
	if g.proxied(peer.Addr()) {
		told, local, err := readProxyHeader(conn, min(proxyTimeout, g.opt.helloTimeout))
		if err != nil {
			return nil, peer, err
		}
		if !local {
			from = told
			if !g.gate.came(v, from.Addr()) {
				return nil, from, errSource
			}
		}
		conn.SetDeadline(end)
	}
	if !inside {
		return conn, from, nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	t := tls.Server(conn, g.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, from, err
	}
	return tlsClient{t, conn}, from, nil
}

// proxied reports whether peer is a balancer that we were told of. From it comes
// a PROXY header or nothing; from all others such a header is no hello.
func (g *Gateway) proxied(peer netip.Addr) bool {
	for _, p := range g.opt.ProxyFrom {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}
