// Package hostkey finds the host key in what an SSH server sends, for a relay
// through which the bytes pass and who holds no key of either side.
//
// The first key exchange crosses in the clear. The server's reply begins with
// its host key or certificate (RFC 4253 section 8, RFC 5656 section 4, RFC 4419
// section 3), and the client checks it on his own machine: where he refuses,
// nobody else hears why. The reader only looks: whose key it is and whether it is
// good, somebody else must say, and the server has not yet proved that the key
// is his.
//
// Everything it reads comes from a stranger. It never fails, it holds no more
// than one packet, and it gives up after maxBytes.
package hostkey

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

const (
	// maxBytes bounds how far is looked. A real server's key comes within 4 KiB,
	// or 6 with a post-quantum exchange and large RSA keys.
	maxBytes = 64 << 10
	// maxLine bounds a line before the first packet, as OpenSSH's client does.
	maxLine = 8 << 10
	// maxPacket bounds a packet (RFC 4253 section 6.1).
	maxPacket = 35000
	// maxPackets bounds packets that say nothing, which may stand between.
	maxPackets = 64
	// MaxKey is the longest key that is kept whole; of a longer one the beginning
	// is. No key that Cardea knows has more than 8 KiB.
	MaxKey = 8 << 10
	// MaxAlgorithms bounds the list of algorithms that is kept, bytes.
	MaxAlgorithms = 1 << 10
	// maxName bounds the name of a key's type in a line, bytes.
	maxName = 64
	// minKey is shorter than any host key: a name and something behind it.
	minKey = 4 + 1 + 4
)

// Messages of RFC 4253 section 12, RFC 5656 section 7.1 and RFC 4419 section 5.
const (
	msgDisconnect    = 1
	msgIgnore        = 2
	msgUnimplemented = 3
	msgDebug         = 4
	msgExtInfo       = 7 // RFC 8308
	msgKexInit       = 20
	msgKexReply      = 31 // also the group of an exchange by RFC 4419
	msgKexGexReply   = 33
)

// Reader is fed what a server sends, in pieces of any size. The zero value is
// ready. It may be used by one goroutine at a time.
type Reader struct {
	rest       []byte // what was not read yet
	seen       int    // bytes
	packets    int
	identified bool // the line that begins with SSH- is over
	done       bool
	hidden     bool
	key        []byte
	algorithms string
}

// Write takes the next bytes. It keeps none of p and always succeeds.
func (r *Reader) Write(p []byte) (int, error) {
	if r.done {
		return len(p), nil
	}
	r.seen += len(p)
	r.rest = append(r.rest, p...)
	for !r.done && r.step() {
	}
	if !r.done && r.seen >= maxBytes {
		r.giveUp()
	}
	if r.done {
		r.rest = nil
	}
	return len(p), nil
}

// Done reports that nothing more is looked for.
func (r *Reader) Done() bool { return r.done }

// Line is the key that was shown, in the form of a line of authorized_keys; ""
// if none was. Of a key beyond MaxKey it has the beginning.
func (r *Reader) Line() string {
	if len(r.key) == 0 {
		return ""
	}
	name, _, _ := cutString(r.key)
	return printable(name[:min(len(name), maxName)]) + " " + base64.StdEncoding.EncodeToString(r.key)
}

// Algorithms are the kinds of host keys that the server offered, with commas
// between; "" if that was not seen.
func (r *Reader) Algorithms() string { return r.algorithms }

// Hidden reports that the reader gave up: what came is no key exchange that it
// can read, or too much came before it.
func (r *Reader) Hidden() bool { return r.hidden }

func (r *Reader) giveUp() { r.done, r.hidden = true, true }

// step reads one line or packet and reports whether there was a whole one.
func (r *Reader) step() bool {
	if !r.identified {
		return r.line()
	}
	if len(r.rest) < 4 {
		return false
	}
	if r.packets == 0 && isText(r.rest[:4]) {
		r.done = true // the server says no, before it showed anything
		return false
	}
	length := binary.BigEndian.Uint32(r.rest)
	if length < 2 || length > maxPacket {
		r.giveUp()
		return false
	}
	if uint32(len(r.rest)-4) < length {
		return false
	}
	packet := r.rest[4 : 4+length]
	r.rest = r.rest[4+length:]
	padding := int(packet[0])
	if padding >= len(packet)-1 {
		r.giveUp()
		return false
	}
	if r.packets++; r.packets > maxPackets {
		r.giveUp()
		return false
	}
	r.message(packet[1 : len(packet)-padding])
	return true
}

// isText tells words from the beginning of a packet, which has zeros. After its
// own identification sshd answers a client that has none with "Invalid SSH
// identification string." Whoever comes by could have any server suspected else.
func isText(b []byte) bool {
	return bytes.IndexFunc(b, func(c rune) bool { return c < ' ' || c > '~' }) < 0
}

// line reads the identification, and lines of text that a server may send
// before it (RFC 4253 section 4.2).
func (r *Reader) line() bool {
	end := bytes.IndexByte(r.rest, '\n')
	if end > maxLine || end < 0 && len(r.rest) > maxLine {
		r.giveUp()
		return false
	}
	if end < 0 {
		return false
	}
	r.identified = bytes.HasPrefix(r.rest, []byte("SSH-"))
	r.rest = r.rest[end+1:]
	return true
}

func (r *Reader) message(m []byte) {
	switch m[0] {
	case msgIgnore, msgUnimplemented, msgDebug, msgExtInfo:
	case msgKexInit:
		r.kexInit(m[1:])
	case msgKexReply:
		if !twoNumbers(m[1:]) {
			r.reply(m[1:])
		}
	case msgKexGexReply:
		r.reply(m[1:])
	case msgDisconnect:
		r.done = true // the server says no, before it showed anything
	default:
		r.giveUp() // new keys, or an exchange whose reply is another
	}
}

// kexInit reads the second list of a SSH_MSG_KEXINIT (RFC 4253 section 7.1).
func (r *Reader) kexInit(m []byte) {
	const cookie = 16
	if len(m) < cookie {
		r.giveUp()
		return
	}
	_, m, ok := cutString(m[cookie:])
	list, _, ok2 := cutString(m)
	if !ok || !ok2 {
		r.giveUp()
		return
	}
	r.algorithms = printable(list[:min(len(list), MaxAlgorithms)])
}

// twoNumbers tells SSH_MSG_KEX_DH_GEX_GROUP, which has a prime and a generator,
// from the replies with the same number, which have three fields.
func twoNumbers(m []byte) bool {
	_, m, ok := cutString(m)
	_, m, ok2 := cutString(m)
	return ok && ok2 && len(m) == 0
}

// reply takes the first field: in every reply that is the host key.
func (r *Reader) reply(m []byte) {
	key, _, ok := cutString(m)
	if !ok || len(key) < minKey {
		r.giveUp()
		return
	}
	r.key = bytes.Clone(key[:min(len(key), MaxKey)])
	r.done = true
}

// cutString reads a string as RFC 4251 section 5 has it.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// printable makes one word of what should be names of algorithms: a stranger's
// bytes go no further.
func printable(name []byte) string {
	word := strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return '?'
		}
		return c
	}, string(name))
	if word == "" {
		return "?"
	}
	return word
}
