// Package socket is how the local agent is reached: Unix sockets, and on Windows named pipes,
// which are what ssh speaks to its agent by there. It belongs to one user, whom it tells from
// all others at either end.
package socket

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// What of pipes is text alone is here, for every system's tests.

// pipePath is the pipe that stands for the socket called name in a folder. All pipes of a
// machine are in one place and anybody may look there, so that it is told apart by the folder
// alone, of which there is one for each user; Windows does not tell cases apart in that.
func pipePath(folder, name string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(folder)))
	return `\\.\pipe\cardea-` + strings.TrimSuffix(name, ".sock") + "-" + hex.EncodeToString(sum[:8])
}

// ownerOnly is the security descriptor of what is one user's alone (SDDL): he owns it, nothing
// is inherited, and all is allowed to him and to nobody else, administrators among them.
func ownerOnly(sid string) string { return "O:" + sid + "D:P(A;;GA;;;" + sid + ")" }
