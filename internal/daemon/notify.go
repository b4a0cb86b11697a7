package daemon

import (
	"net"
	"os"
	"strings"
)

// Notify tells systemd a state such as "READY=1" or "STOPPING=1"
// (sd_notify(3)). It does nothing where no service manager asked for it.
func Notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:] // the abstract namespace
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
