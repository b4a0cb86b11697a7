package sshd

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

// Want is what sshd shall do.
type Want struct {
	// Server is this server's id.
	Server string
	// UserCAs sign certificates of users, HostCAs those of hosts;
	// authorized_keys lines.
	UserCAs, HostCAs []string
	// RevokedKeys are fingerprints of keys and CAs, RevokedSerials decimal serials of
	// certificates, that sshd refuses of managed accounts.
	RevokedKeys, RevokedSerials []string
	// Logins may enter.
	Logins []string
	// Keep are logins whose file of principals stays as it is.
	Keep []string
	// Sources are the addresses or prefixes they may come from; empty means any.
	Sources []string
	// Valid is how long principals last without news; zero is DefaultPrincipals.
	// News is when there were some; zero means now.
	Valid time.Duration
	News  time.Time
	// Certificate is the host certificate as an authorized_keys line.
	Certificate string
}

// checked is a Want of which every field was parsed.
type checked struct {
	Want
	userCAs, hostCAs []ssh.PublicKey
	sources          []string
	valid            time.Duration
}

// check trusts no field of the control plane's.
func (w Want) check() (checked, error) {
	c := checked{Want: w}
	err := ident.Check(w.Server, ident.Server)
	if err != nil {
		return c, err
	}
	if c.userCAs, err = ParseCAs(w.UserCAs); err != nil {
		return c, fmt.Errorf("the CA of users: %w", err)
	}
	if c.hostCAs, err = ParseCAs(w.HostCAs); err != nil {
		return c, fmt.Errorf("the CA of hosts: %w", err)
	}
	if c.sources, err = parseSources(w.Sources); err != nil {
		return c, err
	}
	for _, login := range w.Logins {
		if err := ident.Login(login); err != nil {
			return c, err
		}
	}
	c.valid = w.Valid
	if c.valid == 0 {
		c.valid = DefaultPrincipals
	}
	c.valid = min(max(c.valid, MinPrincipals), MaxPrincipals)
	return c, nil
}

// ParseCAs reads authorized_keys lines of CAs: plain Ed25519 keys without
// options, at least one. An empty list would trust nobody and lock all out.
func ParseCAs(lines []string) ([]ssh.PublicKey, error) {
	if len(lines) == 0 || len(lines) > maxCAs {
		return nil, fmt.Errorf("%d keys are not 1 to %d", len(lines), maxCAs)
	}
	var keys []ssh.PublicKey
	for _, line := range lines {
		key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 || key.Type() != ssh.KeyAlgoED25519 {
			return nil, errors.New("a key is not one plain line with an ed25519 key")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// parseSources makes of each source what sshd matches: an address or a prefix
// without host bits. Nothing else, names and patterns least, gets into from=.
func parseSources(list []string) ([]string, error) {
	if len(list) > maxSources {
		return nil, fmt.Errorf("%d sources are more than %d", len(list), maxSources)
	}
	var out []string
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			out = append(out, a.Unmap().String())
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("source %q is neither an address nor a prefix", s[:min(len(s), 64)])
		}
		out = append(out, p.Masked().String())
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// userCAText is the TrustedUserCAKeys file. The lines are written anew from
// the parsed keys, so that no comment or option of the wire's gets in.
func (c checked) userCAText() []byte {
	var lines []string
	for _, key := range c.userCAs {
		lines = append(lines, string(ssh.MarshalAuthorizedKey(key)))
	}
	slices.Sort(lines)
	return []byte(strings.Join(slices.Compact(lines), ""))
}
