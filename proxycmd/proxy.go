package proxycmd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
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

// proxyFor is the proxy that HTTPS_PROXY and NO_PROXY name for an address, or nil.
func proxyFor(address string) (*url.URL, error) {
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(&url.URL{Scheme: "https", Host: address})
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY cannot be used: %w", err)
	}
	if proxy != nil && proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("HTTPS_PROXY: a proxy of scheme %q is not supported; use http:// or https://", proxy.Scheme)
	}
	return proxy, nil
}

// Proxied reports whether this environment names a proxy, whatever it is for.
func Proxied() bool { return httpproxy.FromEnvironment().HTTPSProxy != "" }

// Dial opens a connection as Run does: to look whether a gateway can be reached.
func Dial(ctx context.Context, address string) (net.Conn, error) { return dialTCP(ctx, address) }

// dialTCP dials an address, through the proxy that there is for it, if any. Go sets TCP_NODELAY
// itself, without which ssh's handshake waits 40 ms for nothing.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	proxy, err := proxyFor(address)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return (&net.Dialer{KeepAlive: keepAlive}).DialContext(ctx, "tcp", address)
	}
	conn, err := dialProxy(ctx, proxy, address)
	if err != nil {
		return nil, fmt.Errorf("the proxy of HTTPS_PROXY: %w", err)
	}
	return conn, nil
}

// dialProxy returns a connection to address through a proxy. What authenticates a proxy of
// https:// is what the system trusts: it gets a password.
func dialProxy(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	port := cmp.Or(proxy.Port(), map[string]string{"http": "80", "https": "443"}[proxy.Scheme])
	conn, err := (&net.Dialer{KeepAlive: keepAlive}).DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		inside := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
		if err := inside.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = inside
	}
	if err := tunnel(ctx, conn, address, proxy.User); err != nil {
		conn.Close()
		return nil, err
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
		if len(fields) > 1 && fields[1] == "407" {
			return errors.New("it wants a user and a password that are right; type: export HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")
		}
		return fmt.Errorf("it answered %.80q to CONNECT", strings.TrimSpace(status))
	}
	if !stop() {
		return ctx.Err()
	}
	return conn.SetDeadline(time.Time{})
}
