package login

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/cardea-ssh/cardea/dpop"
)

// keyringPEM is the type of a key file that only names an entry of the keyring.
const keyringPEM = "CARDEA KEYRING ENTRY"

// thumbprintHeader says which key the entry must hold: who can write into the keyring
// of a desktop does not choose the key of the device.
const thumbprintHeader = "Thumbprint"

// keyEntry is the beginning of the names of entries that hold device keys; sessions'
// tokens are under the ids of the sessions.
const keyEntry = "device-key-"

type keyringVault struct{ ring keyring }

func (v keyringVault) create() ([]byte, error) {
	key, err := dpop.NewKey()
	if err != nil {
		return nil, err
	}
	secret, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	entry := keyEntry + rand.Text()
	if err := v.ring.set(entry, string(secret)); err != nil {
		return nil, fmt.Errorf("the keyring does not take it: %w", err)
	}
	// A keyring that forgets is worse than none.
	if back, err := v.ring.get(entry); err != nil || back != string(secret) {
		return nil, errors.New("the keyring does not give back what it took")
	}
	return pem.EncodeToMemory(&pem.Block{
		Type: keyringPEM, Headers: map[string]string{thumbprintHeader: key.Thumbprint()}, Bytes: []byte(entry),
	}), nil
}

func (v keyringVault) open(text []byte) (*dpop.Key, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(rest) != 0 {
		return nil, errors.New("the key file is damaged")
	}
	secret, err := v.ring.get(string(block.Bytes))
	if err != nil {
		return nil, fmt.Errorf("the keyring does not give it: %w", err)
	}
	key, err := dpop.ParseKey([]byte(secret))
	if err != nil {
		return nil, err
	}
	if key.Thumbprint() != block.Headers[thumbprintHeader] {
		return nil, errors.New("the keyring holds another key than the one that was put there")
	}
	return key, nil
}

func (v keyringVault) discard(text []byte) {
	if block, _ := pem.Decode(text); block != nil {
		v.ring.remove(string(block.Bytes)) // an orphan is of no use to anybody
	}
}
