package bridge

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// recordingMax is what one event can hold.
const recordingMax = recording.MaxData

// errMalformed is told of payloads that are not what their name says. ssh.Unmarshal refuses
// what is too short as well as what is too long.
var errMalformed = errors.New("the request is malformed")

func unmarshal(payload []byte, into any) error {
	if ssh.Unmarshal(payload, into) != nil {
		return errMalformed
	}
	return nil
}

// Payloads of channels (RFC 4254, section 7.2, and OpenSSH's PROTOCOL, section 2.4).
type (
	addressPair struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	directUnix struct {
		Path, Reserved string
		Reserved2      uint32
	}
	forwardedUnix struct{ Path, Reserved string }
	origin        struct {
		Host string
		Port uint32
	}
)

// Payloads of requests (RFC 4254, sections 6 and 7.1).
type (
	ptyRequest struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	resize     struct{ Columns, Rows, Width, Height uint32 }
	variable   struct{ Name, Value string }
	text       struct{ Text string }
	number     struct{ Number uint32 }
	flag       struct{ Flag bool }
	x11Request struct {
		Single           bool
		Protocol, Cookie string
		Screen           uint32
	}
	exitSignal struct {
		Signal            string
		Core              bool
		Message, Language string
	}
	listenTCP struct {
		Host string
		Port uint32
	}
	listenUnix struct{ Path string }
)

// listenName is a listener's address in a recording.
func (l listenTCP) String() string { return hostPort(l.Host, l.Port) }

func hostPort(host string, port uint32) string {
	return net.JoinHostPort(legible(host), strconv.FormatUint(uint64(port), 10))
}

// legible is a peer's text as JSON can hold it: bytes that are not UTF-8 become \x.., so that
// none is lost.
func legible(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
