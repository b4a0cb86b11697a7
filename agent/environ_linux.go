package agent

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// maxEnviron is more than the kernel lets a program start with by default (128 KiB for one
// variable, 2 MiB for all).
const maxEnviron = 2 << 20

// authSock is SSH_AUTH_SOCK as an ssh was started with it. ssh itself puts our socket there
// before it runs a ProxyCommand, so this is the only place where the user's own still is.
func authSock(pid int) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return "" // it has gone, or is another user's
	}
	defer f.Close()
	env, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if err != nil {
		return ""
	}
	for variable := range bytes.SplitSeq(env, []byte{0}) {
		if socket, ok := bytes.CutPrefix(variable, []byte("SSH_AUTH_SOCK=")); ok {
			return string(socket)
		}
	}
	return ""
}
