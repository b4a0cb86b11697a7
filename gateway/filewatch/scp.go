package filewatch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"path"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/recording"
)

// The protocol of scp before SFTP has no document but OpenSSH's scp.c. The side that
// sends says one line for each file (C, with mode, size and name), folder (D, and E at
// its end) and their times (T); each is answered by a byte 0, or by 1 or 2 and a line
// of what went wrong. After the answer to C come the bytes of the file and a 0, or a 1
// and a line, which is answered again.

// Limits of one transfer by scp.
const (
	// maxLine bounds a line, in bytes: OpenSSH's scp knows none longer than 16 KiB.
	maxLine = 16 << 10
	// maxAhead bounds what is held back of a sender that does not wait for its answers.
	maxAhead = 256 << 10
	// maxTimes, maxMode and maxDigits bound what nothing tells of: four numbers of 64 bits, a
	// mode as OpenSSH writes it with room for a bit more, and a size.
	maxTimes  = 96
	maxMode   = 6
	maxDigits = 19
	// maxDepth bounds how deep folders are nested.
	maxDepth = 1024
)

var errWords = errors.New("an error of scp is longer than errors are")

// What the sender is at.
type scpState uint8

const (
	scpLine    scpState = iota // a line comes
	scpAnswer                  // the other side answers the line
	scpData                    // the bytes of a file come
	scpTrailer                 // the byte after them comes
	scpVerdict                 // the other side says whether it has the file
)

// scp follows one transfer of either direction.
type scp struct {
	emit   Emit
	action string // upload or download
	target string // of an upload: where to
	into   bool   // and that it is known to be a folder
	// folder is where files come from, of a download; "" if that is not known.
	folder string

	greeted bool
	state   scpState
	line    []byte // of the sender, not whole yet
	ahead   []byte // from the sender, before the answer that it should have waited for
	reply   []byte // of the other side, not whole yet
	dirs    []string

	file recording.FileAction
	kind byte // of the line that is being answered
	left int64
	hash hash.Hash
	// aside is what the server says besides the bytes of files.
	aside aside
}

