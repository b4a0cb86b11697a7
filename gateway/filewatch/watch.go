// Package filewatch reads along in file transfers and says which files passed:
// SFTP as OpenSSH speaks it (draft-ietf-secsh-filexfer-02, version 3, and the
// extensions in OpenSSH's PROTOCOL), and the protocol of scp before that (scp -O).
//
// It only looks. Both ends may lie, so whatever it cannot follow ends the watching
// with a gap, never the transfer. Memory is bounded whatever passes.
package filewatch

import (
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cardea-ssh/cardea/recording"
)

// Emit takes what was seen: recording.File with a recording.FileAction, and
// recording.Gap with a recording.Missing, after which nothing follows. It is called
// from within FromUser, FromServer and Close, one call at a time.
type Emit func(kind recording.Kind, v any)

// Watcher follows one channel. Its methods may be called at the same time.
type Watcher struct {
	mu   sync.Mutex
	emit Emit
	p    protocol // nil once nothing can be followed any more
}

// protocol is one of the two. An error is why it cannot follow any further.
type protocol interface {
	fromUser(b []byte) error
	fromServer(b []byte) error
	// finish tells of what is not over.
	finish()
}

// Subsystem watches a subsystem, or returns nil if it transfers no files.
func Subsystem(name string, emit Emit) *Watcher {
	if name != "sftp" {
		return nil
	}
	return &Watcher{emit: emit, p: newSFTP(emit)}
}

// Exec watches a command, or returns nil if it transfers no files as far as one can
// see. Of a watched command nobody keeps the bytes, so nothing is taken for a transfer
// that may run something else too: no command with operators of the shell, and no
// program out of a folder in which a user could have put his own.
func Exec(command string, emit Emit) *Watcher {
	words, simple := split(command)
	if !simple || len(words) == 0 {
		return nil
	}
	folder, name := path.Split(words[0])
	if folder != "" && !slices.Contains(programFolders, path.Clean(folder)) {
		return nil
	}
	switch name {
	case "sftp-server":
		return &Watcher{emit: emit, p: newSFTP(emit)}
	case "scp":
		if s := newSCP(words[1:], emit); s != nil {
			return &Watcher{emit: emit, p: s}
		}
	}
	return nil
}

// programFolders are where systems keep scp and sftp-server; root alone writes there.
var programFolders = []string{
	"/bin", "/usr/bin", "/usr/local/bin", "/usr/lib/openssh", "/usr/lib/ssh", "/usr/libexec", "/usr/libexec/openssh", "/usr/lib/misc",
}

// FromUser takes the next bytes from the user. Call it before the server gets them.
func (w *Watcher) FromUser(b []byte) { w.take(b, protocol.fromUser) }

// FromServer takes the next bytes to the user. Call it before the user gets them.
func (w *Watcher) FromServer(b []byte) { w.take(b, protocol.fromServer) }

func (w *Watcher) take(b []byte, from func(protocol, []byte) error) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.p == nil {
		return
	}
	if err := from(w.p, b); err != nil {
		w.p.finish()
		w.p = nil
		w.emit(recording.Gap, recording.Missing{Why: "the file transfer could not be followed: " + err.Error()})
	}
}

// Close tells of the files that were not finished.
func (w *Watcher) Close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.p != nil {
		w.p.finish()
		w.p = nil
	}
}

// maxPath bounds a path in what is emitted, in bytes: Linux knows none longer.
const maxPath = 4096

// text makes a path printable in JSON: bytes that are no UTF-8 become \xNN, so that two
// paths never look the same for that reason.
func text(b []byte) string {
	cut := len(b) > maxPath
	if cut {
		b = b[:maxPath]
	}
	s := string(b)
	if strings.ToValidUTF8(s, "") != s {
		s = escapeInvalid(s)
	}
	if cut {
		s += "…"
	}
	return s
}

func escapeInvalid(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i, r := range s {
		if r == '\ufffd' && !strings.HasPrefix(s[i:], "\ufffd") {
			b.WriteString(`\x`)
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// split cuts a command into words as a shell does, without what a shell would put in for
// patterns. simple is false where there are operators, substitutions or open quotes.
func split(command string) (words []string, simple bool) {
	simple = true
	var word strings.Builder
	begun, quote := false, byte(0)
	for i := 0; i < len(command); i++ {
		c := command[i]
		switch {
		case c == quote && quote != 0:
			quote = 0
		case quote == '\'':
			word.WriteByte(c)
		case c == '$' || c == '`' || quote == 0 && strings.IndexByte("\n;&|<>()", c) >= 0:
			simple = false
		case c == '\\' && i+1 < len(command):
			i++
			word.WriteByte(command[i])
			begun, simple = true, simple && command[i] != '\n'
		case quote == 0 && (c == '\'' || c == '"'):
			quote, begun = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, simple && quote == 0
}
