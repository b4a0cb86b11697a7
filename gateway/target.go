package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cardea-ssh/cardea/internal/redial"
)

// errForbidden marks an address that a gateway does not dial, so that nobody
// can use it to reach what listens beside it or what a cloud tells its machines.
var errForbidden = errors.New("the server's address is one that this gateway may not dial")

// forbidden by default, beyond what netip names itself.
var forbidden = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),          // this host (RFC 1122)
	netip.MustParsePrefix("240.0.0.0/4"),        // reserved, and broadcast
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google
}

// Prefixes that carry an IPv4 address within an IPv6 one, and in which bytes.
var embedding = map[netip.Prefix][4]int{
	netip.MustParsePrefix("64:ff9b::/96"):    {12, 13, 14, 15}, // NAT64 (RFC 6052)
	localNAT64:                               {12, 13, 14, 15},
	netip.MustParsePrefix("2002::/16"):       {2, 3, 4, 5},     // 6to4 (RFC 3056)
	netip.MustParsePrefix("::/96"):           {12, 13, 14, 15}, // IPv4-compatible, obsolete
	netip.MustParsePrefix("::ffff:0:0:0/96"): {12, 13, 14, 15}, // IPv4-translated (RFC 2765)
}

// localNAT64 is for networks of their own (RFC 8215). A translator there has a
// prefix of 48 bits, or of more out of it, and we are not told of how many.
var localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")

// shorter are the places of the IPv4 address behind prefixes of 48, 56 and 64
// bits (RFC 6052, section 2.2): byte 8 is left out.
var shorter = [...][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}}

// target dials servers.
type target struct {
	allow  []netip.Prefix
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	dialer net.Dialer
}

func newTarget(allow []netip.Prefix, peerTimeout time.Duration) target {
	return target{
		allow: allow,
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		dialer: net.Dialer{KeepAliveConfig: keepAlive(peerTimeout)},
	}
}

// dial connects to the registered address of a server. It dials exactly the
// addresses that were checked: a name is resolved once.
func (t target) dial(ctx context.Context, address string) (*net.TCPConn, error) {
	candidates, err := t.resolve(ctx, address)
	if err != nil {
		return nil, err
	}
	return redial.Refused(ctx, func() (*net.TCPConn, error) { return t.tryAll(ctx, candidates) })
}

// tryAll returns the first connection, or the last error.
func (t target) tryAll(ctx context.Context, candidates []netip.AddrPort) (conn *net.TCPConn, err error) {
	for i, a := range candidates {
		if conn, err = t.try(ctx, a, len(candidates)-i); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// try gives each of the addresses that are left an equal part of the time.
func (t target) try(ctx context.Context, a netip.AddrPort, left int) (*net.TCPConn, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	conn, err := t.dialer.DialContext(ctx, "tcp", a.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func (t target) resolve(ctx context.Context, address string) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
	}
	port, err := net.LookupPort("tcp", portText)
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = t.lookup(ctx, host); err != nil {
		return nil, fmt.Errorf("resolve the server's name: %w", err)
	}
	var out []netip.AddrPort
	for _, ip := range ips {
		if ip = ip.Unmap(); t.allowed(ip) {
			out = append(out, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	if len(out) == 0 {
		return nil, errForbidden
	}
	return out, nil
}

// allowed judges an unmapped address.
func (t target) allowed(ip netip.Addr) bool {
	for _, p := range t.allow {
		if p.Contains(ip) {
			return true
		}
	}
	if !ip.IsValid() || ip.Zone() != "" || ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range forbidden {
		if p.Contains(ip) {
			return false
		}
	}
	for _, inner := range embedded(ip) {
		if !t.allowed(inner) {
			return false
		}
	}
	return true
}

// embedded returns the IPv4 addresses to which translators would send ip.
func embedded(ip netip.Addr) (inner []netip.Addr) {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	at := func(i [4]int) netip.Addr { return netip.AddrFrom4([4]byte{b[i[0]], b[i[1]], b[i[2]], b[i[3]]}) }
	for p, place := range embedding {
		if p.Contains(ip) {
			inner = append(inner, at(place))
		}
	}
	if localNAT64.Contains(ip) {
		for _, place := range shorter {
			// With a longer prefix there are zeros, which mean no address.
			if a := at(place); a.As4()[0] != 0 {
				inner = append(inner, a)
			}
		}
	}
	return inner
}
