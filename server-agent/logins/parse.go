package logins

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Kinds of events, as api.AgentEvent has them.
const (
	Login   = "login"
	Logout  = "logout"
	Refused = "refused" // a certificate, or how many were
)

// record is one line of a log: who wrote what, and when.
type record struct {
	at      time.Time
	program string
	pid     int
	message string
}

// accepted is sshd's line for a login by certificate (auth.c, auth_log):
//
//	Accepted publickey for alice from 10.0.0.9 port 4711 ssh2: ED25519-CERT SHA256:… ID cardea:user=… (serial 7) CA ED25519 SHA256:…
var accepted = regexp.MustCompile(`^Accepted publickey for ([a-z_][a-z0-9_-]{0,31}) from ([0-9a-fA-F.:]{2,45}) port [0-9]{1,5} ssh2: [A-Z0-9-]+-CERT SHA256:[A-Za-z0-9+/]{43} ID ([a-z0-9:=_-]+) \(serial ([0-9]{1,19})\) CA [A-Z0-9-]+ SHA256:[A-Za-z0-9+/]{43}$`)

// ended is PAM's line, by the same process, for the end of the session. Without
// PAM sshd writes of the end in another process, and no logout is told.
var ended = regexp.MustCompile(`^pam_unix\(sshd:session\): session closed for user ([a-z_][a-z0-9_-]{0,31})$`)

// isSSHD knows the names of sshd's processes; since 9.8 a session has its own.
func isSSHD(program string) bool { return program == "sshd" || program == "sshd-session" }

// Tracker ties ends to logins by the process that wrote them, and rations
// refusals. The zero value works.
type Tracker struct {
	// Seen is called for every login, with the process that wrote of it, before it is told.
	Seen func(pid int, e api.AgentEvent)

	open     map[int]api.AgentEvent // by pid
	order    []int
	refusals refusals
}

// see turns a record into an event, if it is one of ours. now is when we read
// it: the times in a log that was not read for long say nothing of our pace.
func (t *Tracker) see(r record, now time.Time) (api.AgentEvent, bool) {
	if !isSSHD(r.program) || len(r.message) > maxLine {
		return api.AgentEvent{}, false
	}
	if m := accepted.FindStringSubmatch(r.message); m != nil {
		addr, err := netip.ParseAddr(m[2])
		serial, err2 := strconv.ParseUint(m[4], 10, 63)
		// Only certificates of ours have such ids.
		if err != nil || err2 != nil || serial == 0 || !strings.HasPrefix(m[3], "cardea:") {
			return api.AgentEvent{}, false
		}
		e := api.AgentEvent{At: r.at.UTC(), Kind: Login, Login: m[1], Source: addr.Unmap().String(), KeyID: m[3], Serial: strconv.FormatUint(serial, 10)}
		t.remember(r.pid, e)
		if t.Seen != nil {
			t.Seen(r.pid, e)
		}
		return e, true
	}
	if e, ok := refused(r); ok {
		return e, t.refusals.take(r.pid, &e, now)
	}
	t.refusals.note(r)
	m := ended.FindStringSubmatch(r.message)
	if m == nil {
		return api.AgentEvent{}, false
	}
	e, ok := t.open[r.pid]
	if !ok || e.Login != m[1] {
		return api.AgentEvent{}, false
	}
	delete(t.open, r.pid)
	e.Kind, e.At = Logout, r.at.UTC()
	return e, true
}

func (t *Tracker) remember(pid int, e api.AgentEvent) {
	if t.open == nil {
		t.open = map[int]api.AgentEvent{}
	}
	if _, again := t.open[pid]; !again {
		t.order = append(t.order, pid)
	}
	t.open[pid] = e
	for len(t.order) > maxOpen {
		delete(t.open, t.order[0])
		t.order = t.order[1:]
	}
}

// parseLine reads a line of the auth log in either of the forms that syslog
// daemons write:
//
//	Nov 20 23:55:07 web-1 sshd[123]: message
//	2026-11-20T23:55:07.123456+00:00 web-1 sshd[123]: message
//
// The first has no year and no zone: the year is that in which the line is not
// in the future, the zone the host's own.
func parseLine(line string, now time.Time) (r record, ok bool) {
	if len(line) > maxLine {
		return r, false
	}
	var rest string
	if stamp, after, found := strings.Cut(line, " "); found && len(stamp) >= len("2006-01-02T15:04:05Z") {
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return r, false
		}
		r.at, rest = at, after
	} else {
		if len(line) < len(time.Stamp)+1 || line[len(time.Stamp)] != ' ' {
			return r, false
		}
		at, err := time.ParseInLocation(time.Stamp, line[:len(time.Stamp)], now.Location())
		if err != nil {
			return r, false
		}
		r.at, rest = withYear(at, now), line[len(time.Stamp)+1:]
	}
	_, rest, ok = strings.Cut(rest, " ") // the host's name
	if !ok {
		return r, false
	}
	tag, message, ok := strings.Cut(rest, ": ")
	if !ok {
		return r, false
	}
	name, pid, ok := strings.Cut(strings.TrimSuffix(tag, "]"), "[")
	if !ok {
		return r, false
	}
	n, err := strconv.Atoi(pid)
	if err != nil || n < 1 {
		return r, false
	}
	r.program, r.pid, r.message = name, n, message
	return r, true
}

// withYear picks the newest year that does not put t a day or more ahead.
func withYear(t, now time.Time) time.Time {
	y := time.Date(now.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
	if y.After(now.Add(24 * time.Hour)) {
		y = y.AddDate(-1, 0, 0)
	}
	return y
}
