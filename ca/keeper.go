package ca

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"
)

// maxKeyFile is more than the 45 bytes that a key file has.
const maxKeyFile = 128

// OpenKeeper opens the keeper that wraps data keys:
//
//	file:///var/lib/cardea-control/kek   a key file, as CreateKeyFile makes it
//	base64key://…                        the key itself, for tests
//
// The services of clouds and of Vault are not linked in yet: their libraries would make the
// program several times as large.
func OpenKeeper(ctx context.Context, rawURL string) (*secrets.Keeper, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("key url cannot be parsed; write file:///path/of/the/key") // the url may hold a key
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, errors.New("key url needs an absolute path: file:///path/of/the/key")
		}
		return openKeyFile(u.Path)
	case localsecrets.Scheme:
		key, err := localsecrets.Base64Key(u.Host + u.Path)
		if err != nil {
			return nil, errors.New("base64key url does not hold 32 bytes in base64")
		}
		return localsecrets.NewKeeper(key), nil
	}
	return nil, fmt.Errorf("key url of scheme %q is not supported by this build; use file:///path/of/the/key", u.Scheme)
}

// CreateKeyFile makes a key file: 32 random bytes in base64, mode 0600. It never replaces
// one: whoever loses the file has lost every key that it sealed. os.ErrExist if it is there.
func CreateKeyFile(path string) error {
	var key [32]byte
	rand.Read(key[:])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	_, err = io.WriteString(f, base64.URLEncoding.EncodeToString(key[:])+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path) // it is ours, and has sealed nothing yet
		return fmt.Errorf("create key file: %w", err)
	}
	return nil
}

func openKeyFile(path string) (*secrets.Keeper, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	}
	if info.Mode().Perm()&(fs.ModePerm&^0o700) != 0 {
		return nil, fmt.Errorf("key file %s can be read by others; type: chmod 600 %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	key, err := localsecrets.Base64Key(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("key file %s does not hold 32 bytes in base64; restore it from your backup", path)
	}
	return localsecrets.NewKeeper(key), nil
}
