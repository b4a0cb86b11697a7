// Package sshd makes the host's own sshd trust what the control plane says,
// for the accounts that Cardea keeps and for nobody else, and never leaves it
// in a state in which nobody can enter.
//
// Everything sits below /etc/ssh/cardea, but for one drop-in file. That
// applies inside `Match Group cardea-managed` alone: the project's CA for
// users, a file of principals for each login, no key files of the user's own.
// Only the host certificate is global; it adds to the host keys and replaces
// none (sshd_config(5)).
//
// A change of what sshd reads is a transaction. What was there is written to
// an undo file first. Then come the new files, `sshd -t`, the effective
// configuration of a managed and of an unmanaged account (`sshd -T -C`), a
// reload, and the proof: a real login of the reserved probe account, with a
// certificate that was fetched before anything was touched, at every address
// on which sshd listens. Whatever fails, every file gets back the bytes it
// had. A run that was killed in between is undone by the next.
//
// The list of revoked keys and the files of principals are read at each login and
// need none of this. A list that sshd cannot read would lock out the managed
// accounts, so ssh-keygen reads it before it takes the old one's place (Revoke).
// Principals
// end by themselves (expiry-time), so that a host which nobody can reach any
// more does not stay open for ever.
package sshd

import (
	"time"
)

// Paths of what the agent writes and reads.
const (
	Dir             = "/etc/ssh/cardea"
	PrincipalsDir   = Dir + "/principals"
	UserCAFile      = Dir + "/user_ca.pub"
	RevokedFile     = Dir + "/revoked"
	CertificateFile = Dir + "/ssh_host_ed25519_key-cert.pub"
	DropIn          = "/etc/ssh/sshd_config.d/50-cardea.conf"
	ConfigFile      = "/etc/ssh/sshd_config"
	defaultHostKey  = "/etc/ssh/ssh_host_ed25519_key"

	sshdProgram = "/usr/sbin/sshd"
	keygen      = "/usr/bin/ssh-keygen"
	systemctl   = "/usr/bin/systemctl"
	rcService   = "/sbin/rc-service"

	openRCService = "sshd" // its name on Alpine and Gentoo
)

const (
	// DefaultPrincipals is how long principals stay valid without news.
	DefaultPrincipals = 7 * 24 * time.Hour
	// MinPrincipals and MaxPrincipals bound what the control plane may ask for.
	MinPrincipals, MaxPrincipals = time.Hour, 90 * 24 * time.Hour
	// renewPrincipals is how often they are rewritten at most.
	renewPrincipals = 24 * time.Hour

	// maxCAs bounds the CAs of users and of hosts each; a rotation has two.
	maxCAs = 16
	// maxSources bounds the from= list: sshd reads lines of at most 8 KiB.
	maxSources = 128
	// maxFile bounds what is read of any file here, in bytes.
	maxFile = 1 << 20
)
