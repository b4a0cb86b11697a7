package daemon

import (
	"context"
	"net"
	"os"
	"strings"
	"time"
)

// notifyTimeout bounds the wait for a service manager that does not read: its
// socket is full then, and the work must not wait for it.
const notifyTimeout = 2 * time.Second

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
	if err := conn.SetDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}

// NotifyStopping tells systemd as soon as ctx has ended that the process stops. Whoever calls
// it calls what it returns when the work is over, before the process ends: by then it is told.
func NotifyStopping(ctx context.Context) (over func()) {
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		Notify("STOPPING=1")
	})
	return func() {
		if !stop() {
			<-told
		}
	}
}

// NotifyStatus gives systemd the sentence that `systemctl status` shows. What is
// no printable text in it becomes a space: a line break would begin another
// message.
func NotifyStatus(text string) error {
	return Notify("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " ")))
}
