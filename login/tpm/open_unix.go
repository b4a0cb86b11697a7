//go:build !windows

package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// DefaultPath is Linux's resource manager, which lets many programs use one TPM and
// forgets what a program leaves there. Elsewhere there is no such file.
const DefaultPath = "/dev/tpmrm0"

// maxAnswer is the longest answer of a TPM, in bytes, as Linux and Windows bound it.
const maxAnswer = 4096

// queuePoll is how often a software TPM is asked again that others are asking.
const queuePoll = 5 * time.Millisecond

// with runs do with the TPM at path: a device, or the socket of a software TPM.
func with(path string, do func(transport.TPM) error) error {
	t, err := open(path)
	if err != nil {
		return err
	}
	defer t.Close()
	return do(t)
}

func open(path string) (transport.TPMCloser, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrAbsent
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket != 0:
		return socket(path), nil
	case info.Mode()&fs.ModeCharDevice == 0:
		return nil, fmt.Errorf("%w: %s is not a device", ErrAbsent, path)
	}
	t, err := linuxtpm.Open(path)
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%w: %v", ErrAbsent, err)
	}
	return t, err // the kernel bounds the time of each command
}

// socket is that of a program which takes one command for each connection.
type socket string

func (s socket) Send(command []byte) ([]byte, error) {
	end := time.Now().Add(Patience)
	c, err := net.Dial("unix", string(s))
	for errors.Is(err, syscall.EAGAIN) && time.Now().Before(end) { // others stand in line
		time.Sleep(queuePoll)
		c, err = net.Dial("unix", string(s))
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(end); err != nil {
		return nil, err
	}
	if _, err := c.Write(command); err != nil {
		return nil, err
	}
	answer := make([]byte, maxAnswer)
	n, err := c.Read(answer)
	if err != nil {
		return nil, err
	}
	return answer[:n], nil
}

func (socket) Close() error { return nil }
