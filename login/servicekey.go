package login

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// What lies beside the key of a service user while it is changed.
const (
	nextKeySuffix = ".next" // the key that is to take its place
	keyLockSuffix = ".lock" // held by who changes it
)

// ChangedKey is what ChangeKey came to.
type ChangedKey struct {
	// Saved is a session that is bound to the key that the file holds now.
	Saved Saved
	// By tells who changed the key: this call, another one at the same time, or one
	// before that was interrupted and of which only the end was left to do.
	By string
	// Late is why the old key could not be retired; the next call does it.
	Late error
}

// Who changed a key.
const (
	ChangedHere, ChangedMeanwhile, ChangedBefore = "here", "meanwhile", "before"
)

// ChangeKey puts a new key in place of f.Key, that of a service user, which is in file:
//
//  1. the new key is written beside the old one
//  2. the control plane registers it as the next one, by proof of the old one
//  3. it signs in
//  4. it takes the old one's place on disk, in one step
//  5. the control plane retires the old one, by proof of the new one
//
// Killed at any point, the file holds a key that signs in, and the next call goes on from
// there. Programs that share the file wait for each other, and change it once.
func (f Flow) ChangeKey(ctx context.Context, file string) (out ChangedKey, err error) {
	err = whileLocked(file+keyLockSuffix, "change the key", func() error {
		before := f.Key.Thumbprint()
		if f.Key, err = dpop.Load(file); err != nil {
			return err
		}
		if out.Saved, err = f.Program(ctx, ServiceKeyForm()); err != nil {
			return err
		}
		if f.Key.Thumbprint() != before {
			out.By = ChangedMeanwhile
			return nil
		}
		retired, err := f.retire(ctx, out.Saved)
		if err != nil || retired {
			out.By = ChangedBefore
			return err
		}
		next, err := f.nextKey(ctx, out.Saved, file+nextKeySuffix)
		if err != nil {
			return err
		}
		f.Key, out.By = next, ChangedHere
		if out.Saved, err = f.Program(ctx, ServiceKeyForm()); err != nil {
			return err
		}
		if err := f.at("signed in"); err != nil {
			return err
		}
		if err := putInPlace(file+nextKeySuffix, file); err != nil {
			return err
		}
		if err := f.at("in place"); err != nil {
			return err
		}
		_, out.Late = f.retire(ctx, out.Saved)
		return nil
	})
	return out, err
}

// at is where tests interrupt a change of keys.
func (f Flow) at(step string) error {
	if f.interrupt == nil {
		return nil
	}
	return f.interrupt(step)
}

// nextKey makes the key that comes next, or takes the one that a call before has made, and
// has it registered. One that was taken away meanwhile is thrown away.
func (f Flow) nextKey(ctx context.Context, saved Saved, path string) (*dpop.Key, error) {
	for again := false; ; again = true {
		next, err := dpop.LoadOrCreate(path)
		if err != nil {
			return nil, err
		}
		if err := f.at("written"); err != nil {
			return nil, err
		}
		err = f.as(saved).Send(ctx, http.MethodPost, "/v1/service-keys/next", api.NextServiceKey{Thumbprint: next.Thumbprint()}, nil)
		if api.KindOf(err) != api.Gone || again {
			return next, errors.Join(err, f.at("registered"))
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// retire ends the key whose place f.Key has taken, and says whether there was one.
func (f Flow) retire(ctx context.Context, saved Saved) (bool, error) {
	var r api.RetiredServiceKey
	err := f.as(saved).Send(ctx, http.MethodPost, "/v1/service-keys/retire", nil, &r)
	return r.ID != "", err
}

// as is a client of a session that is not saved yet.
func (f Flow) as(s Saved) *api.Client {
	return &api.Client{URL: f.URL, Prover: f.Key, Token: s.Token, HTTP: f.HTTP, UserAgent: f.UserAgent}
}

// putInPlace replaces a file, wholly or not at all.
func putInPlace(next, file string) error {
	if err := os.Rename(next, file); err != nil {
		return fmt.Errorf("put the new key in place: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(file))
}
