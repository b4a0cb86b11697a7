package cli

import (
	"errors"
	"io"
	"net"
)

// throughSSH is not there yet: Windows has no socket pairs.
func throughSSH(string, []string, io.Writer, string) (net.Conn, error) {
	return nil, errors.New("servers behind a bastion cannot be reached from Windows yet")
}
