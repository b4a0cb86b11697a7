package filewatch

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cardea-ssh/cardea/recording"
)

// answerOf is answer, and counts what of the packet is no file's and no list's.
func (s *sftp) answerOf(kind byte, start []byte, whole bool) (int, error) {
	own, err := s.answer(kind, start, whole)
	if err == nil {
		s.aside.add(s.answers.have[:len(s.answers.have)-len(start)+own])
	}
	return own, err
}

// answer looks at the start of a packet from the server.
func (s *sftp) answer(kind byte, start []byte, whole bool) (int, error) {
	f := fields{b: start, more: !whole}
	number := f.u32() // the version, or the id of the request
	switch {
	case f.bad:
		return 0, errFields
	case kind == pktVersion && (number != 3 || s.spoken || !whole):
		return 0, errVersion
	case kind == pktVersion:
		s.spoken = true
		return len(start), nil
	case !s.spoken:
		return 0, errVersion
	}
	p := s.answered(number)
	if p == nil {
		return 0, errors.New("an answer has no request")
	}
	own := len(start)
	switch kind {
	case pktHandle:
		handle := f.str()
		if f.bad || len(handle) > maxHandle {
			return 0, errors.New("a handle is too long")
		}
		if len(f.b) > 0 {
			return 0, errMore
		}
		return own, s.handed(p, string(handle))
	case pktData:
		n := f.u32()
		if f.bad || p.kind != pktRead {
			return 0, errFields
		}
		if int64(n)+dataHead != s.answers.length() {
			return 0, errMore
		}
		file := s.files[p.handle]
		if file == nil || file.folder {
			return 0, errors.New("these are data of no file that is open")
		}
		s.down = &passing{left: n, run: &file.down}
		file.down.packet(p.offset, &s.held)
		own -= len(f.b)
	case pktAttrs:
		if !whole {
			return 0, errMore
		}
		if file := s.files[p.handle]; file != nil && p.kind == pktFstat && f.u32()&attrSize != 0 {
			file.size, file.sized = f.u64(), true
		}
	case pktStatus:
		code, words := f.u32(), f.str()
		if len(f.b) > 0 {
			f.str() // the language
		}
		if !whole || len(f.b) > 0 {
			return 0, errMore
		}
		s.status(p, code, words)
	case pktName:
		if p.kind != pktReaddir && p.kind != pktRealpath && p.kind != pktReadlink && p.kind != pktExtended {
			return 0, errKind
		}
		if p.kind == pktReaddir {
			return s.listed(p, f)
		}
		s.tell(p, "")
	case pktReply:
		if p.kind != pktExtended || !whole {
			return 0, errKind
		}
		s.tell(p, "")
	default:
		return 0, errKind
	}
	if f.bad && kind != pktStatus { // old servers send no words with a status
		return 0, errFields
	}
	return own, nil
}

// handed is the answer to an open.
func (s *sftp) handed(p *pending, handle string) error {
	if p.kind != pktOpen && p.kind != pktOpendir {
		s.tell(p, "")
		return nil
	}
	if old := s.files[handle]; old != nil {
		s.forget(handle, old)
	}
	if len(s.files) >= maxHandles {
		return fmt.Errorf("more than %d files are open", maxHandles)
	}
	s.names += len(handle) + len(p.action.Path)
	s.files[handle] = &file{folder: p.kind == pktOpendir, order: p.order, path: p.action.Path, flags: p.flags}
	return nil
}

// idSize is that of the id of a request, which stands before all else in an answer.
const idSize = 4

// listed is an answer with names of a folder: what stands behind the id is the list's.
func (s *sftp) listed(p *pending, f fields) (own int, err error) {
	folder := s.files[p.handle]
	if folder == nil || !folder.folder {
		return 0, errors.New("these are names of no folder that is open")
	}
	folder.entries += int64(f.u32())
	if f.bad {
		return 0, errFields
	}
	s.down = &passing{left: uint32(s.answers.length() - 1 - idSize), run: &folder.down}
	folder.down.packet(folder.down.next, &s.held)
	return idSize, nil
}

