//go:build !linux

package postgres

import "os/exec"

func giveAway(string) error { return nil }

func runAs(*exec.Cmd) {}
