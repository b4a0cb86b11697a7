// Package logins tells who logged in and out of a host's sshd, by which
// certificate, and which certificates were refused, out of the journal or the
// auth log.
//
// Everything in those lines that a stranger could choose (user names above
// all) is escaped by sshd, but other programs write to the same log. So lines
// are taken only where they have sshd's exact form from beginning to end; from
// the journal only if the kernel says that root's sshd wrote them. The auth log
// has no such field: any local user can forge a line there by logger(1), which
// is why the control plane believes a login only if it issued the certificate
// with that serial for that login on that server.
//
// Refusals are what strangers can cause at will. So they are rationed here,
// with a count of the rest, and never take the place of a login.
package logins

import "time"

const (
	// maxLine bounds a line in bytes; sshd's own stay below 2 KiB.
	maxLine = 8 << 10
	// maxEntry bounds an entry of the journal in JSON with its line end, in bytes:
	// a line of sshd's, and some forty fields of the journal's own.
	maxEntry = 64 << 10
	// maxOpen bounds the sessions that wait for their end.
	maxOpen = 10000
	// pollEvery is how often the auth log is looked at. One stat(2) in two
	// seconds costs nothing that could be measured.
	pollEvery = 2 * time.Second
	// keepEvery is how often the position is kept while nothing is told.
	keepEvery = time.Minute
	// maxBatch bounds what is read of the log at one look, in bytes.
	maxBatch = 1 << 20
)
