package gateway

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// hostKeyFile is the gateway's SSH host key, below the state folder. It stays the same for
// the gateway's life, so that a user's ssh sees one key at all later key exchanges, and
// somebody who looks finds which gateway it was. By itself it proves nothing: each session
// has it certified anew.
const hostKeyFile = "ssh_host_ed25519_key"

// loadHostKey reads the host key, or makes it at the first start.
func loadHostKey(stateDir string) (ssh.Signer, error) {
	path := filepath.Join(stateDir, hostKeyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeHostKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the gateway's host key: %w", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others: type chmod 600 %s", path, path)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s holds no key: %w; remove it to have another made", path, err)
	}
	if signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("%s is not an Ed25519 key; remove it to have one made", path)
	}
	if err := proveKey(signer); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; remove it to have another made", path, err)
	}
	return signer, nil
}

// proveKey finds a private half that is not that of the public one: ssh.ParsePrivateKey takes
// both as they stand in the file, and every user's ssh would refuse what it signs.
func proveKey(key ssh.Signer) error {
	var challenge [32]byte
	signed, err := key.Sign(rand.Reader, challenge[:])
	if err != nil {
		return err
	}
	return key.PublicKey().Verify(challenge[:], signed)
}

func makeHostKey(path string) ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(block)
	_, err = atomicfile.Write(path, text, atomicfile.Options{Mode: 0o600})
	return text, err
}