// status is the answer to all that brings nothing back.
func (s *sftp) status(p *pending, code uint32, words []byte) {
	file := s.files[p.handle]
	switch {
	case (p.kind == pktRead || p.kind == pktReaddir) && code == statusEOF:
		if file != nil && (!file.ended || p.offset < file.eof) {
			file.eof, file.ended = p.offset, true
		}
		s.said(p, file, words)
		return
	case (p.kind == pktOpen || p.kind == pktOpendir) && code == statusOK:
		// No server opens a file without saying its handle.
		p.action.Action = ""
		s.said(p, file, words)
		return
	}
	fault := ""
	if code != statusOK {
		fault = faultOf(code, words)
	}
	shown := fault != "" && p.action.Action != ""
	if file != nil && fault != "" && file.fault == "" && (p.kind == pktRead || p.kind == pktReaddir || p.kind == pktWrite || p.kind == pktClose) {
		file.fault, shown = fault, true
	}
	if !shown {
		s.said(p, file, words)
	}
	if p.kind == pktFsetstat && file != nil && fault == "" && p.flags&attrSize != 0 {
		file.trimmed, file.trim = true, p.offset
	}
	if p.kind == pktClose && file != nil {
		s.forget(p.handle, file)
	}
	s.tell(p, fault)
}

// said has words that no row would show otherwise written down: with what the request did,
// or by themselves.
func (s *sftp) said(p *pending, file *file, words []byte) {
	p.action.Said = s.aside.words(words)
	if p.action.Said != "" && p.action.Action == "" {
		p.action.Action = "answer"
		if file != nil {
			p.action.Path = file.path
		}
		s.tell(p, "")
		p.action = recording.FileAction{}
	}
}

// tell emits what a request did.
func (s *sftp) tell(p *pending, fault string) {
	if p.action.Action != "" {
		p.action.Error = fault
		s.emit(recording.File, p.action)
	}
}

// forget tells of a file that is open no more.
func (s *sftp) forget(handle string, f *file) {
	delete(s.files, handle)
	s.names -= len(handle) + len(f.path)
	for _, a := range f.rows() {
		s.emit(recording.File, a)
	}
	s.held -= f.up.give() + f.down.give()
}

// rows are what was done with a file: sent, fetched, or both.
func (f *file) rows() []recording.FileAction {
	if f.folder {
		return []recording.FileAction{{
			Action: "list", Path: f.path, Size: f.down.size, SHA256: f.down.sum(), Entries: f.entries, Whole: f.ended && f.fault == "", Error: f.fault,
		}}
	}
	var rows []recording.FileAction
	if f.flags&openWrite != 0 || f.up.begun {
		a := recording.FileAction{Action: "upload", Path: f.path, Size: f.up.size, Error: f.fault}
		fresh := f.flags&openTrunc != 0 || f.flags&openCreate != 0 && f.flags&openExcl != 0
		if fresh && !f.up.begun {
			f.up.from(0) // an empty file
		}
		a.SHA256 = f.up.sum()
		a.Whole = f.up.first() && !f.copied && f.fault == "" && f.flags&openAppend == 0
		// What was there before must be gone: scp cuts the file after the last byte.
		if f.trimmed {
			a.Whole = a.Whole && f.trim == f.up.next
		} else {
			a.Whole = a.Whole && fresh
		}
		rows = append(rows, a)
	}
	if f.down.begun || len(rows) == 0 {
		a := recording.FileAction{Action: "download", Path: f.path, Size: f.down.size, SHA256: f.down.sum(), Error: f.fault}
		a.Whole = f.down.first() && f.fault == "" && (f.ended && f.eof == f.down.next || f.sized && f.size == f.down.next)
		rows = append(rows, a)
	}
	return rows
}

// cutOff is the error of what was under way at the end.
const cutOff = "it was not finished"

func (s *sftp) finish() {
	for _, handle := range slices.SortedFunc(maps.Keys(s.files), func(a, b string) int {
		return cmp.Compare(s.files[a].order, s.files[b].order)
	}) {
		f := s.files[handle]
		f.fault = cmp.Or(f.fault, cutOff)
		s.forget(handle, f)
	}
	for _, id := range slices.Sorted(maps.Keys(s.pending)) {
		for p := s.pending[id]; p != nil; p = p.next {
			s.tell(p, cutOff)
		}
	}
	if !s.answers.begun {
		s.aside.add(s.answers.have) // of a packet that never became whole
	}
	s.aside.tell(s.emit)
}

// maxWords bounds what is kept of an error's words, in bytes.
const maxWords = 1024

// faultOf is what the server said, or what its code means (section 7 of the draft).
func faultOf(code uint32, words []byte) string {
	if len(words) > 0 {
		return text(words[:min(len(words), maxWords)])
	}
	names := []string{2: "no such file", 3: "permission denied", 4: "failure", 5: "bad message", 6: "no connection", 7: "connection lost", 8: "not supported"}
	if int(code) < len(names) && names[code] != "" {
		return names[code]
	}
	return fmt.Sprintf("status %d", code)
}
