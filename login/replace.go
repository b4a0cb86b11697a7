package login

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cardea-ssh/cardea/dpop"
)

// nextKeyFile is the key of a device that is about to replace this one. It stays until that has
// come to its end: who was killed between the control plane's yes and the last line written
// here types the same again, and goes on as the device that the control plane knows by then.
const nextKeyFile = "device.pem.next"

// asideKey begins the names of files with keys that were replaced.
const asideKey = "device.pem.replaced-"

// Next is a key for the device that is to replace this one. It changes nothing for this one;
// Replace does. The key of a try before is taken up again, unless another place is asked for.
func (h *Home) Next() (Device, error) {
	path := filepath.Join(h.Dir, nextKeyFile)
	d, err := h.openKey(path)
	if err == nil && (h.KeyKind == "" || h.KeyKind == d.Kind) {
		return d, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Device{}, fmt.Errorf("make a new device key: %w", err)
	}
	if err := h.makeKey(path); err != nil {
		return Device{}, err
	}
	return h.openKey(path)
}

// Refused sets next aside, which the control plane lets in no more: it was locked out since
// the try that made it. The next try makes another key.
func (h *Home) Refused(next Device) error {
	return h.locked(func() error {
		path := filepath.Join(h.Dir, nextKeyFile)
		d, err := h.openKey(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.Key.Thumbprint() != next.Key.Thumbprint() {
			return nil
		}
		aside, err := h.asideName()
		if err == nil {
			err = os.Rename(path, aside)
		}
		return err
	})
}

// Known is the thumbprint of this device's key, also of one that cannot be used any more:
// fs.ErrNotExist if there is none, and an error if nothing tells.
func (h *Home) Known() (string, error) {
	path := h.KeyPath()
	d, err := h.openKey(path) // which asks no chip
	if err == nil {
		return d.Key.Thumbprint(), nil
	}
	if text, err := dpop.ReadFile(path); err == nil {
		if block, _ := pem.Decode(text); block != nil && block.Headers[thumbprintHeader] != "" {
			return block.Headers[thumbprintHeader], nil
		}
	}
	return "", err
}

// Replace makes next, which Next returned, the key of this device, and s its session. It
// returns where the key before is set aside; empty if there was none. Killed at any point,
// one key or the other is in place, and none is lost.
func (h *Home) Replace(s Saved, next Device) (aside string, err error) {
	err = h.locked(func() error {
		if aside, err = h.setAside(next); err != nil {
			return fmt.Errorf("put the new device key in place: %w", err)
		}
		return h.save(s)
	})
	return aside, err
}

// setAside copies the key before, and puts next in its place.
func (h *Home) setAside(next Device) (aside string, err error) {
	path := h.KeyPath()
	text, err := dpop.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil: // what may not be read is of no use in its place either
		aside, err = h.asideName()
		if err == nil {
			err = os.Rename(path, aside)
		}
	default:
		if now, err := h.openKey(path); err == nil && now.Key.Thumbprint() == next.Key.Thumbprint() {
			return "", nil // another process was quicker
		}
		if aside, err = h.asideName(); err == nil {
			err = dpop.CreateFile(aside, text)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return aside, os.Rename(filepath.Join(h.Dir, nextKeyFile), path)
}

// asideName is one that no file has.
func (h *Home) asideName() (string, error) {
	name := filepath.Join(h.Dir, asideKey+time.Now().UTC().Format("20060102T150405.000000000Z"))
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is there already", name)
	}
	return name, nil
}
