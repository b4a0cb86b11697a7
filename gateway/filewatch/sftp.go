package filewatch

import (
	"errors"
	"fmt"

	"github.com/cardea-ssh/cardea/recording"
)

// Types of packets, section 3 of the draft.
const (
	pktInit     = 1
	pktVersion  = 2
	pktOpen     = 3
	pktClose    = 4
	pktRead     = 5
	pktWrite    = 6
	pktFstat    = 8
	pktSetstat  = 9
	pktFsetstat = 10
	pktOpendir  = 11
	pktReaddir  = 12
	pktRemove   = 13
	pktMkdir    = 14
	pktRmdir    = 15
	pktRealpath = 16
	pktRename   = 18
	pktReadlink = 19
	pktSymlink  = 20
	pktStatus   = 101
	pktHandle   = 102
	pktData     = 103
	pktName     = 104
	pktAttrs    = 105
	pktExtended = 200
	pktReply    = 201
)

// Flags of an open, and of attributes.
const (
	openRead   = 0x01
	openWrite  = 0x02
	openAppend = 0x04
	openCreate = 0x08
	openTrunc  = 0x10
	openExcl   = 0x20
	attrSize   = 0x01
)

const (
	statusOK  = 0
	statusEOF = 1
)

// Limits of what one channel has under way at a time. OpenSSH's server has as many
// handles as it may open files, usually 1,024; its client 64 requests.
const (
	maxPending = 8192
	maxHandles = 4096
	maxNames   = 8 << 20 // bytes of paths and handles
)

// sftp follows one subsystem.
type sftp struct {
	emit     Emit
	requests packets
	answers  packets
	spoken   bool // the server has said its version
	pending  map[uint32]*pending
	files    map[string]*file
	waiting  int // requests
	names    int // bytes of paths and handles that are kept
	held     int // bytes of data that wait for those before them
	opened   int // files so far: they are told of in this order

	up, down *passing // the data that pass now
	aside    aside
}

// pending is a request that has no answer yet.
type pending struct {
	kind   byte
	action recording.FileAction // what to tell once it is answered; no Action: nothing
	handle string
	flags  uint32
	offset uint64
	length uint32
	order  int
	next   *pending // another with the same id
}

// file is one that is open, or a folder that is being listed: then what comes down are
// its names.
type file struct {
	folder   bool
	entries  int64
	order    int
	path     string
	flags    uint32
	up, down run
	copied   bool // some of it was copied on the server
	trimmed  bool // its size was set, to trim
	trim     uint64
	eof      uint64 // the lowest offset at which the server said so
	ended    bool   // eof is set
	size     uint64 // as the server said
	sized    bool
	fault    string // the first error
}

// passing is data of one packet.
type passing struct {
	run  *run // nil: of a file that is not known
	left uint32
}

func newSFTP(emit Emit) *sftp {
	s := &sftp{emit: emit, pending: map[uint32]*pending{}, files: map[string]*file{}}
	s.requests = packets{keep: keepOfRequest, begin: s.request, piece: func(b []byte) { s.pass(s.up, b) }, end: func() error { return s.passed(&s.up) }}
	s.answers = packets{keep: keepOfAnswer, begin: s.answerOf, piece: s.passDown, end: func() error { return s.passed(&s.down) }}
	return s
}

func (s *sftp) fromUser(b []byte) error   { return s.requests.take(b) }
func (s *sftp) fromServer(b []byte) error { return s.answers.take(b) }

// keepOfRequest is how much of a request is kept: of a write all but the data.
func keepOfRequest(kind byte) int {
	if kind == pktWrite {
		return 4 + 4 + maxHandle + 8 + 4
	}
	return keepRequest
}

// dataHead is what an answer with data has besides: its type, the id, and a length.
const dataHead = 1 + 4 + 4

func keepOfAnswer(kind byte) int {
	switch kind {
	case pktData:
		return 4 + 4
	case pktReply:
		return keepReply
	}
	return keepAnswer
}

// passDown is pass of what the server sends: all that is no file's and no list's is counted.
func (s *sftp) passDown(b []byte) {
	if s.down == nil {
		s.aside.add(b)
	}
	s.pass(s.down, b)
}

func (s *sftp) pass(p *passing, b []byte) {
	if p == nil {
		return // the rest of a packet that is not of interest
	}
	n := min(len(b), int(p.left))
	p.left -= uint32(n)
	if p.run != nil {
		p.run.piece(b[:n], &s.held)
	}
}

func (s *sftp) passed(p **passing) error {
	was := *p
	*p = nil
	switch {
	case was == nil:
		return nil
	case was.left > 0:
		return errors.New("a packet of data is shorter than it says")
	case was.run != nil:
		was.run.done(&s.held)
	}
	return nil
}

var (
	errFields  = errors.New("a packet of SFTP lacks fields")
	errVersion = errors.New("the server does not speak version 3 of SFTP")
	// errMore and errKind are of what some server sends to some client, and no file tells of.
	errMore = errors.New("a packet of SFTP has more in it than it should")
	errKind = errors.New("an answer of SFTP is of another kind than its request")
)

