package redial

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestWhoIsRefusedTriesAgain(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for name, tc := range map[string]struct {
		ctx   context.Context
		err   error
		times int // it fails
		tries int
	}{
		"it listens":                   {t.Context(), refused, 0, 1},
		"it listens again":             {t.Context(), refused, 2, 3},
		"it never listens":             {t.Context(), refused, 100, 5},
		"it does not answer":           {t.Context(), context.DeadlineExceeded, 100, 1},
		"whoever dialled has given up": {gone, refused, 100, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			conn, err := Refused(tc.ctx, func() (string, error) {
				if tries++; tries <= tc.times {
					return "", tc.err
				}
				return "open", nil
			})
			if tries != tc.tries || (conn == "open") != (tries > tc.times) || (tries > tc.times) != (err == nil) || err != nil && !errors.Is(err, tc.err) {
				t.Errorf("%d tries, want %d; %q, %v", tries, tc.tries, conn, err)
			}
		})
	}
}
