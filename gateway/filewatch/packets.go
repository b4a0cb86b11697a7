package filewatch

import (
	"encoding/binary"
	"errors"
)

// Limits of one direction of SFTP. OpenSSH's own are 256 KiB for a packet.
const (
	// maxPacket bounds a packet, in bytes: beyond it, this is no SFTP but, for example, what
	// a login script printed.
	maxPacket = 16 << 20
	// keepRequest and keepAnswer bound what is kept of one packet, in bytes; data are not
	// kept. A request has at most two paths and attributes, an answer of interest a handle.
	keepRequest = 4*maxPath + 1024
	keepAnswer  = 1024
	// keepReply bounds the answer to an extension: OpenSSH's longest has the names of a
	// folder's users and groups.
	keepReply = 8 << 10
	// maxHandle is the longest handle that the draft allows, in bytes.
	maxHandle = 256
)

var errPacket = errors.New("a packet of SFTP has an impossible length")

// packets cuts a stream into packets: the start of each is kept, and what follows
// goes on in pieces.
type packets struct {
	keep  func(kind byte) int // how much of a packet is kept
	have  []byte              // length, type and what is kept
	left  int64               // bytes of the packet beyond have
	begun bool                // begin was called for this packet

	// begin is called when the start of a packet is there: all that there is, or keep
	// bytes. It returns how many bytes of the start are the packet's own; more are
	// pieces of data.
	begin func(kind byte, start []byte, whole bool) (own int, err error)
	piece func(b []byte)
	end   func() error
}

// take reads on.
func (p *packets) take(b []byte) error {
	for len(b) > 0 {
		if !p.begun {
			n := min(len(b), p.want()-len(p.have))
			p.have = append(p.have, b[:n]...)
			b = b[n:]
			if len(p.have) >= 5 && (p.length() < 1 || p.length() > maxPacket) {
				return errPacket
			}
			if len(p.have) < p.want() {
				continue
			}
			if err := p.start(); err != nil {
				return err
			}
			continue
		}
		n := int(min(int64(len(b)), p.left))
		p.piece(b[:n])
		b = b[n:]
		p.left -= int64(n)
		if err := p.over(); err != nil {
			return err
		}
	}
	return nil
}

// want is how many bytes must be there before the packet can be looked at.
func (p *packets) want() int {
	if len(p.have) < 5 {
		return 5
	}
	return int(min(int64(5+p.keep(p.have[4])), 4+p.length()))
}

func (p *packets) length() int64 { return int64(binary.BigEndian.Uint32(p.have)) }

func (p *packets) start() error {
	p.left = 4 + p.length() - int64(len(p.have))
	own, err := p.begin(p.have[4], p.have[5:], p.left == 0)
	if err != nil {
		return err
	}
	p.begun = true
	if more := p.have[5+own:]; len(more) > 0 {
		p.piece(more)
	}
	return p.over()
}

// over ends the packet if nothing of it is left.
func (p *packets) over() error {
	if p.left > 0 {
		return nil
	}
	p.begun = false
	p.have = p.have[:0]
	if cap(p.have) > keepAnswer {
		p.have = nil // an idle channel keeps little
	}
	return p.end()
}

// fields reads the fields of a packet of which maybe only the start is there. bad is
// set for good by the first field that should be there and is not.
type fields struct {
	b    []byte
	more bool // the packet goes on: a field that is not all there is no fault
	bad  bool
}

func (f *fields) bytes(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.bad = f.bad || !f.more
		n = len(f.b)
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) u32() uint32 {
	if v := f.bytes(4); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if v := f.bytes(8); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// str is a string, or as much of it as is there.
func (f *fields) str() []byte {
	n := f.u32()
	if n > maxPacket {
		f.bad = f.bad || !f.more
		n = maxPacket
	}
	return f.bytes(int(n))
}
