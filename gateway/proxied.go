package gateway

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// proxyTimeout bounds the header: a balancer sends it with its first segment.
	proxyTimeout = 5 * time.Second
	// maxProxyLine is the longest header of version 1, by its specification
	// (haproxy.org, proxy-protocol.txt, section 2.1).
	maxProxyLine = 107
	// maxProxyBody bounds what follows the 16 bytes of version 2: addresses take
	// 36, and the rest are notes of the balancer that we do not read.
	maxProxyBody = 4 << 10

	proxyLineStart = "PROXY "
	proxyHead      = 16 // of version 2: signature, command, family, length
)

var errProxyHeader = errors.New("no PROXY header of a balancer")

// readProxyHeader reads the header of version 1 or 2 and not a byte more: what
// follows belongs to the client. That is why the library's own listener is not
// used, which reads ahead and wraps the connection: then the kernel could not
// splice it. The library parses, we read.
//
// local is true where the balancer speaks for itself, as in a health check.
func readProxyHeader(conn net.Conn, limit time.Duration) (from netip.AddrPort, local bool, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return from, false, err
	}
	raw, err := proxyHeader(conn)
	if err != nil {
		return from, false, err
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(raw)))
	switch {
	case err != nil:
		return from, false, err
	case h.Command.IsLocal() || h.TransportProtocol.IsUnspec():
		return from, true, nil
	}
	source, ok := h.SourceAddr.(*net.TCPAddr)
	if !ok {
		return from, false, errProxyHeader
	}
	from = source.AddrPort()
	from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	if !from.IsValid() || from.Addr().IsUnspecified() {
		return from, false, errProxyHeader
	}
	return from, false, nil
}

// proxyHeader returns the bytes of one whole header. It allocates nothing for a
// length that is refused.
func proxyHeader(r io.Reader) ([]byte, error) {
	head := make([]byte, len(proxyLineStart), maxProxyLine)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if string(head) == proxyLineStart {
		return proxyLine(r, head)
	}
	head = head[:proxyHead]
	if _, err := io.ReadFull(r, head[len(proxyLineStart):]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[proxyHead-2:]))
	if !bytes.Equal(head[:len(proxyproto.SIGV2)], proxyproto.SIGV2) || n > maxProxyBody {
		return nil, errProxyHeader
	}
	all := make([]byte, proxyHead+n)
	copy(all, head)
	_, err := io.ReadFull(r, all[proxyHead:])
	return all, err
}

// proxyLine reads the rest of a line, byte by byte.
func proxyLine(r io.Reader, line []byte) ([]byte, error) {
	for line[len(line)-1] != '\n' {
		if len(line) == maxProxyLine {
			return nil, errProxyHeader
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return nil, err
		}
	}
	return line, nil
}
