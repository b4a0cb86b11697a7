package hostkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"golang.org/x/crypto/ssh"
)

var record = flag.Bool("record", false, "record what this machine's sshd sends into testdata")

// listen relays one connection after another to server; each is told with what
// the server sent, and with what a reader made of it.
func listen(t *testing.T, server string, each func(sent []byte, r *Reader)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			remote, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			all.Go(func() { io.Copy(remote, client); remote.Close() })
			var r Reader
			var sent []byte
			buf := make([]byte, 4096)
			for {
				n, err := remote.Read(buf)
				if !r.Done() {
					sent = append(sent, buf[:n]...)
				}
				r.Write(buf[:n])
				client.Write(buf[:n])
				if err != nil {
					break
				}
			}
			client.Close()
			each(sent, &r)
		}
	})
	return l.Addr()
}

// TestRealSSHD reads what the sshd of this machine sends to its ssh, with every
// key exchange and kind of host key that both know.
func TestRealSSHD(t *testing.T) {
	authority, host := sshtest.Key(t), sshtest.Key(t)
	dir := t.TempDir()
	file := host.Write(t, filepath.Join(dir, "host"))
	cert := sshtest.Certify(t, authority.Signer, host.PublicKey(), []string{"srv_a.cardea"}, func(c *ssh.Certificate) {
		c.CertType = ssh.HostCert
		c.Permissions = ssh.Permissions{}
	})
	certFile := sshtest.WriteFile(t, dir, "host-cert.pub", sshtest.Line(cert)+"\n")
	kex := strings.Fields(sshtest.Run(t, sshtest.Command(t, "ssh", "-Q", "kex")).Stdout)
	server := sshtest.Start(t, "HostKey "+file, "HostCertificate "+certFile, "KexAlgorithms "+strings.Join(kex, ","))
	found := make(chan string, 1)
	var raw []byte
	at := listen(t, server.Addr.String(), func(sent []byte, r *Reader) {
		raw = sent
		found <- r.Line()
		if r.Hidden() || !strings.Contains(r.Algorithms(), "ssh-ed25519") {
			t.Errorf("hidden %v, algorithms %q", r.Hidden(), r.Algorithms())
		}
	})
	_, port, _ := net.SplitHostPort(at.String())
	for algorithm, key := range map[string]ssh.PublicKey{"ssh-ed25519-cert-v01@openssh.com": cert, "ssh-ed25519": host.PublicKey()} {
		for _, k := range kex {
			args := append(sshtest.Alone(), "-o", "KexAlgorithms="+k, "-o", "HostKeyAlgorithms="+algorithm, "-o", "UserKnownHostsFile=/dev/null", "-p", port, "127.0.0.1")
			// Since 10.1 it gives up where it may not look at the key without its certificate.
			refused := regexp.MustCompile("Host key verification failed|not permitted by HostkeyAlgorithms")
			if got := sshtest.Run(t, sshtest.Command(t, "ssh", args...)); !refused.MatchString(got.Stderr) {
				t.Errorf("%s, %s: ssh said %s", algorithm, k, got.Stderr)
			}
			if line := <-found; line != sshtest.Line(key) {
				t.Errorf("%s, %s: found %.80q", algorithm, k, line)
			}
			switch {
			case !*record:
			case k == "curve25519-sha256" && key == ssh.PublicKey(cert):
				os.WriteFile("testdata/certificate-curve25519", raw, 0o644)
			case k == "diffie-hellman-group-exchange-sha256" && key != ssh.PublicKey(cert):
				os.WriteFile("testdata/plain-group-exchange", raw, 0o644)
			}
		}
	}
}

// A user sends what is no SSH to a good server, by a browser or a probe of its
// port. It is he who is odd: nobody may come to suspect the server for it.
func TestWhatRealSSHDAnswersToWhomIsNotSSH(t *testing.T) {
	host := sshtest.Key(t)
	server := sshtest.Start(t, "HostKey "+host.Write(t, filepath.Join(t.TempDir(), "host")))
	for _, sent := range []string{"GET / HTTP/1.0\r\n\r\n", "SSH-1.0-old\r\n", "\x00\x01\x02\n", "SSH-2.0-x\r\n" + strings.Repeat("x", 100), "SSH-2.0-x\r\n" + strings.Repeat(packet("\xc0x"), 100)} {
		conn, err := net.Dial("tcp", server.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, sent)
		conn.(*net.TCPConn).CloseWrite()
		var r Reader
		io.Copy(&r, conn) // its end may be a reset
		conn.Close()
		if r.Hidden() || r.Line() != "" {
			t.Errorf("%.20q: hidden %v, key %.20q", sent, r.Hidden(), r.Line())
		}
	}
}

// TestExchangesOfOtherServers reads servers and exchanges that this machine's
// OpenSSH may be too old for: ML-KEM among them.
func TestExchangesOfOtherServers(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	supported, insecure := ssh.SupportedAlgorithms().KeyExchanges, ssh.InsecureAlgorithms().KeyExchanges
	kex := append(append([]string{}, supported...), insecure...)
	server := tcptest.Serve(t, func(conn net.Conn) {
		config := &ssh.ServerConfig{NoClientAuth: true, Config: ssh.Config{KeyExchanges: kex}}
		config.AddHostKey(signer)
		if c, _, _, err := ssh.NewServerConn(conn, config); err == nil {
			c.Wait()
		}
	})
	found := make(chan *Reader, 1)
	at := listen(t, server, func(_ []byte, r *Reader) { found <- r })
	refused := errors.New("refused")
	if len(kex) < 4 || !strings.Contains(strings.Join(kex, " "), "mlkem768x25519") {
		t.Errorf("too few exchanges: %q", kex)
	}
	for _, k := range kex {
		conn, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _, _, err = ssh.NewClientConn(conn, "x", &ssh.ClientConfig{
			Config: ssh.Config{KeyExchanges: []string{k}}, HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return refused },
		})
		conn.Close()
		if !strings.Contains(err.Error(), refused.Error()) {
			t.Errorf("%s: %v", k, err)
		}
		if r := <-found; r.Line() != sshtest.Line(signer.PublicKey()) || r.Hidden() {
			t.Errorf("%s: found %.80q, hidden %v", k, r.Line(), r.Hidden())
		}
	}
}
