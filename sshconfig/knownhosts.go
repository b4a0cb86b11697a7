package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// KnownHosts writes a known_hosts file that trusts the given host CAs for names that match
// pattern ("*.cardea"), and nothing else. Each CA is an authorized_keys line; its comment is
// dropped. Without any CA it is an error: an empty file would make ssh ask its user, and
// there is no trust on first use.
func KnownHosts(pattern string, hostCAs []string) ([]byte, error) {
	if len(hostCAs) == 0 {
		return nil, errors.New("no host CA: the list of servers is not complete; type: cardea status")
	}
	if err := checkAlias(strings.TrimPrefix(pattern, "*")); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Written by cardea and kept up to date by it: what you change here is lost.\n")
	for _, ca := range hostCAs {
		key, err := plainKey(ca)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "@cert-authority %s %s cardea host CA\n", pattern, key)
	}
	return b.Bytes(), nil
}

// plainKey takes "ssh-ed25519 AAAA… comment", one line, with nothing before the type.
func plainKey(line string) (string, error) {
	const base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
	fields := strings.Fields(line)
	if strings.ContainsAny(strings.TrimRight(line, "\r\n"), "\r\n") || len(fields) < 2 || fields[0] != "ssh-ed25519" || strings.Trim(fields[1], base64) != "" {
		return "", fmt.Errorf("host CA %.80q is not one line with an ssh-ed25519 key", line)
	}
	return fields[0] + " " + fields[1], nil
}
