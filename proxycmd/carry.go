package proxycmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// A carrier is a process that stays beside an ssh which was to get a descriptor
// (ProxyUseFdpass): ssh waits for its ProxyCommand to end, and what is inside TLS lives in
// a process. So the ProxyCommand starts one with one end of a socket pair, says hello
// through it, gives the other end to ssh, and is gone.

const (
	// carriedWell is what a carrier says on its stdout when the way is open; anything else
	// is why it is not.
	carriedWell = "open\n"
	// maxCarrierWord bounds what it says, bytes.
	maxCarrierWord = 4 << 10
)

// Carry is a carrier: it dials address, inside TLS or not, and copies between that and
// stdin, which is its end of the pair, until both are over. dial is nil outside tests.
func Carry(ctx context.Context, address string, inside bool, stdin, stdout *os.File, dial func(context.Context, string) (net.Conn, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer watch(ctx, stdin, cancel)() // ssh may be killed while neither side sends
	if dial == nil {
		dial = dialTCP
	}
	conn, err := dialFor(ctx, address, inside, dial)
	if err != nil {
		fmt.Fprint(stdout, ident.Text(err.Error()))
		return nil // whoever started us tells it
	}
	defer conn.Close()
	local, err := net.FileConn(stdin)
	if err != nil {
		return err
	}
	defer local.Close()
	if _, err := io.WriteString(stdout, carriedWell); err != nil {
		return err
	}
	stdout.Close()
	join(ctx, conn, local)
	return nil
}

// dialFor bounds the dialling as that of every attempt.
func dialFor(ctx context.Context, address string, inside bool, dial func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return dialInside(ctx, address, inside, dial)
}

// lastWords is how long what ssh wrote before it went may take to be sent.
const lastWords = 10 * time.Second

// join copies both ways and passes each end of stream on as one. ssh's end decides when it
// is over: who gets no more from the other side, or cannot send, goes.
func join(ctx context.Context, conn, ssh net.Conn) {
	defer context.AfterFunc(ctx, func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		conn.SetWriteDeadline(time.Now().Add(lastWords))
	})()
	down := make(chan struct{})
	go func() {
		defer close(down)
		io.CopyBuffer(writerOnly{ssh}, readerOnly{conn}, make([]byte, bufferSize))
		ssh.(halfCloser).CloseWrite()
	}()
	_, err := io.CopyBuffer(writerOnly{conn}, readerOnly{ssh}, make([]byte, bufferSize))
	if c, ok := conn.(halfCloser); err != nil || !ok || c.CloseWrite() != nil {
		conn.Close()
	}
	<-down
}

// heard reads what a carrier says first.
func heard(said io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(said, maxCarrierWord))
	switch {
	case err != nil:
		return err
	case string(text) == carriedWell:
		return nil
	case len(text) == 0:
		return fmt.Errorf("the process that was to hold it has ended")
	}
	return fmt.Errorf("%s", strings.TrimSpace(ident.Text(string(text))))
}
