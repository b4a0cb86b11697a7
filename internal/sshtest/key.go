package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// KeyPair is a fresh Ed25519 key that can also be written for OpenSSH to read.
type KeyPair struct {
	ssh.Signer
	Private ed25519.PrivateKey
}

// Key makes a key.
func Key(t testing.TB) KeyPair {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return KeyPair{signer, private}
}

// Write writes the private key to path (mode 0600) and the public one to
// path.pub, and returns path.
func (k KeyPair) Write(t testing.TB, path string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(k.Private, "")
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, pem.EncodeToMemory(block), 0o600)
	write(t, path+".pub", ssh.MarshalAuthorizedKey(k.PublicKey()), 0o644)
	return path
}

// Line is the public key as one line of an OpenSSH file, without line end.
func Line(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// Certify signs a certificate for key: a user certificate for these
// principals, valid from a minute ago for an hour, with a pty allowed. change
// may make anything else of it before it is signed.
func Certify(t testing.TB, ca ssh.Signer, key ssh.PublicKey, principals []string, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "test", Serial: 1, ValidPrincipals: principals,
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": ""}},
	}
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert
}

// WriteFile writes a file that everybody may read to the folder dir.
func WriteFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	write(t, path, []byte(text), 0o644)
	return path
}

func write(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}
