package faulttest

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
)

// Plan is what shall happen to a program. The zero value lets everything
// happen and writes it down.
type Plan struct {
	// Log is a file to which each point is written, one to a line, before its call
	// happens. What the probe found is there too, behind badMark.
	Log string
	// At is the point, as a Log has it; empty means none.
	At string
	// Do is what happens there.
	Do Effect
}

// Effect is what happens at a point.
type Effect string

// The effects, besides those that Fail and FailOn make.
const (
	// Kill ends the program and all that it has started.
	Kill Effect = "kill"
	// KillOne ends the one process whose call it is.
	KillOne Effect = "kill-one"
	// Orphan ends the program, and lets what it has started go on.
	Orphan Effect = "orphan"
)

// errnos are those that a file system gives without anybody's mistake.
var errnos = map[string]syscall.Errno{"ENOSPC": syscall.ENOSPC, "EIO": syscall.EIO, "EDQUOT": syscall.EDQUOT, "EROFS": syscall.EROFS}

// Fail lets the one call fail.
func Fail(name string) Effect { return Effect(name) }

// FailOn lets the call fail, and from there on each that would fail likewise:
// a disk stays full.
func FailOn(name string) Effect { return Effect(name + "+") }

// The environment between the processes.
const (
	envRun, envChild = "CARDEA_FAULT_RUN", "CARDEA_FAULT_CHILD"
	envLog, envAt    = "CARDEA_FAULT_LOG", "CARDEA_FAULT_AT"
	envDo, envPrefix = "CARDEA_FAULT_DO", "CARDEA_FAULT_"
)

// Env is what to start the test binary with; its arguments are the program
// and its arguments.
func (p Plan) Env() []string {
	return []string{envRun + "=1", envLog + "=" + p.Log, envAt + "=" + p.At, envDo + "=" + string(p.Do)}
}

// badMark begins a line about something that a probe found.
const badMark = "BAD "

// Read divides a Log into its points and what the probe found.
func Read(log string) (points, bad []string) {
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		if text, found := strings.CutPrefix(line, badMark); found {
			bad = append(bad, text)
		} else if line != "" {
			points = append(points, line)
		}
	}
	return points, bad
}

// Could reports whether a file system could give an error at a point.
func Could(point string, e Effect) bool {
	switch e {
	case Kill, KillOne, Orphan:
		return true
	}
	_, rest, _ := strings.Cut(point, " ")
	call, _, _ := strings.Cut(rest, " ")
	return could(call, strings.TrimSuffix(string(e), "+"))
}

// could knows which calls need room or a file system that can be written: a
// full one still lets files be removed, and one that is read-only has none open
// for writing.
func could(call, errno string) bool {
	switch errno {
	case "ENOSPC", "EDQUOT":
		switch call {
		case "create", "write", "fsync", "rename", "mkdir", "link", "symlink", "truncate", "setxattr":
			return true
		}
		return false
	case "EROFS":
		return call != "write" && call != "fsync"
	}
	return errno == "EIO"
}

var (
	randomPart = regexp.MustCompile(`(\.cardea-tmp\.|\.cardea-new-)[A-Z2-7]+`)
	numberPart = regexp.MustCompile(`[0-9]+`)
)

// name makes a point of a call: the same in every run, whatever process numbers
// and random names there are. nth counts the like of it from 1.
func name(program, call, path string, nth int) string {
	path = randomPart.ReplaceAllString(path, "$1*")
	path = numberPart.ReplaceAllString(path, "#")
	return fmt.Sprintf("%s %s %q %d", program, call, path, nth)
}
