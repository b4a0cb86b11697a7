// Package serveragent keeps one host what the control plane says: its accounts,
// its groups, its sudo rules and its sshd's trust.
//
// It is a loop around three parts that each decide in pure code and act in
// short code: fetch (one long poll, a signature, a version that never goes
// back), reconcile (package accounts, then package sshd), report. The agent
// opens no port. What it was told last it keeps on disk and goes on keeping
// true, whether or not anybody can be reached: an answer that is empty,
// partial, older, for another server or badly signed changes nothing.
//
// The control plane is believed in what it decides and in nothing else. Every
// name, id, path and key is checked again here, because the agent is root and
// the control plane may have been taken over or restored from a backup.
package serveragent

import "time"

// Files in the agent's folder, besides those of the packages below.
const (
	tokenFile      = "enrollment.token"
	identityFile   = "identity.pem"
	credentialFile = "credential.json"
	stateFile      = "state.json"
	registerFile   = "accounts.json"
	statusFile     = "status.json"
	queueFile      = "events.jsonl"
	confirmFile    = "confirm-removals"
	lockFile       = "lock"
	hooksFile      = "hooks.json"
	sessionsFile   = "sessions.json"
	contactFile    = "contact.json"

	// roomSuffix is for a file that is there for a moment (proveRoom).
	roomSuffix = ".room"
)

const (
	// pollSlack is what a long poll may take longer than it was asked to.
	pollSlack = 25 * time.Second
	// minPoll keeps an answer that comes at once, over and over, from becoming
	// a storm: that much lies between the beginnings of two polls, but for
	// maxBurst real changes in a row, such as an administrator makes.
	minPoll  = time.Second
	maxBurst = 10
	// callLimit bounds every other call.
	callLimit = 30 * time.Second

	// refusedAgain is how long a host that has no token to change waits after a
	// refusal, at most.
	refusedAgain = time.Minute

	// firstBackoff and maxBackoff bound the wait after a failure, which is drawn
	// from the whole range (full jitter), so that agents that lost the control
	// plane together come back apart. All are back within two minutes.
	firstBackoff, maxBackoff = time.Second, 90 * time.Second
	// maxRetryAfter bounds what the server may ask for: a broken one must not
	// send an agent away for a year.
	maxRetryAfter = 15 * time.Minute

	// reconcileEvery is how often the host is looked at without news, to mend
	// what others changed and to renew principals and certificates.
	reconcileEvery = 10 * time.Minute
	// reportEvery is how often the control plane hears that all is well.
	reportEvery = 4 * time.Minute
	// retryAlarm is how long a change of sshd that had to be put back is left
	// alone, unless the state changes: each try reloads sshd twice.
	retryAlarm = time.Hour
	// retrySSHD is the same for a change that could not be begun.
	retrySSHD = 30 * time.Second
	// retryCertificate is how long until a host certificate that could not be had is
	// asked for again, once or twice that; retryNewCA the same for one that is still
	// of the CA that is being left, because not every instance knows the new one yet.
	retryCertificate = time.Minute
	retryNewCA       = 5 * time.Second
	// tick is how often the loop looks whether one of these is due.
	tick = 5 * time.Second

	// maxProblems and maxProblem bound a report: sentences, and bytes of each.
	maxProblems, maxProblem = 100, 500
	// maxQueue bounds the events that wait on disk; maxPost those of one call.
	maxQueue, maxPost = 10000, 200
	// maxRefusals is what may wait of it when a refused certificate comes: the
	// rest is for what strangers cannot cause.
	maxRefusals = maxQueue / 2
	// maxSmallFile bounds the files of our own that hold one value, in bytes.
	maxSmallFile = 64 << 10
	// roomForCredential is more than a credential has, in bytes.
	roomForCredential = 4 << 10
	// MemoryLimit is where the heap of a program with an agent should stop growing to
	// twice what is alive, in bytes: a state of thousands of people comes in, is kept and
	// is applied, each of which leaves as much garbage. The agent is a guest on its host.
	MemoryLimit = 96 << 20
	// maxStateFile bounds the stored state: base64 of api.MaxAnswer.
	maxStateFile = 64 << 20
)
