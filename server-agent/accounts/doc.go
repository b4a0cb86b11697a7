// Package accounts makes the Unix accounts, groups and sudo rules of a host
// what the control plane says, without ever touching what Cardea did not make.
//
// Decide is pure: what the host has (Host) and what is wanted (Want) in, the
// steps and the problems out. ReadHost and Apply are the short code around it.
// Accounts are made and changed by shadow-utils, which lock and replace the
// account files themselves. Where many are to be made at once, these files are
// written once instead, under the same locks and with the same lines (makeMany).
// The grammar of names, the ranges of ids and the
// ownership of accounts are checked here, because useradd checks none of them
// well enough: it takes "../../x", "ALL" and "#0" for names.
//
// What is ours is written in a register that only root can read, before the
// account is made. An account is ours if the register has its uid under its
// login; one that merely has the right name, or the right uid, is somebody
// else's and is reported. The register never forgets a uid, so that no later
// person gets the files of an earlier one.
//
// Whoever should not be on the host any more is locked: expired first, so that
// nothing new begins under PAM or without it, then his sessions and processes
// are ended. An account that the state merely does not name is locked and no
// more. It is removed only if the state says so of it, and after it was locked
// and nothing of it runs: first the home, archived if that is wanted, then the
// account. Homes are the one place that people fill, so nothing in them is
// followed: not a link, not a mount, not a folder that was exchanged. A home is
// moved out of everybody's reach before the first of its files is deleted.
// Release does the same for a host that leaves Cardea, but for the homes.
package accounts

const (
	// Managed is the group of every account that Cardea keeps, and of no other.
	// sshd's configuration applies Cardea's rules to its members alone.
	Managed = "cardea-managed"
	// HomeBase is the folder of all homes.
	HomeBase = "/home"
	// FallbackShell is used where neither the wanted nor the default shell is in
	// /etc/shells; every Unix has it.
	FallbackShell = "/bin/sh"

	// MinID is the lowest uid or gid that a person or project may have: what is
	// below belongs to the system (SYS_UID_MAX and UID_MIN of login.defs).
	MinID = 1000
	// MaxID leaves out the ids that tools read as -1 or lose a sign on.
	MaxID = 1<<31 - 2
	// nobody and its 16-bit wrap are no person's.
	nobodyID, wrapID = 65534, 65535

	// Ids of the canary and the managed group are picked from the system's range.
	minSystemID, maxSystemID = 100, 999

	// A brake holds removals by absence if more than brakePercent of at least
	// brakeFrom accounts would go: that is rather a mistake of the directory's
	// than everybody leaving at once.
	brakeFrom, brakePercent = 10, 20

	// Up to fewMembers wrong members of a group are put right one by one, which
	// reads better in a plan. maxMembers bounds a list of them, in bytes: the kernel
	// takes no argument of a program above 128 KiB.
	fewMembers, maxMembers = 3, 100 << 10

	// maxFullName bounds the GECOS field in bytes; a line of /etc/passwd should
	// stay well below the 1 KiB that old readers of it can take.
	maxFullName = 200
)

// Programs, by absolute path.
const (
	useradd    = "/usr/sbin/useradd"
	usermod    = "/usr/sbin/usermod"
	userdel    = "/usr/sbin/userdel"
	groupadd   = "/usr/sbin/groupadd"
	groupdel   = "/usr/sbin/groupdel"
	gpasswd    = "/usr/bin/gpasswd"
	visudo     = "/usr/sbin/visudo"
	cvtsudoers = "/usr/bin/cvtsudoers"
	loginctl   = "/usr/bin/loginctl"
	restorecon = "/usr/sbin/restorecon"
	nscd       = "/usr/sbin/nscd"
	sssCache   = "/usr/sbin/sss_cache"
	getent     = "/usr/bin/getent"
)
