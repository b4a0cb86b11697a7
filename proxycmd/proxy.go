package proxycmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

const (
	// keepAlive finds a peer that vanished, in a connection that a person left open.
	keepAlive = 30 * time.Second
	// maxProxyHead bounds the head of a proxy's answer, bytes.
	maxProxyHead = 16 << 10
)

// dialTCP dials an address, through the proxy that HTTPS_PROXY and NO_PROXY name for it, if
// any. Go sets TCP_NODELAY itself, without which ssh's handshake waits 40 ms for nothing.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	dialer := &net.Dialer{KeepAlive: keepAlive}
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(&url.URL{Scheme: "https", Host: address})
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY cannot be used: %w", err)
	}
	if proxy == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	if proxy.Scheme != "http" {
		return nil, fmt.Errorf("HTTPS_PROXY: a proxy of scheme %q is not supported; use http://", proxy.Scheme)
	}
	host := proxy.Host
	if proxy.Port() == "" {
		host = net.JoinHostPort(proxy.Hostname(), "80")
	}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("the proxy of HTTPS_PROXY: %w", err)
	}
	if err := tunnel(ctx, conn, address, proxy.User); err != nil {
		conn.Close()
		return nil, fmt.Errorf("the proxy of HTTPS_PROXY: %w", err)
	}
	return conn, nil
}

// tunnel asks for a CONNECT (RFC 9110 section 9.3.6) and reads the head of the answer byte
// for byte: what follows belongs to the other end.
func tunnel(ctx context.Context, conn net.Conn, address string, user *url.Userinfo) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if user != nil {
		password, _ := user.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return err
	}
	var head bytes.Buffer
	one := make([]byte, 1)
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		if head.Len() >= maxProxyHead {
			return errors.New("its answer does not end")
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
		head.Write(one)
	}
	status, err := bufio.NewReader(&head).ReadString('\n')
	if err != nil {
		return err
	}
	if fields := strings.Fields(status); len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/1.") || fields[1] != "200" {
		return fmt.Errorf("it answered %.80q to CONNECT", strings.TrimSpace(status))
	}
	if !stop() {
		return ctx.Err()
	}
	return conn.SetDeadline(time.Time{})
}
