package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// record is the last event of each uid for which all hooks were run.
type record map[int]Event

// load reads the record; no file is nil, which is not the same as an empty one.
func load(path string) (record, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, err
	}
	r := record{}
	if err := json.Unmarshal(raw, &r); err != nil || len(raw) > maxRecord {
		return nil, fmt.Errorf("%s is damaged; remove it, then no hook is run for the accounts that are there", path)
	}
	return r, nil
}

func (r record) save(path string) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = atomicfile.Write(path, append(raw, '\n'), atomicfile.Options{Mode: 0o600})
	return err
}