// request looks at the start of a packet from the user.
func (s *sftp) request(kind byte, start []byte, whole bool) (int, error) {
	if kind == pktInit {
		return len(start), nil
	}
	f := fields{b: start, more: !whole}
	id := f.u32()
	p := &pending{kind: kind}
	own := len(start)
	switch kind {
	case pktOpen:
		p.action = recording.FileAction{Action: "download", Path: text(f.str())}
		if p.flags = f.u32(); p.flags&openWrite != 0 {
			p.action.Action = "upload"
		}
		p.order = s.opened
		s.opened++
	case pktOpendir:
		p.action = recording.FileAction{Action: "list", Path: text(f.str())}
		p.order = s.opened
		s.opened++
	case pktClose, pktFstat, pktReaddir:
		p.handle = string(f.str())
	case pktRead:
		p.handle, p.offset, p.length = string(f.str()), f.u64(), f.u32()
		if file := s.files[p.handle]; file != nil && !file.folder && !f.bad {
			file.down.from(p.offset)
		}
	case pktWrite:
		handle := f.str()
		p.handle, p.offset, p.length = string(handle), f.u64(), f.u32()
		if len(handle) > maxHandle {
			break // no server has such a handle
		}
		s.up = &passing{left: p.length}
		if file := s.files[p.handle]; file != nil && !file.folder && !f.bad {
			s.up.run = &file.up
			file.up.packet(p.offset, &s.held)
		}
		own -= len(f.b)
	case pktFsetstat:
		p.handle = string(f.str())
		if p.flags = f.u32(); p.flags&attrSize != 0 {
			p.offset = f.u64()
		}
		if file := s.files[p.handle]; file != nil {
			p.action = recording.FileAction{Action: "setstat", Path: file.path}
		}
	default:
		s.named(kind, &f, p)
	}
	if f.bad {
		return 0, errFields
	}
	return own, s.wait(id, p)
}

// named reads a request that names files by their paths.
func (s *sftp) named(kind byte, f *fields, p *pending) {
	one := func(action string) { p.action = recording.FileAction{Action: action, Path: text(f.str())} }
	two := func(action string) { one(action); p.action.To = text(f.str()) }
	switch kind {
	case pktRemove:
		one("remove")
	case pktMkdir:
		one("mkdir")
	case pktRmdir:
		one("rmdir")
	case pktSetstat:
		one("setstat")
	case pktRename:
		two("rename")
	case pktSymlink: // OpenSSH's order: what it points to, then the link (its PROTOCOL, 4.1)
		two("symlink")
		p.action.Path, p.action.To = p.action.To, p.action.Path
	case pktExtended:
		s.extended(string(f.str()), f, p)
	}
}

// extended reads an extension that changes files. Those that only ask are passed
// over; what is not known may do anything, and is named.
func (s *sftp) extended(name string, f *fields, p *pending) {
	switch name {
	case "posix-rename@openssh.com":
		p.action = recording.FileAction{Action: "rename", Path: text(f.str()), To: text(f.str())}
	case "hardlink@openssh.com": // what there is, then its new name
		to := text(f.str())
		p.action = recording.FileAction{Action: "link", Path: text(f.str()), To: to}
	case "lsetstat@openssh.com":
		p.action = recording.FileAction{Action: "setstat", Path: text(f.str())}
	case "copy-data":
		p.action.Action = "copy"
		from := s.files[string(f.str())]
		f.bytes(16)
		to := s.files[string(f.str())]
		if from != nil {
			p.action.Path = from.path
		}
		if to != nil {
			p.action.To = to.path
			to.copied = true // its bytes did not pass here
		}
	case "fsync@openssh.com", "statvfs@openssh.com", "fstatvfs@openssh.com", "limits@openssh.com",
		"expand-path@openssh.com", "home-directory", "users-groups-by-id@openssh.com", "vendor-id":
	default:
		p.action = recording.FileAction{Action: "extended", Path: text([]byte(name))}
	}
}

// wait keeps a request until its answer comes.
func (s *sftp) wait(id uint32, p *pending) error {
	if len(p.handle) > maxHandle {
		p.handle = "" // no server has it
	}
	s.names += p.names()
	s.waiting++
	switch {
	case s.waiting > maxPending:
		return fmt.Errorf("more than %d requests are under way", maxPending)
	case s.names > maxNames:
		return errors.New("too many long names are under way")
	}
	// Servers answer in order. To use an id twice must not hide which request failed.
	if last := s.pending[id]; last != nil {
		for last.next != nil {
			last = last.next
		}
		last.next = p
	} else {
		s.pending[id] = p
	}
	return nil
}

// answered takes the first request with an id off those under way.
func (s *sftp) answered(id uint32) *pending {
	p := s.pending[id]
	if p == nil {
		return nil
	}
	delete(s.pending, id)
	if p.next != nil {
		s.pending[id] = p.next
	}
	s.names -= p.names()
	s.waiting--
	return p
}

func (p *pending) names() int { return len(p.handle) + len(p.action.Path) + len(p.action.To) }
