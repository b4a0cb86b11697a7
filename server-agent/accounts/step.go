package accounts

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/entitlement"
)

// Op is what a step does.
type Op string

// The operations.
const (
	OpRun     Op = "run"     // a program of shadow-utils
	OpRecord  Op = "record"  // write the register; nothing goes on without it
	OpHome    Op = "home"    // make the home of a new account
	OpSudo    Op = "sudo"    // install the sudo rules of an account
	OpUnsudo  Op = "unsudo"  // remove it
	OpEnd     Op = "end"     // end the sessions and processes of a locked account
	OpClean   Op = "clean"   // remove the jobs of a locked account
	OpUngroup Op = "ungroup" // remove a group of ours if it is still there
	OpLeave   Op = "leave"   // archive the home of a removed account, if so wanted, and delete it
	OpWipe    Op = "wipe"    // delete a home that was moved away for that
	OpMend    Op = "mend"    // put shadow and gshadow in step with passwd and group
)

// Step is one change of the host, whole in itself: the host is consistent
// after each, and a plan that was cut off anywhere is finished by the next one.
type Step struct {
	Op Op
	// Subject is the login or "group NAME" it is about. When a step fails, the
	// later ones of its subject are left out.
	Subject  string
	Argv     []string
	Login    string
	UID, GID int
	Register *Register
	Paths    []string // that a clean is to find; it looks again
	Sudo     entitlement.Rules
	// New is set in a step that makes an account.
	New *newAccount
	// Here is set in an OpHome of an account that the host has already.
	Here bool
	// Home is what an OpLeave does with it: archive or delete.
	Home string
}

// String is the step as `plan` prints it.
func (s Step) String() string {
	switch s.Op {
	case OpRun:
		words := make([]string, len(s.Argv))
		for i, a := range s.Argv {
			words[i] = a
			if a == "" || strings.ContainsAny(a, " \t'\"\\$&;|<>()*?#~`!{}[]") {
				words[i] = strconv.Quote(a)
			}
		}
		text := "run " + strings.Join(words, " ")
		if len(text) > maxCommand {
			text = text[:maxCommand] + "…"
		}
		return text
	case OpRecord:
		return "record " + s.Register.summary()
	case OpHome:
		return fmt.Sprintf("make %s/%s for uid %d, gid %d", HomeBase, s.Login, s.UID, s.GID)
	case OpSudo:
		return fmt.Sprintf("let %s use sudo%s by %s", s.Login, sudoSummary(s.Sudo), sudoersPath(s.UID))
	case OpUnsudo:
		return fmt.Sprintf("remove %s", sudoersPath(s.UID))
	case OpEnd:
		return fmt.Sprintf("end the sessions and processes of uid %d", s.UID)
	case OpUngroup:
		return fmt.Sprintf("remove the group %s, gid %d", s.Login, s.GID)
	case OpLeave:
		if s.Home == homeArchive {
			return fmt.Sprintf("archive and delete the home of %s, uid %d", s.Login, s.UID)
		}
		return fmt.Sprintf("delete the home of %s, uid %d", s.Login, s.UID)
	case OpWipe:
		return fmt.Sprintf("delete %s", oldHome(s.UID))
	case OpMend:
		return "finish the lines of " + s.Login + " in /etc/shadow and /etc/gshadow"
	case OpClean:
		return fmt.Sprintf("remove lingering, cron and at jobs and sudo timestamps of %s, uid %d%s", s.Login, s.UID, s.known())
	}
	return string(s.Op)
}

// known are the paths that were seen when it was planned, if any.
func (s Step) known() string {
	if len(s.Paths) == 0 {
		return ""
	}
	var names []string
	for _, path := range s.Paths[:min(len(s.Paths), maxListed)] {
		names = append(names, quotePath(path))
	}
	if more := len(s.Paths) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return ": " + strings.Join(names, ", ")
}

// maxCommand is how much of one call `plan` prints, in bytes: a group's list may
// be 100 KiB.
const maxCommand = 2000

// maxListed is how many commands or paths of one account `plan` prints.
const maxListed = 8

// sudoSummary names the commands where there are not all.
func sudoSummary(r entitlement.Rules) string {
	if r.Everything {
		return ""
	}
	var names []string
	for _, c := range r.Commands[:min(len(r.Commands), maxListed)] {
		names = append(names, c.String())
	}
	if more := len(r.Commands) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return " for " + strings.Join(names, ", ")
}

// maxSummary is how many entries of the register `plan` and the log name.
const maxSummary = 50

// summary lists the entries in the order of their ids, if they are few.
func (r Register) summary() string {
	if len(r.Accounts)+len(r.Groups) > maxSummary {
		return fmt.Sprintf("%d accounts and %d groups", len(r.Accounts), len(r.Groups))
	}
	var parts []string
	for _, uid := range slices.Sorted(maps.Keys(r.Accounts)) {
		parts = append(parts, fmt.Sprintf("%s=%d", r.Accounts[uid].Login, uid))
	}
	for _, gid := range slices.Sorted(maps.Keys(r.Groups)) {
		parts = append(parts, fmt.Sprintf("%s:%s=%d", r.Groups[gid].Kind, r.Groups[gid].Name, gid))
	}
	for _, uid := range slices.Sorted(maps.Keys(r.Adopted)) {
		parts = append(parts, fmt.Sprintf("adopted:%s=%d", r.Adopted[uid], uid))
	}
	return strings.Join(parts, " ")
}
