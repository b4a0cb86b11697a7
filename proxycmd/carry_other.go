//go:build !linux && !darwin

package proxycmd

import (
	"context"
	"errors"
	"net"
)

func carry(context.Context, []string, string, bool) (net.Conn, error) {
	return nil, errors.New("this system has no way to pass a descriptor; leave ProxyUseFdpass off")
}
