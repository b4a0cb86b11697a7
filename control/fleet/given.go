package fleet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Limits of what is written down about a machine.
const (
	// MaxLabels bounds the labels from an administrator or a token, and those of the host.
	MaxLabels = ident.MaxLabels
	// MaxEgress bounds what every principals file of a project repeats.
	MaxEgress = 16
	// The widest egress prefixes. Anything wider than a company's network makes
	// "only through a gateway" mean nothing.
	minEgressBits4, minEgressBits6 = 8, 16
)

// Examples of addresses, for whoever gave none.
const (
	serverExample  = "10.0.0.7:22"
	gatewayExample = "gw.example.com:7234"
	insideExample  = "gw.example.com:443"
)

// checkAddress returns the canonical form of host:port. A name is checked as a
// name only; whoever dials it checks what it resolves to.
func checkAddress(address, example string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is no address; write it as host:port, for example %s", lookup.Shown(address), example)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port; use 1 to 65535", lookup.Shown(port))
	}
	port = strconv.FormatUint(n, 10)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		if err := ident.ServerName(host); err != nil {
			return "", fmt.Errorf("%q is neither an IP address nor a host name", lookup.Shown(host))
		}
		return net.JoinHostPort(host, port), nil
	}
	ip = ip.Unmap()
	if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return "", fmt.Errorf("%q cannot be dialled", lookup.Shown(host))
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// checkProposal is checkAddress for what a machine says of itself. Loopback and
// link-local addresses mean another machine to each one that dials them: a
// server could make a gateway dial itself, or a cloud's metadata service.
func checkProposal(address string) (string, error) {
	address, err := checkAddress(address, serverExample)
	if err != nil {
		return "", err
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	if err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip == metadata6) {
		return "", fmt.Errorf("a machine may not propose %s for itself; an administrator or the enrolment token can give it", address)
	}
	return address, nil
}

// metadata6 is where AWS answers for instance metadata over IPv6.
var metadata6 = netip.MustParseAddr("fd00:ec2::254")

// checkLabels checks labels that an administrator or a token gives.
func checkLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("%d labels, at most %d are allowed", len(labels), MaxLabels)
	}
	for k, v := range labels {
		if err := ident.LabelKey(k); err != nil {
			return err
		}
		if err := ident.LabelValue(v); err != nil {
			return fmt.Errorf("label %s: %w", k, err)
		}
	}
	return nil
}

// hostLabels checks a host's own labels, and returns them without the prefix.
func hostLabels(labels map[string]string) (map[string]string, error) {
	if len(labels) > MaxLabels {
		return nil, fmt.Errorf("%d labels, at most %d are allowed", len(labels), MaxLabels)
	}
	out := make(map[string]string, len(labels))
	for k, v := range labels {
		k = strings.TrimPrefix(k, ident.HostLabelPrefix)
		if err := ident.HostLabelKey(ident.HostLabelPrefix + k); err != nil {
			return nil, err
		}
		if _, twice := out[k]; twice {
			return nil, fmt.Errorf("label %s is given twice", k)
		}
		if err := ident.LabelValue(v); err != nil {
			return nil, fmt.Errorf("label %s: %w", k, err)
		}
		out[k] = v
	}
	return out, nil
}

// checkEgress returns the canonical forms of addresses and prefixes.
func checkEgress(egress []string) ([]string, error) {
	if len(egress) > MaxEgress {
		return nil, fmt.Errorf("%d egress addresses, at most %d are allowed", len(egress), MaxEgress)
	}
	out := make([]string, 0, len(egress))
	for _, e := range egress {
		canonical, err := checkSource(e)
		if err != nil {
			return nil, err
		}
		out = append(out, canonical)
	}
	return out, nil
}

func checkSource(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap()
		if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			return "", fmt.Errorf("nothing can come from %q", lookup.Shown(s))
		}
		return ip.String(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return "", fmt.Errorf("%q is neither an address nor a prefix such as 10.0.1.0/24", lookup.Shown(s))
	}
	least := minEgressBits6
	if p.Addr().Is4() {
		least = minEgressBits4
	}
	if p.Bits() < least {
		return "", fmt.Errorf("%s is too wide for egress addresses; use /%d or more", p, least)
	}
	return p.Masked().String(), nil
}

// proposedName takes the first label of a host's own name: a name with a dot
// would claim a domain, and only an administrator may do that.
func proposedName(hostname string) (string, error) {
	if hostname == "" {
		return "", errors.New("neither the enrolment token nor the machine gives a name")
	}
	name, _, _ := strings.Cut(hostname, ".")
	if err := ident.ServerName(name); err != nil {
		return "", fmt.Errorf("the host's own name does not serve: %w", err)
	}
	return name, nil
}
