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

// Prefixes of ids; each ends with its separator.
const (
	Team           = "tm_"
	User           = "usr_"
	UserGroup      = "grp_"
	Project        = "prj_"
	Grant          = "grt_"
	Entitlement    = "ent_" // a named list of commands
	Server         = "srv_"
	Gateway        = "gw_"
	Device         = "dev_"
	Session        = "ses_" // a user's signed-in session
	BrowserSession = "bse_"
	Dashboard      = "dsh_" // a person signed in to the control plane's own pages
	GatewaySession = "gse_" // one connection through a gateway
	Enrolment      = "enr_" // an enrolment token
	EnrolmentRule  = "rul_"
	Key            = "key_" // of a certificate authority or for tickets, policy, …
	AuthRequest    = "req_"
	DeviceGrant    = "dgr_" // a device that asks to be signed in by a typed code
	Ticket         = "tkt_"
	BreakGlass     = "brg_"
	Provider       = "idp_" // an identity provider

	RequestRule      = "rqr_"
	AccessRequest    = "rqs_"
	Preauthorization = "rqa_"

	ScimClient = "scm_" // what keeps users and groups by SCIM
	Factor     = "fac_" // a second factor

	ServiceKey     = "sky_" // of a user who is a program
	WorkloadIssuer = "wis_" // of tokens for jobs
	WorkloadRule   = "wrl_"
)

// randomLen is the number of base32 characters behind the prefix: 100 bits,
// so that ids made independently by any number of instances never meet.
const randomLen = 20

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// New makes an id: the prefix ("usr_") and 20 characters of [a-z2-7].
func New(prefix string) string {
	var b [(randomLen*5 + 7) / 8]byte
	rand.Read(b[:]) // never fails: it ends the process if the kernel cannot
	return prefix + encoding.EncodeToString(b[:])[:randomLen]
}

// Check reports whether id is one that New(prefix) could have made.
func Check(id, prefix string) error {
	random, ok := strings.CutPrefix(id, prefix)
	if !ok || len(random) != randomLen || strings.Trim(random, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return fmt.Errorf("%s is not an id of the form %s and %d letters or digits", quote(id), prefix, randomLen)
	}
	return nil
}
