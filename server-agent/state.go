package serveragent

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// verify accepts a signed state only if it is the pinned key's, for this
// server, complete, and not older than what was obeyed before. The bytes are
// parsed after the signature was checked, and as one value.
//
// Fields that this agent does not know are left out and no error: a control
// plane that is updated first must still be able to lock somebody.
func verify(signed api.SignedState, policy ed25519.PublicKey, server string, last api.StateVersion) (api.DesiredState, error) {
	var d api.DesiredState
	message := slices.Concat([]byte(api.StateDomain), signed.State)
	if len(policy) != ed25519.PublicKeySize || !ed25519.Verify(policy, message, signed.Signature) {
		return d, errors.New("the state is not signed by this team's control plane")
	}
	// Unmarshal takes one value and nothing behind it, and makes no copy, which of
	// many people with many sudo commands would be 20 MB.
	if err := json.Unmarshal(signed.State, &d); err != nil {
		return d, fmt.Errorf("the state cannot be read: %w", err)
	}
	switch {
	case d.Server != server:
		return d, errors.New("the state is for another server")
	case !d.Complete:
		return d, errors.New("the state is not complete")
	case d.Version.Epoch < 0 || d.Version.Counter < 0:
		return d, errors.New("the state has no version")
	case d.Version.Less(last):
		return d, fmt.Errorf("the state %d.%d is older than %d.%d, which is in force", d.Version.Epoch, d.Version.Counter, last.Epoch, last.Counter)
	}
	d.ResolveSudo()
	return d, nil
}

// loadState reads the last good state and verifies it again, as if it had just
// come: whoever can write the file is root anyway, a broken disk is not. No
// file is a zero version.
func (a *Agent) loadState() (d api.DesiredState, err error) {
	raw, err := readSmall(a.path(stateFile), maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	var signed api.SignedState
	if err := json.Unmarshal(raw, &signed); err != nil {
		return d, fmt.Errorf("the stored state is damaged: %w", err)
	}
	d, err = verify(signed, a.cred.PolicyKey, a.cred.Server, api.StateVersion{})
	if err != nil {
		return api.DesiredState{}, fmt.Errorf("the stored state is damaged: %w", err)
	}
	return d, nil
}

// saveState writes the JSON of signed. It is put together here, because of a state
// of 20 MB the encoder would make three copies.
func (a *Agent) saveState(signed api.SignedState) error {
	const open, middle, end = `{"state":"`, `","signature":"`, "\"}\n"
	code := base64.StdEncoding
	b := make([]byte, 0, len(open)+code.EncodedLen(len(signed.State))+len(middle)+code.EncodedLen(len(signed.Signature))+len(end))
	b = code.AppendEncode(append(b, open...), signed.State)
	b = code.AppendEncode(append(b, middle...), signed.Signature)
	_, err := atomicfile.Write(a.path(stateFile), append(b, end...), atomicfile.Options{Mode: 0o600})
	return err
}