// newSCP reads the arguments of a remote scp, or returns nil if it moves nothing.
func newSCP(args []string, emit Emit) *scp {
	s := &scp{emit: emit}
	var operands []string
	for i, a := range args {
		if a == "--" {
			operands = append(operands, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			operands = append(operands, a)
			continue
		}
		if strings.Contains(a, "t") {
			s.action = "upload"
		}
		if strings.Contains(a, "f") {
			s.action = "download"
		}
		s.into = s.into || strings.Contains(a, "d")
	}
	if s.action == "" || len(operands) == 0 {
		return nil
	}
	if s.action == "upload" {
		s.target = operands[len(operands)-1]
		s.into = s.into || strings.HasSuffix(s.target, "/") || path.Base(s.target) == "." || path.Base(s.target) == ".."
		return s
	}
	s.folder = path.Dir(operands[0])
	for _, o := range operands[1:] {
		if path.Dir(o) != s.folder {
			s.folder = ""
		}
	}
	return s
}

func (s *scp) fromUser(b []byte) error {
	if s.action == "upload" {
		return s.sender(b)
	}
	return s.receiver(b)
}

func (s *scp) fromServer(b []byte) error {
	if s.action == "upload" {
		s.aside.add(b)
		return s.receiver(b)
	}
	return s.sender(b)
}

// sender takes what the sending side says.
func (s *scp) sender(b []byte) error {
	for len(b) > 0 {
		if s.state == scpAnswer || s.state == scpVerdict || !s.greeted {
			if len(s.ahead)+len(b) > maxAhead {
				return errors.New("the sender waits for no answer")
			}
			s.ahead = append(s.ahead, b...)
			return nil
		}
		n, err := s.step(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// step takes some bytes of the sender and returns how many.
func (s *scp) step(b []byte) (int, error) {
	data := s.state == scpData
	n, err := s.stepOf(b)
	if !data && s.action == "download" {
		s.aside.add(b[:n])
	}
	return n, err
}

func (s *scp) stepOf(b []byte) (int, error) {
	if s.state == scpData {
		n := int(min(int64(len(b)), s.left))
		s.hash.Write(b[:n])
		s.left -= int64(n)
		s.file.Size += int64(n)
		if s.left == 0 {
			s.state = scpTrailer
		}
		return n, nil
	}
	if s.state == scpTrailer && len(s.line) == 0 && b[0] == 0 {
		s.state = scpVerdict
		return 1, nil
	}
	n := bytes.IndexByte(b, '\n') + 1
	taken := n
	if n == 0 {
		taken = len(b)
	}
	if len(s.line)+taken > maxLine {
		return 0, errors.New("a line of scp is too long")
	}
	s.line = append(s.line, b[:taken]...)
	if n == 0 {
		return taken, nil
	}
	line := s.line[:len(s.line)-1]
	s.line = nil
	return taken, s.said(line)
}

// said is a whole line of the sender.
func (s *scp) said(line []byte) error {
	if len(line) == 0 {
		return errors.New("an empty line")
	}
	switch {
	case len(line) > maxWords && (line[0] == 1 || line[0] == 2):
		return errWords
	case line[0] == 1 || line[0] == 2: // something that it could not send
		if s.state == scpTrailer {
			s.file.Error = faultOf(0, line[1:])
			s.state = scpVerdict
			return nil
		}
		s.emit(recording.File, recording.FileAction{Action: s.action, Path: s.place(""), Error: faultOf(0, line[1:])})
		return nil
	case s.state == scpTrailer:
		return errors.New("a file does not end where it should")
	case line[0] == 'E' && len(line) == 1:
		if len(s.dirs) == 0 {
			return errors.New("a folder ends that never began")
		}
		s.dirs = s.dirs[:len(s.dirs)-1]
	case line[0] == 'T':
		if len(line) > maxTimes || len(bytes.Trim(line[1:], "0123456789 ")) > 0 {
			return errors.New("a line of scp says no times")
		}
	case line[0] == 'C' || line[0] == 'D':
		if err := s.begins(line); err != nil {
			return err
		}
	default:
		return errors.New("this is no line of scp")
	}
	s.kind, s.state = line[0], scpAnswer
	return nil
}

// begins reads Cmode size name, or D.
func (s *scp) begins(line []byte) error {
	parts := bytes.SplitN(line[1:], []byte(" "), 3)
	if len(parts) != 3 || len(parts[0]) > maxMode || len(parts[1]) > maxDigits || len(parts[2]) == 0 || len(parts[2]) > maxPath {
		return errors.New("a line of scp lacks mode, size or name")
	}
	size, err := strconv.ParseInt(string(parts[1]), 10, 64)
	if err != nil || size < 0 {
		return errors.New("a line of scp has no size")
	}
	name := text(parts[2])
	if line[0] == 'D' {
		if len(s.dirs) >= maxDepth {
			return errors.New("folders are nested too deep")
		}
		s.file = recording.FileAction{Action: "mkdir", Path: s.place(name), To: s.unsure(name)}
		if s.action == "download" {
			s.file.Action = "list"
		}
		s.dirs = append(s.dirs, name)
		return nil
	}
	s.file = recording.FileAction{Action: s.action, Path: s.place(name), To: s.unsure(name)}
	s.left, s.hash = size, sha256.New()
	return nil
}

// place is the path of a name that the sender says.
func (s *scp) place(name string) string {
	below := path.Join(append(append([]string{}, s.dirs...), name)...)
	switch {
	case s.action == "download" && s.folder == "":
		return below
	case s.action == "download":
		return path.Join(s.folder, below)
	case s.into:
		return path.Join(s.target, below)
	case len(s.dirs) == 0:
		return s.target
	}
	// The first folder either is the target or goes into it.
	if s.dirs[0] == path.Base(s.target) {
		return path.Join(path.Dir(s.target), below)
	}
	return path.Join(s.target, below)
}

// unsure is the name of what is sent to a target of which only the server knows
// whether it is a folder.
func (s *scp) unsure(name string) string {
	if s.action == "upload" && !s.into && len(s.dirs) == 0 && path.Base(s.target) != name {
		return name
	}
	return ""
}

// receiver takes the answers.
func (s *scp) receiver(b []byte) error {
	for len(b) > 0 {
		if len(s.reply) == 0 && b[0] == 0 {
			b = b[1:]
			if err := s.answered(""); err != nil {
				return err
			}
			continue
		}
		n := bytes.IndexByte(b, '\n') + 1
		taken := n
		if n == 0 {
			taken = len(b)
		}
		if len(s.reply)+taken > maxLine || len(s.reply) == 0 && b[0] > 2 {
			return errors.New("this is no answer of scp, or too long")
		}
		s.reply = append(s.reply, b[:taken]...)
		b = b[taken:]
		if n == 0 {
			return nil
		}
		if s.reply[0] != 1 && s.reply[0] != 2 {
			return errors.New("this is no answer of scp")
		}
		words := s.reply[1 : len(s.reply)-1]
		s.reply = nil
		if len(words) > maxWords {
			return errWords
		}
		if err := s.answered(faultOf(4, words)); err != nil {
			return err
		}
	}
	return nil
}

// answered is one answer: "" that all is well.
func (s *scp) answered(fault string) error {
	switch {
	case !s.greeted:
		if fault != "" {
			s.emit(recording.File, recording.FileAction{Action: s.action, Path: s.place(""), Error: fault})
		}
		s.greeted = true
	case s.state == scpAnswer:
		s.accepted(fault)
	case s.state == scpVerdict:
		s.file.Error += fault
		s.over()
	case fault != "" && (s.state == scpData || s.state == scpTrailer) && s.file.Error == "":
		s.file.Error = fault // told early, for example that the disk is full
	case s.state == scpData || s.state == scpTrailer:
		return errors.New("a file is answered twice")
	case fault != "":
		s.emit(recording.File, recording.FileAction{Action: s.action, Path: s.place(""), Error: fault})
	default:
		return errors.New("an answer of scp has no line")
	}
	ahead := s.ahead
	s.ahead = nil
	return s.sender(ahead)
}

// accepted is the answer to a line.
func (s *scp) accepted(fault string) {
	s.state = scpLine
	switch {
	case s.kind == 'C' && fault == "":
		s.state = scpData
		if s.left == 0 {
			s.state = scpTrailer
		}
	case s.kind == 'C':
		s.file.Error = fault
		s.emit(recording.File, s.file)
	case s.kind == 'D':
		if fault != "" {
			s.dirs = s.dirs[:len(s.dirs)-1]
		}
		s.file.Error = fault
		s.emit(recording.File, s.file)
	}
}

// over is the end of a file.
func (s *scp) over() {
	s.file.SHA256 = hex.EncodeToString(s.hash.Sum(nil))
	s.file.Whole = s.left == 0 && s.file.Error == ""
	s.state = scpLine
	s.emit(recording.File, s.file)
}

func (s *scp) finish() {
	if s.state == scpData || s.state == scpTrailer || s.state == scpVerdict {
		if s.file.Error == "" {
			s.file.Error = cutOff
		}
		s.over()
	}
	if s.action == "download" {
		s.aside.add(s.ahead)
	}
	s.aside.tell(s.emit)
}
