package gateway

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/recording"
)

const (
	// recordKeyLife is how long a key is the newest one. Whoever takes one from a
	// gateway can sign as it for no longer than that, and only on that gateway's word.
	recordKeyLife = 24 * time.Hour
	// recordKeysFile is below the state folder, for root alone: whoever starts after a
	// crash finishes with it what was being recorded.
	recordKeysFile = "recording-keys.json"
	recordKeysLock = ".recording-keys.lock"
	// maxRecordKeys of them are kept: one that waits to be acknowledged, and the one in
	// use.
	maxRecordKeys = 2
)

// errNoRecordKey says that no recording can be signed yet.
var errNoRecordKey = errors.New("the control plane has not acknowledged a recording key of this gateway yet")

// recordKeys is the life of the keys that sign recordings. A key is used only after
// the control plane has it: else there would be recordings that nobody can verify. Of
// the keys before it nothing is needed any more; their public halves are the control
// plane's, for ever.
type recordKeys struct {
	path string

	mu   sync.Mutex
	keys []recordKey // newest first; guarded by mu
}

type recordKey struct {
	Seed []byte `json:"seed"` // RFC 8032: 32 bytes
	// ID is that of the public half. A seed that the disk has changed would sign what nobody
	// could verify.
	ID    string    `json:"id,omitempty"` // older files have none
	Made  time.Time `json:"made"`
	Acked time.Time `json:"acked,omitzero"`
}

func (k recordKey) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.Seed) }
func (k recordKey) public() ed25519.PublicKey   { return k.private().Public().(ed25519.PublicKey) }

func (k recordKey) damaged() bool {
	return len(k.Seed) != ed25519.SeedSize || k.ID != "" && k.ID != recording.KeyID(k.public())
}

// loadRecordKeys reads what is in the state folder, if anything is.
func loadRecordKeys(stateDir string) (*recordKeys, error) {
	k := &recordKeys{path: filepath.Join(stateDir, recordKeysFile)}
	var err error
	k.keys, err = k.read()
	return k, err
}

func (k *recordKeys) read() ([]recordKey, error) {
	text, err := readPrivate(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []recordKey
	if err := json.Unmarshal(text, &keys); err != nil || slices.ContainsFunc(keys, recordKey.damaged) {
		return nil, fmt.Errorf("%s is damaged: remove it, and new keys are made", k.path)
	}
	return keys, nil
}

// renew makes a new key if the newest is old enough and acknowledged.
func (k *recordKeys) renew(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.due(now) {
		return nil
	}
	return k.change(func() bool {
		if !k.due(now) {
			return false // another process of this gateway was faster
		}
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return false // the kernel cannot; never seen
		}
		k.keys = append([]recordKey{{Seed: private.Seed(), Made: now.UTC()}}, k.keys...)
		return true
	})
}

func (k *recordKeys) due(now time.Time) bool {
	return len(k.keys) == 0 || !k.keys[0].Acked.IsZero() && now.Sub(k.keys[0].Made) >= recordKeyLife
}

// change reads the file anew, changes the keys, and writes them: while one process
// takes over from another, both have them. k.mu is held.
func (k *recordKeys) change(keys func() bool) error {
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(k.path), recordKeysLock), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("keep the recording keys: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("keep the recording keys: %w", err)
	}
	old := k.keys
	if read, err := k.read(); err != nil {
		return err
	} else if read != nil {
		k.keys = read
	}
	if !keys() {
		return nil
	}
	k.keys = k.keys[:min(len(k.keys), maxRecordKeys)]
	for i := range k.keys {
		k.keys[i].ID = recording.KeyID(k.keys[i].public())
	}
	text, err := json.Marshal(k.keys)
	if err == nil {
		_, err = atomicfile.Write(k.path, text, atomicfile.Options{Mode: 0o600})
	}
	if err != nil {
		k.keys = old // nothing is signed by a key that a restart would not find
		return fmt.Errorf("keep the recording keys: %w", err)
	}
	return nil
}

// signing is the newest key that the control plane has.
func (k *recordKeys) signing() (ed25519.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if !key.Acked.IsZero() {
			return key.private(), nil
		}
	}
	return nil, errNoRecordKey
}

// wants says whether there is a key that the control plane may not have.
func (k *recordKeys) wants() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys) > 0 && k.keys[0].Acked.IsZero()
}

// public is what goes into a report, newest first.
func (k *recordKeys) public() (out []api.RecordingKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		out = append(out, api.RecordingKey{ID: recording.KeyID(key.public()), Public: key.public()})
	}
	return out
}

// acknowledge notes which keys the control plane has.
func (k *recordKeys) acknowledge(ids []string, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	fresh := func(key recordKey) bool {
		return key.Acked.IsZero() && slices.Contains(ids, recording.KeyID(key.public()))
	}
	if !slices.ContainsFunc(k.keys, fresh) {
		return nil
	}
	mine := slices.Clone(k.keys)
	return k.change(func() bool {
		changed := false
		for i := range k.keys {
			known := slices.ContainsFunc(mine, func(m recordKey) bool { return bytes.Equal(m.Seed, k.keys[i].Seed) })
			if known && fresh(k.keys[i]) {
				k.keys[i].Acked, changed = now.UTC(), true
			}
		}
		return changed
	})
}
