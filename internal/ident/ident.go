// Package ident is the one home of Cardea's names: opaque ids, and the grammar
// of every name that comes from outside and ends up in an account database, a
// configuration file, a shell's history or a log.
//
// Control plane and server agent check with the same functions. A grammar
// here is a list of what is allowed, never of what is forbidden, and each is
// narrower than any program that will read the name: useradd, sudo, sshd and
// ssh all accept names that mean something else to the next program.
package ident

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
)

// Prefixes of the ids of Cardea's objects.
const (
	User    = "usr"
	Members = "grp" // a group of users
	Project = "prj"
	Server  = "srv"
	Gateway = "gw"
	Device  = "dev"
	Session = "ses"
	Grant   = "gnt"
	Token   = "tok" // an enrolment token
	CA      = "ca"
	Team    = "tm"
	Issue   = "iss" // the record of a certificate
	Event   = "evt" // an audit event
)

// randomLen is the number of base32 characters behind the prefix: 100 bits,
// so that ids made independently by any number of instances never meet.
const randomLen = 20

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// New makes an id: prefix, underscore and 20 characters of [a-z2-7].
func New(prefix string) string {
	var b [(randomLen*5 + 7) / 8]byte
	rand.Read(b[:]) // never fails: it ends the process if the kernel cannot
	return prefix + "_" + encoding.EncodeToString(b[:])[:randomLen]
}

// Check reports whether id is one that New(prefix) could have made.
func Check(id, prefix string) error {
	random, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || len(random) != randomLen || strings.Trim(random, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return fmt.Errorf("%s is not an id of the form %s_ and %d letters or digits", quote(id), prefix, randomLen)
	}
	return nil
}
