// Package freeport finds TCP ports for programs that have to be told theirs.
//
// The kernel gives one to whoever asks for port 0, but between that and the start of the
// program that is to have it, it gives the same to the next connection of anybody. So they
// are sought below those that kernels give away (Linux from 32768, others from 49152 as
// IANA's dynamic ports, RFC 6335 section 6), and none is given twice by one process.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// They lie in [first, first+count).
const first, count = 10000, 10000

// next is the one to try next. Processes begin anywhere, as they do not know of each other.
var next = struct {
	sync.Mutex
	offset int
}{offset: rand.IntN(count)}

// At is a port that nobody listens to at host, an address of this machine.
func At(host string) (int, error) {
	next.Lock()
	defer next.Unlock()
	for range count {
		port := first + next.offset
		next.offset = (next.offset + 1) % count
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		switch {
		case err == nil:
			return port, l.Close()
		case !errors.Is(err, syscall.EADDRINUSE):
			return 0, err
		}
	}
	return 0, errors.New("no free TCP port at " + host)
}
