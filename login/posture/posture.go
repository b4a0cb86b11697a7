// Package posture reads what this device can say of its own state: its system, whether
// its disk is encrypted, whether its screen locks itself.
//
// It is the device's own word. Whoever rules the machine can have it say anything, so
// this keeps honest people from working on a machine that somebody forgot to set up; it
// proves nothing to anybody. What cannot be read is unknown, and never taken for a yes.
//
// Nothing here asks for rights that the user does not have, and nothing is changed.
package posture

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// Answers to a question about the device.
const (
	Yes     = "yes"
	No      = "no"
	Unknown = "unknown"
)

// Report is what the device says of itself.
type Report struct {
	OS      string `json:"os"`      // linux, darwin, windows
	System  string `json:"system"`  // debian, macos, windows; empty if it is unknown
	Version string `json:"version"` // of System, as that writes it; empty if it is unknown
	// DiskEncryption is about where the system and the user's files are, both.
	DiskEncryption string `json:"disk_encryption"`
	// ScreenLock is whether the screen locks itself after some time without use.
	ScreenLock string `json:"screen_lock"`
}

// patience is for each program that is asked. They answer in milliseconds; one that hangs
// must not keep a person from signing in.
const patience = 2 * time.Second

// maxOutput bounds what is taken of a program's answer, in bytes; they are one line each.
const maxOutput = 4 << 10

// maxText bounds what goes into a report, in bytes: names and versions have a dozen.
const maxText = 64

// Read asks this device.
func Read(ctx context.Context) Report {
	r := read(ctx)
	r.System, r.Version = plain(r.System), plain(r.Version)
	return r
}

// plain is a name or version without what no name or version has.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), maxText)]
}

// say runs a program by its absolute path, without a shell, and returns what it says on
// both its outputs; empty if it is not there or fails.
func say(ctx context.Context, path string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = patience
	out, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out[:min(len(out), maxOutput)]))
}

// all is yes if every answer is, no if one is, and unknown else.
func all(answers ...string) string {
	out := Yes
	for _, a := range answers {
		switch {
		case a == No:
			return No
		case a != Yes:
			out = Unknown
		}
	}
	if len(answers) == 0 {
		return Unknown
	}
	return out
}
