package login

import (
	"errors"
	"time"

	oskeyring "github.com/zalando/go-keyring"
)

// keyring holds tokens by the id of their session: two sign-ins at once write
// two entries, so that the file never names the other one's token.
type keyring interface {
	get(session string) (string, error)
	set(session, token string) error
	remove(session string) error
}

const keyringService = "cardea"

// keyringPatience is how long the operating system may take. A locked keyring
// asks the person for a password meanwhile.
const keyringPatience = 60 * time.Second

var errKeyring = errors.New("the keyring does not answer")

func (h *Home) ring() keyring {
	if h.keyring != nil {
		return h.keyring
	}
	return systemKeyring{}
}

// systemKeyring is that of the desktop: Secret Service, macOS, Windows.
type systemKeyring struct{}

func (systemKeyring) get(session string) (string, error) {
	return patiently(func() (string, error) { return oskeyring.Get(keyringService, session) })
}

func (systemKeyring) set(session, token string) error {
	_, err := patiently(func() (string, error) { return "", oskeyring.Set(keyringService, session, token) })
	return err
}

func (systemKeyring) remove(session string) error {
	_, err := patiently(func() (string, error) { return "", oskeyring.Delete(keyringService, session) })
	return err
}

// patiently bounds a call that cannot be interrupted. Its goroutine waits on
// if the keyring never answers; the process is short-lived or tries no more.
func patiently(call func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := call()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-time.After(keyringPatience):
		return "", errKeyring
	}
}
