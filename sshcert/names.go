package sshcert

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

const (
	// DefaultUserLifetime is what a user certificate gets when nobody says otherwise: long
	// enough for a slow link and one retry, too short to be worth stealing.
	DefaultUserLifetime = 3 * time.Minute
	// MaxUserLifetime bounds what a project may set. It is also how long a disabled user can
	// still open a session (a certificate cannot be called back), hence so short.
	MaxUserLifetime = 10 * time.Minute
	// HostLifetime is for host certificates; server agents renew them long before the end.
	HostLifetime = 30 * 24 * time.Hour
	// Backdate lets a host whose clock is behind by up to a minute accept a fresh certificate.
	Backdate = 60 * time.Second

	// maxSerial keeps serials within 63 bits, because databases and JSON readers have signed
	// 64-bit integers at best.
	maxSerial = 1<<63 - 1
)

// Names of extensions. OpenSSH defines the permit-* ones (PROTOCOL.certkeys); a name with
// an "@" is private to its domain, and sshd ignores extensions that it does not know.
const (
	extPTY             = "permit-pty"
	extPortForwarding  = "permit-port-forwarding"
	extAgentForwarding = "permit-agent-forwarding"
	extX11Forwarding   = "permit-X11-forwarding"
	extUserRC          = "permit-user-rc"
	extProject         = "project@cardea-ssh.github.io"
)

// hostSuffix ends the only principal of a host certificate. No DNS name ends in it, so a
// host certificate is of no use for an address that somebody typed.
const hostSuffix = ".cardea"

// HostPattern matches the alias of every server in a known_hosts file.
const HostPattern = "*" + hostSuffix

// UserPrincipal is the only principal of a user certificate, and what the server's
// AuthorizedPrincipalsFile lists: bound to one server, so that it is worthless on another.
func UserPrincipal(login, serverID string) string { return login + "@" + serverID }

// HostPrincipal is the only principal of a server's host certificate, and the HostKeyAlias
// under which clients look it up.
func HostPrincipal(serverID string) string { return serverID + hostSuffix }

// NewSerial returns a random certificate serial: 63 bits, never zero. Serials are written
// as decimal strings in JSON.
func NewSerial() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails: crypto/rand ends the process instead
		if n := binary.BigEndian.Uint64(b[:]) & maxSerial; n != 0 {
			return n
		}
	}
}

// checkKeyID allows [a-z0-9:=_-] only: sshd copies the key id into its log between quotes.
func checkKeyID(id string) error {
	if id == "" || strings.IndexFunc(id, notIn("abcdefghijklmnopqrstuvwxyz0123456789:=_-")) >= 0 {
		return errors.New("key id is empty or has a character outside a-z 0-9 : = _ -")
	}
	return nil
}

func notIn(set string) func(rune) bool {
	return func(r rune) bool { return !strings.ContainsRune(set, r) }
}
