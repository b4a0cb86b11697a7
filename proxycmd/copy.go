package proxycmd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// bufferSize is for each direction. SSH packets have up to 32 KiB; several at a time save
// system calls in bulk.
const bufferSize = 128 << 10

// halfCloser is a connection whose sending side can end alone.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// copyBoth copies until both directions are over or ssh is gone. Each end of stream is
// passed on as one: that of stdin ends our sending side, that of the connection ends stdout,
// and what the other direction still has to say arrives. down is where conn is read.
func copyBoth(ctx context.Context, stdin io.Reader, stdout *os.File, conn net.Conn, down io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	up := make(chan error, 1)
	go func() { up <- upload(stdin, conn) }() // a read of stdin ends with ssh, or with the process
	stopWatching := watch(ctx, stdout, cancel)
	_, err := io.CopyBuffer(writerOnly{stdout}, readerOnly{down}, make([]byte, bufferSize))
	// Not before the watch is over: a descriptor that somebody waits on does not close.
	stopWatching()
	if err == nil && ctx.Err() == nil {
		stdout.Close()
		select {
		case err = <-up:
		case <-ctx.Done():
		}
	}
	if ordinary(err) {
		return nil
	}
	return err
}

// watch calls gone when ssh is: it may be killed while neither side sends, and then nothing
// else tells. The returned function ends the watch.
func watch(ctx context.Context, stdout *os.File, gone func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		if waitGone(ctx, stdout) {
			gone()
		}
	})
	return func() { cancel(); watcher.Wait() }
}

func upload(stdin io.Reader, conn net.Conn) error {
	_, err := io.CopyBuffer(writerOnly{conn}, readerOnly{stdin}, make([]byte, bufferSize))
	if c, ok := conn.(halfCloser); ok && err == nil {
		return c.CloseWrite()
	}
	return err
}

// ordinary are the ends of every day: ssh itself says what it thinks of them.
func ordinary(err error) bool {
	return err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ENOTCONN)
}

// writerOnly and readerOnly hide ReadFrom and WriteTo, so that CopyBuffer uses its buffer.
type writerOnly struct{ io.Writer }
type readerOnly struct{ io.Reader }
