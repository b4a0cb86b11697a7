// Package hooks runs programs of the administrator's when an account has come
// to a host or has gone from it: to make a quota, to tell a mail server, to
// archive a home.
//
// They are executables in two folders of Dir, named as run-parts(8) wants them.
// They run as root, so nobody else may be able to write to them or to a folder
// above; one that somebody else can is left alone and reported. They run beside
// the agent's own work, one after the other, each for TimeLimit at most: a hook
// that fails or hangs is a problem on the record, and keeps nobody in or out.
//
// What has run is remembered for each account, on disk. After a crash in between
// a hook runs again: each runs at least once for an account that comes or goes,
// and must not mind a second time.
package hooks

import "time"

const (
	// Dir holds the folders of the two events.
	Dir = "/usr/lib/cardea-server-agent/hooks"

	// TimeLimit bounds one run of one hook. The agent's own programs have the same:
	// what takes longer belongs in the background.
	TimeLimit = 30 * time.Second
	// maxHooks bounds the hooks of one event; with it 16 of them that all hang
	// cost eight minutes for each account.
	maxHooks = 16
	// maxLogged bounds what is logged of one hook's output, in bytes.
	maxLogged = 4 << 10
	// maxProblems bounds the accounts whose failures are told one by one.
	maxProblems = 10
	// maxRecord bounds the record, in bytes: 200,000 accounts and more.
	maxRecord = 16 << 20
	// saveEvery is how often the record is written while many hooks run. What ran
	// since runs again after a crash.
	saveEvery = time.Second

	// keepFailures is how long a failure stays a problem if no other hook is run; a
	// hook is not run again for the same account.
	keepFailures = 24 * time.Hour

	// searchPath is what a shell script of root's may expect.
	searchPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
)

// Event is what a hook is run for.
type Event string

// The events; the folder of each is its name and ".d".
const (
	Created Event = "user-created" // the account was made, or its person came back
	Deleted Event = "user-deleted" // its person may not enter any more
)

// Account is what a hook may know.
type Account struct {
	Login    string
	UID, GID int
	Home     string
}
