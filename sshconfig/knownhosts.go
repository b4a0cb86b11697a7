package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Trust is what a known_hosts file says. Each CA is an authorized_keys line; its comment is
// dropped.
type Trust struct {
	Pattern string   // of the names of all servers ("*.cardea")
	HostCAs []string // sign their host certificates
	// Recorded are the names of the servers in whose place a recording gateway may stand,
	// and GatewayCAs sign the certificates with which it does so, for no other name.
	Recorded   []string
	GatewayCAs []string
	// Plain are the servers' own keys, and for the recorded ones those of their gateways, under
	// the names that Config gives to ssh, for programs that check no certificates. OpenSSH never meets them: it looks for the HostKeyAlias, and
	// that stands in no such line; and it takes certificates alone.
	Plain []PlainKey
}

// PlainKey is a host key, as an authorized_keys line, and who may show it.
type PlainKey struct {
	Names []string
	Key   string
}

// NamesPerLine is how many names share a line at most. ssh reads each line in full, and has no
// room for very long ones in old versions.
const NamesPerLine = 64

// KnownHosts writes a known_hosts file that trusts t, and nothing else. Names of servers
// stand without a port: it is 22 for whoever comes by the ProxyCommand. Without any host CA
// it is an error: an empty file would make ssh ask its user, and there is no trust on
// first use.
func KnownHosts(t Trust) ([]byte, error) {
	if len(t.HostCAs) == 0 {
		return nil, errors.New("no host CA: the list of servers is not complete; type: cardea status")
	}
	if err := checkAlias(strings.TrimPrefix(t.Pattern, "*")); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Written by cardea and kept up to date by it: what you change here is lost.\n")
	for _, ca := range t.HostCAs {
		key, err := plainKey(ca)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "@cert-authority %s %s cardea host CA\n", t.Pattern, key)
	}
	for names := range slices.Chunk(t.Recorded, NamesPerLine) {
		for _, name := range names {
			if err := checkAlias(name); err != nil {
				return nil, err
			}
		}
		for _, ca := range t.GatewayCAs {
			key, err := plainKey(ca)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "@cert-authority %s %s cardea gateway CA\n", strings.Join(names, ","), key)
		}
	}
	for _, p := range t.Plain {
		key, err := plainKey(p.Key)
		if err != nil {
			return nil, err
		}
		if len(p.Names) == 0 {
			return nil, errors.New("a host key without a name")
		}
		for _, name := range p.Names {
			if err := ident.ServerName(name); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&b, "%s %s\n", strings.Join(p.Names, ","), key)
	}
	return b.Bytes(), nil
}

// plainKey takes "ssh-ed25519 AAAA… comment", one line, with nothing before the type.
func plainKey(line string) (string, error) {
	const base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
	fields := strings.Fields(line)
	if strings.ContainsAny(strings.TrimRight(line, "\r\n"), "\r\n") || len(fields) < 2 || fields[0] != "ssh-ed25519" || strings.Trim(fields[1], base64) != "" {
		return "", fmt.Errorf("%.80q is not one line with an ssh-ed25519 key", line)
	}
	return fields[0] + " " + fields[1], nil
}
