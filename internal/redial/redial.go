// Package redial dials an sshd that has no ear for a moment.
package redial

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// The pauses between the tries grow from the first to the last, two thirds of a second in all.
const firstPause, lastPause = 50 * time.Millisecond, 400 * time.Millisecond

// Refused calls dial again while the other side refuses connections, for less than a second,
// and returns what it returned last. sshd listens nowhere for some hundredths of a second when
// it takes a new configuration: at SIGHUP it closes its sockets and starts itself again
// (sshd(8)), which the server agent has it do whenever what it trusts changes.
func Refused[C any](ctx context.Context, dial func() (C, error)) (C, error) {
	for pause := firstPause; ; pause *= 2 {
		conn, err := dial()
		if pause > lastPause || !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return conn, err
		}
	}
}
