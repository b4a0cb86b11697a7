package accounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// Register says which accounts and groups are Cardea's. Entries stay for ever:
// a uid that somebody had is never given to another.
type Register struct {
	// Accounts are by uid, Groups by gid.
	Accounts map[int]OwnedAccount `json:"accounts"`
	Groups   map[int]OwnedGroup   `json:"groups"`
	// Adopted are accounts of the host's own, logins by uid, that people were let into.
	Adopted map[int]string `json:"adopted,omitempty"`
}

// OwnedAccount is one account that Cardea made or was about to make.
type OwnedAccount struct {
	Login string `json:"login"`
	// User is the person's id; empty for the canary.
	User string `json:"user,omitempty"`
}

// OwnedGroup is one group that Cardea made or was about to make.
type OwnedGroup struct {
	Name string `json:"name"`
	// Kind is one of the three below.
	Kind string `json:"kind"`
}

// Kinds of groups.
const (
	kindManaged = "managed" // cardea-managed itself
	kindOwn     = "own"     // the group of one account
	kindProject = "project" // a group of the project
)

// maxRegister is above what 200,000 accounts with their groups need, in bytes.
const maxRegister = 64 << 20

// LoadRegister reads the register. A missing file is an empty register: the
// agent has made nothing yet. A damaged one is an error, never empty: an agent
// that forgot what is its own would call all of it foreign.
func LoadRegister(path string) (Register, error) {
	r := Register{Accounts: map[int]OwnedAccount{}, Groups: map[int]OwnedGroup{}}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read the register of accounts: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || info.Size() > maxRegister {
		return r, fmt.Errorf("read the register of accounts: %s is not a file that root alone can write", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read the register of accounts: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("the register of accounts %s is damaged, restore it from a backup: %w", path, err)
	}
	if r.Accounts == nil || r.Groups == nil {
		return r, fmt.Errorf("the register of accounts %s is damaged, restore it from a backup", path)
	}
	return r, nil
}

// save replaces the register durably.
func (r Register) save(path string) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	_, err = atomicfile.Write(path, append(raw, '\n'), atomicfile.Options{Mode: 0o600})
	return err
}

func (r Register) clone() Register {
	c := Register{Accounts: maps.Clone(r.Accounts), Groups: maps.Clone(r.Groups), Adopted: maps.Clone(r.Adopted)}
	if c.Accounts == nil {
		c.Accounts = map[int]OwnedAccount{}
	}
	if c.Groups == nil {
		c.Groups = map[int]OwnedGroup{}
	}
	if c.Adopted == nil {
		c.Adopted = map[int]string{}
	}
	return c
}

func (r Register) ownsAccount(login string, uid int) bool {
	o, ok := r.Accounts[uid]
	return ok && o.Login == login
}

func (r Register) ownsGroup(name string, gid int) bool {
	o, ok := r.Groups[gid]
	return ok && o.Name == name
}
