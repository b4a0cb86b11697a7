package proxycmd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/hello"
)

// dial opens the way to a route's address: TCP, or the inside of TLS. With Fdpass what it
// returns always has a descriptor that can be passed on.
func (o Options) dial(ctx context.Context, route agent.Route) (net.Conn, error) {
	if !o.Fdpass {
		return dialInside(ctx, route.Address, route.TLS, o.Dial)
	}
	carried, err := o.needsCarrier(route)
	switch {
	case err != nil:
		return nil, err
	case !carried:
		return o.Dial(ctx, route.Address)
	case len(o.Carrier) == 0:
		return nil, errors.New("the way inside TLS cannot be passed to ssh; leave ProxyUseFdpass off")
	}
	return carry(ctx, o.Carrier, route.Address, route.TLS)
}

// needsCarrier reports whether TLS is what we would hold in the end.
func (o Options) needsCarrier(route agent.Route) (bool, error) {
	if route.TLS {
		return true, nil
	}
	proxy, err := proxyFor(route.Address)
	return proxy != nil && proxy.Scheme == "https", err
}

// dialInside dials, and brings up TLS if the route wants it. The name of the address goes
// into SNI, by which balancers route. Whom we meet there the seal of the hello says.
func dialInside(ctx context.Context, address string, inside bool, dial func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	conn, err := dial(ctx, address)
	if err != nil || !inside {
		return conn, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		conn.Close()
		return nil, err
	}
	t := tls.Client(conn, hello.ClientTLS(host))
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}
