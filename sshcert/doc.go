// Package sshcert says what a certificate of Cardea looks like: it builds, lints,
// describes and verifies them, and it is the only place where the names of certificate
// extensions are written.
//
// A certificate is made in four separate steps, so that a mistake in one is caught by
// another: Build makes it from facts that the caller looked up (only the public key comes
// from a request), Lint checks the result again by its own reading of the rules, package
// ca signs, and VerifyUser or VerifyHost checks it wherever it is shown.
//
// VerifyUser exists because ssh.CertChecker alone is not a gate: it takes a certificate
// without principals for any login, any lifetime up to infinity, and any extension.
//
// The formats are those of OpenSSH's PROTOCOL.certkeys and ssh-keygen(1), CERTIFICATES.
package sshcert
