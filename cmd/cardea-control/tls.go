package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// recheck is how often the files of a certificate are looked at: renewals come
// weeks before the end.
const recheck = time.Minute

// withTLS serves TLS 1.3 (and 1.2 for older load balancers) on l, with HTTP/2.
func withTLS(l net.Listener, cert, key string) (net.Listener, error) {
	p := &pair{cert: cert, key: key}
	if _, err := p.get(nil); err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: p.get,
	}), nil
}

// pair is a certificate in two files, read again when one of them changes.
type pair struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamp   [2]time.Time // of the files
	checked time.Time
}

func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded != nil && time.Since(p.checked) < recheck {
		return p.loaded, nil
	}
	stamp, err := p.stamps()
	if err == nil && (p.loaded == nil || stamp != p.stamp) {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(p.cert, p.key); err == nil {
			p.loaded, p.stamp = &c, stamp
		}
	}
	p.checked = time.Now()
	if p.loaded == nil {
		return nil, fmt.Errorf("tls-cert and tls-key: %w", err)
	}
	return p.loaded, nil // the old one, while a renewal is half written
}

func (p *pair) stamps() (out [2]time.Time, err error) {
	for i, path := range []string{p.cert, p.key} {
		info, err := os.Stat(path)
		if err != nil {
			return out, err
		}
		out[i] = info.ModTime()
	}
	return out, nil
}
