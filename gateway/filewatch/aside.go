package filewatch

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/recording"
)

// What a server says besides the bytes of files is not kept as it is: a folder of many
// files would fill a recording with what nobody reads. It is counted and hashed, so that
// a server which works together with its user passes nothing without a trace. What it says
// in words and no row shows is written down, up to a bound.

// aside is all that one channel's server said besides the bytes of files and lists. The
// zero value has nothing.
type aside struct {
	size int64
	hash hash.Hash
	said int // bytes of words that were written down
}

// maxSaid bounds the words of one channel that are written down, in bytes. What comes
// after is in the hash, as all is.
const maxSaid = 64 << 10

func (a *aside) add(b []byte) {
	if len(b) == 0 {
		return
	}
	if a.hash == nil {
		a.hash = sha256.New()
	}
	a.hash.Write(b)
	a.size += int64(len(b))
}

// usual are the words of OpenSSH's server, which are one for each code, and of others.
var usual = []string{
	"", "success", "ok", "end of file", "eof",
	"no such file", "permission denied", "failure", "bad message", "no connection", "connection lost", "operation unsupported",
}

// words are those that no row shows, as they are to be written down: "" for the usual
// ones, and where there were too many before.
func (a *aside) words(b []byte) string {
	if slices.Contains(usual, strings.ToLower(strings.TrimSuffix(string(b), "."))) {
		return ""
	}
	b = b[:min(len(b), maxWords)]
	if a.said+len(b) > maxSaid {
		return ""
	}
	a.said += len(b)
	return text(b)
}

// tell emits the row, which is the last of the channel.
func (a *aside) tell(emit Emit) {
	if a.hash != nil {
		emit(recording.File, recording.FileAction{Action: "answers", Size: a.size, SHA256: hex.EncodeToString(a.hash.Sum(nil))})
	}
}
