package logins

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"golang.org/x/time/rate"
)

// failed is sshd's line for a certificate that it did not take (auth.c,
// auth_log, at LogLevel VERBOSE; 8.4 to 10.5 write the same):
//
//	Failed publickey for alice from 10.0.0.9 port 4711 ssh2: ED25519-CERT SHA256:… ID cardea:user=… (serial 7) CA ED25519 SHA256:…
//
// The key id may be any text if the certificate is a stranger's own. What stands
// behind it is sshd's, up to the end of the line.
//
// Plain keys are not told. They open no managed account and name nobody, people
// have ssh offer theirs beside the certificate, and the whole Internet tries some.
var failed = regexp.MustCompile(`^Failed publickey for ([a-z_][a-z0-9_-]{0,31}) from ([0-9a-fA-F.:]{2,45}) port [0-9]{1,5} ssh2: [A-Z0-9-]+-CERT (SHA256:[A-Za-z0-9+/]{43}) ID (.*) \(serial ([0-9]{1,20})\) CA [A-Z0-9-]+ (SHA256:[A-Za-z0-9+/]{43})$`)

// failedPrefix is looked for before the expression, which costs a hundred times as much.
const failedPrefix = "Failed publickey for "

// ourKeyID is what a key id of ours looks like.
var ourKeyID = regexp.MustCompile(`^cardea:[a-z0-9:=_-]{1,500}$`)

// reasons are the lines in which sshd says why, before the line that a
// certificate failed, in the same process (sshkey.c, auth2-pubkey.c,
// auth2-pubkeyfile.c). What it repeats of the configuration is left out.
var reasons = regexp.MustCompile(`^(Certificate invalid: [a-z ]{1,60}|Certificate does not contain an authorized principal)$|^[^ ]{1,300}: Authentication tried for [a-z0-9_-]{1,32} with (?:correct key|valid certificate) but (not from a permitted (?:host|source address)) \(|^(?:error: )?Authentication (?:CA )?key [A-Z0-9-]{1,40} SHA256:[A-Za-z0-9+/]{43} (revoked) by file `)

const (
	// refusalsAtOnce certificates are told one by one, and then one each
	// refusalEvery: anybody can have as many refused as sshd can read.
	refusalsAtOnce = 20
	refusalEvery   = 10 * time.Second
	// countEvery is how soon after the first one that was not told the number of
	// them is; and how long the same certificate, login and source are not told again.
	countEvery = time.Minute
	// maxWhy bounds the processes whose reasons are kept. Each waits only for the
	// next line of its process.
	maxWhy = 1000
)

// refused reads sshd's line for a certificate that it refused.
func refused(r record) (api.AgentEvent, bool) {
	if !strings.HasPrefix(r.message, failedPrefix) {
		return api.AgentEvent{}, false
	}
	m := failed.FindStringSubmatch(r.message)
	if m == nil {
		return api.AgentEvent{}, false
	}
	addr, err := netip.ParseAddr(m[2])
	if err != nil {
		return api.AgentEvent{}, false
	}
	e := api.AgentEvent{At: r.at.UTC(), Kind: Refused, Login: m[1], Source: addr.Unmap().String(), Key: m[3], CA: m[6]}
	// The number and the id of a stranger's own certificate say nothing.
	if serial, err := strconv.ParseUint(m[5], 10, 63); err == nil && serial != 0 && ourKeyID.MatchString(m[4]) {
		e.KeyID, e.Serial = m[4], strconv.FormatUint(serial, 10)
	}
	return e, true
}

// refusals rations what strangers can cause. The zero value works.
type refusals struct {
	bucket *rate.Limiter
	told   map[refusal]first
	more   int64     // not told since
	since  time.Time // the first of them
	why    map[int]string
}

// refusal is what makes two of them the same.
type refusal struct{ login, source, serial, key, ca string }

type first struct {
	pid int
	at  time.Time
}

// note keeps why a process is about to refuse a certificate.
func (f *refusals) note(r record) {
	if !strings.Contains(r.message, "ertificate ") && !strings.Contains(r.message, ": Authentication tried for ") && !strings.Contains(r.message, " revoked by file ") {
		return
	}
	m := reasons.FindStringSubmatch(r.message)
	if m == nil {
		return
	}
	if f.why == nil || len(f.why) >= maxWhy {
		f.why = map[int]string{}
	}
	f.why[r.pid] = m[1] + m[2] + m[3]
}

// take says whether a refusal is told. A client shows a certificate more than
// once on one connection, first without a signature: that is one refusal.
func (f *refusals) take(pid int, e *api.AgentEvent, now time.Time) bool {
	e.Detail = f.why[pid]
	delete(f.why, pid)
	if f.bucket == nil {
		f.bucket, f.told = rate.NewLimiter(rate.Every(refusalEvery), refusalsAtOnce), map[refusal]first{}
	}
	for k, old := range f.told {
		if now.Sub(old.at) >= countEvery {
			delete(f.told, k)
		}
	}
	k := refusal{e.Login, e.Source, e.Serial, e.Key, e.CA}
	old, again := f.told[k]
	switch {
	case again && old.pid == pid:
		return false
	case again || !f.bucket.AllowN(now, 1):
		if f.more == 0 {
			f.since = now
		}
		f.more++
		return false
	}
	f.told[k] = first{pid, now}
	return true
}

// count is the event that says how many were not told, when it is time for it;
// or at once, at the end.
func (f *refusals) count(now time.Time, end bool) (api.AgentEvent, bool) {
	if f.more == 0 || !end && now.Sub(f.since) < countEvery {
		return api.AgentEvent{}, false
	}
	e := api.AgentEvent{At: now.UTC(), Kind: Refused, More: f.more}
	f.more = 0
	return e, true
}
