package vhost

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// maxMessage is the longest syslog message that is kept, rsyslog's default.
const maxMessage = 8192

// syslogHeader is what syslog(3) puts before a message: priority and time.
var syslogHeader = regexp.MustCompile(`^<(\d{1,3})>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) `)

// startSyslog answers on the host's /dev/log and writes what comes into the
// files and the form that Debian's rsyslog uses, so that programs that read
// them find what they would find on a real server.
func (h *Host) startSyslog() error {
	path := h.inside("/dev/log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	h.open = append(h.open, conn)
	if err := os.Chmod(path, 0o666); err != nil {
		return err
	}
	h.relays.Go(func() {
		buf := make([]byte, maxMessage)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			h.keepMessage(string(buf[:n]))
		}
	})
	return nil
}

// keepMessage appends one message to its file. A message that cannot be
// written is lost, as everywhere with syslog.
func (h *Host) keepMessage(message string) {
	file, line := formatMessage(h.Name, message)
	f, err := os.OpenFile(h.inside("/var/log/"+file), os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return
	}
	defer f.Close()
	f.WriteString(line)
}

// formatMessage chooses the file by facility, and makes one line.
func formatMessage(host, message string) (file, line string) {
	file = "syslog"
	m := syslogHeader.FindStringSubmatch(message)
	if m == nil {
		return file, escapeControl(message) + "\n"
	}
	const auth, authpriv = 4, 10 // RFC 3164, section 4.1.1
	if priority, _ := strconv.Atoi(m[1]); priority>>3 == auth || priority>>3 == authpriv {
		file = "auth.log"
	}
	return file, m[2] + " " + host + " " + escapeControl(message[len(m[0]):]) + "\n"
}

// escapeControl writes control characters as rsyslog does: # and three octal
// digits. A line end at the end is dropped.
func escapeControl(s string) string {
	var b strings.Builder
	for _, c := range []byte(strings.TrimRight(s, "\n\x00")) {
		if c < ' ' || c == 0x7f {
			fmt.Fprintf(&b, "#%03o", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
