package dpop

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
	// maxFile is far above the 241 bytes of a key: what is larger is no key.
	maxFile = 16 << 10
)

// ErrKeyFile is wrapped when a file cannot be written, as against a key that cannot be made.
var ErrKeyFile = errors.New("write identity key")

// LoadOrCreate reads the key at path, or makes one there. The file is 0600 and
// its folder, if it must be made, 0700. A symbolic link, a file of another
// owner, one that others may read, or one in a folder that others may write is
// refused: someone else may know or choose such a key.
//
// The thumbprint of a key that it makes does not begin with a hyphen: people type it as an
// argument, and there it would be taken for a flag.
//
// If two processes create the key at once, both get the same one.
func LoadOrCreate(path string) (*Key, error) { return loadOrCreate(path, NewKey) }

func loadOrCreate(path string, draw func() (*Key, error)) (*Key, error) {
	k, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	for k == nil || strings.HasPrefix(k.Thumbprint(), "-") { // one in 64
		if k, err = draw(); err != nil {
			return nil, err
		}
	}
	text, err := k.MarshalPEM()
	if err != nil {
		return nil, err
	}
	err = CreateFile(path, text)
	if errors.Is(err, fs.ErrExist) {
		return Load(path)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Load reads the key at path. The error wraps fs.ErrNotExist if there is none.
func Load(path string) (*Key, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; move it away and enrol again", path, err)
	}
	return k, nil
}

// ReadFile reads a file in which a key is, or what leads to one. It refuses what Load
// refuses, whatever the file holds.
func ReadFile(path string) ([]byte, error) {
	f, err := openKey(path)
	if err != nil {
		return nil, fmt.Errorf("open identity key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open identity key: %w", err)
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read identity key: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes and no identity key; move it away", path, maxFile)
	}
	return text, nil
}

// CreateFile writes what ReadFile reads, and its folder where that is missing. The
// error wraps fs.ErrExist if there is a file: then another process was quicker, and
// what it wrote counts.
func CreateFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("%w: make its folder: %w", ErrKeyFile, err)
	}
	if err := checkDir(dir); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if err := create(path, text); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return nil
}

// create writes beside path and links into place: link, unlike rename, never
// replaces a key that another process has just made.
func create(path string, text []byte) error {
	var tag [8]byte
	rand.Read(tag[:])
	temp := path + ".new-" + hex.EncodeToString(tag[:])
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Link(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
