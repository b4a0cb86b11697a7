package sshd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// HostKey is sshd's Ed25519 host key as one authorized_keys line without
// comment. It is made if sshd names the usual file and there is none.
func (m *Manager) HostKey(ctx context.Context) (string, error) {
	out, err := m.run(ctx, sshdProgram, "-T")
	if err != nil {
		return "", fmt.Errorf("sshd's configuration is broken, mend it first: %w", err)
	}
	files := parseEffective(out)["hostkey"]
	for _, file := range files {
		if key, err := readPublicKey(file + ".pub"); err == nil && key.Type() == ssh.KeyAlgoED25519 {
			return sshcert.Line(key), nil
		}
	}
	if !slices.Contains(files, defaultHostKey) {
		return "", fmt.Errorf("sshd has no ed25519 host key; add to its configuration: HostKey %s", defaultHostKey)
	}
	if _, err := os.Lstat(defaultHostKey); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s.pub cannot be read; write it with: ssh-keygen -y -f %s", defaultHostKey, defaultHostKey)
	}
	if _, err := m.run(ctx, keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", defaultHostKey); err != nil {
		return "", err
	}
	key, err := readPublicKey(defaultHostKey + ".pub")
	if err != nil {
		return "", err
	}
	return sshcert.Line(key), nil
}

func readPublicKey(path string) (ssh.PublicKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is not a key", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	return key, err
}

// CheckCertificate reports whether a host certificate is what this server must
// show: for its host key, signed by the team, valid now.
func CheckCertificate(line, hostKey, server string, hostCAs []string, now time.Time) error {
	cas, err := ParseCAs(hostCAs)
	if err != nil {
		return err
	}
	cert, err := parseCertificate(line)
	if err != nil {
		return err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return err
	}
	if !bytes.Equal(cert.Key.Marshal(), key.Marshal()) {
		return errors.New("the host certificate is for another host key")
	}
	return sshcert.VerifyHost(cert, sshcert.ExpectHost{CAs: cas, ServerID: server, Now: now})
}

// Current is the host certificate in use and when it ends, or "" if there is
// none that holds. due is true if it should be renewed: before a third of its
// life is left, so that weeks without a control plane do no harm; and at once if
// its CA is not the one that signs now, the first, because it is being left.
func (m *Manager) Current(hostKey, server string, hostCAs []string) (line string, ends time.Time, due bool) {
	return m.current(CertificateFile, hostKey, server, hostCAs)
}

func (m *Manager) current(file, hostKey, server string, hostCAs []string) (line string, ends time.Time, due bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", time.Time{}, true
	}
	line = strings.TrimSpace(string(raw))
	if CheckCertificate(line, hostKey, server, hostCAs, m.now()) != nil {
		return "", time.Time{}, true
	}
	cert, err := parseCertificate(line)
	if err != nil {
		return "", time.Time{}, true
	}
	ends = time.Unix(int64(cert.ValidBefore), 0).UTC()
	life := time.Duration(cert.ValidBefore-cert.ValidAfter) * time.Second
	early := life/3 + spread(server, life/30)
	return line, ends, ends.Sub(m.now()) <= early || !SignedByFirst(line, hostCAs)
}

// SignedByFirst is true if a certificate is of the first of the CAs, which is the
// one that signs now.
func SignedByFirst(line string, hostCAs []string) bool {
	cas, err := ParseCAs(hostCAs)
	return err == nil && Signer(line) == ssh.FingerprintSHA256(cas[0])
}

// Signer is the fingerprint of the CA of a certificate, "" if it is none.
func Signer(line string) string {
	cert, err := parseCertificate(line)
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(cert.SignatureKey)
}

// spread is this server's share of a span: always the same for it, and others for
// others, so that a fleet which was set up in one hour does not do in one hour,
// month after month, what each does from time to time.
func spread(server string, span time.Duration) time.Duration {
	if span <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(server))
	return time.Duration(binary.BigEndian.Uint64(sum[:]) % uint64(span))
}

// foreignCertificates names a host certificate of somebody else's for the same
// host key: sshd shows only one, so that ours would take its place.
func foreignCertificates(files []string, hostKey ssh.PublicKey) string {
	for _, file := range files {
		if file == CertificateFile || file == "none" {
			continue
		}
		key, err := readPublicKey(file)
		if err != nil {
			continue
		}
		if cert, ok := key.(*ssh.Certificate); ok && bytes.Equal(cert.Key.Marshal(), hostKey.Marshal()) {
			return file
		}
	}
	return ""
}
