// Package bridge stands between a user and a server in record mode: it is the SSH server of
// the user and an SSH client of the server, and writes down what passes between.
//
// A user's OpenSSH shall notice no difference: every channel that the user opens is opened at
// the server, every request is passed on with its answer, and both directions of the bytes,
// their ends, exit codes and signals arrive as they were sent. What may pass is one table
// (policy.go), the same for both directions and for shell, commands, file transfer and
// forwards; what is not in it is refused, and each refusal is recorded, told to the audit log
// and told to the user.
//
// Nothing reaches the user before the recorder has taken it. What a session may hold is
// bounded: channels, time of the handshakes, and the two MiB of each channel that is the
// window of golang.org/x/crypto/ssh.
//
// The protocols are those of RFC 4252 to 4254 and of OpenSSH's PROTOCOL.
package bridge
